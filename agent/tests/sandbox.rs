//! What the agent hides from other programs, and which rights it can do without: as in the shipped unit, but by
//! system calls, because there is no service manager.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use support::{Desk, InProcess, command, program, socket, status_of, wait_until};

fn desk() -> Desk {
    Desk::with(|spine| spine.roles(1))
}

/// A process that is killed when the test ends in any way.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command that runs as another user than root, because root may read everything.
fn not_as_root(program: &str) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", program]);
    command
}

#[test]
fn other_programs_of_the_user_cannot_read_the_agent_and_it_leaves_no_core() {
    let desk = desk();
    let folder = socket(&desk).parent().unwrap().to_owned();
    let copy = desk.path("agent");
    // Not written by this process: see `write_script` of the test kit.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_ticketapi-agent")).arg(&copy).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(desk.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(&folder, Some(65534), Some(65534)).unwrap();
    }
    let mut command = not_as_root(copy.to_str().unwrap());
    support::environment(&desk, &mut command);
    let agent = Ended(command.spawn().unwrap());
    let process = agent.0.id();
    wait_until(|| socket(&desk).exists());
    let read = |process: u32| {
        let file = format!("/proc/{process}/environ");
        not_as_root("cat").arg(file).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    };
    let sleeping = Ended(not_as_root("sleep").arg("600").spawn().unwrap());
    let other = sleeping.0.id();
    // It still is the program that starts it, whose files cannot be read either if they are root's.
    wait_until(|| read(other));
    assert!(!read(process), "the agent can be read");
    // Its files in /proc belong to root, because it is not dumpable.
    let owner = |process: u32| fs::metadata(format!("/proc/{process}/mem")).unwrap().uid();
    assert_eq!((owner(process), owner(other) == 0), (0, false));
    let seize = |process: u32| {
        let program = "import ctypes, sys; print(ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), None, None))";
        let mut command = not_as_root("/usr/bin/python3");
        let output = command.args(["-c", program, &process.to_string()]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(seize(process), "-1\n", "a debugger takes it");
    // Only if the system lets a user's programs trace each other at all.
    if !fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope.trim() != "0") {
        assert_eq!(seize(other), "0\n");
    }
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let core: Vec<_> = limits.lines().find(|line| line.starts_with("Max core")).unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"]);
}

#[test]
fn memory_is_locked_if_the_limit_allows_it() {
    let desk = desk();
    support::pinentry(&desk.path("pinentry"), "");
    let agent = command(&desk);
    let limited = |limit: &str| {
        let mut command = Command::new("prlimit");
        command.arg(format!("--memlock={limit}:{limit}"));
        command
    };
    // On some systems not even root may raise the limit.
    let may_lift = limited("unlimited").arg("true").stderr(Stdio::null()).status().unwrap().success();
    let limits: &[&str] = if may_lift { &["unlimited", "65536"] } else { &["65536"] };
    for limit in limits {
        let mut limited = limited(limit);
        limited.arg(env!("CARGO_BIN_EXE_ticketapi-agent")).env_clear();
        limited.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut agent = InProcess::run(&desk, &mut limited);
        program(&desk).get_ticket().unwrap();
        let (locked, resident) = (status_of(agent.child.id(), "VmLck"), status_of(agent.child.id(), "VmRSS"));
        // All that it uses, and what it may use later. Mapped files count as resident too.
        assert!(if *limit == "unlimited" { locked >= resident / 2 } else { locked == 0 }, "{locked} of {resident} KiB");
        agent.signal(Signal::TERM);
        assert!(agent.child.wait().unwrap().success());
    }
}

/// Linux 6.3 and later.
fn has_mdwe() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(3))
}

/// Gives its child processes no memory that is writable and executable (`PR_SET_MDWE`, like
/// `MemoryDenyWriteExecute`), and shows that this works.
const NO_WRITABLE_CODE: &str = "import ctypes, mmap, os, sys\n\
    assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0\n\
    try:\n\
    \x20   mmap.mmap(-1, 4096, prot=7)\n\
    except PermissionError:\n\
    \x20   os.execv(sys.argv[1], sys.argv[1:])\n";

#[test]
fn the_agent_runs_without_new_privileges_or_writable_code_and_with_files_that_cannot_be_written() {
    let desk = desk();
    support::pinentry(&desk.path("pinentry"), "");
    let agent = command(&desk);
    let folder = desk.folder.path().display();
    let script = format!(
        "mount --bind {folder} {folder} && mount -o remount,bind,ro / && ! touch /ticketapi-was-here 2>/dev/null && \
         exec setpriv --no-new-privs --bounding-set -all {}{}",
        if has_mdwe() { "python3 -c \"$0\" " } else { "" },
        env!("CARGO_BIN_EXE_ticketapi-agent")
    );
    let mut sandbox = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        sandbox.args(["--user", "--map-root-user"]);
    }
    sandbox.args(["--mount", "--propagation", "private", "sh", "-c", &script, NO_WRITABLE_CODE]).env_clear();
    sandbox.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut agent = InProcess::run(&desk, &mut sandbox);
    program(&desk).get_ticket().unwrap();
    assert_eq!(status_of(agent.child.id(), "NoNewPrivs"), 1);
    assert!(fs::read_to_string(format!("/proc/{}/cmdline", agent.child.id())).unwrap().ends_with("ticketapi-agent\0"));
    agent.signal(Signal::TERM);
    assert!(agent.child.wait().unwrap().success());
    assert_eq!(desk.spine.open_sessions(), 0);
}
