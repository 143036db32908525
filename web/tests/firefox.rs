//! Pages in a real Firefox with the extension: who gets the ticket of the agent's session.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/oidc/house.rs"]
#[allow(dead_code)]
mod house;
mod pages;
mod support;

use std::cell::RefCell;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pages::story::{Browser, Site, tell};
use serde_json::{Value, json};

/// Firefox, driven by its own protocol, Marionette: a length, a colon, and JSON.
struct Firefox {
    child: Child,
    connection: RefCell<Connection>,
}

struct Connection {
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
        let mut connection = Connection { stream, last: 0 };
        connection.receive();
        let firefox = Self { child, connection: RefCell::new(connection) };
        firefox.command(
            "WebDriver:NewSession",
            &json!({ "acceptInsecureCerts": true, "timeouts": { "script": 60_000, "implicit": 60_000 } }),
        );
        let extension = concat!(env!("CARGO_MANIFEST_DIR"), "/extension");
        firefox.command("Addon:Install", &json!({ "path": extension, "temporary": true }));
        firefox
    }

    fn command(&self, name: &str, parameters: &Value) -> Value {
        self.connection.borrow_mut().command(name, parameters)
    }

    fn find(&self, selector: &str) -> String {
        let what = json!({ "using": "css selector", "value": selector });
        let found = self.command("WebDriver:FindElement", &what);
        found["value"].as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }
}

impl Connection {
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
}

impl Browser for Firefox {
    fn open(&self, address: &str) {
        self.command("WebDriver:Navigate", &json!({ "url": address }));
    }

    fn enter_frame(&self) {
        let id = self.find("iframe");
        self.command("WebDriver:SwitchToFrame", &json!({ "element": id, "id": id }));
    }

    fn new_window(&self) -> String {
        let window = self.command("WebDriver:NewWindow", &json!({ "type": "tab" }));
        window["handle"].as_str().unwrap().to_owned()
    }

    fn window(&self) -> String {
        self.command("WebDriver:GetWindowHandle", &json!({}))["value"].as_str().unwrap().to_owned()
    }

    fn windows(&self) -> Vec<String> {
        let windows = self.command("WebDriver:GetWindowHandles", &json!({}));
        serde_json::from_value(windows).unwrap()
    }

    fn enter_window(&self, window: &str) {
        self.command("WebDriver:SwitchToWindow", &json!({ "handle": window }));
    }

    fn text(&self, selector: &str) -> String {
        let text = self.command("WebDriver:GetElementText", &json!({ "id": self.find(selector) }));
        text["value"].as_str().unwrap().to_owned()
    }

    fn run(&self, script: &str) -> String {
        let script = format!("const done = arguments[arguments.length - 1]; {script}");
        let answer = self.command("WebDriver:ExecuteAsyncScript", &json!({ "script": script, "args": [] }));
        answer["value"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn only_a_page_of_an_allowed_origin_is_served_in_firefox_until_it_is_closed() {
    let site = Site::new();
    let home = site.desk.path("home");
    let manifest = include_str!("../install/firefox.json.in");
    pages::install(&home.join(".mozilla/native-messaging-hosts"), manifest, &site.desk, &site.allowed).unwrap();
    // It is killed at the end, as a browser that crashes.
    tell(&site, Firefox::start(&home), drop);
}
