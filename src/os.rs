//! The operating system's services, under the same names on each platform.

pub(crate) mod fork;
pub(crate) mod threads;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

use std::io;

pub use system::fs;
pub(crate) use system::{child, clock, ipc, privilege, thread, timer};

/// Returns `true` for an error that says that the computer, or what this program may have of it, has no thread, process,
/// file descriptor, port or memory left.
pub(crate) fn lacks_resources(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| system::NO_RESOURCES.contains(&code))
}
