//! Logins that are cancelled at each step, by both versions of the node's API: each ends in time, and without a session.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ticketapi::cancel::CancelToken;
use ticketapi::prompt::{Browser, LoginPage, NoPrompter, Notice, Opened, PinRequest, Prompter};
use ticketapi::session::{Role, Status};
use ticketapi::{Engine, Error, ErrorKind, Pin, Result, Stage, Ticket};
use ticketapi_testkit::nuts::{Endpoint, Entry, Misbehaviour};

use crate::desk::{Act, Api, Desk, employee};
use crate::support::{PATIENCE, kind};

/// Much less than all that a login waits for.
const IN_TIME: Duration = Duration::from_secs(10);

/// A desk where nobody presses a button, and where a login waits for minutes.
fn desk(api: Api) -> Desk {
    slow(Desk::by(api, |nuts| nuts).acting(Act::Nothing))
}

fn slow(desk: Desk) -> Desk {
    ["connect_timeout", "request_timeout", "login_timeout"].into_iter().fold(desk, |desk, key| desk.set(key, "300"))
}

/// Cancels a login of `engine` when `reached` returns.
fn cancel_when(engine: &Engine, reached: impl FnOnce()) {
    std::thread::scope(|scope| {
        let login = scope.spawn(|| (engine.get_ticket(), Instant::now()));
        reached();
        let began = Instant::now();
        engine.cancel_login();
        let (outcome, ended) = login.join().unwrap();
        assert_cancelled(engine, outcome);
        assert!(ended.saturating_duration_since(began) < IN_TIME);
    });
}

fn assert_cancelled(engine: &Engine, outcome: Result<Ticket>) {
    assert_eq!(kind(outcome), ErrorKind::Cancelled);
    assert_eq!(engine.status(), Status::LoggedOut);
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
}

fn count(log: &[Entry], endpoint: Endpoint) -> usize {
    log.iter().filter(|entry| entry.endpoint == Some(endpoint)).count()
}

#[test]
fn a_login_is_cancelled_while_each_of_its_requests_has_no_answer() {
    for api in Api::BOTH {
        for &endpoint in api.requests() {
            let desk = slow(Desk::by(api, |nuts| nuts.auto(true)).acting(Act::Nothing));
            desk.nuts.misbehave(endpoint, Misbehaviour::NoAnswer);
            cancel_when(&desk.engine(), || assert!(desk.nuts.wait_for(PATIENCE, |log| count(log, endpoint) == 1)));
        }
    }
}

#[test]
fn a_login_is_cancelled_while_the_node_is_polled() {
    for api in Api::BOTH {
        let desk = desk(api);
        cancel_when(&desk.engine(), || assert!(desk.nuts.wait_for(PATIENCE, |log| count(log, api.poll()) == 3)));
        assert!(desk.hands.opened.lock().unwrap().len() == 1);
    }
}

#[test]
fn a_login_is_cancelled_while_the_node_takes_no_connection() {
    for api in Api::BOTH {
        let desk = desk(api);
        let node = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let desk = desk.set("nuts_node", &format!("https://{}", node.local_addr().unwrap()));
        let mut held = None;
        // It says nothing to the beginning of TLS.
        cancel_when(&desk.engine(), || held = Some(node.accept().unwrap()));
    }
}

/// A window of the program's own, which is open until the user has decided.
struct Window;

impl Browser for Window {
    fn open(&self, _: &LoginPage<'_>, cancel: &CancelToken) -> Result<Opened> {
        assert!(cancel.wait(PATIENCE));
        Err(Error::cancelled(Stage::Browser))
    }
}

#[test]
fn a_login_is_cancelled_while_the_program_shows_the_page() {
    for api in Api::BOTH {
        let desk = desk(api);
        let engine = Engine::builder(desk.config.clone()).prompter(NoPrompter).browser(Window).build().unwrap();
        engine.set_employee(&employee()).unwrap();
        let begun = api.requests()[api.requests().iter().position(|&one| one == api.poll()).unwrap() - 1];
        cancel_when(&engine, || assert!(desk.nuts.wait_for(PATIENCE, |log| count(log, begun) == 1)));
        assert_eq!(count(&desk.nuts.log(), api.poll()), 0);
    }
}

/// A user who gives up at the notice that the login goes on in the browser.
struct GivesUp;

impl Prompter for GivesUp {
    fn pin(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<Pin> {
        unreachable!()
    }

    fn use_last_try(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<bool> {
        unreachable!()
    }

    fn role(&self, _: &[Role], _: &CancelToken) -> Result<usize> {
        unreachable!()
    }

    fn browser_opened(&self, _: &LoginPage<'_>, cancel: &CancelToken) -> Notice {
        cancel.cancel();
        Notice::default()
    }
}

#[test]
fn a_user_who_gives_up_while_the_browser_is_open_cancels_the_login() {
    for api in Api::BOTH {
        let desk = desk(api);
        let builder = Engine::builder(desk.config.clone()).prompter(GivesUp).browser(desk.hands.clone());
        let engine = builder.build().unwrap();
        engine.set_employee(&employee()).unwrap();
        assert_cancelled(&engine, engine.get_ticket());
        assert_eq!(desk.hands.opened.lock().unwrap().len(), 1);
        assert_eq!(count(&desk.nuts.log(), api.poll()), 0);
    }
}

/// Cancels the login of its engine as soon as the log says that it begins.
struct AtOnce(Arc<Engine>);

impl io::Write for AtOnce {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line.windows(12).any(|words| words == b"login begins") {
            self.0.cancel_login();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_login_that_is_cancelled_before_its_first_request_sends_none() {
    for api in Api::BOTH {
        let desk = desk(api);
        let engine = Arc::new(desk.engine());
        let canceller = Arc::clone(&engine);
        let subscriber = tracing_subscriber::fmt().with_writer(move || AtOnce(Arc::clone(&canceller))).finish();
        let outcome = tracing::subscriber::with_default(subscriber, || engine.get_ticket());
        assert_cancelled(&engine, outcome);
        assert_eq!((desk.nuts.connections(), desk.nuts.log().len()), (0, 0));
        assert!(desk.hands.opened.lock().unwrap().is_empty());
    }
}
