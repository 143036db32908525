//! The agent: one login for all programs of the user's desktop.
//!
//! Holds the only engine that logs in, and serves the programs of the same user over a socket.
//! `docs/agent-protocol.md` describes the messages. Programs need no code for it: their engines find
//! the agent as the setting `agent` says.
#![forbid(unsafe_code)]

mod client;
mod hardening;
mod jobs;
mod listener;
mod offers;
mod server;

use std::io;
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use ticketapi::agent::AgentUse;
use ticketapi::engine::EngineBuilder;
use ticketapi::{Config, Engine, Error, ErrorKind, Result, Stage};

use listener::Listener;
use server::Server;

/// An agent that listens and does not serve yet.
pub struct Agent {
    server: Server,
    stop: UnixStream,
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
        let listener = Listener::open(config)?;
        let (stop, stopped) = UnixStream::pair().map_err(failure)?;
        let server = Server::new(engine, config, listener, stopped)?;
        Ok(Self { server, stop })
    }

    /// Returns the descriptor that stops the agent, from any thread or a signal handler: write a byte, or close it.
    ///
    /// # Errors
    ///
    /// An I/O error if the process has no free descriptor.
    pub fn stopper(&self) -> Result<UnixStream> {
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

/// The program: an agent with the settings of `config`, until SIGTERM or SIGINT.
///
/// Disables core dumps and debuggers for this process, and locks its memory if the system sets no
/// limit.
///
/// # Errors
///
/// As [`Agent::listen`] and [`Agent::serve`].
pub fn run(mut config: Config) -> Result<()> {
    hardening::harden();
    config.agent = AgentUse::Never;
    let agent = Agent::listen(Engine::builder(config.clone()), &config)?;
    for signal in [SIGTERM, SIGINT] {
        pipe::register(signal, agent.stopper()?).map_err(failure)?;
    }
    tracing::info!("the agent listens");
    agent.serve()
}

fn failure(error: io::Error) -> Error {
    Error::new(ErrorKind::AgentNotAvailable, Stage::Session, format!("the agent cannot go on: {error}")).because(error)
}
