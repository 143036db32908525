//! Programs with more rights than the user who started them. Windows has none: an elevated program runs as the user
//! who agreed to it, with that user's environment.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use ticketapi_platform::security::impersonated_user;

use crate::error::{Error, ErrorKind, Result, Stage};

/// Returns `false`; see the module.
pub fn is_raised() -> bool {
    false
}

/// Refuses a thread that acts as another user than the process's: it could not use the files and pipes that the
/// library's own threads and the helper use.
///
/// # Errors
///
/// [`Configuration`](ErrorKind::Configuration).
pub(crate) fn own_user() -> Result<()> {
    if matches!(impersonated_user(), Ok(None)) {
        return Ok(());
    }
    let detail = "this thread impersonates another user: call RevertToSelf before this function";
    Err(Error::new(ErrorKind::Configuration, Stage::Configuration, detail))
}

/// Returns a variable of the environment.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}

/// The search path for programs.
pub(crate) fn search_path() -> OsString {
    env::var_os("PATH").unwrap_or_default()
}

/// Returns a command that runs the program at `path`.
pub(crate) fn command(path: &Path) -> Command {
    Command::new(path)
}

/// As [`command`]; a program of Windows finds its name out by itself.
pub(crate) fn command_named(path: &Path, _: &Path) -> Command {
    command(path)
}
