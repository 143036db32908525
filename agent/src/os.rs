//! What the agent needs of the operating system, under the same names on each platform: its listener and connections,
//! waiting for all of them, the end of the desktop, and the protection of its memory.

#[cfg(unix)]
#[path = "os/unix.rs"]
mod system;
#[cfg(windows)]
#[path = "os/windows.rs"]
mod system;

pub use system::Stopper;
pub(crate) use system::{Interest, Listener, Poller, Stream, Waker, harden, stop_with_desktop};

use std::time::Instant;

use ticketapi::{Error, ErrorKind, Stage};

/// A connection as the poller sees it.
pub(crate) struct Watched<'a> {
    pub(crate) id: u64,
    pub(crate) stream: &'a Stream,
    pub(crate) interest: Interest,
}

/// What to wait for besides connections.
pub(crate) struct Wait<'a> {
    /// `None` if no connection is to be accepted.
    pub(crate) listener: Option<&'a mut Listener>,
    /// Whether the agent can still be stopped.
    pub(crate) stop: bool,
    pub(crate) until: Option<Instant>,
}

/// Sources of events.
pub(crate) struct Ready {
    pub(crate) stop: bool,
    pub(crate) listener: bool,
    pub(crate) clients: Vec<u64>,
}

fn failed(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::AgentNotAvailable, Stage::Session, detail)
}
