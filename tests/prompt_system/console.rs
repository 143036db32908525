//! The command's prompts in Windows' console, which Wine shows on a terminal. `scripts/windows/check-console` runs them.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

mod host;
mod person;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use ticketapi_testkit::spine::SpineBuilder;

use crate::host::on_terminal;
use crate::person::Person;
use crate::support::{Desk, PIN};

/// Of a role's number and of a search, the first word on the screen.
const FEW: &str = "Number (1 to 3):";
const MANY: &str = "12 of 12 roles";

/// The console, not the terminal that shows it, gives keys their meanings, and shows them where it should.
const START: &str = "trap : INT; before=$(stty -g); stty -echo -icanon -iexten -icrnl -ixon
    \"$@\" >&0 2>&0; code=$?
    stty \"$before\"; echo \"exit code $code\"";

struct Computer {
    desk: Desk,
    person: Person,
}

impl Computer {
    /// A user at the console where `ticketapi` with these arguments has begun. What it prints is on the screen, too;
    /// the outcome is its exit code.
    fn begins(arguments: &[&str], set_up: impl FnOnce(SpineBuilder) -> SpineBuilder) -> Self {
        let desk = Desk::with(set_up);
        let file = |name: &str| format!("Z:{}", desk.path(name).display());
        let person = Person::at_terminal(|_| {
            let wine = PathBuf::from(std::env::var_os("TEST_WINE").expect("scripts/windows/check-console sets it"));
            let mut command = on_terminal(&wine, START);
            command.arg("ticketapi.exe").args(arguments);
            let of_wine = |name: &std::ffi::OsStr| name == "HOME" || name.to_string_lossy().starts_with("WINE");
            command.envs(std::env::vars_os().filter(|(name, _)| of_wine(name)));
            command.env("TICKETAPI_AGENT", "never").env("TICKETAPI_PROMPTER", "terminal");
            command.env("TICKETAPI_BASE_URL", desk.spine.url()).env("TICKETAPI_CA_FILE", file("ca.pem"));
            command.env("TICKETAPI_SOFTWARE_CARD", file("card.p12"));
            command.current_dir(Path::new(&std::env::var_os("TEST_FOLDER").expect("as TEST_WINE")));
            command
        });
        Self { desk, person }
    }

    fn logs_in(roles: usize) -> Self {
        Self::begins(&["login", "--set", "prompt_timeout=60"], |spine| spine.roles(roles))
    }

    fn enters_pin(&mut self) {
        self.person.sees_text("PIN (not shown):");
        self.person.press(&format!("{PIN}\r"));
    }

    fn ends(mut self, code: &str, shown: &str) {
        let outcome = self.person.outcome();
        assert!(outcome.contains(&format!("exit code {code}\n")), "{outcome}{}", self.person.screen());
        // Long lines continue on the next one.
        let screen = self.person.screen();
        assert!(screen.replace('\n', "").contains(shown), "{shown}: {screen}");
        assert_eq!(self.desk.spine.open_sessions(), 0);
    }
}

#[test]
fn the_typed_pin_is_not_shown_and_one_of_few_roles_is_chosen_by_its_number() {
    let mut computer = Computer::logs_in(3);
    let person = &mut computer.person;
    person.sees_text("PIN (not shown):");
    // Arrow keys are not part of a PIN.
    person.press("99\x7f\x7f\x1b[A97531\r");
    person.sees_text("Wrong PIN.");
    person.sees("a second question", |screen| screen.matches("PIN (not shown):").count() == 2);
    person.press(&format!("{PIN}\r"));
    person.sees_text(FEW);
    assert!(!person.written().contains("97531") && !person.written().contains(PIN), "{}", person.written());
    person.press("9\r");
    person.sees("a second question", |screen| screen.matches(FEW).count() == 2);
    let second = computer.desk.spine.roles()[1].clone();
    computer.person.press("3\x7f2\r");
    computer.ends("0", &format!("[{}]", second.id));
}

#[test]
fn many_roles_are_searched_while_typing() {
    let mut computer = Computer::logs_in(12);
    computer.enters_pin();
    computer.person.sees_text(MANY);
    computer.person.press("nurse");
    computer.person.sees_text("2 of 12 roles");
    let marked = |screen: &str| screen.lines().position(|line| line.starts_with('>'));
    let first = marked(&computer.person.screen());
    computer.person.press("\x1b[B");
    computer.person.sees("the next role", |screen| marked(screen) > first);
    computer.person.press("\r");
    computer.ends("0", "[555008662076]");
}

#[test]
fn ctrl_c_and_ctrl_d_cancel_each_question() {
    // Wine has Ctrl-C handled as an event, and Ctrl-D as a key. It overlooks Esc by itself.
    for key in ["\x03", "\x04"] {
        let mut computer = Computer::logs_in(3);
        computer.person.sees_text("PIN (not shown):");
        computer.person.press("12");
        computer.person.press(key);
        computer.ends("4", "cancelled");
        for (roles, shown) in [(3, FEW), (12, MANY)] {
            let mut computer = Computer::logs_in(roles);
            computer.enters_pin();
            computer.person.sees_text(shown);
            computer.person.press(key);
            computer.ends("4", "cancelled");
        }
    }
}

#[test]
fn a_question_that_nobody_answers_ends_at_the_time_out() {
    let mut computer = Computer::begins(&["login", "--set", "prompt_timeout=1"], |spine| spine);
    computer.person.sees_text("PIN (not shown):");
    computer.ends("4", "the PIN was not entered in time");
}

#[test]
fn ctrl_c_ends_the_agent() {
    let mut computer = Computer::begins(&["agent", "--verbose"], |spine| spine);
    computer.person.sees_text("the agent listens");
    computer.person.press("\x03");
    computer.person.sees_text("the agent ends");
    computer.ends("0", "");
}
