//! An agent for tests, in a thread or as a process, and programs that use it.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../tests/support/mod.rs"]
mod core;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use core::{Desk, PATIENCE, PIN, UID, User, kind, script};
use rustix::process::{Pid, Signal, kill_process};
use ticketapi::agent::{self, AgentUse};
use ticketapi::{Config, Engine};
use ticketapi_agent::{Agent, Stopper};

/// The path of the agent's socket for `desk`, in a folder that other users cannot access.
pub fn socket(desk: &Desk) -> PathBuf {
    let folder = desk.path("run");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
    folder.join("agent.sock")
}

/// The settings of a program that uses the agent of `desk` as `way` says.
pub fn settings(desk: &Desk, way: AgentUse) -> Config {
    let mut config = desk.config.clone();
    config.agent = way;
    config.agent_socket = Some(socket(desk));
    config
}

/// A program that requires the agent and has no prompts of its own.
pub fn program(desk: &Desk) -> Engine {
    Engine::builder(settings(desk, AgentUse::Require)).prompter(User::typing(&[])).build().unwrap()
}

/// A program that uses the agent if there is one, and otherwise asks `user`.
pub fn auto_program(desk: &Desk, user: &User) -> Engine {
    Engine::builder(settings(desk, AgentUse::Auto)).prompter(user.clone()).build().unwrap()
}

/// An agent in a thread of this process.
pub struct InThread {
    stop: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl InThread {
    pub fn start(desk: &Desk, user: &User) -> Self {
        let config = settings(desk, AgentUse::Never);
        let engine = Engine::builder(config.clone()).prompter(user.clone());
        let agent = Agent::listen(engine, &config).unwrap();
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

/// An agent as a process. It asks for the PIN through a pinentry that counts its prompts.
pub struct InProcess {
    pub child: Child,
    asked: PathBuf,
}

/// Writes a pinentry that runs `before` before it answers.
pub fn pinentry(file: &Path, before: &str) {
    let body = format!(
        "echo OK\nwhile read -r line; do\nif [ \"$line\" = GETPIN ]; then\necho >> {0}.asked\n{before}\necho 'D {PIN}'\nfi\necho OK\ndone\n",
        file.display()
    );
    script(file, &body);
}

/// The agent's program, with the settings of `desk` in its environment.
pub fn command(desk: &Desk) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ticketapi-agent"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", desk.folder.path());
    environment(desk, &mut command);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Sets the environment of `command` to that of a program of `desk`.
pub fn environment(desk: &Desk, command: &mut Command) {
    let config = &desk.config;
    command.env("TICKETAPI_AGENT_SOCKET", socket(desk)).env("TICKETAPI_CARD_WAIT", "0");
    command.env("TICKETAPI_BASE_URL", desk.spine.url()).env("TICKETAPI_CA_FILE", config.ca_file.as_ref().unwrap());
    let card = [
        ("TICKETAPI_SOFTWARE_CARD", &config.software_card),
        ("TICKETAPI_PKCS11_MODULE", &config.pkcs11_module),
        ("TICKETAPI_HELPER", &config.helper),
    ];
    command.envs(card.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))));
    command.env("TICKETAPI_PINENTRY", desk.path("pinentry"));
}

impl InProcess {
    pub fn start(desk: &Desk, before_answer: &str) -> Self {
        pinentry(&desk.path("pinentry"), before_answer);
        Self::run(desk, &mut command(desk))
    }

    /// Runs `command` and waits until the agent accepts connections.
    pub fn run(desk: &Desk, command: &mut Command) -> Self {
        let mut this = Self { child: command.spawn().unwrap(), asked: desk.path("pinentry.asked") };
        let config = settings(desk, AgentUse::Require);
        let until = Instant::now() + PATIENCE;
        while agent::status(&config).is_err() {
            assert_eq!(this.child.try_wait().unwrap(), None, "the agent has ended");
            assert!(Instant::now() < until, "{:?}", agent::status(&config));
            std::thread::sleep(Duration::from_millis(2));
        }
        this
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Counts the PIN prompts.
    pub fn prompts(&self) -> usize {
        std::fs::read_to_string(&self.asked).map_or(0, |text| text.lines().count())
    }

    /// Waits until the user is asked for the PIN.
    pub fn wait_for_prompt(&self) {
        wait_until(|| self.prompts() > 0);
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts the descriptors of another process; or, where only root may look, the size of its table.
pub fn descriptors(process: u32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).map(Iterator::count);
    open.unwrap_or_else(|_| status_of(process, "FDSize") as usize)
}

/// The child processes of another process, including zombies.
pub fn children(process: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let lists: Vec<_> = lists.collect();
    lists.iter().flat_map(|list| list.split_whitespace()).map(|child| child.parse().unwrap()).collect()
}

/// Counts how often the threads of another process have gone to sleep.
pub fn wake_ups(process: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    // Some threads may have ended meanwhile.
    let texts = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    texts.map(|text| number_in(&text, "voluntary_ctxt_switches")).sum()
}

/// Returns a number from the process's status file.
pub fn status_of(process: u32, name: &str) -> u64 {
    number_in(&std::fs::read_to_string(format!("/proc/{process}/status")).unwrap(), name)
}

fn number_in(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    value.split_whitespace().next().unwrap().parse().unwrap()
}

/// Waits for what another process does.
pub fn wait_until(mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "it did not happen in time");
        std::thread::sleep(Duration::from_millis(2));
    }
}
