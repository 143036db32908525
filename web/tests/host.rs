//! The host as browsers use it: a process, and messages through pipes.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Desk, InThread, PATIENCE, PIN, UID, User, pinentry, program, wait_for_end};
use ticketapi::{Error, Pin, Stage};
use ticketapi_testkit::CardSpec;

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
        command.env("TICKETAPI_CA_FILE", desk.config.ca_file.as_ref().unwrap()).env("TICKETAPI_CARD_WAIT", "0");
        command.env("TICKETAPI_SOFTWARE_CARD", desk.path("quick.p12")).env("TICKETAPI_PINENTRY", desk.path("pinentry"));
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
        self.ask(&json!({ "id": 7, "call": call }))
    }

    fn sign(&mut self, request: &Value) -> Value {
        self.ask(&json!({ "id": 7, "call": "sign", "request": request }))
    }

    fn ask(&mut self, message: &Value) -> Value {
        self.send(message);
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
fn a_page_that_watches_learns_that_the_session_has_ended_without_asking() {
    let desk = Desk::new();
    let agent = InThread::start(&desk, &User::new());
    let mut host = Host::for_page(&desk);
    let ended = Some(json!({ "event": "sessionended" }));
    host.call("getTicket");
    assert_eq!(host.call("watch")["value"], Value::Null);
    program(&desk).destroy_ticket().unwrap();
    assert_eq!(host.receive(), ended);
    // Also if the agent ends, and again once the page has asked another one for anything.
    host.call("getTicket");
    drop(agent);
    assert_eq!(host.receive(), ended);
    let until = Instant::now() + PATIENCE;
    while host.call("watch")["error"]["kind"] != "AgentNotAvailable" {
        assert!(Instant::now() < until, "the host does not notice that the agent has ended");
    }
    let _agent = InThread::start(&desk, &User::new());
    host.call("getTicket");
    program(&desk).destroy_ticket().unwrap();
    assert_eq!(host.receive(), ended);
}

#[test]
fn a_host_whose_page_asks_for_nothing_does_not_wake_up() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let mut host = Host::for_page(&desk);
    host.call("getTicket");
    host.call("watch");
    let switches = || -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", host.child.id())).unwrap().flatten();
        let status = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
        let line = |text: String| {
            text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok())
        };
        status.filter_map(line).sum::<u64>()
    };
    // It may still be busy with the last answer, on a busy computer for long.
    let until = Instant::now() + PATIENCE;
    loop {
        let before = switches();
        std::thread::sleep(Duration::from_secs(3));
        if switches() == before {
            break;
        }
        assert!(Instant::now() < until, "it wakes up by itself");
    }
}

/// A desk with a card to sign with, and a list that lets the page have documents signed.
fn signing_desk(before_the_pin: &str) -> Desk {
    let desk = Desk::new();
    desk.quick_card(&CardSpec::new(UID).for_signing());
    pinentry(&desk.path("pinentry"), before_the_pin);
    std::fs::write(desk.path("web.toml"), format!("origins = [{ORIGIN:?}]\nsigning = [{ORIGIN:?}]")).unwrap();
    desk
}

fn documents(count: usize) -> Value {
    let payloads: Vec<_> =
        (0..count).map(|id| json!({ "id": id.to_string(), "payload": "dHdvIHRhYmxldHM=" })).collect();
    json!({ "title": "for A. Patient", "algorithm": "RS256", "payloads": payloads })
}

#[test]
fn a_page_has_documents_signed_and_the_user_sees_its_origin_first() {
    let desk = signing_desk("");
    let _agent = InThread::start(&desk, &User::new());
    let mut host = Host::for_page(&desk);
    host.call("getTicket");
    let signed = host.sign(&documents(60))["value"].clone();
    assert_eq!(
        (&signed["status_code"], &signed["status_string"], &signed["algorithm"]),
        (&json!(0), &json!("Success"), &json!("RS256"))
    );
    let ids: Vec<_> = signed["signatures"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, (0..60).map(|id| json!(id.to_string())).collect::<Vec<_>>());
    let shown = std::fs::read_to_string(desk.path("pinentry.shown")).unwrap();
    assert!(shown.contains(&format!("sign 60 documents: {ORIGIN}: for A. Patient")), "{shown}");
    // The session goes on.
    assert_eq!(host.call("status")["value"], "live");
    // Nobody is asked for a PIN for these.
    for (request, message) in [
        (documents(70), "have them signed in several calls"),
        (documents(0), "there is nothing to sign"),
        (json!({ "payloads": [{ "id": "1", "payload": "?" }] }), "the payload 1 is not base64"),
        (json!({ "payloads": [], "format": "jws" }), "this is not a request for signatures"),
        (Value::Null, "this is not a request for signatures"),
    ] {
        let error = host.sign(&request)["error"].clone();
        assert_eq!(error["kind"], "InvalidParameter");
        assert!(error["message"].as_str().unwrap().contains(message), "{error}");
    }
    assert_eq!(std::fs::read_to_string(desk.path("pinentry.shown")).unwrap(), shown);
}

#[test]
fn a_page_that_is_not_on_the_list_for_signatures_gets_none() {
    let desk = signing_desk("");
    std::fs::write(desk.path("web.toml"), format!("origins = [{ORIGIN:?}]")).unwrap();
    let _agent = InThread::start(&desk, &User::new());
    let mut host = Host::for_page(&desk);
    assert_eq!(host.sign(&documents(1))["error"]["kind"], "NotAllowed");
    assert!(!desk.path("pinentry.shown").exists());
    assert_eq!(host.call("status")["value"], "loggedout");
}

#[test]
fn closing_the_page_during_a_signature_takes_the_prompt_away() {
    let desk = signing_desk("echo $$ >$0.new; mv $0.new $0.pid; exec sleep 1000");
    let _agent = InThread::start(&desk, &User::new());
    let mut host = Host::for_page(&desk);
    host.send(&json!({ "id": 1, "call": "sign", "request": documents(1) }));
    let (pid, until) = (desk.path("pinentry.pid"), Instant::now() + PATIENCE);
    while !pid.exists() {
        assert!(Instant::now() < until, "nobody is asked for the PIN");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Other calls do not wait for it, and a second prompt does not cover it.
    assert_eq!(host.call("status")["value"], "loggedout");
    assert_eq!(host.sign(&documents(1))["error"]["kind"], "Busy");
    host.end();
    wait_for_end(&std::fs::read_to_string(pid).unwrap());
}
