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

pub use system::fs;
pub(crate) use system::{child, clock, ipc, privilege, thread, timer};
