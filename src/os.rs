//! The operating system's services, under the same names on each platform.

pub(crate) mod fork;
pub(crate) mod threads;
#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub use unix::fs;
#[cfg(unix)]
pub(crate) use unix::{child, ipc, privilege, thread, timer};
