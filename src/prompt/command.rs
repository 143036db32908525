//! A role chooser that reads lines and prints one: rofi, fzf, dmenu, or a script.

use std::path::Path;
use std::time::Duration;

use super::program::{Asking, command, deadline};
use super::text::role_line;
use crate::cancel::CancelToken;
use crate::error::{Error, Result, Stage};
use crate::session::Role;

/// Asks for the role with a program: one line per role on its standard input, the chosen line on its
/// standard output. Each line ends with the role's id in square brackets.
#[derive(Clone, Debug)]
pub struct RoleCommand {
    words: Vec<String>,
    timeout: Option<Duration>,
}

impl RoleCommand {
    /// Uses the program and arguments in `words`. No choice within `timeout` counts as cancelled.
    pub fn new(words: Vec<String>, timeout: Option<Duration>) -> Self {
        Self { words, timeout }
    }

    /// Asks which role to take. See [`Prompter::role`](super::Prompter::role).
    pub fn role(&self, roles: &[Role], cancel: &CancelToken) -> Result<usize> {
        let asking = Asking {
            name: format!("role_command {:?}", self.words.first().map_or("", String::as_str)),
            // Choosers exit with 1, fzf with 130, when the user presses escape.
            cancel_codes: &[1, 130],
            deadline: deadline(self.timeout),
            cancel,
        };
        let (program, arguments) =
            self.words.split_first().ok_or_else(|| asking.broken("is not set to anything that could be run"))?;
        let lines: String = roles.iter().map(|role| role_line(role) + "\n").collect();
        let mut command =
            command(Path::new(program)).map_err(|error| asking.broken(&format!("cannot be used: {error}")))?;
        let chosen = asking.ask(command.args(arguments), &lines)?;
        let Some(line) = chosen.lines().map(str::trim_end).rfind(|line| !line.is_empty()) else {
            return Err(Error::cancelled(Stage::RoleSelection));
        };
        let id = line.strip_suffix(']').and_then(|line| line.rsplit_once('[')).map(|(_, id)| id);
        // An id may hold brackets; only a chooser that alters lines leaves nothing but the id.
        let as_given = roles.iter().position(|role| role_line(role) == line);
        as_given
            .or_else(|| roles.iter().position(|role| Some(&*role.id) == id))
            .ok_or_else(|| asking.broken("printed a line that is none of those it was given"))
    }
}
