//! Prompts on the controlling terminal, `/dev/tty`, or Windows' console, whatever standard input and output are.

mod key;
mod list;
#[cfg(unix)]
mod tty;
#[cfg(windows)]
#[path = "terminal/console.rs"]
mod tty;

use std::io;
use std::time::Duration;

use zeroize::Zeroizing;

use self::key::Key;
use self::list::RoleList;
use self::tty::Tty;
use super::program::deadline;
use super::table::Table;
use super::text;
use super::{FEW_ROLES, Notice, PinRequest, shown};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::secret::{Pin, SecretBytes, pin_from_bytes, secret_buffer};
use crate::session::Role;

/// In bytes: longer than any card's PIN.
const PIN_LIMIT: usize = 256;

/// Prompts on the controlling terminal. Shows nothing of a PIN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    timeout: Option<Duration>,
}

impl Terminal {
    /// No answer within `timeout` counts as cancelled.
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        Self { timeout }
    }

    /// Returns `true` if this process may use its terminal now: a background job would be stopped.
    pub(super) fn is_there() -> bool {
        tty::is_there()
    }

    /// Asks for a PIN. See [`Prompter::pin`](super::Prompter::pin).
    pub(super) fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin> {
        let typed = self.ask(Stage::Pin, cancel, |tty| {
            if let Some(problem) = text::problem(request) {
                tty.write(&format!("{problem}\n"))?;
            }
            tty.write(&format!("{}\nPIN (not shown): ", text::enter_pin(request)))?;
            read_secret(tty)
        })?;
        pin_from_bytes(typed)
            .ok_or_else(|| Error::new(ErrorKind::NoPrompter, Stage::Pin, "the terminal gave a PIN that is not text"))
    }

    /// Asks for a clear yes. See [`Prompter::use_last_try`](super::Prompter::use_last_try).
    pub(super) fn use_last_try(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<bool> {
        let answer = self.ask(Stage::Pin, cancel, |tty| {
            tty.write(&format!("{}\n{}? Type yes or no: ", text::last_try(request), text::USE_LAST_TRY))?;
            read_line(tty)
        })?;
        Ok(answer.trim().eq_ignore_ascii_case("yes"))
    }

    /// Asks which role to take. See [`Prompter::role`](super::Prompter::role).
    pub(super) fn role(&self, roles: &[Role], cancel: &CancelToken) -> Result<usize> {
        self.ask(Stage::RoleSelection, cancel, |tty| {
            if roles.len() > FEW_ROLES && tty.has_cursor() { search(roles, tty) } else { number(roles, tty) }
        })
    }

    /// Shows a message until the notice is dropped. Ctrl-C, Ctrl-D and Esc cancel `cancel`.
    pub(super) fn message(self, message: &str, cancel: &CancelToken) -> Notice {
        let message = format!("{message} (Ctrl-C cancels)");
        let cancel = cancel.clone();
        shown::while_kept(move |stop| {
            let shown = Tty::open(None, stop).and_then(|mut tty| {
                let columns = tty.size().columns;
                tty.show(&wrapped(&message, columns))?;
                loop {
                    if tty.key()? == Key::Cancel {
                        cancel.cancel();
                    }
                }
            });
            let Err::<(), _>(error) = shown else { return };
            if !stop.is_cancelled() {
                tracing::warn!(%error, "a message could not be shown");
            }
        })
    }

    /// Writes the text that `text` makes for a number of columns, and leaves it there.
    pub(super) fn print(&self, text: impl FnOnce(usize) -> String, cancel: &CancelToken) -> io::Result<()> {
        let mut tty = Tty::open(deadline(self.timeout), cancel)?;
        let text = text(tty.size().columns);
        tty.write(&text)
    }

    /// Asks `question`; `None` means that the user cancelled.
    fn ask<T>(
        &self,
        stage: Stage,
        cancel: &CancelToken,
        question: impl FnOnce(&mut Tty) -> io::Result<Option<T>>,
    ) -> Result<T> {
        let answer = Tty::open(deadline(self.timeout), cancel).and_then(|mut tty| {
            let answer = question(&mut tty);
            // The next output starts on its own line.
            tty.leave();
            answer
        });
        match answer {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Error::cancelled(stage)),
            Err(_) if cancel.is_cancelled() => Err(Error::cancelled(stage)),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::TimedOut => {
                    let detail = if stage == Stage::Pin { text::NO_PIN_IN_TIME } else { text::NO_ROLE_IN_TIME };
                    Error::new(ErrorKind::Cancelled, stage, detail)
                }
                io::ErrorKind::UnexpectedEof => Error::new(ErrorKind::Cancelled, stage, "the terminal was closed"),
                _ => Error::new(ErrorKind::NoPrompter, stage, format!("the terminal cannot be used: {error}"))
                    .because(error),
            }),
        }
    }
}

fn read_secret(tty: &mut Tty) -> io::Result<Option<SecretBytes>> {
    let mut typed = secret_buffer(PIN_LIMIT);
    loop {
        match tty.key()? {
            Key::Enter => return Ok(Some(typed)),
            Key::Cancel => return Ok(None),
            Key::Backspace => {
                let last = typed.iter().rposition(|byte| !is_continuation(*byte)).unwrap_or(0);
                typed.truncate(last);
            }
            Key::Clear => typed.clear(),
            // Within its capacity, so the buffer is not reallocated.
            Key::Character(character) if typed.len() + character.len_utf8() <= PIN_LIMIT => {
                typed.extend_from_slice(character.encode_utf8(&mut Zeroizing::new([0; 4])[..]).as_bytes());
            }
            _ => {}
        }
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

fn read_line(tty: &mut Tty) -> io::Result<Option<String>> {
    let mut typed = String::new();
    loop {
        match tty.key()? {
            Key::Enter => return Ok(Some(typed)),
            Key::Cancel => return Ok(None),
            Key::Backspace if typed.pop().is_some() => tty.write("\x08 \x08")?,
            Key::Character(character) => {
                typed.push(character);
                tty.write(character.encode_utf8(&mut [0; 4]))?;
            }
            _ => {}
        }
    }
}

/// A list with numbers to choose from.
fn number(roles: &[Role], tty: &mut Tty) -> io::Result<Option<usize>> {
    const BEFORE: usize = 5;
    let (headings, lines) = Table::new(roles).lines(tty.size().columns.saturating_sub(BEFORE));
    let numbered = lines.iter().enumerate().map(|(index, line)| format!("{:3}  {line}\n", index + 1));
    tty.write(&format!("{}:\n     {headings}\n{}", text::CHOOSE_ROLE, numbered.collect::<String>()))?;
    loop {
        tty.write(&format!("Number (1 to {}): ", lines.len()))?;
        let Some(answer) = read_line(tty)? else { return Ok(None) };
        match answer.trim().parse() {
            Ok(number) if (1..=lines.len()).contains(&number) => return Ok(Some(number - 1)),
            _ => tty.write("\n")?,
        }
    }
}

/// A list with a search.
fn search(roles: &[Role], tty: &mut Tty) -> io::Result<Option<usize>> {
    let mut list = RoleList::new(roles);
    loop {
        let size = tty.size();
        tty.show(&list.frame(size))?;
        match tty.key()? {
            Key::Cancel => return Ok(None),
            Key::Enter => {
                if let Some(index) = list.chosen() {
                    tty.erase()?;
                    tty.write(&text::role_words(&roles[index]))?;
                    return Ok(Some(index));
                }
            }
            key => list.press(key, size.rows),
        }
    }
}

/// Wraps `text` into lines of at most `columns` characters.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_inclusive([' ', '\n']) {
        let fits = |line: &String| line.chars().count() + word.trim_end().chars().count() <= columns;
        match lines.last_mut() {
            Some(line) if !line.ends_with('\n') && (line.is_empty() || fits(line)) => line.push_str(word),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_wrapped_between_words() {
        assert_eq!(wrapped("Card not recognised: no\nkey", 10), ["Card not", "recognised:", "no", "key"]);
    }
}
