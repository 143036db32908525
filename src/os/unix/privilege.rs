//! Programs with more rights than the user who started them: they trust nothing that this user controls.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

#[cfg(target_os = "linux")]
use nix::unistd::{getresgid, getresuid};
use rustix::process::geteuid;
#[cfg(target_os = "linux")]
use rustix::process::getuid;
#[cfg(target_os = "linux")]
use rustix::thread::{capabilities, capability_is_in_ambient_set};

/// The search path for programs, without the environment.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What a window or a terminal needs from the environment.
const HARMLESS: [&str; 5] = ["DISPLAY", "TERM", "LANG", "LC_ALL", "LC_CTYPE"];

/// Returns `true` if the environment belongs to a user with fewer rights than this process has: it is setuid or
/// setgid, has capabilities from its file, or runs as root with another user's home. Opens no file.
pub fn is_raised() -> bool {
    let foreign_home = || {
        let home = env::var_os("HOME").and_then(|home| fs::metadata(home).ok());
        geteuid().is_root() && home.is_some_and(|home| home.uid() != 0)
    };
    ids_differ() || has_capabilities_of_its_file() || foreign_home()
}

/// Decides like the kernel for `AT_SECURE`, and also while the rights are dropped temporarily: the saved ids can
/// restore them.
#[cfg(target_os = "linux")]
fn ids_differ() -> bool {
    match (getresuid(), getresgid()) {
        (Ok(user), Ok(group)) => {
            user.effective != user.real
                || user.saved != user.real
                || group.effective != group.real
                || group.saved != group.real
        }
        _ => true,
    }
}

#[cfg(not(target_os = "linux"))]
fn ids_differ() -> bool {
    rustix::process::getuid() != geteuid() || rustix::process::getgid() != rustix::process::getegid()
}

/// Root has all capabilities, and a service manager passes on ambient ones; others come from the file.
#[cfg(target_os = "linux")]
fn has_capabilities_of_its_file() -> bool {
    let is_ambient = |one| capability_is_in_ambient_set(one).unwrap_or(false);
    !getuid().is_root() && capabilities(None).map_or(true, |sets| !sets.permitted.iter().all(is_ambient))
}

#[cfg(not(target_os = "linux"))]
fn has_capabilities_of_its_file() -> bool {
    false
}

/// Succeeds: threads act as their process's user here.
#[expect(clippy::unnecessary_wraps, reason = "threads of other systems may act as another user")]
pub(crate) fn own_user() -> crate::Result<()> {
    Ok(())
}

/// Returns a variable of the environment, if it can be trusted.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    if is_raised() { None } else { env::var_os(name) }
}

/// The search path for programs.
pub(crate) fn search_path() -> OsString {
    if is_raised() { PATH.into() } else { env::var_os("PATH").unwrap_or_default() }
}

/// Returns a command that runs the program at `path`, with the environment only if it can be trusted.
pub(crate) fn command(path: &Path) -> Command {
    let mut command = Command::new(path);
    if is_raised() {
        let harmless = HARMLESS.into_iter().filter_map(|name| Some((name, env::var_os(name)?)));
        command.env_clear().env("PATH", PATH).envs(harmless);
    }
    command
}

/// As [`command`]; the program sees `name` as its own.
pub(crate) fn command_named(path: &Path, name: &Path) -> Command {
    let mut command = command(path);
    command.arg0(name);
    command
}
