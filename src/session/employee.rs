//! The user of a Nuts node, and how well such a node knows who it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result, Stage};
use crate::printable::{LONGEST_NAME, is_unfit};

/// The employee that an employer's Nuts node is asked to identify.
///
/// ```
/// use ticketapi::session::Employee;
///
/// let nurse = Employee::new("481", "J", "van Dijk").role("Verpleegkundige niveau 2");
/// assert!(nurse.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Employee {
    /// The employee's number or name in the employer's records.
    pub identifier: String,
    /// The initials.
    pub initials: String,
    /// The family name, with what belongs before it.
    pub family_name: String,
    /// The role, as the employer names it.
    pub role: Option<String>,
}

impl Employee {
    /// An employee without a role.
    pub fn new(identifier: impl Into<String>, initials: impl Into<String>, family_name: impl Into<String>) -> Self {
        let (identifier, initials, family_name) = (identifier.into(), initials.into(), family_name.into());
        Self { identifier, initials, family_name, role: None }
    }

    /// Sets the role.
    #[must_use]
    pub fn role(self, name: impl Into<String>) -> Self {
        Self { role: Some(name.into()), ..self }
    }

    /// Returns initials and family name.
    pub fn name(&self) -> String {
        format!("{} {}", self.initials, self.family_name)
    }

    /// Checks what can be checked without the node.
    ///
    /// # Errors
    ///
    /// [`InvalidParameter`](ErrorKind::InvalidParameter) for a field that is empty, longer than 256 characters, or has
    /// characters that control how text is shown.
    pub fn check(&self) -> Result<()> {
        let fields = [
            ("identifier", Some(&self.identifier)),
            ("initials", Some(&self.initials)),
            ("family name", Some(&self.family_name)),
            ("role", self.role.as_ref()),
        ];
        for (name, text) in fields {
            let Some(text) = text else { continue };
            let problem = if text.trim().is_empty() {
                "is empty"
            } else if text.chars().count() > LONGEST_NAME {
                "is too long (more than 256 characters)"
            } else if text.chars().any(is_unfit) {
                "has control or formatting characters"
            } else {
                continue;
            };
            let detail = format!("the employee's {name} {problem}");
            return Err(Error::new(ErrorKind::InvalidParameter, Stage::Configuration, detail));
        }
        Ok(())
    }
}

/// How sure it is who a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AssuranceLevel {
    /// The employer says so.
    Low,
    /// As with IRMA or Yivi.
    Substantial,
    /// As with a UZI card.
    High,
}

impl AssuranceLevel {
    /// Returns `true` if this level is enough where `required` is asked for.
    ///
    /// ```
    /// use ticketapi::session::AssuranceLevel;
    ///
    /// assert!(AssuranceLevel::High.satisfies("middle".parse().unwrap()));
    /// assert!(!AssuranceLevel::Low.satisfies(AssuranceLevel::Substantial));
    /// ```
    pub fn satisfies(self, required: Self) -> bool {
        self >= required
    }

    /// Returns the level that `resource` requires: one of the `resources` of a NutsAuthorizationCredential, in JSON,
    /// with the member `assuranceLevel` or `authenticationAssuranceLevel`. The higher one counts if it has both;
    /// `None` if it has neither.
    ///
    /// ```
    /// use ticketapi::session::AssuranceLevel;
    ///
    /// let resource = r#"{"path": "/Composition/1", "operations": ["read"], "assuranceLevel": "low"}"#;
    /// let required = AssuranceLevel::required_for(resource)?;
    /// assert!(required.is_none_or(|required| AssuranceLevel::Low.satisfies(required)));
    /// # Ok::<_, ticketapi::session::UnknownLevel>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownLevel`] for a level that no session satisfies, and if `resource` is not a JSON object.
    #[cfg(feature = "nuts")]
    pub fn required_for(resource: &str) -> std::result::Result<Option<Self>, UnknownLevel> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Resource {
            assurance_level: Option<String>,
            authentication_assurance_level: Option<String>,
        }

        let Resource { assurance_level, authentication_assurance_level } =
            serde_json::from_str(resource).map_err(|_| UnknownLevel)?;
        let levels = [assurance_level, authentication_assurance_level].map(|name| name.map(|name| name.parse()));
        let [one, other] = levels.map(Option::transpose);
        Ok(one?.max(other?))
    }
}

impl fmt::Display for AssuranceLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Substantial => "substantial",
            Self::High => "high",
        })
    }
}

/// A text that names no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not one of low, substantial (or middle), high")]
pub struct UnknownLevel;

impl FromStr for AssuranceLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> std::result::Result<Self, UnknownLevel> {
        match text {
            "low" => Ok(Self::Low),
            "substantial" | "middle" => Ok(Self::Substantial),
            "high" => Ok(Self::High),
            _ => Err(UnknownLevel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_employee_needs_fields_that_can_be_shown() {
        let problem =
            |employee: Employee| employee.check().err().map_or_else(String::new, |error| error.detail().into());
        assert_eq!(problem(Employee::new("481", "J", "van \"Dijk\" d'Été")), "");
        for (employee, expected) in [
            (Employee::new("", "J", "Dijk"), "the employee's identifier is empty"),
            (Employee::new("1", " ", "Dijk"), "the employee's initials is empty"),
            (
                Employee::new("1", "J", "D\u{202e}ijk"),
                "the employee's family name has control or formatting characters",
            ),
            (Employee::new("1", "J", "D\nijk"), "the employee's family name has control or formatting characters"),
            (
                Employee::new("1", "J", "x".repeat(10_000)),
                "the employee's family name is too long (more than 256 characters)",
            ),
            (Employee::new("1", "J", "Dijk").role(""), "the employee's role is empty"),
        ] {
            assert_eq!(problem(employee), expected);
        }
    }

    #[test]
    fn levels_are_ordered_and_have_two_names_for_the_middle_one() {
        let levels = ["low", "middle", "high"].map(|name| name.parse::<AssuranceLevel>().unwrap());
        assert!(levels.is_sorted());
        assert_eq!(levels[1], "substantial".parse().unwrap());
        for (at, level) in levels.into_iter().enumerate() {
            for (least, required) in levels.into_iter().enumerate() {
                assert_eq!(level.satisfies(required), at >= least);
            }
        }
        assert_eq!("Low".parse::<AssuranceLevel>(), Err(UnknownLevel));
    }

    #[cfg(feature = "nuts")]
    #[test]
    fn a_resource_requires_a_level_in_either_spelling() {
        use AssuranceLevel::{High, Low, Substantial};
        for (members, required) in [
            (r#""assuranceLevel": "low""#, Ok(Some(Low))),
            (r#""assuranceLevel": "substantial""#, Ok(Some(Substantial))),
            (r#""authenticationAssuranceLevel": "middle""#, Ok(Some(Substantial))),
            (r#""authenticationAssuranceLevel": "high""#, Ok(Some(High))),
            (r#""authenticationAssuranceLevel": "high", "assuranceLevel": "low""#, Ok(Some(High))),
            (r#""authenticationAssuranceLevel": null, "assuranceLevel": "low""#, Ok(Some(Low))),
            (r#""userContext": true"#, Ok(None)),
            (r#""assuranceLevel": "none""#, Err(UnknownLevel)),
            (r#""assuranceLevel": "low", "authenticationAssuranceLevel": "none""#, Err(UnknownLevel)),
            (r#""assuranceLevel": 3"#, Err(UnknownLevel)),
            (r#""assuranceLevel": "low", "assuranceLevel": "low""#, Err(UnknownLevel)),
        ] {
            let resource = format!(r#"{{"path": "/Composition/1", "operations": ["read"], {members}}}"#);
            assert_eq!(AssuranceLevel::required_for(&resource), required, "{members}");
        }
        for text in ["", "low", "\"low\"", "[]", "{"] {
            assert_eq!(AssuranceLevel::required_for(text), Err(UnknownLevel), "{text}");
        }
    }
}
