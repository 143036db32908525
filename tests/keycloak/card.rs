//! A session that began in a browser, and the card that was in the reader then: a real PC/SC service, and a virtual
//! reader.

use std::thread;
use std::time::Duration;

use ticketapi::ErrorKind;
use ticketapi::engine::{Event, Status};
use ticketapi::session::{EndReason, LockReason};
use ticketapi_testkit::artifacts::{helper_program, opensc_module};
use ticketapi_testkit::{CardSpec, Pcscd, PivCard, TestCa};

use crate::site::{Site, end_reason};
use crate::support::{PATIENCE, kind};

/// A reader with a card in it, of whoever.
fn reader(site: Site) -> (Site, PivCard, Pcscd) {
    let pcscd = Pcscd::start().unwrap();
    let card = PivCard::new(&TestCa::new().unwrap().issue(&CardSpec::default()).unwrap()).unwrap();
    card.insert(pcscd.port()).unwrap();
    assert!(card.wait_until_seen(PATIENCE));
    let helper = pcscd.helper_wrapper(&helper_program()).unwrap();
    let site = site.set("bind_card", "true").set("helper", helper.to_str().unwrap());
    (site.set("pkcs11_module", opensc_module()), card, pcscd)
}

#[test]
fn a_card_that_is_taken_out_ends_the_session_here_and_at_keycloak() {
    let (site, card, _pcscd) = reader(Site::cis2("taken-out", "one"));
    let (engine, events) = site.watched();
    let session = engine.log_in().unwrap();
    assert!(session.card_watched());
    assert_eq!(engine.status(), Status::Live { card_watched: true });
    assert_eq!(site.sessions(), 1);
    card.remove();
    assert_eq!(end_reason(&events), EndReason::Removed);
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    site.wait_for_sessions(0);
    assert_eq!(card.counts().verify, 0);
}

#[test]
fn a_card_that_is_taken_out_may_lock_the_session_until_its_user_logs_in_again() {
    let (site, card, pcscd) = reader(Site::cis2("locked", "one").set("mode", "session_lock"));
    let (engine, events) = site.watched();
    let first = engine.get_ticket().unwrap();
    card.remove();
    let why = std::iter::repeat_with(|| events.recv_timeout(PATIENCE).unwrap())
        .find_map(|event| if let Event::SessionLocked(why) = event { Some(why) } else { None });
    assert_eq!(why, Some(LockReason::CardRemoved));
    assert!(engine.get_ticket_no_auth().is_err());
    assert_eq!(site.sessions(), 1);

    // The service never powers up a card that comes before it has noticed that the reader is empty, and does not
    // report when it has.
    thread::sleep(Duration::from_secs(1));
    card.insert(pcscd.port()).unwrap();
    assert!(card.wait_until_seen(PATIENCE));
    let second = engine.get_ticket().unwrap();
    assert_ne!(first, second);
    assert_eq!((site.browser.opened(), site.sessions()), (2, 1));
}
