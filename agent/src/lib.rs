//! The agent: one login for all programs of the user's desktop.
//!
//! Holds the only engine that logs in, and serves the programs of the same user over a socket.
//! `docs/agent-protocol.md` describes the messages. Programs need no code for it: their engines find
//! the agent as the setting `agent` says.
#![forbid(unsafe_code)]

mod client;
mod jobs;
mod offers;
mod os;
mod server;

use std::io;

use ticketapi::agent::AgentUse;
use ticketapi::engine::EngineBuilder;
use ticketapi::{Config, Engine, Error, ErrorKind, Result, Stage};

use os::{Listener, Poller};
use server::Server;

pub use os::Stopper;

/// An agent that listens and does not serve yet.
pub struct Agent {
    server: Server,
    stop: Stopper,
}

impl Agent {
    /// Listens at the socket that the service manager passes (`LISTEN_FDS`), else where `config` says.
    /// `engine` logs in and reports its events to the agent. Replaces a socket that a crashed agent
    /// left behind.
    ///
    /// # Errors
    ///
    /// [`AgentRunning`](ErrorKind::AgentRunning); [`AgentNotAvailable`](ErrorKind::AgentNotAvailable)
    /// if no socket closed to others can be created;
    /// [`Configuration`](ErrorKind::Configuration).
    pub fn listen(engine: EngineBuilder, config: &Config) -> Result<Self> {
        let (poller, wake, stop) = Poller::new().map_err(failure)?;
        let listener = Listener::open(config, &poller)?;
        let server = Server::new(engine, config, listener, poller, wake)?;
        Ok(Self { server, stop })
    }

    /// Returns what stops the agent.
    ///
    /// # Errors
    ///
    /// An I/O error if the process has no free descriptor.
    pub fn stopper(&self) -> Result<Stopper> {
        self.stop.try_clone().map_err(failure)
    }

    /// Serves on this thread until it is stopped. Then it removes the socket, cancels a login in
    /// progress and ends the session on the broker, which takes at most ten seconds.
    ///
    /// Sleeps while there are no requests. Slow operations run on threads that end with them.
    ///
    /// # Errors
    ///
    /// [`AgentNotAvailable`](ErrorKind::AgentNotAvailable), with the system's reason.
    pub fn serve(self) -> Result<()> {
        self.server.run().map_err(failure)
    }
}

/// The program: an agent with the settings of `config`, until SIGTERM or SIGINT, or on Windows until Ctrl-C or the end
/// of the desktop session.
///
/// Disables core dumps and debuggers for this process, and locks its memory if the system sets no
/// limit.
///
/// # Errors
///
/// As [`Agent::listen`] and [`Agent::serve`].
pub fn run(mut config: Config) -> Result<()> {
    os::harden();
    config.agent = AgentUse::Never;
    let agent = Agent::listen(Engine::builder(config.clone()), &config)?;
    os::stop_with_desktop(&agent.stop).map_err(failure)?;
    tracing::info!("the agent listens");
    agent.serve()
}

fn failure(error: io::Error) -> Error {
    Error::new(ErrorKind::AgentNotAvailable, Stage::Session, format!("the agent cannot go on: {error}")).because(error)
}
