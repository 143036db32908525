//! Programs with more rights than the user who started them: they trust nothing that is this user's.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{getegid, geteuid, getgid, getuid};

/// Where programs are found without the environment.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What a window or a terminal needs of the environment.
const HARMLESS: [&str; 5] = ["DISPLAY", "TERM", "LANG", "LC_ALL", "LC_CTYPE"];

/// Whether the environment is that of a user with fewer rights than this process has: it is setuid or
/// setgid, has capabilities of its file, or is root's with the home of another user.
pub fn is_raised() -> bool {
    let differs = getuid() != geteuid() || getgid() != getegid();
    let by_status = || fs::read_to_string("/proc/self/status").is_ok_and(|status| is_raised_in(&status));
    let foreign_home = || {
        let home = env::var_os("HOME").and_then(|home| fs::metadata(home).ok());
        geteuid().is_root() && home.is_some_and(|home| home.uid() != 0)
    };
    differs || by_status() || foreign_home()
}

/// As the kernel decides for `AT_SECURE`, and also where the rights were laid down for a while
/// (`proc_pid_status(5)`).
fn is_raised_in(status: &str) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let numbers = |name: &str| field(name).split_whitespace().collect::<Vec<_>>();
    let capabilities = |name: &str| u64::from_str_radix(field(name).trim(), 16).unwrap_or_default();
    let differ = |numbers: &[&str]| numbers.iter().any(|number| *number != numbers[0]);
    let (users, groups) = (numbers("Uid:"), numbers("Gid:"));
    let of_file = capabilities("CapPrm:") & !capabilities("CapAmb:");
    differ(&users) || differ(&groups) || users.first() != Some(&"0") && of_file != 0
}

/// A variable of the environment, where it is to be trusted.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    if is_raised() { None } else { env::var_os(name) }
}

/// Where programs are found.
pub(crate) fn search_path() -> OsString {
    if is_raised() { PATH.into() } else { env::var_os("PATH").unwrap_or_default() }
}

/// A command that runs the program at `path`, with the environment only where it is to be trusted.
pub(crate) fn command(path: &Path) -> Command {
    let mut command = Command::new(path);
    if is_raised() {
        let harmless = HARMLESS.into_iter().filter_map(|name| Some((name, env::var_os(name)?)));
        command.env_clear().env("PATH", PATH).envs(harmless);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(uid: &str, gid: &str, permitted: u64, ambient: u64) -> bool {
        is_raised_in(&format!(
            "Name:\tx\nUid:\t{uid}\nGid:\t{gid}\nCapInh:\t0\nCapPrm:\t{permitted:016x}\nCapAmb:\t{ambient:016x}\n"
        ))
    }

    #[test]
    fn numbers_that_differ_and_capabilities_of_the_file_are_more_rights() {
        let (user, root) = ("1000\t1000\t1000\t1000", "0\t0\t0\t0");
        assert!(!status(user, user, 0, 0) && !status(root, root, u64::MAX, 0));
        // A service manager gave them.
        assert!(!status(user, user, 0x400, 0x400));
        assert!(status(user, user, 0x400, 0) && status(user, user, 0x600, 0x400));
        assert!(status("1000\t0\t0\t0", user, 0, 0) && status(user, "1000\t50\t50\t50", 0, 0));
        assert!(status("1000\t1000\t0\t1000", user, 0, 0));
        assert!(!is_raised_in(""));
    }
}
