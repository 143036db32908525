//! The desktop's own PIN window: the program `pinentry`, by the Assuan protocol.
//!
//! The protocol is read and written here, not by a library, because the PIN passes through every
//! buffer of it: these are wiped.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use super::program::deadline;
use super::{PinRequest, text};
use crate::cancel::CancelToken;
use crate::child::Child;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::secret::{Pin, SecretBytes, pin_from_bytes, secret_buffer};

/// A line of the protocol is at most 1,000 bytes; an answer here is a few of them.
const ANSWER_LIMIT: usize = 4096;

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
}

impl Pinentry {
    /// Asks with `program`, a path or a name on the `PATH`; a window that nobody answers for
    /// `timeout` counts as cancelled.
    pub fn new(program: impl Into<PathBuf>, timeout: Option<Duration>) -> Self {
        Self { program: program.into(), timeout }
    }

    /// Asks for a PIN. See [`Prompter::pin`](super::Prompter::pin).
    pub fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin> {
        let mut dialogue = self.open(&text::enter_pin(request), deadline(self.timeout), cancel)?;
        dialogue.tell("SETPROMPT", "PIN:")?;
        if let Some(problem) = text::problem(request) {
            dialogue.tell("SETERROR", &problem)?;
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

    /// Shows a message until it is answered or `cancel` is cancelled; false when the user does not
    /// want to go on.
    pub(super) fn show(&self, message: &str, cancel: &CancelToken) -> Result<bool> {
        let mut dialogue = self.open(message, None, cancel)?;
        // Whoever looks for the card may want to use the keyboard meanwhile.
        let _ = dialogue.command(b"OPTION no-grab\n")?;
        dialogue.confirm(text::HIDE)
    }

    fn open<'a>(
        &'a self,
        description: &str,
        deadline: Option<Instant>,
        cancel: &'a CancelToken,
    ) -> Result<Dialogue<'a>> {
        let child = Child::spawn(Command::new(&self.program).stderr(Stdio::null()), deadline, cancel);
        let child = child.map_err(|error| {
            Error::new(ErrorKind::NoPrompter, Stage::Pin, format!("{} cannot be started", self.program.display()))
                .because(error)
        })?;
        let mut dialogue = Dialogue { child, program: &self.program, cancel, unread: secret_buffer(ANSWER_LIMIT) };
        if dialogue.answer()?.is_err() {
            return Err(dialogue.broken("the PIN window cannot be shown"));
        }
        for (name, value) in terminal_options() {
            // A pinentry without a terminal knows no such option, and needs none.
            let _ = dialogue.command(format!("OPTION {name}={}\n", escape(&value)).as_bytes())?;
        }
        dialogue.tell("SETTITLE", text::TITLE)?;
        dialogue.tell("SETDESC", description)?;
        Ok(dialogue)
    }
}

/// What a pinentry that draws on a terminal has to know about it.
fn terminal_options() -> Vec<(&'static str, String)> {
    let mut options = Vec::new();
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(tty) = variable("GPG_TTY").or_else(|| Path::new("/dev/tty").exists().then(|| "/dev/tty".into())) {
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

/// What pinentry said to a question.
enum Answer {
    /// Yes, and what was typed.
    Data(SecretBytes),
    /// The user cancelled, or said no.
    No,
}

struct Dialogue<'a> {
    child: Child,
    program: &'a Path,
    cancel: &'a CancelToken,
    unread: SecretBytes,
}

impl Dialogue<'_> {
    /// A command that any pinentry must take.
    fn tell(&mut self, command: &str, text: &str) -> Result<()> {
        match self.command(format!("{command} {}\n", escape(text)).as_bytes())? {
            Ok(_) => Ok(()),
            Err(code) => Err(self.broken(&format!("{command} was refused with error {code}"))),
        }
    }

    /// Asks for yes, on a button with the text `yes`, or no.
    fn confirm(&mut self, yes: &str) -> Result<bool> {
        self.tell("SETOK", yes)?;
        self.tell("SETCANCEL", text::CANCEL)?;
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

    fn command(&mut self, line: &[u8]) -> Result<std::result::Result<SecretBytes, u32>> {
        self.child.send(line).map_err(|error| self.failed(error))?;
        self.answer()
    }

    /// Reads lines to the one that ends the answer: its data, or the number of its error.
    fn answer(&mut self) -> Result<std::result::Result<SecretBytes, u32>> {
        let mut data = secret_buffer(ANSWER_LIMIT);
        loop {
            let line = self.line()?;
            let (keyword, rest) = match line.iter().position(|&byte| byte == b' ') {
                Some(space) => (&line[..space], &line[space + 1..]),
                None => (&line[..], &[][..]),
            };
            match keyword {
                b"OK" => return Ok(Ok(data)),
                b"ERR" => {
                    let number = rest.split(|&byte| byte == b' ').next().unwrap_or_default();
                    let number = std::str::from_utf8(number).ok().and_then(|digits| digits.parse().ok());
                    return Ok(Err(number.unwrap_or(0)));
                }
                b"D" if data.len() + rest.len() <= ANSWER_LIMIT => unescape_into(rest, &mut data),
                b"D" => return Err(self.broken("the PIN window's answer is too long")),
                // Status lines, comments and inquiries that need no answer.
                _ => {}
            }
        }
    }

    fn line(&mut self) -> Result<SecretBytes> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let mut line = secret_buffer(end);
                line.extend_from_slice(&self.unread[..end]);
                let rest = self.unread.len() - (end + 1);
                self.unread.copy_within(end + 1.., 0);
                self.unread[rest..].zeroize();
                self.unread.truncate(rest);
                return Ok(line);
            }
            let filled = self.unread.len();
            if filled == ANSWER_LIMIT {
                return Err(self.broken("the PIN window sent a line that is too long"));
            }
            // Within its capacity, so the buffer does not move.
            self.unread.resize(ANSWER_LIMIT, 0);
            let read = self.child.receive(&mut self.unread[filled..]);
            self.unread.truncate(filled + read.as_ref().map_or(0, |&read| read));
            match read {
                Ok(0) => return Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
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

/// Percent-escapes what would end a line, and the percent sign.
fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn unescape_into(escaped: &[u8], out: &mut SecretBytes) {
    let hex = |digit: u8| char::from(digit).to_digit(16);
    let mut rest = escaped;
    while let Some((&first, tail)) = rest.split_first() {
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push((high * 16 + low) as u8);
            rest = after;
        } else {
            out.push(first);
            rest = tail;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_is_undone_by_unescaping() {
        let mut out = secret_buffer(64);
        unescape_into(escape("100% of\r\nit%").as_bytes(), &mut out);
        assert_eq!(&**out, b"100% of\r\nit%");
    }

    #[test]
    fn a_percent_sign_that_escapes_nothing_stays() {
        let mut out = secret_buffer(64);
        unescape_into(b"%zz%4", &mut out);
        assert_eq!(&**out, b"%zz%4");
    }
}
