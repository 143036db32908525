//! The roles of the simulator's user.

/// A role, as in the broker's parameter `nhsjobrole<N>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The role profile's id, 12 digits.
    pub id: String,
    /// The organisation's code. A few real roles have no code.
    pub organisation_code: Option<String>,
    /// The organisation's name. It may contain commas, quotes and apostrophes.
    pub organisation: String,
    /// The first of the three quoted parts, such as `Clinical` or `Admin & Clerical`.
    pub job_type: String,
    /// The second part.
    pub job_sub_type: String,
    /// The third part, the role's name. It may contain colons.
    pub name: String,
}

const ORGANISATIONS: [&str; 12] = [
    "STIRLING MEDICAL CENTRE (S KUMAR)",
    "SAHA SN & DE G",
    "DR K HICKEY'S PRACTICE",
    "NORTH EAST LINCOLNSHIRE PCT",
    "SMITH, JONES & PARTNERS",
    "THE \"OLD MILL\" SURGERY",
    "GP PRACTICE EMIS CG001 001",
    "WARD 3, \"THE LODGE\"",
    "ST CLEMENT'S SURGERY (BRANCH, HIGH STREET)",
    "THE PRINCESS ROYAL HOSPITAL NHS TRUST",
    "OUT OF HOURS: NORTH, EAST & WEST",
    "VEDUTLA RDP",
];

const JOBS: [(&str, &str, &str); 7] = [
    ("Clinical", "Clinical Provision", "Health Professional Access Role"),
    ("Admin & Clerical", "Admin", "Registration Authority Agent"),
    ("Admin & Clerical", "Management - A & C", "Registration Authority Manager"),
    ("Clinical", "Clinical Provision", "Nurse: Community & School"),
    ("Admin & Clerical", "Admin", "Demographic Administrator"),
    ("Additional Clinical Services", "Add'l Clinical Services", "Assistant: Wards 1, 2"),
    ("Clinical", "Clinical Provision", "Clinical Practitioner Access Role"),
];

impl Role {
    /// Returns the first `count` roles of a fixed list, with names as unusual as real ones.
    pub fn generate(count: usize) -> Vec<Self> {
        (0..count).map(Self::numbered).collect()
    }

    fn numbered(index: usize) -> Self {
        let organisation = ORGANISATIONS[index % ORGANISATIONS.len()];
        let (job_type, job_sub_type, name) = JOBS[index % JOBS.len()];
        let has_code = index % 17 != 16;
        Self {
            id: format!("{}", 555_008_642_106 + index as u64 * 1_997),
            organisation_code: has_code.then(|| format!("B{:05}", 81_012 + index % 9_000)),
            organisation: organisation.into(),
            job_type: job_type.into(),
            job_sub_type: job_sub_type.into(),
            name: name.into(),
        }
    }

    /// The job as the broker writes it: `"Type":"Sub-type":"Role name"`.
    pub fn job(&self) -> String {
        format!("\"{}\":\"{}\":\"{}\"", self.job_type, self.job_sub_type, self.name)
    }

    /// The parameter's value: organisation, comma, job.
    pub fn line(&self) -> String {
        format!("{}, {}", self.organisation, self.job())
    }

    /// A code of the form that assertions have, `S8000:G8000:R8003`.
    pub(crate) fn job_code(&self) -> String {
        let number = JOBS.iter().position(|job| job.2 == self.name).unwrap_or(JOBS.len());
        format!("S8000:G8000:R{}", 8_000 + number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_thousand_roles_have_different_ids() {
        let roles = Role::generate(1_000);
        let ids: HashSet<_> = roles.iter().map(|role| &role.id).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit())));
    }

    #[test]
    fn a_role_is_written_as_in_the_capture() {
        assert_eq!(
            Role::generate(2)[1].line(),
            r#"SAHA SN & DE G, "Admin & Clerical":"Admin":"Registration Authority Agent""#
        );
    }
}
