//! Tickets that last minutes, and their renewal.

use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use ticketapi::engine::Event;
use ticketapi::session::EndReason;
use ticketapi::{Engine, ErrorKind, Ticket};
use ticketapi_testkit::oidc::{Endpoint, Misbehaviour};

use crate::house::House;
use crate::support::readers::MovedClock;
use crate::support::{PATIENCE, User, kind};

/// The simulator's tickets last 300 s; in the last minute they are renewed.
const RENEWAL: Duration = Duration::from_secs(245);
/// No ticket is given out in its last 5 s.
const TOO_LATE: Duration = Duration::from_secs(296);

/// A session whose time the test moves.
struct Timed {
    house: House,
    engine: Engine,
    clock: MovedClock,
    events: Mutex<mpsc::Receiver<Event>>,
}

impl Timed {
    fn new(house: House) -> Self {
        let clock = MovedClock::default();
        let (tell, events) = mpsc::channel();
        let engine = house
            .builder_for(&User::new())
            .clock(clock.clone())
            .listener(move |event| drop(tell.send(event.clone())))
            .build()
            .unwrap();
        Self { house, engine, clock, events: Mutex::new(events) }
    }

    fn ticket(&self) -> Ticket {
        self.engine.get_ticket().unwrap()
    }

    fn end_reason(&self) -> EndReason {
        let events = self.events.lock().unwrap();
        let reasons = std::iter::repeat_with(|| events.recv_timeout(PATIENCE).expect("the event comes"));
        reasons
            .filter_map(|event| if let Event::SessionEnded(reason) = event { Some(reason) } else { None })
            .next()
            .unwrap()
    }

    fn misbehave(&self, name: &str) {
        self.house.provider.misbehave(Endpoint::Refresh, Misbehaviour::from_name(name).unwrap());
    }

    fn renewals(&self) -> usize {
        self.house.provider.log_of(Endpoint::Refresh).len()
    }

    fn wait_for_renewal(&self) {
        let asked = |entry: &ticketapi_testkit::oidc::Entry| entry.endpoint == Some(Endpoint::Refresh);
        assert!(self.house.provider.wait_for(PATIENCE, |log| log.iter().any(asked)));
    }

    fn assert_sent_nothing_twice(&self) {
        assert_eq!(self.house.provider.refresh_tokens_sent_twice(), 0);
    }
}

#[test]
fn a_ticket_that_is_about_to_expire_is_renewed_for_whoever_asks_next() {
    for house in [House::new(), House::cis2(|provider| provider)] {
        let timed = Timed::new(house);
        let mut tickets = vec![timed.ticket()];
        for _ in 0..3 {
            timed.clock.advance(TOO_LATE);
            let ticket = timed.ticket();
            assert!(!tickets.contains(&ticket));
            tickets.push(ticket);
        }
        assert!(timed.renewals() >= 3);
        timed.assert_sent_nothing_twice();
        assert_eq!((timed.house.browser.log().opened.len(), timed.house.provider.open_sessions()), (1, 1));
        timed.engine.destroy_ticket().unwrap();
        assert_eq!(timed.house.provider.open_sessions(), 0);
    }
}

#[test]
fn a_ticket_is_renewed_in_the_background_before_it_expires() {
    let house = House::with("oidc", |provider| provider.token_lifetime(Duration::from_secs(12)));
    let engine = house.engine();
    let ticket = engine.get_ticket().unwrap();
    let began = Instant::now();
    while engine.get_ticket_no_auth().unwrap() == ticket {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() < Duration::from_secs(11));
    assert_eq!(house.provider.refresh_tokens_sent_twice(), 0);
}

/// A provider whose tickets last so long that the engine renews them after six seconds.
fn with_short_tickets() -> House {
    House::with("oidc", |provider| provider.token_lifetime(Duration::from_secs(12)))
}

#[test]
fn a_renewal_that_is_refused_ends_the_session() {
    let timed = Timed::new(with_short_tickets());
    timed.ticket();
    timed.misbehave("error:invalid_grant");
    timed.wait_for_renewal();
    assert_eq!(timed.end_reason(), EndReason::RenewalRefused);
    assert_eq!(kind(timed.engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    timed.assert_sent_nothing_twice();
    assert!(timed.house.provider.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn a_renewal_with_an_unclear_end_is_not_repeated_and_the_ticket_works_as_long_as_it_lasts() {
    let cases = ["status:500", "reset", "truncated", "html", "other-sub", "wrong-iss", "bad-signature"];
    std::thread::scope(|scope| {
        for name in cases {
            scope.spawn(move || {
                let timed = Timed::new(with_short_tickets());
                let ticket = timed.ticket();
                timed.misbehave(name);
                timed.wait_for_renewal();
                // The engine tries again half a second later.
                std::thread::sleep(Duration::from_millis(700));
                assert_eq!(timed.engine.get_ticket_no_auth().unwrap(), ticket, "{name}");
                timed.house.provider.behave();
                timed.clock.advance(Duration::from_secs(2));
                assert_eq!(kind(timed.engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable, "{name}");
                assert_eq!(timed.renewals(), 1, "{name}");
                timed.assert_sent_nothing_twice();
            });
        }
    });
}

#[test]
fn a_refresh_token_that_was_not_sent_or_not_used_is_sent_later() {
    let timed = Timed::new(House::new());
    let mut ticket = timed.ticket();
    for round in 0..2 {
        if round == 0 {
            timed.house.provider.misbehave_on_connect(&Misbehaviour::Reset);
        } else {
            timed.misbehave("error:invalid_client");
        }
        timed.clock.advance(TOO_LATE);
        timed.engine.get_ticket().unwrap_err();
        timed.house.provider.behave();
        let renewed = timed.ticket();
        assert_ne!(renewed, ticket);
        ticket = renewed;
    }
    assert_eq!(timed.house.browser.log().opened.len(), 1);
}

#[test]
fn a_session_without_a_new_refresh_token_ends_with_its_ticket() {
    let timed = Timed::new(House::new());
    let ticket = timed.ticket();
    timed.misbehave("without:refresh_token");
    timed.clock.advance(TOO_LATE);
    let renewed = timed.ticket();
    assert_ne!(renewed, ticket);
    timed.clock.advance(RENEWAL);
    assert_eq!(timed.engine.get_ticket_no_auth().unwrap(), renewed);
    timed.clock.advance(TOO_LATE - RENEWAL);
    assert_eq!(kind(timed.engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert_eq!(timed.renewals(), 1);
    timed.assert_sent_nothing_twice();
    assert_eq!(timed.end_reason(), EndReason::TicketExpired);
    assert!(timed.house.provider.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn a_session_without_any_refresh_token_ends_with_its_ticket() {
    let timed = Timed::new(House::with("oidc", |provider| provider.without_refresh_tokens()));
    let ticket = timed.ticket();
    timed.clock.advance(RENEWAL);
    assert_eq!(timed.ticket(), ticket);
    timed.clock.advance(TOO_LATE - RENEWAL);
    assert_eq!(kind(timed.engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert_eq!(timed.renewals(), 0);
}

#[test]
fn a_session_ends_by_itself_when_its_refresh_token_does() {
    let seconds = Duration::from_secs;
    let timed = Timed::new(House::with("oidc", |provider| {
        provider.token_lifetime(seconds(9)).session_lifetime(seconds(3600), seconds(10))
    }));
    timed.ticket();
    // The network is away, and nobody asks for the ticket.
    timed.house.provider.misbehave_on_connect(&Misbehaviour::Reset);
    assert_eq!(timed.end_reason(), EndReason::TicketExpired);
    assert_eq!(timed.renewals(), 0);
}

#[test]
fn an_idle_session_is_not_renewed_and_ends_at_the_provider() {
    let timed = Timed::new(House::new().set("idle_timeout", "3"));
    timed.ticket();
    timed.clock.advance(Duration::from_secs(181));
    assert_eq!(kind(timed.engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert_eq!(timed.end_reason(), EndReason::Idle);
    assert!(timed.house.provider.wait_for_sessions(PATIENCE, 0));
    assert_eq!(timed.renewals(), 0);
}
