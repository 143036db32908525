//! The agent: one login for all programs of the user's desktop.
//!
//! It holds the only engine that logs in, and serves the programs of the same user over a socket;
//! `docs/agent-protocol.md` tells what they say to each other. The programs need to do nothing for
//! it: their engines find the agent, as the setting `agent` says.
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

/// An agent that listens, and does not serve yet.
pub struct Agent {
    server: Server,
    stop: UnixStream,
}

impl Agent {
    /// Listens at the socket that the service manager hands over (`LISTEN_FDS`), else at the place
    /// that `config` names; `engine` is to be the one that logs in, and tells the agent what happens to
    /// it. A socket that a crashed agent left behind is replaced.
    ///
    /// # Errors
    ///
    /// [`AgentRunning`](ErrorKind::AgentRunning); [`AgentNotAvailable`](ErrorKind::AgentNotAvailable)
    /// where there can be no socket that is closed to others;
    /// [`Configuration`](ErrorKind::Configuration).
    pub fn listen(engine: EngineBuilder, config: &Config) -> Result<Self> {
        let listener = Listener::open(config)?;
        let (stop, stopped) = UnixStream::pair().map_err(failure)?;
        let server = Server::new(engine, config, listener, stopped)?;
        Ok(Self { server, stop })
    }

    /// What ends the agent, from any thread or a signal, when a byte is written to it or it is closed.
    ///
    /// # Errors
    ///
    /// Where the process has no descriptor left.
    pub fn stopper(&self) -> Result<UnixStream> {
        self.stop.try_clone().map_err(failure)
    }

    /// Serves on this thread, until it is stopped. Then the socket goes, a login that is under way is
    /// cancelled, and the session is ended on the broker, which takes ten seconds at most.
    ///
    /// Sleeps while nobody asks for anything. What takes time is done on threads that end with it.
    ///
    /// # Errors
    ///
    /// [`AgentNotAvailable`](ErrorKind::AgentNotAvailable), with what the system says.
    pub fn serve(self) -> Result<()> {
        self.server.run().map_err(failure)
    }
}

/// The program: an agent with the settings of `config`, until a SIGTERM or SIGINT.
///
/// Core dumps and debuggers are switched off for this process, and its memory is locked where there
/// is no limit to that.
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
