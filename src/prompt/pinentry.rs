//! The desktop's PIN window: the program `pinentry`, by the Assuan protocol.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::assuan::{Broken, Outcome, Responses, line};
use super::program::{self, Complaints, deadline};
use super::{PinRequest, text};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::child::Child;
use crate::os::privilege;
use crate::secret::{Pin, SecretBytes, pin_from_bytes};

/// Codes of libgpg-error, which are the low 16 bits of the number after `ERR`.
const GPG_ERR_TIMEOUT: u32 = 62;
const GPG_ERR_CANCELED: u32 = 99;
const GPG_ERR_NOT_CONFIRMED: u32 = 114;
const GPG_ERR_FULLY_CANCELED: u32 = 198;

/// Asks with a pinentry program.
#[derive(Clone, Debug)]
pub struct Pinentry {
    program: PathBuf,
    timeout: Option<Duration>,
    title: &'static str,
}

impl Pinentry {
    /// Uses `program`, a path or a name on the `PATH`. No answer within `timeout` counts as cancelled.
    pub fn new(program: impl Into<PathBuf>, timeout: Option<Duration>) -> Self {
        Self { program: program.into(), timeout, title: text::TITLE }
    }

    /// Shows this title.
    pub(super) fn titled(self, title: &'static str) -> Self {
        Self { title, ..self }
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Asks for a PIN. See [`Prompter::pin`](super::Prompter::pin).
    pub fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin> {
        let mut dialogue = self.open(&text::enter_pin(request), deadline(self.timeout), cancel)?;
        dialogue.adorn("SETPROMPT", "PIN:")?;
        if let Some(problem) = text::problem(request)
            && !dialogue.adorn("SETERROR", &problem)?
        {
            dialogue.tell("SETDESC", &format!("{problem}\n{}", text::enter_pin(request)))?;
        }
        match dialogue.ask(b"GETPIN\n")? {
            Answer::Data(typed) => {
                pin_from_bytes(typed).ok_or_else(|| dialogue.broken("the PIN window gave an answer that is not text"))
            }
            Answer::No => Err(Error::cancelled(Stage::Pin)),
        }
    }

    /// Asks for a clear yes. See [`Prompter::use_last_try`](super::Prompter::use_last_try).
    pub fn use_last_try(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<bool> {
        let mut dialogue = self.open(&text::last_try(request), deadline(self.timeout), cancel)?;
        dialogue.confirm(text::USE_LAST_TRY)
    }

    /// Shows a message until it is answered or `cancel` is cancelled. Returns `false` if the user
    /// dismisses it.
    pub(super) fn show(&self, message: &str, cancel: &CancelToken) -> Result<bool> {
        let mut dialogue = self.open(message, None, cancel)?;
        // The user may need the keyboard while looking for the card.
        let _ = dialogue.command(b"OPTION no-grab\n")?;
        dialogue.confirm(text::HIDE)
    }

    fn open<'a>(
        &'a self,
        description: &str,
        deadline: Option<Instant>,
        cancel: &'a CancelToken,
    ) -> Result<Dialogue<'a>> {
        let mut dialogue = match self.start(true, deadline, cancel) {
            Err(error) if *error.kind() == ErrorKind::NoPrompter && program::has_libraries_of_its_own() => {
                tracing::debug!(%error, "pinentry is started again, without this process's libraries");
                self.start(false, deadline, cancel)
            }
            started => started,
        }?;
        for (name, value) in terminal_options() {
            // A pinentry without a terminal does not know this option and does not need it.
            let _ = dialogue.command(line(&format!("OPTION {name}="), &value).as_bytes())?;
        }
        dialogue.adorn("SETTITLE", self.title)?;
        dialogue.tell("SETDESC", description)?;
        Ok(dialogue)
    }

    /// Starts it and reads its greeting, with the libraries that this process has set or the system's.
    fn start<'a>(
        &'a self,
        libraries: bool,
        deadline: Option<Instant>,
        cancel: &'a CancelToken,
    ) -> Result<Dialogue<'a>> {
        let name = self.program.display();
        let no_prompter = |detail: String| Error::new(ErrorKind::NoPrompter, Stage::Pin, detail);
        let started = program::command(&self.program).and_then(|mut command| {
            if !libraries {
                program::without_libraries(&mut command);
            }
            let complaints = Complaints::of(&mut command)?;
            Ok((complaints, Child::spawn(&mut command, deadline, cancel)?))
        });
        let (complaints, child) = started.map_err(|error| {
            let detail = format!("{name} cannot be started: {error}");
            Error::refused(ErrorKind::NoPrompter, Stage::Pin, detail, error)
        })?;
        let mut dialogue = Dialogue { child, program: &self.program, cancel, responses: Responses::new(), complaints };
        match dialogue.response() {
            Ok(Ok(_)) => Ok(dialogue),
            Ok(Err(code)) => Err(dialogue.broken(&format!("the PIN window cannot be shown (error {code})"))),
            // No secret has been exchanged yet.
            Err(error) if *error.kind() == ErrorKind::NoPrompter => Err(match &*dialogue.complaints.text() {
                "" => error,
                said => no_prompter(format!("{name} ended before it could ask: {said}")),
            }),
            Err(error) => Err(error),
        }
    }
}

/// What a pinentry needs to draw on a terminal.
fn terminal_options() -> Vec<(&'static str, String)> {
    let mut options = Vec::new();
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let named = privilege::variable("GPG_TTY").and_then(|tty| tty.into_string().ok()).filter(|tty| !tty.is_empty());
    if let Some(tty) = named.or_else(|| Path::new("/dev/tty").exists().then(|| "/dev/tty".into())) {
        options.push(("ttyname", tty));
    }
    if let Some(term) = variable("TERM") {
        options.push(("ttytype", term));
    }
    if let Some(locale) = variable("LC_ALL").or_else(|| variable("LC_CTYPE")).or_else(|| variable("LANG")) {
        options.push(("lc-ctype", locale));
    }
    options
}

/// Pinentry's answer.
enum Answer {
    /// Yes, with the typed data.
    Data(SecretBytes),
    /// Cancelled, or no.
    No,
}

struct Dialogue<'a> {
    child: Child,
    program: &'a Path,
    cancel: &'a CancelToken,
    responses: Responses,
    complaints: Complaints,
}

impl Dialogue<'_> {
    /// Sends a command that only affects the looks. Returns `false` if this pinentry refuses it.
    fn adorn(&mut self, command: &str, text: &str) -> Result<bool> {
        Ok(self.command(line(&format!("{command} "), text).as_bytes())?.is_ok())
    }

    /// Sends a command that every pinentry must accept.
    fn tell(&mut self, command: &str, text: &str) -> Result<()> {
        match self.command(line(&format!("{command} "), text).as_bytes())? {
            Ok(_) => Ok(()),
            Err(code) => Err(self.broken(&format!("{command} was refused with error {code}"))),
        }
    }

    /// Asks for yes, on a button with the text `yes`, or no.
    fn confirm(&mut self, yes: &str) -> Result<bool> {
        self.adorn("SETOK", yes)?;
        self.adorn("SETCANCEL", text::CANCEL)?;
        Ok(matches!(self.ask(b"CONFIRM\n")?, Answer::Data(_)))
    }

    fn ask(&mut self, command: &[u8]) -> Result<Answer> {
        match self.command(command)? {
            Ok(data) => Ok(Answer::Data(data)),
            Err(code) => match code & 0xffff {
                GPG_ERR_CANCELED | GPG_ERR_NOT_CONFIRMED | GPG_ERR_FULLY_CANCELED | GPG_ERR_TIMEOUT => Ok(Answer::No),
                _ => Err(self.broken(&format!("the PIN window cannot be shown (error {code})"))),
            },
        }
    }

    fn command(&mut self, line: &[u8]) -> Result<Outcome> {
        self.child.send(line).map_err(|error| self.failed(error))?;
        self.response()
    }

    fn response(&mut self) -> Result<Outcome> {
        let Self { child, responses, .. } = self;
        responses.next(|buffer| child.receive(buffer)).map_err(|broken| match broken {
            Broken::Io(error) => self.failed(error),
            Broken::LongLine => self.broken("the PIN window sent a line that is too long"),
            Broken::LongAnswer => self.broken("the PIN window's answer is too long"),
        })
    }

    fn failed(&self, error: io::Error) -> Error {
        if self.cancel.is_cancelled() {
            return Error::cancelled(Stage::Pin);
        }
        if error.kind() == io::ErrorKind::TimedOut {
            return Error::new(ErrorKind::Cancelled, Stage::Pin, text::NO_PIN_IN_TIME);
        }
        self.broken("the PIN window ended without an answer").because(error)
    }

    fn broken(&self, what: &str) -> Error {
        Error::new(ErrorKind::NoPrompter, Stage::Pin, format!("{}: {what}", self.program.display()))
    }
}
