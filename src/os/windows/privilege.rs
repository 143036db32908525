//! Programs with more rights than the user who started them. Windows has none: an elevated program runs as the user
//! who agreed to it, with that user's environment.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Returns `false`; see the module.
pub fn is_raised() -> bool {
    false
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
