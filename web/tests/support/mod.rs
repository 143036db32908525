//! An agent for tests.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

#[path = "../../../tests/support/mod.rs"]
mod core;

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use core::readers::{Readers, TestCard};
pub use core::{Desk, PATIENCE, PIN, UID, User, script};
use ticketapi::agent::AgentUse;
use ticketapi::engine::EngineBuilder;
use ticketapi::{Config, Engine};
use ticketapi_agent::{Agent, Stopper};

/// Another program that uses the agent.
pub fn program(desk: &Desk) -> Engine {
    let mut config = desk.config.clone();
    config.agent_socket = Some(desk.path("run/agent.sock"));
    config.agent = AgentUse::Require;
    Engine::builder(config).build().unwrap()
}

/// Writes a pinentry that keeps what it shows in a file, and runs `before` before it answers.
pub fn pinentry(file: &Path, before: &str) {
    let body = format!(
        "echo OK\nwhile read -r line; do\ncase $line in SETDESC*) echo \"$line\" >>{0}.shown ;; \
         GETPIN) {before}\necho 'D {PIN}' ;; esac\necho OK\ndone\n",
        file.display()
    );
    script(file, &body);
}

/// Waits until this process has ended.
pub fn wait_for_end(pid: &str) {
    let (process, until) = (Path::new("/proc").join(pid.trim()), Instant::now() + PATIENCE);
    while process.exists() {
        assert!(Instant::now() < until, "process {pid} is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An agent in a thread.
pub struct InThread {
    stop: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl InThread {
    pub fn start(desk: &Desk, user: &User) -> Self {
        Self::listen(desk.folder.path(), &desk.config, |engine| engine.prompter(user.clone()))
    }

    /// An agent with the socket `run/agent.sock` in `folder`.
    pub fn listen(folder: &Path, config: &Config, set_up: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Self {
        let folder = folder.join("run");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
        let mut config = config.clone();
        config.agent_socket = Some(folder.join("agent.sock"));
        let agent = Agent::listen(set_up(Engine::builder(config.clone())), &config).unwrap();
        let stop = agent.stopper().unwrap();
        Self { stop, thread: Some(std::thread::spawn(|| agent.serve().unwrap())) }
    }
}

impl Drop for InThread {
    fn drop(&mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}
