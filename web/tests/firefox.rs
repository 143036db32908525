//! Pages in a real Firefox with the extension: who gets the ticket of the agent's session.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod pages;
mod support;

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pages::{answer, serve, serve_tls};
use serde_json::{Value, json};
use support::{Desk, InThread, User, program};

const REFUSED: &str = "NotAllowedError: not allowed";

/// Firefox, driven by its own protocol, Marionette: a length, a colon, and JSON.
struct Firefox {
    child: Child,
    stream: BufReader<TcpStream>,
    last: u64,
}

impl Firefox {
    fn start(home: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let profile = home.join("profile");
        std::fs::create_dir_all(&profile).unwrap();
        std::fs::write(profile.join("user.js"), format!("user_pref(\"marionette.port\", {port});\n")).unwrap();
        let mut command = Command::new("firefox-esr");
        command.args(["--headless", "--marionette", "--no-remote", "--profile"]).arg(profile).env("HOME", home);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(120);
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break BufReader::new(stream),
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let mut firefox = Self { child, stream, last: 0 };
        firefox.receive();
        firefox
            .command("WebDriver:NewSession", &json!({ "acceptInsecureCerts": true, "timeouts": { "script": 60_000 } }));
        let extension = concat!(env!("CARGO_MANIFEST_DIR"), "/extension");
        firefox.command("Addon:Install", &json!({ "path": extension, "temporary": true }));
        firefox
    }

    fn receive(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            match byte[0] {
                b':' => break,
                digit => length = length * 10 + usize::from(digit - b'0'),
            }
        }
        let mut text = vec![0; length];
        self.stream.read_exact(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn command(&mut self, name: &str, parameters: &Value) -> Value {
        self.last += 1;
        let text = json!([0, self.last, name, parameters]).to_string();
        write!(self.stream.get_mut(), "{}:{text}", text.len()).unwrap();
        let mut answer = self.receive();
        assert_eq!(answer[2], Value::Null, "{name}");
        answer[3].take()
    }

    fn open(&mut self, address: &str) {
        self.command("WebDriver:Navigate", &json!({ "url": address }));
    }

    fn enter_frame(&mut self) {
        let found = self.command("WebDriver:FindElement", &json!({ "using": "css selector", "value": "iframe" }));
        let id = found["value"].as_object().unwrap().values().next().unwrap();
        self.command("WebDriver:SwitchToFrame", &json!({ "element": id, "id": id }));
    }

    fn leave_frame(&mut self) {
        self.command("WebDriver:SwitchToFrame", &json!({ "id": null }));
    }

    fn call(&mut self, call: &str) -> String {
        let script = format!(
            "const done = arguments[arguments.length - 1]; \
             {call}.then((value) => done(String(value)), (error) => done(error.name + ': ' + error.message))"
        );
        let answer = self.command("WebDriver:ExecuteAsyncScript", &json!({ "script": script, "args": [] }));
        answer["value"].as_str().unwrap().to_owned()
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn only_a_page_of_an_allowed_origin_gets_the_ticket_in_firefox() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let (tls, plain) = (serve_tls(desk.folder.path()), serve(answer));
    let allowed = format!("https://127.0.0.1:{tls}");
    let home = desk.path("home");
    let manifest = include_str!("../install/firefox.json.in");
    pages::install(&home.join(".mozilla/native-messaging-hosts"), manifest, &desk, &allowed).unwrap();
    let mut firefox = Firefox::start(&home);
    // On a busy computer the extension may not be there in time for the first page.
    let first = (0..10).map(|_| {
        firefox.open(&format!("{allowed}/"));
        firefox.call("navigator.ticketapi.getTicket()")
    });
    let ticket = { first }.find(|ticket| ticket != REFUSED).expect("an allowed page gets a ticket");
    assert_eq!(program(&desk).get_ticket_no_auth().unwrap().expose(), ticket);
    for address in
        [format!("https://localhost:{tls}/"), format!("http://127.0.0.1:{plain}/"), format!("{allowed}/sandboxed")]
    {
        firefox.open(&address);
        assert_eq!(firefox.call("navigator.ticketapi.getTicketNoAuth()"), REFUSED, "{address}");
    }
    for (top, frame) in [
        (allowed.clone(), format!("https://localhost:{tls}/")),
        (format!("https://localhost:{tls}"), format!("{allowed}/")),
        (allowed.clone(), format!("{allowed}/sandboxed")),
    ] {
        firefox.open(&format!("{top}/frame?{frame}"));
        firefox.enter_frame();
        assert_eq!(firefox.call("navigator.ticketapi.getTicketNoAuth()"), REFUSED, "{frame} in {top}");
        firefox.leave_frame();
    }
    firefox.open(&format!("{allowed}/frame?{allowed}/"));
    firefox.enter_frame();
    assert_eq!(firefox.call("top.navigator.ticketapi.getTicketNoAuth()"), ticket);
}
