//! A chooser for roles that reads lines and prints one: rofi, fzf, dmenu, zenity, or a script.

use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::child::Child;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::ssb::Role;

/// More than any chosen line is long.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Asks for the role with a program: one line a role on its standard input, the chosen line back
/// on its standard output. Each line ends with the role's id in square brackets.
#[derive(Clone, Debug)]
pub struct RoleCommand {
    words: Vec<String>,
    timeout: Option<Duration>,
}

impl RoleCommand {
    /// Asks with the program and arguments in `words`; a choice that nobody makes for `timeout`
    /// counts as cancelled.
    pub fn new(words: Vec<String>, timeout: Option<Duration>) -> Self {
        Self { words, timeout }
    }

    /// Asks which role to take. See [`Prompter::role`](super::Prompter::role).
    pub fn role(&self, roles: &[Role], cancel: &CancelToken) -> Result<usize> {
        let chosen = self.run(roles, cancel)?;
        let Some(line) = chosen.lines().map(str::trim_end).rfind(|line| !line.is_empty()) else {
            return Err(Error::cancelled(Stage::RoleSelection));
        };
        let id = line.strip_suffix(']').and_then(|line| line.rsplit_once('[')).map(|(_, id)| id);
        // An id may hold brackets itself; only a chooser that changes lines leaves nothing but the id.
        let as_given = roles.iter().position(|role| role_line(role) == line);
        as_given
            .or_else(|| roles.iter().position(|role| Some(&*role.id) == id))
            .ok_or_else(|| self.broken("printed a line that is none of those it was given"))
    }

    fn run(&self, roles: &[Role], cancel: &CancelToken) -> Result<String> {
        let (program, arguments) =
            self.words.split_first().ok_or_else(|| self.broken("is not set to anything that could be run"))?;
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        let failed = |error: io::Error| {
            if cancel.is_cancelled() {
                Error::cancelled(Stage::RoleSelection)
            } else if error.kind() == io::ErrorKind::TimedOut {
                Error::new(ErrorKind::Cancelled, Stage::RoleSelection, "nobody chose a role in time")
            } else {
                self.broken("cannot be used").because(error)
            }
        };
        // Its standard error stays the host's: fzf draws there.
        let mut child = Child::spawn(Command::new(program).args(arguments), deadline, cancel).map_err(failed)?;
        let lines: String = roles.iter().map(|role| role_line(role) + "\n").collect();
        match child.send(lines.as_bytes()).and_then(|()| child.close_input()) {
            // A chooser may have its answer before it has read everything.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected) => {}
            other => other.map_err(failed)?,
        }
        let mut output = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match child.receive(&mut buffer).map_err(failed)? {
                0 => break,
                read if output.len() + read > ANSWER_LIMIT => {
                    return Err(self.broken("printed more than a line that was chosen"));
                }
                read => output.extend_from_slice(&buffer[..read]),
            }
        }
        cancel.check(Stage::RoleSelection)?;
        let status = child.wait().map_err(failed)?;
        // Choosers exit with 1, fzf with 130, when the user presses escape.
        if !status.success() {
            return Err(match status.code() {
                Some(1 | 130) => Error::cancelled(Stage::RoleSelection),
                _ => self.broken(&format!("ended with {status}")),
            });
        }
        String::from_utf8(output).map_err(|_| self.broken("printed something that is not UTF-8"))
    }

    fn broken(&self, what: &str) -> Error {
        let program = self.words.first().map_or("", String::as_str);
        Error::new(ErrorKind::NoPrompter, Stage::RoleSelection, format!("role_command {program:?} {what}"))
    }
}

/// One line to choose by: organisation, code, role, and the id in brackets at its end.
pub fn role_line(role: &Role) -> String {
    let line = format!("{role} [{}]", role.id);
    line.replace(|character: char| character.is_control(), " ")
}
