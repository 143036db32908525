//! What changes while somebody logs in: the node goes away or is slow, its pages are elsewhere, its employers move.

use std::net::TcpListener;
use std::sync::Arc;

use ticketapi::cancel::CancelToken;
use ticketapi::prompt::{Browser, LoginPage, NoPrompter, Opened};
use ticketapi::{Config, Engine, ErrorKind};
use ticketapi_testkit::Nuts;
use ticketapi_testkit::nuts::{Endpoint, Misbehaviour, Version};

use crate::desk::{Act, BOTH, Desk, employee};
use crate::support::{PATIENCE, kind};

/// Does something instead of showing the page.
struct Meanwhile<F>(F);

impl<F: Fn() + Send + Sync> Browser for Meanwhile<F> {
    fn open(&self, _: &LoginPage<'_>, _: &CancelToken) -> ticketapi::Result<Opened> {
        (self.0)();
        Ok(Opened::default())
    }
}

#[test]
fn an_employer_of_another_node_is_a_fault_of_the_settings() {
    for version in BOTH {
        let Desk { nuts, config, .. } = Desk::with(version, |nuts| nuts.auto(true));
        let nuts = Arc::new(nuts);
        let forget = {
            // Its credential is known when the contract is drawn up; the key to sign with is not there.
            let nuts = Arc::clone(&nuts);
            move || nuts.forget(nuts.employer())
        };
        let engine = Engine::builder(config).prompter(NoPrompter).browser(Meanwhile(forget)).build().unwrap();
        engine.set_employee(&employee()).unwrap();
        let error = engine.get_ticket().unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.detail().contains("could not resolve an assertionKey"), "{error}");
    }
}

#[test]
fn a_presentation_that_the_node_itself_does_not_accept_logs_nobody_in() {
    let desk = Desk::new(Version::V6);
    let not_valid = Misbehaviour::Body(br#"{"validity":false}"#.to_vec());
    desk.nuts.misbehave(Endpoint::Verify, not_valid);
    let engine = desk.engine();
    let error = engine.get_ticket().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Refused);
    assert!(error.detail().contains("does not accept the presentation"), "{error}");
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
}

#[test]
fn a_page_on_another_host_is_shown_and_never_fetched() {
    let elsewhere = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let nearby = format!("http://{}/page", elsewhere.local_addr().unwrap());
    for page in [nearby.as_str(), "https://elsewhere.invalid/page"] {
        let desk = Desk::with(Version::V5, |nuts| nuts.auto(true)).acting(Act::Nothing);
        desk.nuts.misbehave(Endpoint::Session, Misbehaviour::With("sessionPtr.url".into(), page.into()));
        desk.engine().get_ticket().unwrap();
        assert_eq!(*desk.hands.opened.lock().unwrap(), [page]);
    }
    assert!(elsewhere.accept().is_err());
}

#[test]
fn an_employer_that_is_no_did_is_refused_before_anything_is_sent() {
    for employer in ["acme", "", "did:", "https://clinic.example"] {
        let error = Config::default().set("employer", employer).expect_err(employer);
        assert_eq!(*error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.detail().contains("employer"), "{error}");
    }
}

#[test]
fn a_node_that_goes_away_ends_the_login_and_no_session() {
    let Desk { nuts, config, .. } = Desk::new(Version::V6);
    let builder = Engine::builder(config).prompter(NoPrompter).browser(Meanwhile(|| {}));
    let engine = builder.build().unwrap();
    engine.set_employee(&employee()).unwrap();
    std::thread::scope(|scope| {
        let login = scope.spawn(|| engine.get_ticket());
        let polled =
            |nuts: &Nuts| nuts.wait_for(PATIENCE, |log| log.iter().any(|entry| entry.endpoint == Some(Endpoint::Poll)));
        assert!(polled(&nuts));
        drop(nuts);
        assert_eq!(kind(login.join().unwrap()), ErrorKind::ServerNotAvailable);
    });

    let Desk { nuts, config, hands } = Desk::new(Version::V6);
    let engine = Engine::builder(config).prompter(NoPrompter).browser(hands).build().unwrap();
    engine.set_employee(&employee()).unwrap();
    let ticket = engine.get_ticket().unwrap();
    let employer = nuts.employer().to_owned();
    drop(nuts);
    assert_eq!(kind(engine.access_token(&employer, "test")), ErrorKind::ServerNotAvailable);
    assert_eq!(engine.get_ticket().unwrap(), ticket);
}

#[test]
fn a_node_may_be_slow_but_not_silent() {
    for endpoint in [Endpoint::DrawUp, Endpoint::Session, Endpoint::Poll, Endpoint::Verify] {
        let desk = Desk::new(Version::V5);
        desk.nuts.misbehave(endpoint, Misbehaviour::from_name("delay:300").unwrap());
        desk.engine().get_ticket().unwrap();
        let desk = Desk::new(Version::V5).set("request_timeout", "1");
        desk.nuts.misbehave(endpoint, Misbehaviour::NoAnswer);
        let error = desk.engine().get_ticket().unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::ServerNotAvailable, "{endpoint:?} {error}");
    }
}
