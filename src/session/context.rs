//! The context that a session works in, at services that have such a thing.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, Stage};

/// The longest id, in bytes: it is a URL.
const LONGEST: usize = 2048;

/// What a session's ticket is for: an organisation, a care team, a patient, an episode of care. Empty by default.
///
/// ```
/// use ticketapi::session::Context;
///
/// let context = Context::new()
///     .care_team("https://careteam.example/fhir/CareTeam/7")
///     .patient("https://patient.example/fhir/Patient/21");
/// assert!(context.check().is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Context {
    /// Id of the organisation.
    pub organization_id: Option<String>,
    /// Id of the care team.
    pub care_team_id: Option<String>,
    /// Id of the patient. Needs a care team.
    pub patient_id: Option<String>,
    /// Id of the episode of care. Needs a care team.
    pub episode_of_care_id: Option<String>,
}

impl Context {
    /// Returns the empty context.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the organisation.
    #[must_use]
    pub fn organization(self, id: impl Into<String>) -> Self {
        Self { organization_id: Some(id.into()), ..self }
    }

    /// Sets the care team.
    #[must_use]
    pub fn care_team(self, id: impl Into<String>) -> Self {
        Self { care_team_id: Some(id.into()), ..self }
    }

    /// Sets the patient.
    #[must_use]
    pub fn patient(self, id: impl Into<String>) -> Self {
        Self { patient_id: Some(id.into()), ..self }
    }

    /// Sets the episode of care.
    #[must_use]
    pub fn episode_of_care(self, id: impl Into<String>) -> Self {
        Self { episode_of_care_id: Some(id.into()), ..self }
    }

    /// Checks what can be checked without the service.
    ///
    /// # Errors
    ///
    /// [`InvalidParameter`](ErrorKind::InvalidParameter): an id is empty, too long, or has characters that no id has, or
    /// there is a patient or an episode of care without a care team.
    pub fn check(&self) -> Result<()> {
        let invalid = |detail: String| Err(Error::new(ErrorKind::InvalidParameter, Stage::Session, detail));
        let ids = [
            ("organisation", &self.organization_id),
            ("care team", &self.care_team_id),
            ("patient", &self.patient_id),
            ("episode of care", &self.episode_of_care_id),
        ];
        for (name, id) in ids {
            let is_id = |id: &str| (1..=LONGEST).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
            if id.as_deref().is_some_and(|id| !is_id(id)) {
                return invalid(format!("the id of the {name} is empty, too long, or has characters that no id has"));
            }
        }
        for (name, id) in &ids[2..] {
            if id.is_some() && self.care_team_id.is_none() {
                return invalid(format!("the context has a {name} but no care team"));
            }
        }
        Ok(())
    }
}

/// The contexts that a user may switch to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Contexts {
    /// The user's organisations.
    pub organizations: Vec<Organization>,
    /// The user's care teams.
    pub care_teams: Vec<CareTeam>,
}

/// An organisation that a user may work for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Organization {
    /// Its id, for [`Context::organization`].
    pub id: String,
    /// Its name.
    pub name: String,
    /// Names of the user's roles there.
    pub roles: Vec<String>,
}

/// A care team that a user belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CareTeam {
    /// Its id, for [`Context::care_team`].
    pub id: String,
    /// Its name.
    pub name: String,
    /// The organisation it belongs to, as the service writes it; empty if it sends none.
    pub affiliation: String,
    /// Names of the user's roles in it.
    pub roles: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patient_and_an_episode_of_care_need_a_care_team() {
        let team = Context::new().care_team("https://a/CareTeam/1");
        for good in [
            Context::new(),
            Context::new().organization("https://a/Organization/1"),
            team.clone(),
            team.clone().organization("https://a/Organization/1"),
            team.clone().patient("https://a/Patient/1"),
            team.clone().episode_of_care("https://a/EpisodeOfCare/1"),
            team.clone().patient("https://a/Patient/1").episode_of_care("https://a/EpisodeOfCare/1"),
        ] {
            assert!(good.check().is_ok(), "{good:?}");
        }
        for bad in [
            Context::new().patient("https://a/Patient/1"),
            Context::new().organization("https://a/Organization/1").episode_of_care("https://a/EpisodeOfCare/1"),
            Context::new().organization(""),
            team.clone().patient(""),
            Context::new().care_team("https://a/Care Team/1"),
            Context::new().care_team("x".repeat(LONGEST + 1)),
            team.patient("https://a/Patient/1\n"),
        ] {
            assert_eq!(*bad.check().unwrap_err().kind(), ErrorKind::InvalidParameter, "{bad:?}");
        }
    }
}
