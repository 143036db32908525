//! Calls of one page, whose origin is allowed.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use ticketapi::engine::Status;
use ticketapi::{Config, Engine, Error};
use tracing::warn;

use crate::message;

/// How many logins of a page may wait at once; they share one prompt.
const LOGINS: usize = 16;

/// How often a page that listens for events has the agent asked.
const EVENT_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    origin: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    id: u64,
    call: String,
}

/// Returns the origin that the first message names: the extension has it from the browser.
///
/// # Errors
///
/// If it is no such message.
pub fn origin(message: &[u8]) -> Result<String, String> {
    let first = serde_json::from_slice(message).map(|first: First| first.origin);
    first.map_err(|_| "the first message names no origin".into())
}

/// Answers the page's calls until the browser closes the pipe. The process must end then: that cancels logins in
/// progress.
///
/// # Errors
///
/// If the browser sends what is no message.
pub fn serve(mut input: impl Read, config: Config) -> io::Result<()> {
    let host =
        Arc::new(Host { config, logins: AtomicUsize::new(0), watches: AtomicBool::new(false), output: Mutex::new(()) });
    host.send(&json!({ "allowed": true }));
    while let Some(message) = message::read(&mut input)? {
        let request: Request = serde_json::from_slice(&message)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a message that is no request"))?;
        host.answer(request);
    }
    Ok(())
}

struct Host {
    config: Config,
    logins: AtomicUsize,
    watches: AtomicBool,
    /// Keeps messages whole.
    output: Mutex<()>,
}

impl Host {
    fn answer(self: &Arc<Self>, Request { id, call }: Request) {
        match call.as_str() {
            "getTicket" | "getNewTicket" => self.log_in(id, call == "getNewTicket"),
            "getTicketNoAuth" => self.reply(id, self.engine().and_then(|engine| ticket(engine.get_ticket_no_auth()))),
            "status" => self.reply(id, self.engine().map(|engine| json!(name(engine.status())))),
            "watch" => {
                self.watch();
                self.reply(id, Ok(Value::Null));
            }
            _ => self.refuse(id, "InvalidParameter", "there is no such call"),
        }
    }

    /// An engine for one call, so that no ticket outlives it.
    fn engine(&self) -> Result<Engine, Error> {
        Engine::builder(self.config.clone()).build()
    }

    fn log_in(self: &Arc<Self>, id: u64, anew: bool) {
        if self.logins.fetch_add(1, Ordering::Relaxed) >= LOGINS {
            self.logins.fetch_sub(1, Ordering::Relaxed);
            return self.refuse(id, "Busy", "too many calls at once; wait for their answers");
        }
        let host = Arc::clone(self);
        let started = thread::Builder::new().spawn(move || {
            let get = if anew { Engine::get_new_ticket } else { Engine::get_ticket };
            let outcome = host.engine().and_then(|engine| ticket(get(&engine)));
            host.logins.fetch_sub(1, Ordering::Relaxed);
            host.reply(id, outcome);
        });
        if let Err(error) = started {
            warn!(%error, "no thread for a login");
            self.logins.fetch_sub(1, Ordering::Relaxed);
            self.refuse(id, "Busy", "the computer is too busy; try again");
        }
    }

    /// Reports from now on when the session ends or is locked.
    fn watch(self: &Arc<Self>) {
        if self.watches.swap(true, Ordering::Relaxed) {
            return;
        }
        let Ok(engine) = self.engine() else { return };
        let (host, mut before) = (Arc::clone(self), engine.status());
        let started = thread::Builder::new().spawn(move || {
            loop {
                thread::sleep(EVENT_INTERVAL);
                let now = engine.status();
                if let Some(event) = event(before, now) {
                    host.send(&json!({ "event": event }));
                }
                before = now;
            }
        });
        if let Err(error) = started {
            warn!(%error, "no thread for events");
        }
    }

    fn reply(&self, id: u64, outcome: Result<Value, Error>) {
        match outcome {
            Ok(value) => self.send(&json!({ "id": id, "value": value })),
            Err(error) => {
                let kind = format!("{:?}", error.kind());
                let kind = kind.split([' ', '{', '(']).next().unwrap_or_default();
                self.send(&json!({ "id": id, "error": {
                    "kind": kind, "message": error.to_string(), "remedy": error.remedy(),
                } }));
            }
        }
    }

    fn refuse(&self, id: u64, kind: &str, message: &str) {
        self.send(&json!({ "id": id, "error": { "kind": kind, "message": message, "remedy": "" } }));
    }

    fn send(&self, message: &Value) {
        let _whole = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        // If the browser is gone, the end of the input ends this process.
        if let Err(error) = message::write(&mut io::stdout().lock(), message.to_string().as_bytes()) {
            warn!(%error, "the browser does not get an answer");
        }
    }
}

fn ticket(outcome: Result<ticketapi::Ticket, Error>) -> Result<Value, Error> {
    outcome.map(|ticket| json!(ticket.expose()))
}

fn name(status: Status) -> &'static str {
    match status {
        Status::LoggedOut => "loggedout",
        Status::LoggingIn => "loggingin",
        Status::Live { .. } => "live",
        Status::Locked { .. } => "locked",
        // The enumeration may grow.
        _ => "unknown",
    }
}

fn event(before: Status, now: Status) -> Option<&'static str> {
    match (name(before), name(now)) {
        ("live", "locked") => Some("sessionlocked"),
        ("live" | "locked", "loggedout" | "loggingin") => Some("sessionended"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn events_are_the_ends_and_locks_of_sessions() {
        let (live, out) = (Status::Live { card_watched: true }, Status::LoggedOut);
        assert_eq!(event(live, out), Some("sessionended"));
        assert_eq!(event(live, Status::LoggingIn), Some("sessionended"));
        assert_eq!(event(out, live), None);
        assert_eq!(event(live, live), None);
    }

    #[test]
    fn only_a_message_with_an_origin_and_nothing_else_is_the_first() {
        assert_eq!(origin(br#"{"origin":"https://a.example"}"#).unwrap(), "https://a.example");
        for wrong in [
            &b"{}"[..],
            b"[]",
            b"\xff",
            br#"{"origin":1}"#,
            br#"{"origin":"a","id":1}"#,
            br#"{"id":1,"call":"status"}"#,
        ] {
            origin(wrong).unwrap_err();
        }
    }
}
