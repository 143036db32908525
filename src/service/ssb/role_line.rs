//! A role of the user in the broker's form.

use crate::printable::{LONGEST_NAME, clean};

pub use crate::session::Role;

impl Role {
    /// Splits the broker's `ORGANISATION, "Type":"Sub-type":"Role name"`.
    ///
    /// Organisation names hold commas and quotes, role names hold colons: the parts are found by their
    /// separators, from the right.
    pub fn new(id: &str, organisation_code: &str, text: &str) -> Self {
        let text = text.trim();
        let parts = split(text).unwrap_or(("", ["", "", text]));
        Self::of_parts(id, organisation_code, parts.0, parts.1)
    }

    /// Builds the role of an `organisation` and a job given apart, the job as
    /// `"Type":"Sub-type":"Role name"`.
    pub(in crate::service) fn of_job(id: &str, organisation_code: &str, organisation: &str, job: &str) -> Self {
        let job = job.trim();
        let parts = job.strip_prefix('"').and_then(split_job).unwrap_or(["", "", job]);
        Self::of_parts(id, organisation_code, organisation.trim(), parts)
    }

    fn of_parts(id: &str, organisation_code: &str, organisation: &str, job: [&str; 3]) -> Self {
        let [role_type, sub_type, name] = job;
        let shown = |text| clean(text, LONGEST_NAME);
        Self {
            id: id.to_owned(),
            organisation_code: shown(organisation_code),
            organisation: shown(organisation),
            role_type: shown(role_type),
            sub_type: shown(sub_type),
            name: shown(name),
        }
    }
}

fn split(text: &str) -> Option<(&str, [&str; 3])> {
    let (rest, sub_type, name) = split_last_two(text)?;
    let (organisation, role_type) = split_at_last(rest, ", \"")?;
    split_at_last(role_type, BETWEEN).is_none().then_some((organisation.trim(), [role_type, sub_type, name]))
}

/// Splits a job without its first quote.
fn split_job(text: &str) -> Option<[&str; 3]> {
    let (role_type, sub_type, name) = split_last_two(text)?;
    split_at_last(role_type, BETWEEN).is_none().then_some([role_type, sub_type, name])
}

const BETWEEN: &str = "\":\"";

/// Takes the last two quoted parts.
fn split_last_two(text: &str) -> Option<(&str, &str, &str)> {
    let (rest, name) = split_at_last(text.strip_suffix('"')?, BETWEEN)?;
    let (rest, sub_type) = split_at_last(rest, BETWEEN)?;
    Some((rest, sub_type, name))
}

/// `rsplit_once` without the set-up that only pays off for longer texts.
fn split_at_last<'a>(text: &'a str, between: &str) -> Option<(&'a str, &'a str)> {
    let at = text.as_bytes().windows(between.len()).rposition(|window| window == between.as_bytes())?;
    Some((&text[..at], &text[at + between.len()..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> [String; 4] {
        let role = Role::new("1", "A", text);
        [role.organisation, role.role_type, role.sub_type, role.name]
    }

    #[test]
    fn a_role_has_four_parts() {
        assert_eq!(
            parts(r#"DR K HICKEY'S PRACTICE, "Admin & Clerical":"Admin":"Registration Authority Agent""#),
            ["DR K HICKEY'S PRACTICE", "Admin & Clerical", "Admin", "Registration Authority Agent"]
        );
    }

    #[test]
    fn organisations_may_contain_commas_and_quotes_and_roles_colons() {
        assert_eq!(
            parts(r#"SMITH, JONES, "WEST", "A":"B":"Nurse: Ward 3, "Acting"""#),
            [r#"SMITH, JONES, "WEST""#, "A", "B", r#"Nurse: Ward 3, "Acting""#]
        );
        assert_eq!(parts(r#"A":"B, "":"":"""#), [r#"A":"B"#, "", "", ""]);
    }

    #[test]
    fn a_text_of_another_form_becomes_the_name() {
        for text in ["", "Nurse", "ORG, \"A\":\"B\"", "ORG \"A\":\"B\":\"C\"", "ORG, \"A\":\"B\":\"C\":\"D\"", "\""] {
            assert_eq!(parts(text), ["", "", "", text], "{text}");
        }
    }

    #[test]
    fn missing_parts_of_a_role_are_not_shown() {
        let nurse = r#""Clinical":"":"Nurse""#;
        for (code, organisation, job, shown) in [
            ("RX1", "HOSPITAL", nurse, "HOSPITAL (RX1): Clinical : Nurse"),
            ("RX1", "", nurse, "(RX1): Clinical : Nurse"),
            ("", "HOSPITAL", nurse, "HOSPITAL: Clinical : Nurse"),
            ("", "", nurse, "Clinical : Nurse"),
            ("RX1", "HOSPITAL", "", "HOSPITAL (RX1)"),
        ] {
            assert_eq!(Role::of_job("1", code, organisation, job).to_string(), shown);
        }
    }

    #[test]
    fn a_job_without_its_organisation_has_three_parts() {
        let parts = |job: &str| {
            let role = Role::of_job("1", "A", " THE \"LODGE\", WEST ", job);
            assert_eq!(role.organisation, "THE \"LODGE\", WEST");
            [role.role_type, role.sub_type, role.name]
        };
        assert_eq!(parts(r#""A & C":"B, "x"":"Nurse: Ward 3""#), ["A & C", "B, \"x\"", "Nurse: Ward 3"]);
        for other in ["", "\"", "Nurse", r#""A":"B""#, r#"A":"B":"C""#, r#""A":"B":"C":"D""#] {
            assert_eq!(parts(other), ["", "", other]);
        }
    }

    proptest! {
        #[test]
        fn written_parts_are_read_again(
            organisation in "[A-Z]([A-Z',\" ()&]{0,20}[A-Z)])?",
            role_type in "[A-Za-z& ]{0,12}",
            sub_type in "[A-Za-z,& ]{0,12}",
            name in "[A-Za-z:, &]{0,12}",
        ) {
            let text = format!("{organisation}, \"{role_type}\":\"{sub_type}\":\"{name}\"");
            prop_assert_eq!(parts(&text), [organisation, role_type, sub_type, name]);
        }

        #[test]
        fn nothing_of_a_text_is_lost(text in "[a-z,:\" ]{0,40}") {
            let letters = |s: &str| s.chars().filter(char::is_ascii_alphabetic).collect::<String>();
            prop_assert_eq!(letters(&parts(&text).concat()), letters(&text));
        }
    }
}
