//! Unix.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, alarm, close, dup2_stdin};
use ticketapi::card::protocol::{Channel, MAX_FRAME};

/// The connection to the program that started this one, or to one that this one starts.
pub type Socket = UnixStream;

/// Closes inherited descriptors, disables core dumps, which would contain the PIN, and moves the socket away from
/// standard input, so that no process that a module starts can hold it.
pub fn prepare() -> io::Result<Channel> {
    for descriptor in inherited() {
        // Some are already closed.
        let _ = close(descriptor);
    }
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(Channel::new(UnixStream::from(socket), MAX_FRAME))
}

fn inherited() -> Vec<RawFd> {
    let directory = if Path::new("/proc/self/fd").exists() { "/proc/self/fd" } else { "/dev/fd" };
    let Ok(entries) = fs::read_dir(directory) else { return (3..1024).collect() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|&number| number > 2).collect()
}

/// Kills this process at once, without exit handlers.
pub fn vanish() -> ! {
    loop {
        let _ = kill(Pid::this(), Signal::SIGKILL);
    }
}

/// Ends this process in a moment, whatever its threads do.
pub fn vanish_soon() {
    alarm::set(2);
}

/// Waits until the other end of the socket is closed; returns `false` once `time` has passed.
pub fn until_closed(socket: &Socket, time: Option<Duration>) -> bool {
    let until = time.and_then(|time| Instant::now().checked_add(time));
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(PollTimeout::NONE, |left| left.try_into().unwrap_or(PollTimeout::MAX));
        // Without requested events poll reports only a hang-up.
        let mut sockets = [PollFd::new(socket.as_fd(), PollFlags::empty())];
        match poll(&mut sockets, timeout) {
            Ok(0) => return false,
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return true,
        }
    }
}

/// Starts this program again, with `argument`; returns the connection to it.
pub fn start(argument: &str) -> io::Result<Socket> {
    let (ours, theirs) = UnixStream::pair()?;
    start_with(argument, theirs)?;
    Ok(ours)
}

/// Starts this program again, with `argument`, to go on with this one's connection.
pub fn start_in_my_place(argument: &str, socket: &Socket) -> io::Result<()> {
    start_with(argument, socket.try_clone()?)
}

fn start_with(argument: &str, socket: UnixStream) -> io::Result<()> {
    Command::new(std::env::current_exe()?)
        .arg(argument)
        .stdin(OwnedFd::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok(())
}
