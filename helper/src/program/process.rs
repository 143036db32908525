//! What the helper changes in its own process at its start, and how it ends.

use std::fs::{self, File};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::UnixStream;
use std::{io, path::Path};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, close, dup2_stdin};
use ticketapi::card::protocol::{Channel, MAX_FRAME};

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
