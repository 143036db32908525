//! Windows' dialogs, in a program of ours, `ticketapi-prompt.exe`, which is beside the library. The host may have no
//! message loop, or one that waits for the ticket, so no window is this process's own.

pub mod protocol;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ticketapi_platform::{desktop, module};

use self::protocol::{Answer, Hello, MAX_FRAME, Question, Row, VERSION, Window};
use super::program::deadline;
use super::{FEW_ROLES, Notice, PinRequest, shown, text};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::framing::{Channel, ChannelError, Frame};
use crate::os::child::{Process, spawn_connected};
use crate::os::fs::trusted_program;
use crate::secret::Pin;
use crate::session::Role;

const PROGRAM: &str = "ticketapi-prompt.exe";

/// Asks with dialogs.
#[derive(Clone, Debug)]
pub(super) struct Dialogs {
    program: PathBuf,
    timeout: Option<Duration>,
    title: &'static str,
}

impl Dialogs {
    /// Returns the dialogs if there is a desktop, and the trusted program; else the reason.
    pub(super) fn find(title: &'static str, timeout: Option<Duration>) -> std::result::Result<Self, Option<String>> {
        if !desktop::is_visible() {
            return Err(Some("this program has no desktop, as services have none".into()));
        }
        let beside = module::path().map(|own| own.with_file_name(PROGRAM));
        let program = beside.and_then(|program| match trusted_program(&program) {
            Ok(found) => Ok(found),
            Err(error) => {
                let text = format!("{} cannot be used: {error}", program.display());
                Err(std::io::Error::new(error.kind(), text))
            }
        });
        Ok(Self { program: program.map_err(|error| Some(error.to_string()))?, timeout, title })
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// See [`Prompter::pin`](super::Prompter::pin).
    pub(super) fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin> {
        let problem = text::problem(request).map(|problem| problem + "\n").unwrap_or_default();
        let asking =
            self.ask(Stage::Pin, &(problem + &text::enter_pin(request)), Question::Pin, self.timeout, cancel)?;
        match asking.answer()? {
            Answer::Typed(pin) => Ok(Pin::new(pin.to_owned())),
            other => Err(asking.unexpected(&other)),
        }
    }

    /// See [`Prompter::use_last_try`](super::Prompter::use_last_try).
    pub(super) fn use_last_try(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<bool> {
        let question = Question::Confirm { yes: text::USE_LAST_TRY };
        let asking = self.ask(Stage::Pin, &text::last_try(request), question, self.timeout, cancel)?;
        match asking.answer()? {
            Answer::Accepted => Ok(true),
            Answer::Closed => Ok(false),
            other => Err(asking.unexpected(&other)),
        }
    }

    /// See [`Prompter::role`](super::Prompter::role).
    pub(super) fn role(&self, roles: &[Role], cancel: &CancelToken) -> Result<usize> {
        let cells = text::role_cells(roles).into_iter();
        let rows = cells.zip(roles).map(|(cells, role)| Row { cells, line: text::role_line(role) }).collect();
        let question = Question::Role { rows, search: roles.len() > FEW_ROLES };
        let asking = self.ask(Stage::RoleSelection, text::CHOOSE_ROLE, question, self.timeout, cancel)?;
        match asking.answer()? {
            Answer::Chosen(index) if (index as usize) < roles.len() => Ok(index as usize),
            other => Err(asking.unexpected(&other)),
        }
    }

    /// Shows a message until the notice is dropped; closing it cancels `cancel`.
    pub(super) fn message(self, message: &str, cancel: &CancelToken) -> Notice {
        let (message, cancel) = (message.to_owned(), cancel.clone());
        shown::while_kept(move |stop| {
            let closed = self.ask(Stage::Card, &message, Question::Message, None, stop).and_then(|asking| match asking
                .answer(
            )? {
                Answer::Closed => Ok(()),
                other => Err(asking.unexpected(&other)),
            });
            match closed {
                // The notice was dropped.
                _ if stop.is_cancelled() => {}
                Ok(()) => cancel.cancel(),
                Err(error) => tracing::warn!(%error, "a message could not be shown"),
            }
        })
    }

    /// Shows a window and waits for the answer. Cancelling ends the program, and so its window, as reaching the
    /// deadline does.
    fn ask(
        &self,
        stage: Stage,
        text: &str,
        question: Question<'_>,
        timeout: Option<Duration>,
        cancel: &CancelToken,
    ) -> Result<Asked<'_>> {
        let until = deadline(timeout);
        let mut command = Command::new(&self.program);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (process, socket) = spawn_connected(&mut command).map_err(|error| {
            let detail = format!("{} cannot be started: {error}", self.program.display());
            Error::refused(ErrorKind::NoPrompter, stage, detail, error)
        })?;
        process.let_come_to_front();
        let running = Running { process, channel: Channel::new(socket, MAX_FRAME) };
        let socket = Arc::clone(running.channel.socket());
        let _guard = cancel.on_cancel(move || {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        });
        let window = Window { title: self.title, text, above: desktop::own_window(), question };
        match running.ask(&window, until) {
            Ok(frame) => Ok(Asked { dialogs: self, stage, frame }),
            Err(_) if cancel.is_cancelled() => Err(Error::cancelled(stage)),
            Err(Lost::Channel(ChannelError::Timeout)) => {
                let detail = if stage == Stage::Pin { text::NO_PIN_IN_TIME } else { text::NO_ROLE_IN_TIME };
                Err(Error::new(ErrorKind::Cancelled, stage, detail))
            }
            Err(Lost::Channel(ChannelError::Closed)) => Err(self.broken(stage, "ended without an answer")),
            Err(Lost::Channel(error)) => Err(self.broken(stage, &format!("cannot be used: {error}"))),
            Err(Lost::Version(version)) => {
                let what = format!("cannot be used: its protocol version is {version}, not {VERSION}");
                Err(self.broken(stage, &what))
            }
        }
    }

    fn broken(&self, stage: Stage, what: &str) -> Error {
        Error::new(ErrorKind::NoPrompter, stage, format!("{} {what}", self.program.display()))
    }
}

/// Why there is no answer.
enum Lost {
    Channel(ChannelError),
    Version(u32),
}

impl From<ChannelError> for Lost {
    fn from(error: ChannelError) -> Self {
        Self::Channel(error)
    }
}

/// The program while it asks; killed when dropped.
struct Running {
    process: Process,
    channel: Channel,
}

impl Running {
    fn ask(&self, window: &Window<'_>, until: Option<Instant>) -> std::result::Result<Frame, Lost> {
        self.channel.send(&Hello { version: VERSION }, until)?;
        let Hello { version } = self.channel.receive(until)?.message()?;
        if version != VERSION {
            return Err(Lost::Version(version));
        }
        self.channel.send(window, until)?;
        Ok(self.channel.receive(until)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // If it fails, it has ended.
        let _ = self.process.kill();
    }
}

/// A question that was answered.
struct Asked<'a> {
    dialogs: &'a Dialogs,
    stage: Stage,
    /// Wiped when dropped.
    frame: Frame,
}

impl Asked<'_> {
    fn answer(&self) -> Result<Answer<'_>> {
        self.frame.message().map_err(|error| self.dialogs.broken(self.stage, &format!("cannot be used: {error}")))
    }

    /// Returns the error for an answer that is none of those expected.
    fn unexpected(&self, answer: &Answer<'_>) -> Error {
        match answer {
            Answer::Closed => Error::cancelled(self.stage),
            Answer::Failed(why) => self.dialogs.broken(self.stage, &format!("cannot show a window: {why}")),
            _ => self.dialogs.broken(self.stage, "gave an answer to another question"),
        }
    }
}
