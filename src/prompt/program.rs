//! A program that is asked one question: what it prints is the answer, its exit code whether
//! there is one.

use std::env;
use std::io::{self, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};

use super::text;
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::child::Child;
use crate::os::fs::trusted;
use crate::os::privilege::{self, search_path};
use crate::printable::clean;

/// More than any answer is long.
const ANSWER_LIMIT: usize = 64 * 1024;

/// In characters: what a program that cannot be started says is mostly one line.
const LONGEST_COMPLAINT: usize = 300;

/// How a program is asked for the role.
pub(super) struct Asking<'a> {
    /// How errors call the program.
    pub(super) name: String,
    /// Exit codes that mean that the user does not want to go on.
    pub(super) cancel_codes: &'a [i32],
    pub(super) deadline: Option<Instant>,
    pub(super) cancel: &'a CancelToken,
}

impl Asking<'_> {
    /// Runs `command` with `input` and returns what it prints.
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
            // So it ends when it cannot load its libraries.
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
        self.cancel.check(Stage::RoleSelection)?;
        Ok((output, child.wait().map_err(failed)?))
    }

    pub(super) fn broken(&self, what: &str) -> Error {
        Error::new(ErrorKind::NoPrompter, Stage::RoleSelection, format!("{} {what}", self.name))
    }
}

/// Variables by which a host has libraries of its own loaded, for a program of the system the wrong
/// ones.
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

/// What a child writes on its standard error. It never has to wait until that is read.
pub(super) struct Complaints(PipeReader);

impl Complaints {
    /// Of the child that `command` starts next.
    pub(super) fn of(command: &mut Command) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        fcntl_setfl(&reader, OFlags::NONBLOCK)?;
        fcntl_setfl(&writer, OFlags::NONBLOCK)?;
        command.stderr(writer);
        Ok(Self(reader))
    }

    /// The beginning of what it has written so far, fit to be shown.
    pub(super) fn text(&self) -> String {
        let mut bytes = [0; 4 * LONGEST_COMPLAINT];
        let length = (&self.0).read(&mut bytes).unwrap_or(0);
        clean(String::from_utf8_lossy(&bytes[..length]).trim(), LONGEST_COMPLAINT)
    }
}

/// When a question that is asked now has waited long enough.
pub(super) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// Where the `PATH` has a trusted program of this name.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    locate(Path::new(name)).ok()
}

/// Where the program `name` is, a path or a name on the `PATH`, as [`trusted`] resolves it.
///
/// # Errors
///
/// Where it is not there, or not trusted.
pub fn locate(name: &Path) -> io::Result<PathBuf> {
    if name.components().count() > 1 {
        return trusted(name);
    }
    let path = search_path();
    let mut problem = io::ErrorKind::NotFound.into();
    // A relative folder is wherever the program happens to run.
    for folder in env::split_paths(&path).filter(|folder| folder.is_absolute()) {
        let file = folder.join(name);
        if can_be_run(&file) {
            match trusted(&file) {
                Ok(found) => return Ok(found),
                Err(error) => problem = error,
            }
        }
    }
    Err(problem)
}

/// A command that runs the program `name`, which may go by its name in what it does.
pub(super) fn command(name: &Path) -> io::Result<Command> {
    let mut command = privilege::command(&locate(name)?);
    command.arg0(name);
    Ok(command)
}

fn can_be_run(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_a_file_that_somebody_may_run_is_a_program() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("zenity");
        assert!(!can_be_run(&file));
        fs::write(&file, "").unwrap();
        for (mode, can) in [(0o644, false), (0o700, true), (0o645, true)] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!(can_be_run(&file), can, "{mode:o}");
        }
        assert!(!can_be_run(folder.path()));
    }
}
