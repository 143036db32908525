//! A role of the user, as the broker's answer names it.

/// A role profile of the user (`nhsjobrole<N>` in the broker's answer).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Role {
    /// Id of the role profile.
    pub id: String,
    /// Code of the organisation; empty where the broker gives none.
    pub organisation_code: String,
    /// Name of the organisation.
    pub organisation: String,
    /// Job role type, such as `Admin & Clerical`.
    pub role_type: String,
    /// Job role sub-type, such as `Admin`.
    pub sub_type: String,
    /// Name of the job role, such as `Registration Authority Agent`.
    pub name: String,
}
