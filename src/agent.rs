//! The agent: one login for all programs of the user's desktop.
//!
//! The agent is a process of its own (the crate `ticketapi-agent`) with the only engine that logs
//! in; the engines of other programs ask it, as the setting `agent` says. Here is what both sides
//! have in common, and the programs' side.

mod connection;
#[doc(hidden)]
pub mod protocol;
mod remote;
#[cfg(windows)]
#[path = "agent/pipe.rs"]
#[doc(hidden)]
pub mod socket;
#[cfg(unix)]
#[doc(hidden)]
pub mod socket;

pub use protocol::StatusData as AgentStatus;
#[doc(hidden)]
pub use remote::Watch;
pub(crate) use remote::{Remote, RemoteError};

use std::path::PathBuf;

use crate::error::Result;

/// The settings about the agent.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// Whether a program uses the agent.
    pub wanted: AgentUse,
    /// The agent's socket; in the user's runtime folder where there is none.
    pub socket: Option<PathBuf>,
}

/// Whether a program uses the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AgentUse {
    /// It does where one runs; otherwise it logs in by itself.
    #[default]
    Auto,
    /// It does, and does not work without.
    Require,
    /// It does not.
    Never,
}

/// How the agent is that the settings name, also when it logs in at another broker or when they say
/// not to use it. Waits at most a few seconds.
///
/// # Errors
///
/// [`AgentNotAvailable`](crate::ErrorKind::AgentNotAvailable): none runs, or it may not be trusted,
/// or it does not answer; [`AgentVersion`](crate::ErrorKind::AgentVersion);
/// [`Configuration`](crate::ErrorKind::Configuration).
pub fn status(settings: impl Into<AgentSettings>) -> Result<AgentStatus> {
    remote::status(&socket::place(&settings.into())?)
}

/// Watches the session of the agent that the settings name, from now on.
///
/// # Errors
///
/// As [`status`]; [`NotImplemented`](crate::ErrorKind::NotImplemented) by an agent that is too old for it.
#[doc(hidden)]
pub fn watch(settings: impl Into<AgentSettings>) -> Result<Watch> {
    Watch::open(&socket::place(&settings.into())?)
}
