//! Runs the program as a user would: with a simulator, a card, and a PIN window that answers.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use ticketapi_testkit::{CardIdentity, CardSpec, Spine, SpineBuilder, TestCa};

pub const UID: &str = "123456789012";
pub const PIN: &str = "123456";

/// A broker, a software card, a pinentry, and settings for them.
pub struct Desk {
    pub spine: Spine,
    pub ca: TestCa,
    pub folder: TempDir,
    settings: Vec<(String, String)>,
}

impl Desk {
    pub fn new() -> Self {
        Self::with(|spine| spine.roles(3).display_name("NURSE A"))
    }

    pub fn with(set_up: impl FnOnce(SpineBuilder) -> SpineBuilder) -> Self {
        let ca = TestCa::new().unwrap();
        let spine = set_up(Spine::builder().strict().card_ca(&ca)).start().unwrap();
        let desk = Self { spine, ca, folder: tempfile::tempdir().unwrap(), settings: Vec::new() };
        let card = desk.path("card.p12");
        desk.identity(&CardSpec::new(UID)).write_pkcs12(&card, PIN).unwrap();
        // The simulator removes its own copy when it ends.
        std::fs::copy(desk.spine.ca_file(), desk.path("ca.pem")).unwrap();
        desk.answering_pin(&format!("echo 'D {PIN}'"));
        // Only the user can access it, as the agent requires.
        DirBuilder::new().mode(0o700).create(desk.path("run")).unwrap();
        let (url, ca_file, pinentry) = (desk.spine.url(), desk.text("ca.pem"), desk.text("pinentry"));
        let role = desk.spine.roles().get(1).map_or_else(|| "1".to_owned(), |role| role.id.clone());
        desk.set("base_url", &url)
            .set("ca_file", &ca_file)
            .set("software_card", card.to_str().unwrap())
            .set("pinentry", &pinentry)
            .set("role", &role)
            .set("card_wait", "0")
    }

    pub fn identity(&self, spec: &CardSpec) -> CardIdentity {
        self.ca.issue(spec).unwrap()
    }

    /// Adds a setting for `--set`; the last one for a key counts.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.into(), value.into()));
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.settings.retain(|(known, _)| known != key);
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Makes the PIN window run these shell commands when it is asked for the PIN; it answers OK to all other
    /// commands.
    pub fn answering_pin(&self, answer: &str) {
        let body = format!("echo OK\nwhile read -r line; do case $line in GETPIN) {answer};; esac; echo OK; done\n");
        script(&self.path("pinentry"), &body);
    }

    /// The program with these arguments and the desk's settings, without this computer's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ticketapi"));
        command.args(arguments);
        for (key, value) in &self.settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("XDG_CONFIG_HOME", self.path("no-settings"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }
}

/// Runs `ticketapi agent` with the settings of a desk.
pub struct Agent(pub Child);

impl Agent {
    pub fn start(desk: &Desk) -> Self {
        let agent = Self(desk.command(&["agent"]).stderr(Stdio::null()).spawn().unwrap());
        let give_up = Instant::now() + Duration::from_secs(60);
        // The agent does not report when it listens.
        while UnixStream::connect(desk.path("run/ticketapi/agent.sock")).is_err() {
            assert!(Instant::now() < give_up, "the agent does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        agent
    }

    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The output of a run.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {:?} {}", self.stdout, self.stderr))
    }
}

/// Writes an executable shell script.
pub fn script(file: &Path, body: &str) {
    ticketapi_testkit::write_script(file, body).unwrap();
}
