//! The host as browsers use it: a process, and messages through pipes.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};
use support::{Desk, InThread, PATIENCE, PIN, User, program};
use ticketapi::{Error, Pin, Stage};

const ORIGIN: &str = "https://app.example";

/// The host of one page.
struct Host {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl Host {
    fn start(desk: &Desk) -> Self {
        let file = desk.path("web.toml");
        if !file.exists() {
            std::fs::write(&file, format!("origins = [{ORIGIN:?}]")).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_ticketapi-web"));
        command.arg("--origins").arg(file).arg("/a/manifest.json").env_clear().env("HOME", desk.folder.path());
        command.env("TICKETAPI_AGENT_SOCKET", desk.path("run/agent.sock")).env("TICKETAPI_BASE_URL", desk.spine.url());
        command.env("TICKETAPI_CA_FILE", desk.config.ca_file.as_ref().unwrap());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, input, output }
    }

    fn for_page(desk: &Desk) -> Self {
        let mut host = Self::start(desk);
        host.send(&json!({ "origin": ORIGIN }));
        assert_eq!(host.receive(), Some(json!({ "allowed": true })));
        host
    }

    fn write(&mut self, length: usize, bytes: &[u8]) {
        let length = u32::try_from(length).unwrap().to_ne_bytes();
        // A host that has ended already takes nothing.
        let _ = self.input.as_mut().unwrap().write_all(&[&length, bytes].concat());
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        self.write(text.len(), text.as_bytes());
    }

    fn receive(&mut self) -> Option<Value> {
        let mut length = [0; 4];
        self.output.read_exact(&mut length).ok()?;
        let mut message = vec![0; u32::from_ne_bytes(length) as usize];
        self.output.read_exact(&mut message).unwrap();
        Some(serde_json::from_slice(&message).unwrap())
    }

    fn call(&mut self, call: &str) -> Value {
        self.send(&json!({ "id": 7, "call": call }));
        let answer = self.receive().unwrap();
        assert_eq!(answer["id"], 7);
        answer
    }

    /// Closes the pipe; returns what came until the end, whether all went well, and what was reported.
    fn end(&mut self) -> (Vec<u8>, bool, String) {
        drop(self.input.take());
        let (mut rest, mut report) = (Vec::new(), String::new());
        self.output.read_to_end(&mut rest).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut report).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.code().is_some(), "it ends by itself: {status}");
        (rest, status.success(), report)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_allowed_page_gets_the_ticket_of_the_agents_session() {
    let desk = Desk::new();
    let user = User::new();
    let _agent = InThread::start(&desk, &user);
    let mut host = Host::for_page(&desk);
    let none = host.call("getTicketNoAuth");
    assert_eq!(none["error"]["kind"], "TicketNotAvailable");
    assert_eq!(host.call("status")["value"], "loggedout");
    let ticket = host.call("getTicket")["value"].clone();
    assert!(ticket.as_str().unwrap().len() > 20);
    assert_eq!(host.call("status")["value"], "live");
    for _ in 0..1000 {
        assert_eq!(host.call("getTicketNoAuth")["value"], ticket);
    }
    assert_eq!(Host::for_page(&desk).call("getTicket")["value"], ticket);
    assert_eq!(host.call("signEverything")["error"]["kind"], "InvalidParameter");
    assert_eq!(host.end(), (Vec::new(), true, String::new()));
    assert_eq!(user.pins_asked(), 1);
}

#[test]
fn a_page_that_is_not_allowed_gets_not_one_byte() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    Host::for_page(&desk).call("getTicket");
    for origin in ["https://app.example.evil.example", "https://app.example:8443", "http://app.example", "null", ""] {
        let mut host = Host::start(&desk);
        host.send(&json!({ "origin": origin }));
        host.send(&json!({ "id": 1, "call": "getTicketNoAuth" }));
        let (bytes, well, report) = host.end();
        assert!(bytes.is_empty() && !well, "{origin}");
        assert_eq!(report, "ticketapi-web: this origin is not allowed\n");
    }
    // A call instead of an origin.
    let mut host = Host::start(&desk);
    host.send(&json!({ "id": 1, "call": "getTicketNoAuth" }));
    assert!(host.end().0.is_empty());
}

#[test]
fn a_list_of_origins_that_others_can_write_allows_nobody() {
    let desk = Desk::new();
    let file = desk.path("web.toml");
    std::fs::write(&file, format!("origins = [{ORIGIN:?}]")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut host = Host::start(&desk);
    host.send(&json!({ "origin": ORIGIN }));
    let (bytes, well, report) = host.end();
    assert!(bytes.is_empty() && !well && report.contains("can be changed by other users"), "{report}");
}

#[test]
fn what_is_no_message_ends_the_host() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let long = "x".repeat(70_000);
    for (length, bytes) in [
        (0, &b""[..]),
        (65_537, long.as_bytes()),
        (1 << 31, b""),
        (u32::MAX as usize, b"{}"),
        (100, b"{}"),
        (2, b"\xff\xfe"),
        (2, b"[]"),
        (8, b"{\"id\":1}"),
        (30, b"{\"id\":-1,\"call\":\"getTicket\"}"),
    ] {
        let mut host = Host::for_page(&desk);
        host.write(length, bytes);
        let (bytes, well, report) = host.end();
        assert!(bytes.is_empty() && !well && report.starts_with("ticketapi-web: "), "{length}: {report}");
    }
}

#[test]
fn closing_the_page_during_a_login_cancels_it() {
    let desk = Desk::new();
    let (asked, is_asked) = mpsc::channel();
    let (cancelled, is_cancelled) = mpsc::channel();
    let user = User::new().asked_for_pin(move |cancel| {
        asked.send(()).unwrap();
        while !cancel.is_cancelled() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        cancelled.send(()).unwrap();
        Err::<Pin, _>(Error::cancelled(Stage::Pin))
    });
    let _agent = InThread::start(&desk, &user);
    let mut host = Host::for_page(&desk);
    host.send(&json!({ "id": 1, "call": "getTicket" }));
    is_asked.recv().unwrap();
    // Other calls do not wait for the login.
    assert_eq!(host.call("status")["value"], "loggingin");
    host.end();
    is_cancelled.recv_timeout(PATIENCE).unwrap();
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn ten_thousand_logins_at_once_are_refused_but_for_a_few() {
    let desk = Desk::new();
    let (answer, answered) = mpsc::channel::<()>();
    let user = User::new().asked_for_pin(move |_| {
        answered.recv().unwrap();
        Ok(Pin::new(PIN.into()))
    });
    let _agent = InThread::start(&desk, &user);
    let mut host = Host::for_page(&desk);
    let mut input = host.input.take().unwrap();
    let writer = std::thread::spawn(move || {
        for id in 0..10_000 {
            let text = json!({ "id": id, "call": "getTicket" }).to_string();
            input.write_all(&[&(text.len() as u32).to_ne_bytes(), text.as_bytes()].concat()).unwrap();
        }
        input
    });
    let refused: Vec<_> = (16..10_000).map(|_| host.receive().unwrap()).collect();
    assert!(refused.iter().all(|answer| answer["error"]["kind"] == "Busy"));
    answer.send(()).unwrap();
    let tickets: Vec<_> = (0..16).map(|_| host.receive().unwrap()["value"].clone()).collect();
    assert!(tickets.iter().all(|ticket| ticket.is_string() && *ticket == tickets[0]));
    host.input = Some(writer.join().unwrap());
    assert!(host.end().1);
}

#[test]
fn a_page_that_watches_learns_that_the_session_has_ended() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let mut host = Host::for_page(&desk);
    host.call("getTicket");
    host.call("watch");
    program(&desk).destroy_ticket().unwrap();
    assert_eq!(host.receive(), Some(json!({ "event": "sessionended" })));
}
