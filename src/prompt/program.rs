//! A program that answers one question: by its output, and its exit code.

use std::env;
use std::io::{self, PipeReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use super::text;
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::child::Child;
use crate::os::fs::{can_be_run, trusted_program};
use crate::os::ipc::nonblocking_pipe;
use crate::os::privilege::{self, search_path};
use crate::printable::clean;

/// Longer than any answer.
const ANSWER_LIMIT: usize = 64 * 1024;

/// In characters: a program that cannot start mostly prints one line.
const LONGEST_COMPLAINT: usize = 300;

/// How to ask a program for the role.
pub(super) struct Asking<'a> {
    /// The program's name in errors.
    pub(super) name: String,
    /// Exit codes that mean that the user cancelled.
    pub(super) cancel_codes: &'a [i32],
    pub(super) deadline: Option<Instant>,
    pub(super) cancel: &'a CancelToken,
}

impl Asking<'_> {
    /// Runs `command` with `input` and returns its output.
    pub(super) fn ask(&self, command: &mut Command, input: &str) -> Result<String> {
        let failed = |error: io::Error| {
            if self.cancel.is_cancelled() {
                Error::cancelled(Stage::RoleSelection)
            } else if error.kind() == io::ErrorKind::TimedOut {
                Error::new(ErrorKind::Cancelled, Stage::RoleSelection, text::NO_ROLE_IN_TIME)
            } else {
                self.broken("cannot be used").because(error)
            }
        };
        let (output, status) = self.run(command, input, failed)?;
        let (output, status) = match status.code() {
            // The exit code of a program whose libraries cannot be loaded.
            Some(127) if has_libraries_of_its_own() => self.run(without_libraries(command), input, failed)?,
            _ => (output, status),
        };
        if !status.success() {
            return Err(match status.code() {
                Some(code) if self.cancel_codes.contains(&code) => Error::cancelled(Stage::RoleSelection),
                _ => self.broken(&format!("ended with {status}")),
            });
        }
        String::from_utf8(output).map_err(|_| self.broken("printed something that is not UTF-8"))
    }

    fn run(
        &self,
        command: &mut Command,
        input: &str,
        failed: impl Fn(io::Error) -> Error + Copy,
    ) -> Result<(Vec<u8>, ExitStatus)> {
        // Its standard error stays the host's: fzf draws there.
        let mut child = Child::spawn(command, self.deadline, self.cancel).map_err(failed)?;
        match child.send(input.as_bytes()).and_then(|()| child.close_input()) {
            // A chooser may answer before it has read everything.
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
        self.cancel.check(Stage::RoleSelection)?;
        Ok((output, child.wait().map_err(failed)?))
    }

    pub(super) fn broken(&self, what: &str) -> Error {
        Error::new(ErrorKind::NoPrompter, Stage::RoleSelection, format!("{} {what}", self.name))
    }
}

/// Variables that make a system program load the host's libraries.
const LIBRARIES: [&str; 4] = ["LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES"];

pub(super) fn has_libraries_of_its_own() -> bool {
    LIBRARIES.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

pub(super) fn without_libraries(command: &mut Command) -> &mut Command {
    for name in LIBRARIES {
        command.env_remove(name);
    }
    command
}

/// A child's standard error. The child never blocks on it.
pub(super) struct Complaints(PipeReader);

impl Complaints {
    /// For the child that `command` starts next.
    pub(super) fn of(command: &mut Command) -> io::Result<Self> {
        let (reader, writer) = nonblocking_pipe()?;
        command.stderr(writer);
        Ok(Self(reader))
    }

    /// Returns the beginning of its output so far, printable.
    pub(super) fn text(&self) -> String {
        let mut bytes = [0; 4 * LONGEST_COMPLAINT];
        let length = (&self.0).read(&mut bytes).unwrap_or(0);
        clean(String::from_utf8_lossy(&bytes[..length]).trim(), LONGEST_COMPLAINT)
    }
}

/// Returns when a question asked now times out.
pub(super) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// Finds a trusted program of this name on the `PATH`.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    locate(Path::new(name)).ok()
}

/// Finds the program `name`, a path or a name on the `PATH`, as [`trusted_program`] resolves it.
///
/// # Errors
///
/// If it does not exist or is not trusted.
pub fn locate(name: &Path) -> io::Result<PathBuf> {
    if name.components().count() > 1 {
        return trusted_program(name);
    }
    let path = search_path();
    let mut problem = io::ErrorKind::NotFound.into();
    // A relative folder depends on the current folder.
    for folder in env::split_paths(&path).filter(|folder| folder.is_absolute()) {
        let file = folder.join(name);
        if can_be_run(&file) {
            match trusted_program(&file) {
                Ok(found) => return Ok(found),
                Err(error) => problem = error,
            }
        }
    }
    Err(problem)
}

/// Returns a command that runs the program `name`; the program sees that name as its own.
pub(super) fn command(name: &Path) -> io::Result<Command> {
    Ok(privilege::command_named(&locate(name)?, name))
}
