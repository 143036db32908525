//! Windows by desktop programs: zenity and rofi.
//!
//! They get numbered roles and return a number. Texts from cards and servers go to their standard input,
//! because every user of the computer can read a command line. kdialog takes its lists from the command
//! line and is therefore not used.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::program::{self, Asking};
use super::search::Search;
use super::table::{self, Table};
use super::text::{self, role_line};
use super::{FEW_ROLES, Notice, shown};
use crate::cancel::CancelToken;
use crate::error::{Error, Result, Stage};
use crate::os::child::Child;
use crate::os::privilege;
use crate::session::Role;

/// Exit codes set for zenity: its usual one also means that it cannot use the screen.
const ZENITY_CANCEL: i32 = 10;
const ZENITY_ESC: i32 = 11;

/// A program that shows windows.
pub(super) struct Windows {
    program: PathBuf,
    kind: Kind,
    title: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Zenity,
    Rofi,
}

/// Returns `true` if there is a screen.
pub(super) fn is_there() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

impl Windows {
    /// Returns the first installed program: zenity, then rofi.
    pub(super) fn find(title: &'static str) -> Option<Self> {
        let kinds = [("zenity", Kind::Zenity), ("rofi", Kind::Rofi)];
        kinds.into_iter().find_map(|(name, kind)| Some(Self { program: program::find(name)?, kind, title }))
    }

    /// Returns `true` if it can show a message.
    pub(super) fn has_messages(&self) -> bool {
        self.kind != Kind::Rofi
    }

    /// Asks which role to take. See [`Prompter::role`](super::Prompter::role).
    pub(super) fn role(&self, roles: &[Role], timeout: Option<Duration>, cancel: &CancelToken) -> Result<usize> {
        let asking = Asking {
            name: self.program.display().to_string(),
            cancel_codes: self.cancel_codes(),
            deadline: program::deadline(timeout),
            cancel,
        };
        let table = Table::new(roles);
        match self.kind {
            Kind::Zenity => self.zenity(roles, &table, &asking),
            Kind::Rofi => {
                let mut command = self.command();
                command.args(["-dmenu", "-i", "-no-custom", "-format", "i", "-p", text::CHOOSE_ROLE]);
                let lines = table.lines(usize::MAX).1.into_iter().map(|line| line + "\n").collect::<String>();
                number_in(&asking.ask(&mut command, &lines)?, roles.len(), &asking)
            }
        }
    }

    /// Its lists have no visible search, so many roles are searched first.
    fn zenity(&self, roles: &[Role], table: &Table, asking: &Asking<'_>) -> Result<usize> {
        const SEARCH_AGAIN: &str = "search";
        let lines: Vec<_> = roles.iter().map(role_line).collect();
        let search = Search::new(lines.iter().map(String::as_str));
        let is_searched = roles.len() > FEW_ROLES;
        let mut nothing_found = "";
        loop {
            let mut found = (0..roles.len()).collect();
            if is_searched {
                let question = format!("{nothing_found}{} (nothing shows all {})", text::SEARCH_ROLES, roles.len());
                let mut command = self.command();
                let words =
                    asking.ask(command.args(["--entry", "--width=500"]).arg(format!("--text={question}")), "")?;
                found = search.find(&words);
                if found.is_empty() {
                    nothing_found = "There is no such role. ";
                    continue;
                }
            }
            let mut command = self.command();
            command.args(["--list", "--width=900", "--height=600"]).arg(format!("--text={}", text::CHOOSE_ROLE));
            command.args(table::HEADINGS.map(|heading| format!("--column={heading}")));
            command.args(["--column=Number", "--hide-column=4", "--print-column=4"]);
            let mut rows: String =
                found.into_iter().map(|number| row(&table.cells()[number], &number.to_string())).collect();
            if is_searched {
                rows += &row(&["Search again".into(), String::new(), String::new()], SEARCH_AGAIN);
            }
            let printed = asking.ask(&mut command, &rows)?;
            // A double click prints the row twice.
            let answer = printed.split('|').next().unwrap_or_default();
            if answer.trim() != SEARCH_AGAIN {
                return number_in(answer, roles.len(), asking);
            }
            nothing_found = "";
        }
    }

    /// Shows a message until the notice is dropped; its cancel button cancels `cancel`.
    pub(super) fn message(self, message: &str, cancel: &CancelToken) -> Notice {
        if self.kind == Kind::Rofi {
            return Notice::default();
        }
        let mut command = self.command();
        // Its only window that reads the text from standard input.
        command.args(["--progress", "--pulsate", "--width=420", "--text="]);
        command.arg(format!("--cancel-label={}", text::CANCEL));
        let line = format!("#{}\n", message.replace('\\', "\\\\").replace('\n', "\\n"));
        let cancel = cancel.clone();
        shown::while_kept(move |stop| {
            let ended = Child::spawn(&mut command, None::<Instant>, stop).and_then(|mut child| {
                // The input stays open: its end would close the window.
                let sent = child.send(line.as_bytes());
                while child.receive(&mut [0; 64])? > 0 {}
                // The output may end because the notice was dropped.
                if stop.is_cancelled() {
                    return Ok(None);
                }
                let status = child.wait()?;
                // If it ends before it has read everything, its exit code says why.
                if status.success() { sent.map(|()| Some(status)) } else { Ok(Some(status)) }
            });
            match ended {
                Ok(Some(status)) if status.code().is_some_and(|code| self.cancel_codes().contains(&code)) => {
                    cancel.cancel();
                }
                Ok(Some(status)) if !status.success() => {
                    tracing::warn!(program = %self.program.display(), %status, "a message could not be shown");
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(program = %self.program.display(), %error, "a message could not be shown");
                }
            }
        })
    }

    fn command(&self) -> Command {
        let mut command = privilege::command(&self.program);
        // The toolkit's messages are not for the host's user.
        command.stderr(Stdio::null());
        match self.kind {
            Kind::Zenity => {
                command.arg(format!("--title={}", self.title));
                command.env("ZENITY_CANCEL", ZENITY_CANCEL.to_string()).env("ZENITY_ESC", ZENITY_ESC.to_string());
            }
            Kind::Rofi => {}
        }
        // In the locale C they reject names that are not ASCII.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(env::var_os).find(|value| !value.is_empty());
        let is_utf8 = |name: String| ["utf-8", "utf8"].iter().any(|codeset| name.to_lowercase().contains(codeset));
        if !locale.and_then(|name| name.into_string().ok()).is_some_and(is_utf8) {
            command.env("LC_ALL", "C.UTF-8");
        }
        command
    }

    fn cancel_codes(&self) -> &'static [i32] {
        match self.kind {
            Kind::Zenity => &[ZENITY_CANCEL, ZENITY_ESC],
            Kind::Rofi => &[1],
        }
    }
}

/// Formats a row for zenity's standard input: one line per cell. An empty cell might be dropped.
fn row(cells: &[String; 3], number: &str) -> String {
    let cells = cells.iter().map(|cell| if cell.is_empty() { " " } else { cell });
    cells.chain([number]).map(|cell| format!("{cell}\n")).collect()
}

/// Returns the chosen number; `None` if the window was closed.
fn number_in(answer: &str, count: usize, asking: &Asking<'_>) -> Result<usize> {
    match answer.trim() {
        "" => Err(Error::cancelled(Stage::RoleSelection)),
        number => number
            .parse()
            .ok()
            .filter(|&number| number < count)
            .ok_or_else(|| asking.broken("printed something that is none of the roles")),
    }
}
