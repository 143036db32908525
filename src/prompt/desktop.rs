//! Windows by the programs that desktops have: zenity, kdialog and rofi.
//!
//! Each is given the roles with their numbers, and answers with a number.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::program::{self, Asking};
use super::search::Search;
use super::text::{self, role_line};
use super::{FEW_ROLES, Notice, shown};
use crate::cancel::CancelToken;
use crate::error::{Error, Result, Stage};
use crate::os::child::Child;
use crate::session::Role;

/// Exit codes that zenity is told to use, as its usual one is also that of a screen that it cannot
/// use.
const ZENITY_CANCEL: i32 = 10;
const ZENITY_ESC: i32 = 11;

/// A program that shows windows.
pub(super) struct Windows {
    program: PathBuf,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Zenity,
    Kdialog,
    Rofi,
}

/// Whether there is a screen to show windows on.
pub(super) fn is_there() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

impl Windows {
    /// The first of zenity, kdialog and rofi that is installed.
    pub(super) fn find() -> Option<Self> {
        let kinds = [("zenity", Kind::Zenity), ("kdialog", Kind::Kdialog), ("rofi", Kind::Rofi)];
        kinds.into_iter().find_map(|(name, kind)| Some(Self { program: program::find(name)?, kind }))
    }

    /// Whether it has a window for a message.
    pub(super) fn has_messages(&self) -> bool {
        self.kind != Kind::Rofi
    }

    /// Asks which role to take. See [`Prompter::role`](super::Prompter::role).
    pub(super) fn role(&self, roles: &[Role], timeout: Option<Duration>, cancel: &CancelToken) -> Result<usize> {
        let lines: Vec<_> = roles.iter().map(role_line).collect();
        let asking = Asking {
            name: self.program.display().to_string(),
            cancel_codes: self.cancel_codes(),
            deadline: program::deadline(timeout),
            cancel,
        };
        let mut command = self.command();
        let answer = match self.kind {
            Kind::Zenity => {
                command.args(["--list", "--width=900", "--height=600", "--mid-search"]);
                command.arg(format!("--text={}", text::CHOOSE_ROLE));
                // It searches in the first column.
                command.args(["--column=Role", "--column=Number", "--hide-column=2", "--print-column=2"]);
                for (number, line) in lines.iter().enumerate() {
                    command.arg(argument(line)).arg(number.to_string());
                }
                let printed = asking.ask(&mut command, "")?;
                // A double click prints the row twice.
                printed.split('|').next().unwrap_or_default().to_owned()
            }
            Kind::Kdialog => return self.kdialog(&lines, &asking),
            Kind::Rofi => {
                command.args(["-dmenu", "-i", "-no-custom", "-format", "i", "-p", text::CHOOSE_ROLE]);
                asking.ask(&mut command, &lines.iter().map(|line| format!("{line}\n")).collect::<String>())?
            }
        };
        number_in(&answer, roles.len(), &asking)
    }

    /// Its lists find lines by their beginnings only, so many roles are searched first.
    fn kdialog(&self, lines: &[String], asking: &Asking<'_>) -> Result<usize> {
        const SEARCH_AGAIN: &str = "search";
        let search = Search::new(lines.iter().map(String::as_str));
        let mut nothing_found = "";
        loop {
            let mut found = (0..lines.len()).collect();
            if lines.len() > FEW_ROLES {
                let mut command = self.command();
                let question = format!("{nothing_found}{} (nothing shows all {})", text::SEARCH_ROLES, lines.len());
                let words = asking.ask(command.args(["--inputbox", &question]), "")?;
                found = search.find(&words);
                if found.is_empty() {
                    nothing_found = "There is no such role. ";
                    continue;
                }
            }
            let mut command = self.command();
            command.args(["--menu", text::CHOOSE_ROLE]);
            for number in found {
                command.arg(number.to_string()).arg(argument(&lines[number]));
            }
            if lines.len() > FEW_ROLES {
                command.args([SEARCH_AGAIN, "Search again"]);
            }
            let answer = asking.ask(&mut command, "")?;
            if answer.trim() != SEARCH_AGAIN {
                return number_in(&answer, lines.len(), asking);
            }
            nothing_found = "";
        }
    }

    /// Shows a message until the notice is dropped; its cancel button cancels `cancel`.
    pub(super) fn message(self, message: &str, cancel: &CancelToken) -> Notice {
        let mut command = self.command();
        match self.kind {
            Kind::Zenity => {
                command.args(["--question", "--no-markup"]).arg(format!("--text={message}"));
                command.arg(format!("--ok-label={}", text::HIDE)).arg(format!("--cancel-label={}", text::CANCEL));
            }
            Kind::Kdialog => {
                // Its texts are HTML where they look like it, and have escapes.
                let plain =
                    message.replace('&', "&amp;").replace('<', "&lt;").replace('\\', "&#92;").replace('\n', "<br>");
                command.args(["--yesno", &format!("<qt>{plain}</qt>")]);
                command.args(["--yes-label", text::HIDE, "--no-label", text::CANCEL]);
            }
            Kind::Rofi => return Notice::default(),
        }
        let cancel = cancel.clone();
        shown::while_kept(move |stop| {
            let ended = Child::spawn(&mut command, None::<Instant>, stop).and_then(|mut child| {
                while child.receive(&mut [0; 64])? > 0 {}
                // The end of its output may be that of the notice.
                if stop.is_cancelled() { Ok(None) } else { child.wait().map(Some) }
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
        let mut command = Command::new(&self.program);
        // What toolkits have to say is not for the host's user.
        command.stderr(Stdio::null());
        match self.kind {
            Kind::Zenity => {
                command.arg(format!("--title={}", text::TITLE));
                command.env("ZENITY_CANCEL", ZENITY_CANCEL.to_string()).env("ZENITY_ESC", ZENITY_ESC.to_string());
            }
            Kind::Kdialog => {
                command.args(["--title", text::TITLE]);
            }
            Kind::Rofi => {}
        }
        // In the locale C they refuse names of organisations that are not ASCII.
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
            Kind::Kdialog => &[1, 2],
            Kind::Rofi => &[1],
        }
    }
}

/// A line that is not taken for an option. A `--` before it would not do: zenity 3 shows it.
fn argument(line: &str) -> String {
    if line.starts_with('-') { format!(" {line}") } else { line.to_owned() }
}

/// The number that was chosen; nothing where the window was closed without a choice.
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
