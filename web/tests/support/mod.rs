//! An agent for tests.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

#[path = "../../../tests/support/mod.rs"]
mod core;

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

pub use core::{Desk, PATIENCE, PIN, User, script};
use ticketapi::Engine;
use ticketapi::agent::AgentUse;
use ticketapi_agent::Agent;

/// Another program that uses the agent.
pub fn program(desk: &Desk) -> Engine {
    let mut config = desk.config.clone();
    config.agent_socket = Some(desk.path("run/agent.sock"));
    config.agent = AgentUse::Require;
    Engine::builder(config).build().unwrap()
}

/// An agent in a thread.
pub struct InThread {
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl InThread {
    pub fn start(desk: &Desk, user: &User) -> Self {
        let folder = desk.path("run");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
        let mut config = desk.config.clone();
        config.agent_socket = Some(folder.join("agent.sock"));
        let agent = Agent::listen(Engine::builder(config.clone()).prompter(user.clone()), &config).unwrap();
        let stop = agent.stopper().unwrap();
        Self { stop, thread: Some(std::thread::spawn(|| agent.serve().unwrap())) }
    }
}

impl Drop for InThread {
    fn drop(&mut self) {
        (&self.stop).write_all(&[0]).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}
