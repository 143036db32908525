//! Calls of one page, whose origin is allowed.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use ticketapi::agent::protocol::Change;
use ticketapi::agent::{self, Watch};
use ticketapi::engine::Status;
use ticketapi::{Config, Engine, Error};
use tracing::warn;

use crate::message;
use crate::origins::Rights;
use crate::sign::{self, Asked};

/// How many logins of a page may wait at once; they share one prompt.
const LOGINS: usize = 16;

/// How often a prompt for signatures is withdrawn when the page has gone, and how long it may take each time.
const WITHDRAWALS: u32 = 15;
const WITHDRAWAL: Duration = Duration::from_millis(100);

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
    /// What to sign.
    request: Option<Value>,
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

/// Answers the calls of a page of `origin` until the browser closes the pipe. The process must end then: that cancels
/// logins in progress.
///
/// # Errors
///
/// If the browser sends what is no message.
pub fn serve(mut input: impl Read, config: Config, origin: String, rights: Rights) -> io::Result<()> {
    let host = Arc::new(Host {
        config,
        origin,
        rights,
        logins: AtomicUsize::new(0),
        signing: Mutex::new(None),
        signed: Condvar::new(),
        events: Mutex::new(Events::Unwanted),
        output: Mutex::new(()),
    });
    host.send(&json!({ "allowed": true }));
    let ended = host.answer_all(&mut input);
    host.end_signing();
    ended
}

struct Host {
    config: Config,
    origin: String,
    rights: Rights,
    logins: AtomicUsize,
    /// The engine that signs, if the page has asked for signatures that are not there yet.
    signing: Mutex<Option<Arc<Engine>>>,
    signed: Condvar,
    events: Mutex<Events>,
    /// Keeps messages whole.
    output: Mutex<()>,
}

/// Whether the page gets events.
#[derive(PartialEq, Eq)]
enum Events {
    Unwanted,
    /// It does once there is an agent again.
    Wanted,
    Sent,
}

impl Host {
    fn answer_all(self: &Arc<Self>, input: &mut impl Read) -> io::Result<()> {
        while let Some(message) = message::read(input)? {
            let request: Request = serde_json::from_slice(&message)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a message that is no request"))?;
            self.answer(request);
        }
        Ok(())
    }

    fn answer(self: &Arc<Self>, Request { id, call, request }: Request) {
        if *lock(&self.events) == Events::Wanted {
            // Without an agent there is no session either.
            let _ = self.watch();
        }
        match call.as_str() {
            "getTicket" | "getNewTicket" => self.log_in(id, call == "getNewTicket"),
            "getTicketNoAuth" => self.reply(id, self.engine().and_then(|engine| ticket(engine.get_ticket_no_auth()))),
            "status" => self.reply(id, self.engine().map(|engine| json!(name(engine.status())))),
            "watch" => self.reply(id, self.watch().map(|()| Value::Null)),
            "sign" => self.sign(id, request.unwrap_or_default()),
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

    /// Signs in this process, as every program does: the agent has no requests for signatures.
    fn sign(self: &Arc<Self>, id: u64, request: Value) {
        if !self.rights.signing {
            return self.refuse(id, "NotAllowed", "the administrator does not let this site have documents signed");
        }
        let Ok(asked) = serde_json::from_value::<Asked>(request) else {
            return self.refuse(id, "InvalidParameter", "this is not a request for signatures");
        };
        let prepared = sign::request(asked, &self.origin).and_then(|request| Ok((request, Arc::new(self.engine()?))));
        let (request, engine) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return self.reply(id, Err(error)),
        };
        let mut signing = lock(&self.signing);
        if signing.is_some() {
            return self.refuse(id, "Busy", "this page is having other documents signed; wait for that to end");
        }
        let host = Arc::clone(self);
        let started = thread::Builder::new().spawn({
            let engine = Arc::clone(&engine);
            move || {
                let outcome = engine.sign(&request).map(|signatures| sign::answer(&signatures));
                drop(engine);
                *lock(&host.signing) = None;
                host.signed.notify_all();
                host.reply(id, outcome);
            }
        });
        match started {
            Ok(_) => *signing = Some(engine),
            Err(error) => {
                warn!(%error, "no thread for signatures");
                self.refuse(id, "Busy", "the computer is too busy; try again");
            }
        }
    }

    /// Takes the prompt for signatures away.
    fn end_signing(&self) {
        let mut signing = lock(&self.signing);
        for _ in 0..WITHDRAWALS {
            // Again, because the first time may have been before it began.
            let Some(engine) = &*signing else { return };
            engine.cancel_login();
            signing = self.signed.wait_timeout(signing, WITHDRAWAL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Reports from now on when the session ends or is locked.
    fn watch(self: &Arc<Self>) -> Result<(), Error> {
        let mut events = lock(&self.events);
        if *events == Events::Sent {
            return Ok(());
        }
        let watch = agent::watch(&self.config)?;
        let is_there = matches!(self.engine()?.status(), Status::Live { .. } | Status::Locked { .. });
        let host = Arc::clone(self);
        match thread::Builder::new().spawn(move || host.report(&watch, is_there)) {
            Ok(_) => *events = Events::Sent,
            Err(error) => warn!(%error, "no thread for events"),
        }
        Ok(())
    }

    /// Sends events until the agent ends, and with it the session, if there is one then.
    fn report(&self, watch: &Watch, mut is_there: bool) {
        while let Ok(change) = watch.next_change() {
            is_there = change != Change::Ended;
            if let Some(event) = event(change) {
                self.send(&json!({ "event": event }));
            }
        }
        *lock(&self.events) = Events::Wanted;
        if is_there {
            self.send(&json!({ "event": "sessionended" }));
        }
    }

    fn reply(&self, id: u64, outcome: Result<Value, Error>) {
        match outcome {
            Ok(value) => {
                if !self.send(&json!({ "id": id, "value": value })) {
                    self.refuse(id, "Internal", "the answer has more than 64 KiB");
                }
            }
            Err(error) => {
                let answer = json!({ "id": id, "error": {
                    "kind": error.kind().name(), "message": error.to_string(), "remedy": error.remedy(),
                } });
                self.send(&answer);
            }
        }
    }

    fn refuse(&self, id: u64, kind: &str, message: &str) {
        self.send(&json!({ "id": id, "error": { "kind": kind, "message": message, "remedy": "" } }));
    }

    /// Returns `false` for what is too long to be sent.
    fn send(&self, message: &Value) -> bool {
        let _whole = lock(&self.output);
        match message::write(&mut io::stdout().lock(), message.to_string().as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return false,
            // If the browser is gone, the end of the input ends this process.
            Err(error) => warn!(%error, "the browser does not get an answer"),
            Ok(()) => {}
        }
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

fn event(change: Change) -> Option<&'static str> {
    match change {
        Change::Locked => Some("sessionlocked"),
        Change::Ended => Some("sessionended"),
        Change::Begun | Change::TicketReplaced | Change::Unlocked => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
