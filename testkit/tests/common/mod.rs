//! A client for the simulator that shares nothing with ticketapi: it writes requests by hand and signs with
//! openssl's command line.

#![allow(dead_code, reason = "each test program uses its own part")]

pub mod simulator;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion};
use ticketapi_testkit::{CardIdentity, Spine};

pub const USER_AGENT: &str = "Mozilla/4.0(compatible;IE;GACv10. 0. 0. 1)";
pub const SOON: Duration = Duration::from_secs(10);

pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

pub struct Client {
    pub stream: Box<dyn Stream>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns the value of a parameter, extracted without an XML parser.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let text = self.text();
        let rest = text.split_once(&format!("<gpPARAM name=\"{name}\""))?.1.split_once('>')?.1;
        Some(rest.split_once("</gpPARAM>")?.0.into())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Client {
    pub fn connect(spine: &Spine) -> Self {
        Self::try_connect(spine, None, "localhost").unwrap()
    }

    pub fn try_connect(spine: &Spine, version: Option<SslVersion>, name: &str) -> Result<Self, String> {
        let ca_file = spine.url().starts_with("https://").then(|| spine.ca_file());
        Self::open(spine.port(), ca_file, version, name)
    }

    /// A connection with TLS where there is a CA file.
    pub fn open(port: u16, ca_file: Option<&Path>, version: Option<SslVersion>, name: &str) -> Result<Self, String> {
        let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tcp.set_read_timeout(Some(SOON)).unwrap();
        let Some(ca_file) = ca_file else { return Ok(Self { stream: Box::new(tcp) }) };
        // Not SslConnector, which reads the system's trust anchors each time.
        let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
        context.set_verify(SslVerifyMode::PEER);
        context.set_ca_file(ca_file).unwrap();
        context.set_min_proto_version(version).unwrap();
        context.set_max_proto_version(version).unwrap();
        let mut ssl = Ssl::new(&context.build()).unwrap();
        match name.parse() {
            Ok(address) => ssl.param_mut().set_ip(address).unwrap(),
            Err(_) => ssl.param_mut().set_host(name).unwrap(),
        }
        let stream = ssl.connect(tcp).map_err(|error| error.to_string())?;
        Ok(Self { stream: Box::new(stream) })
    }

    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: spine.test:443\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if method == "POST" || !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        self.stream.write_all(&[text.as_bytes(), body].concat()).unwrap();
    }

    pub fn read_head(&mut self) -> std::io::Result<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        Ok(String::from_utf8(head).unwrap())
    }

    pub fn read_response(&mut self) -> std::io::Result<Response> {
        let head = self.read_head()?;
        let mut response = Response { status: head[9..12].parse().unwrap(), head, body: Vec::new() };
        let length = response.header("Content-Length").map_or(0, |digits| digits.parse().unwrap());
        response.body = vec![0; length];
        self.stream.read_exact(&mut response.body)?;
        Ok(response)
    }

    pub fn get(&mut self, target: &str) -> Response {
        self.send("GET", target, &[("User-Agent", USER_AGENT)], b"");
        self.read_response().unwrap()
    }

    pub fn post(&mut self, target: &str, body: &[u8]) -> Response {
        self.send("POST", target, &[("User-Agent", USER_AGENT)], body);
        self.read_response().unwrap()
    }

    pub fn activate(&mut self) -> Response {
        self.post("/login/authactivate", Message::activate().write().as_bytes())
    }

    /// Activates, and builds the message that answers the challenge.
    pub fn answer_challenge(&mut self, card: &CardIdentity) -> Message {
        let answer = self.activate();
        let challenge = answer.parameter("challenge").expect("a challenge");
        Message::validate(&challenge, &answer.parameter("signature").unwrap(), card)
    }

    pub fn validate(&mut self, message: &Message) -> Response {
        self.post("/login/authvalidate", message.write().as_bytes())
    }

    /// Logs in and returns the ticket.
    pub fn log_in(&mut self, card: &CardIdentity) -> String {
        let message = self.answer_challenge(card);
        let response = self.validate(&message);
        response.parameter("sso_ticket").unwrap_or_else(|| panic!("no ticket: {}", response.text()))
    }

    pub fn log_out(&mut self, ticket: &str, uid: &str) -> Response {
        self.post("/login/authlogout", Message::log_out(ticket, uid).write().as_bytes())
    }

    pub fn select_role(&mut self, ticket: &str, role: &str) -> Response {
        self.get(&format!(
            "/saml/RoleSelectionGP.jsp?token={}&selectedRoleUid={role}&ssbMode=0&fallbackStatus=0&gacVersion=GACv10.%200.%200.%201",
            escaped(ticket)
        ))
    }
}

/// A gpOBJECT whose parameters can be changed.
#[derive(Clone)]
pub struct Message(pub Vec<(String, String)>);

impl Message {
    fn new(parameters: &[(&str, &str)]) -> Self {
        Self(parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    pub fn activate() -> Self {
        Self::new(&[
            ("auth_method", "3"),
            ("app_url", "NHST"),
            ("log_session_id", "Ao9qufl7uA"),
            ("device_id", "k3v9x0ab,ClientIP=127.0.0.1"),
            ("service", "ACTIVATION"),
        ])
    }

    pub fn validate(challenge: &str, signature: &str, card: &CardIdentity) -> Self {
        let cms = sign(&STANDARD.decode(challenge).unwrap(), card, &AS_AGENT);
        Self::activate()
            .set("service", "AUTHENTICATION")
            .set("challenge", challenge)
            .set("signature", signature)
            .set("uid", card.uid())
            .set("card_type", "p11")
            .set("mobility", "0")
            .set("response", &STANDARD.encode(entity(&cms)))
    }

    pub fn log_out(ticket: &str, uid: &str) -> Self {
        Self::activate()
            .without("auth_method")
            .without("app_url")
            .set("service", "LOGOUT")
            .set("sso_ticket", ticket)
            .set("uid", uid)
    }

    pub fn get(&self, name: &str) -> &str {
        &self.0.iter().find(|parameter| parameter.0 == name).unwrap().1
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        match self.0.iter_mut().find(|parameter| parameter.0 == name) {
            Some(parameter) => parameter.1 = value.into(),
            None => self.0.push((name.into(), value.into())),
        }
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|parameter| parameter.0 != name);
        self
    }

    pub fn with_cms(self, cms: &[u8]) -> Self {
        self.with_entity(&entity(cms))
    }

    pub fn with_entity(self, entity: &str) -> Self {
        self.set("response", &STANDARD.encode(entity))
    }

    pub fn write(&self) -> String {
        let mut text =
            String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE USER SYSTEM \"dtd\">\n<gpOBJECT>\n");
        for (name, value) in &self.0 {
            let encoding = if name == "response" { " encoding=\"base64\"" } else { "" };
            let value = value.replace('&', "&amp;").replace('<', "&lt;");
            text.push_str(&format!("<gpPARAM name=\"{name}\"{encoding}>{value}</gpPARAM>\n"));
        }
        text + "</gpOBJECT>\n"
    }
}

/// The S/MIME entity, in lines of 64 characters.
pub fn entity(cms: &[u8]) -> String {
    let text = STANDARD.encode(cms);
    let lines: String =
        text.as_bytes().chunks(64).map(|line| format!("{}\r\n", std::str::from_utf8(line).unwrap())).collect();
    format!(
        "MIME-Version: 1.0\r\nContent-Disposition: attachment; filename=\"smime.p7m\"\r\n\
         Content-Type: application/x-pkcs7-mime; name=\"smime.p7m\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{lines}"
    )
}

/// openssl's options for signing as an Identity Agent does.
pub const AS_AGENT: [&str; 3] = ["-md", "sha1", "-noattr"];

/// Signs `content` as CMS with openssl's command line.
pub fn sign(content: &[u8], card: &CardIdentity, options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let certificate = file("certificate.pem", &card.certificate().to_pem().unwrap());
    let key = file("key.pem", &card.key().private_key_to_pem_pkcs8().unwrap());
    let content = file("content", content);
    let output = Command::new("openssl")
        .args(["cms", "-sign", "-binary", "-nodetach", "-outform", "DER"])
        .args(options)
        .args(["-in".as_ref(), content.as_os_str(), "-signer".as_ref(), certificate.as_os_str()])
        .args(["-inkey".as_ref(), key.as_os_str()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub fn escaped(ticket: &str) -> String {
    ticket
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Runs a program and returns its standard output, after checking that it succeeded.
pub fn output_of(program: &str, arguments: &[&str], environment: &[(&str, &Path)]) -> String {
    let output = Command::new(program).args(arguments).envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
