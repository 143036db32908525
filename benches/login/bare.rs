//! The floor of a login: `bare.c` instead of the helper, and requests from templates.

use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ticketapi::card::Certificate;
use ticketapi::challenge::{self, Digest};
use ticketapi::ssb::message;
use ticketapi_testkit::Spine;

use crate::card::{self, PIN};
use crate::requests::Bare;

/// The compiled `bare.c`.
pub struct BareProgram(PathBuf);

impl BareProgram {
    pub fn compile(folder: &Path) -> Self {
        Self(card::compile(folder, "login/bare.c"))
    }

    /// Starts it as the helper is started, and waits until it has found the certificate.
    pub fn start(&self, module: &Path) -> BareCard {
        let (child, socket) = card::start(&self.0, module);
        let mut card = BareCard { child, socket };
        assert!(card.receive().len() > 512);
        card
    }
}

pub struct BareCard {
    child: Child,
    socket: UnixStream,
}

impl BareCard {
    pub fn sign(&mut self, challenge: &[u8]) -> Vec<u8> {
        let pin_length = u8::try_from(PIN.len()).unwrap();
        self.socket.write_all(&[&[pin_length], PIN.as_bytes(), challenge].concat()).unwrap();
        self.receive()
    }

    pub fn end(mut self) {
        assert!(self.child.wait().unwrap().success());
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        let length = self.socket.read(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }
}

const CHALLENGE: usize = 48;

/// The requests of a login as they are sent, with placeholders for values from the broker. Each placeholder is as
/// long as its value, except that for the ticket, which is in no body.
pub struct BareLogin<'a> {
    program: &'a BareProgram,
    module: &'a Path,
    port: u16,
    tls: Bare,
    activate: String,
    validate: String,
    select_role: String,
    cms: Cms,
}

impl<'a> BareLogin<'a> {
    pub fn new(spine: &Spine, program: &'a BareProgram, module: &'a Path, certificate: &Certificate) -> Self {
        let host = format!("127.0.0.1:{}", spine.port());
        let cms = Cms::new(certificate);
        let common = [
            ("auth_method", "3"),
            ("app_url", "NHST"),
            ("log_session_id", "aB3dE6gH9j"),
            ("device_id", "abcd1234,ClientIP=127.0.0.1"),
        ];
        let activate = [&common[..], &[("service", "ACTIVATION")]].concat();
        let (challenge, signature) = (CHALLENGE_BLANK.repeat(64), SIGNATURE_BLANK.repeat(24));
        let response = RESPONSE_BLANK.repeat(cms.response(&[0; CHALLENGE], &cms.blank_signature()).len());
        let answer = [
            ("service", "AUTHENTICATION"),
            ("challenge", &challenge),
            ("signature", &signature),
            ("uid", certificate.uid()),
            ("card_type", "p11"),
            ("response", &response),
            ("mobility", "0"),
        ];
        let validate = [&common[..], &answer].concat();
        let role = &spine.roles()[0].id;
        Self {
            program,
            module,
            port: spine.port(),
            tls: Bare::new(spine.ca_file()),
            activate: post("/login/authactivate", &host, &activate),
            validate: post("/login/authvalidate", &host, &validate),
            select_role: format!(
                "GET /saml/RoleSelectionGP.jsp?token={TICKET_BLANK}&selectedRoleUid={role}&ssbMode=0&fallbackStatus=0\
                 &gacVersion=GACv10.%200.%200.%201 HTTP/1.1\r\nHost: {host}\r\n{HEADERS}\r\n"
            ),
            cms,
        }
    }

    pub fn log_in(&self) {
        let mut card = self.program.start(self.module);
        let mut broker = self.tls.connect(self.port);

        let answer = broker.exchange(&self.activate);
        let challenge = value(&answer, "challenge");
        let bytes: [u8; CHALLENGE] = BASE64.decode(challenge).unwrap().try_into().unwrap();
        let response = self.cms.response(&bytes, &card.sign(&bytes));

        let request = self.validate.replace(&CHALLENGE_BLANK.repeat(64), challenge);
        let request = request.replace(&SIGNATURE_BLANK.repeat(24), value(&answer, "signature"));
        let answer = broker.exchange(&request.replace(&RESPONSE_BLANK.repeat(response.len()), &response));

        let ticket = value(&answer, "sso_ticket").bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let answer = broker.exchange(&self.select_role.replace(TICKET_BLANK, &ticket));
        assert!(answer.contains("<STATUS>OK</STATUS>"));
        broker.close();
        card.end();
    }
}

// A run of this character occurs nowhere else.
const CHALLENGE_BLANK: &str = "!";
const SIGNATURE_BLANK: &str = "*";
const RESPONSE_BLANK: &str = "~";
const TICKET_BLANK: &str = "!";

const HEADERS: &str = "User-Agent: Mozilla/4.0(compatible;IE;GACv10. 0. 0. 1)\r\nAccept: */*\r\n";

fn post(path: &str, host: &str, parameters: &[(&'static str, &str)]) -> String {
    let message = String::from_utf8(message::write(parameters).unwrap().to_vec()).unwrap();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\n{HEADERS}Content-Type: text/xml; charset=UTF-8\r\n\
         Content-Length: {}\r\n\r\n{message}",
        message.len()
    )
}

fn value<'a>(answer: &'a str, parameter: &str) -> &'a str {
    let (_, rest) = answer.split_once(&format!("<gpPARAM name=\"{parameter}\">")).unwrap();
    rest.split_once('<').unwrap().0
}

/// A signed challenge in which only challenge and signature change.
struct Cms {
    message: Vec<u8>,
    challenge: Range<usize>,
    signature: Range<usize>,
}

impl Cms {
    fn new(certificate: &Certificate) -> Self {
        let (challenge, signature) = ([0xc5; CHALLENGE], vec![0x5c; certificate.key_bits() / 8]);
        let message = challenge::encode(&challenge, certificate, Digest::Sha1, &signature).unwrap();
        let place = |part: &[u8]| {
            let at = message.windows(part.len()).position(|window| window == part).unwrap();
            at..at + part.len()
        };
        Self { challenge: place(&challenge), signature: place(&signature), message }
    }

    fn blank_signature(&self) -> Vec<u8> {
        vec![0; self.signature.len()]
    }

    fn response(&self, challenge: &[u8], signature: &[u8]) -> String {
        let mut message = self.message.clone();
        message[self.challenge.clone()].copy_from_slice(challenge);
        message[self.signature.clone()].copy_from_slice(signature);
        BASE64.encode(challenge::to_smime(&message))
    }
}
