//! Exit codes: one for each group of errors.

use std::process::ExitCode;

use ticketapi::{ErrorKind, Group};

/// Returns the exit code of this kind of failure. 2 means a wrong command line.
pub fn code(kind: &ErrorKind) -> ExitCode {
    ExitCode::from(number(kind.group()))
}

/// Returns the number of that code.
pub fn number(group: Group) -> u8 {
    match group {
        Group::CardDevice => 3,
        Group::Authentication => 4,
        Group::Configuration => 5,
        // Also groups that this version does not know.
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::EXIT_CODES;

    #[test]
    fn the_help_names_the_code_of_each_group() {
        for group in [Group::Generic, Group::CardDevice, Group::Authentication, Group::Configuration] {
            let (code, name) = (format!("  {}  ", number(group)), format!("({})", group.as_str()));
            assert!(EXIT_CODES.lines().any(|line| line.starts_with(&code) && line.ends_with(&name)), "{name}");
        }
    }
}
