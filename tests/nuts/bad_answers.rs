//! Nodes that answer badly, or not at all: each is an error of its own kind, in time, and no session.

use std::time::{Duration, Instant};

use ticketapi::ErrorKind;
use ticketapi::session::Employee;
use ticketapi_testkit::nuts::{Credential, Endpoint, Misbehaviour, Version};

use crate::desk::{BOTH, Desk};
use crate::support::kind;

/// What a bad node does, and what comes of it.
fn bad_answers() -> Vec<(Endpoint, &'static str, ErrorKind, &'static str)> {
    use Endpoint::{DrawUp, Poll, Session, Verify};
    use ErrorKind::{BadAnswer, Cancelled, Configuration, Refused, ServerNotAvailable};
    let mut table = vec![
        (DrawUp, "with:message=EN:PractitionerLogin:v3 a\u{202e}b", BadAnswer, "formatting"),
        (DrawUp, "with:message=I declare.", BadAnswer, "does not begin with its name"),
        (DrawUp, "with:version=v1", BadAnswer, "another one"),
        (DrawUp, "without:message", BadAnswer, "it is not JSON|another type"),
        (DrawUp, "contract-from:7200", BadAnswer, "not valid now"),
        (DrawUp, "contract-from:-7200", BadAnswer, "not valid now"),
        (Session, "without:sessionID", BadAnswer, "signing session"),
        (Session, "with:sessionID=../../x", BadAnswer, "its id"),
        (Session, "with:sessionPtr.url=http://elsewhere.example/", BadAnswer, "must begin with https"),
        (Session, "with:sessionPtr.url=file:///etc/passwd", BadAnswer, "address of its page"),
        (Session, "with:sessionPtr.url=javascript:alert(1)", BadAnswer, "address of its page"),
        (Poll, "poll-status:errored", Refused, "did not accept"),
        (Poll, "poll-status:", Refused, "did not accept"),
        (Poll, "poll-status:cancelled", Cancelled, "rejected"),
        (Poll, "poll-status:expired", Cancelled, "in time"),
        (Poll, "poll-status:vp-requested", BadAnswer, "somebody else"),
        (Poll, "poll-status:completed", BadAnswer, "not known"),
        (Poll, "poll-status:odd", BadAnswer, "not known"),
        (Poll, "other-employer", BadAnswer, "another employer"),
        (Poll, "other-employee", BadAnswer, "identifier"),
        (Poll, "other-employee:initials=X", BadAnswer, "initials"),
        (Poll, "other-employee:familyName=van Dijk", BadAnswer, "family name"),
        (Poll, "other-employee:roleName=Arts", BadAnswer, "another role"),
        (Poll, "other-contract", BadAnswer, "another contract"),
        (Poll, "other-time", BadAnswer, "during this login"),
        (Poll, "other-time:-7200", BadAnswer, "during this login"),
        (Poll, "tampered", BadAnswer, "identifier"),
        (Verify, "without:validity", BadAnswer, "-"),
        (Verify, "with:issuerAttributes.username=482", BadAnswer, "another employee"),
        (Verify, "without:issuerAttributes", BadAnswer, "another employee"),
    ];
    for place in [DrawUp, Session, Poll, Verify] {
        table.extend([
            (place, "status:401", Configuration, "nuts_token_key"),
            (place, "status:500", ServerNotAvailable, "told to refuse"),
            (place, "closed", ServerNotAvailable, "closed the connection"),
            (place, "lost", ServerNotAvailable, "closed the connection"),
            (place, "truncated", BadAnswer, "broke off"),
            (place, "html", BadAnswer, "no Nuts node"),
            (place, "empty-body", BadAnswer, "not JSON"),
            (place, "nested", BadAnswer, "another type|not JSON"),
            (place, "endless", BadAnswer, "more than"),
            (place, "redirect", BadAnswer, "no Nuts node"),
        ]);
        if place != Poll {
            table.push((place, "status:429", ServerNotAvailable, "busy"));
        }
    }
    table
}

#[test]
fn bad_answers_are_errors_of_their_own_kind_and_the_old_session_goes_on() {
    for version in BOTH {
        let desk = Desk::new(version).set("login_timeout", "5");
        let engine = desk.engine();
        let ticket = engine.get_ticket().unwrap();
        for (endpoint, what, expected, words) in bad_answers() {
            desk.nuts.behave();
            desk.nuts.misbehave(endpoint, Misbehaviour::from_name(what).unwrap());
            let began = Instant::now();
            let error = engine.get_new_ticket().expect_err(what);
            assert_eq!(*error.kind(), expected, "{endpoint:?} {what}: {error}");
            let said = error.detail();
            assert!(words == "-" || words.split('|').any(|words| said.contains(words)), "{endpoint:?} {what}: {error}");
            assert!(began.elapsed() < Duration::from_secs(5), "{endpoint:?} {what}");
            assert!(!said.contains("eyJ"), "{error}");
            assert_eq!(engine.get_ticket_no_auth().unwrap(), ticket, "{what}");
        }
        desk.nuts.behave();
        assert_ne!(engine.get_new_ticket().unwrap(), ticket);
    }
}

#[test]
fn a_busy_node_is_polled_again() {
    let desk = Desk::new(Version::V6);
    desk.nuts.misbehave_times(Endpoint::Poll, Misbehaviour::Status(429), 2);
    desk.engine().get_ticket().unwrap();
}

#[test]
fn an_employer_that_the_node_does_not_know_is_a_fault_of_the_settings() {
    for version in BOTH {
        for employer in ["did:nuts:B8PUHs2AUHbFF1xLLK4eZjgErEcMXHxs68FteY7NDtCY", "did:web:elsewhere.example"] {
            let desk = Desk::new(version).set("employer", employer);
            let error = desk.engine().get_ticket().unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::Configuration, "{error}");
            assert!(error.detail().contains("no valid organization credential"), "{error}");
        }
        let desk = Desk::new(version);
        let did = desk.nuts.add_organization("Bare", "Town", Credential::None, &[]).unwrap();
        let desk = desk.set("employer", &did);
        let error = desk.engine().get_ticket().unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.detail().contains("could not find a NutsOrganizationCredential"), "{error}");
    }
}

#[test]
fn a_node_that_is_down_is_named() {
    let desk = Desk::new(Version::V5);
    let engine = desk.engine();
    drop(desk.nuts);
    let error = engine.get_ticket().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::ServerNotAvailable);
    assert!(error.detail().contains("refused the connection"), "{error}");
}

#[test]
fn nobody_logs_in_without_a_name() {
    let desk = Desk::new(Version::V5);
    let engine = desk.builder().build().unwrap();
    let error = engine.get_ticket().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Configuration);
    assert!(error.detail().contains("employee_identifier"), "{error}");
    for bad in
        [Employee::new("", "J", "Dijk"), Employee::new("1", "J", "D\nijk"), Employee::new("1", "J", "x".repeat(10_000))]
    {
        assert_eq!(kind(engine.set_employee(&bad)), ErrorKind::InvalidParameter);
    }
    assert!(desk.nuts.log().is_empty());
}
