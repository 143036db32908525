//! The part of a login at a Nuts node that is ours, to the same requests sent bare over one connection. The pause
//! before the poll, and the page, are left out of both.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "support/bare.rs"]
mod bare;
mod support;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use ticketapi::cancel::CancelToken;
use ticketapi::prompt::{Browser, LoginPage, NoPrompter, Opened};
use ticketapi::session::Employee;
use ticketapi::{Config, Engine};
use ticketapi_testkit::Nuts;

use bare::{Bare, BareServer, settle};
use support::{Comparisons, time};

/// Before the first poll.
const PAUSE: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let mut comparisons = Comparisons::new();
    // Each session is accepted as soon as it begins.
    let nuts = Nuts::builder().tls().auto(true).start().unwrap();
    let mut config = Config::default();
    for (key, value) in [
        ("service", "nuts"),
        ("nuts_node", &nuts.url()),
        ("employer", nuts.employer()),
        ("ca_file", nuts.ca_file().to_str().unwrap()),
        ("bind_card", "false"),
        ("agent", "never"),
    ] {
        config.set(key, value).unwrap();
    }
    let employee = Employee::new("481", "J", "van Dijk").role("Verpleegkundige niveau 2");
    let login = || {
        let engine = Engine::builder(config.clone()).prompter(NoPrompter).browser(Nothing).build().unwrap();
        engine.set_employee(&employee).unwrap();
        settle();
        let took = time(|| engine.log_in().unwrap());
        engine.destroy_ticket().unwrap();
        took - PAUSE
    };
    let floor = BareLogin::new(&nuts);
    comparisons.compare(
        "the part of a login at a Nuts node that is ours, to the same requests made bare",
        1.25,
        20,
        login,
        || floor.log_in(),
    );
    comparisons.finish()
}

/// Nobody has to see the page.
struct Nothing;

impl Browser for Nothing {
    fn open(&self, _: &LoginPage<'_>, _: &CancelToken) -> ticketapi::Result<Opened> {
        Ok(Opened::default())
    }
}

struct BareLogin {
    tls: Bare,
    port: u16,
    contract: String,
    /// Without the contract, which stands at its end.
    session: String,
}

impl BareLogin {
    fn new(nuts: &Nuts) -> Self {
        let employer = nuts.employer();
        let employee = json!({"identifier": "481", "initials": "J", "familyName": "van Dijk",
            "roleName": "Verpleegkundige niveau 2"});
        let params = json!({"employer": employer, "employee": employee});
        Self {
            tls: Bare::new(nuts.ca_file()),
            port: nuts.url().rsplit(':').next().unwrap().parse().unwrap(),
            contract: json!({"type": "PractitionerLogin", "language": "EN", "version": "v3", "legalEntity": employer})
                .to_string(),
            session: format!(r#"{{"means":"employeeid","params":{params},"payload":"#),
        }
    }

    /// Returns how long it took, without the pause.
    fn log_in(&self) -> Duration {
        settle();
        let began = Instant::now();
        let mut node = self.tls.connect(self.port);
        let answer = self.send(&mut node, "PUT", "contract/drawup", &self.contract);
        let body = format!("{}\"{}\"}}", self.session, text(&answer, "message"));
        let answer = self.send(&mut node, "POST", "signature/session", &body);
        let id = text(&answer, "sessionID");
        thread::sleep(PAUSE);
        let answer = self.send(&mut node, "GET", &format!("signature/session/{id}"), "");
        let (_, presentation) = answer.split_once(r#""verifiablePresentation":"#).unwrap();
        let body = format!(r#"{{"verifiablePresentation":{presentation}"#);
        assert!(self.send(&mut node, "PUT", "signature/verify", &body).contains(r#""validity":true"#));
        node.close();
        began.elapsed() - PAUSE
    }

    fn send(&self, node: &mut BareServer, method: &str, path: &str, body: &str) -> String {
        node.exchange(&format!(
            "{method} /internal/auth/v1/{path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        ))
    }
}

/// Finds a text that has no quotes in it.
fn text<'a>(answer: &'a str, name: &str) -> &'a str {
    let (_, rest) = answer.split_once(&format!("\"{name}\":\"")).unwrap();
    rest.split('"').next().unwrap()
}
