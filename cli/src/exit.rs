//! Exit codes: one for each group of errors.

use std::process::ExitCode;

use ticketapi::ErrorKind;

/// Returns the exit code of this kind of failure. 2 means a wrong command line.
pub fn code(kind: &ErrorKind) -> ExitCode {
    ExitCode::from(kind.group().status_code())
}

#[cfg(test)]
mod tests {
    use ticketapi::Group;

    use crate::options::EXIT_CODES;

    #[test]
    fn the_help_names_the_code_of_each_group() {
        for group in [Group::Generic, Group::CardDevice, Group::Authentication, Group::Configuration] {
            let (code, name) = (format!("  {}  ", group.status_code()), format!("({})", group.as_str()));
            assert!(EXIT_CODES.lines().any(|line| line.starts_with(&code) && line.ends_with(&name)), "{name}");
        }
    }
}
