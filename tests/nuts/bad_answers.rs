//! Nodes that answer badly, or not at all: each is an error of its own kind, in time, and no session.

use std::time::{Duration, Instant};

use ticketapi::ErrorKind;
use ticketapi::session::Employee;
use ticketapi_testkit::nuts::{Credential, Endpoint, Misbehaviour, Version};

use crate::desk::{Act, Api, BOTH, Desk};
use crate::support::kind;

/// What a bad node does, and what comes of it.
type Row = (Endpoint, &'static str, ErrorKind, &'static str);

fn bad_answers() -> Vec<Row> {
    use Endpoint::{DrawUp, Poll, Session, Verify};
    use ErrorKind::{BadAnswer, Cancelled, Refused};
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
    [DrawUp, Session, Poll, Verify].into_iter().for_each(|place| table.extend(bad_at(place)));
    table
}

/// By the second version of the API.
fn bad_user_tokens() -> Vec<Row> {
    use Endpoint::{UserAccessToken, UserPoll};
    use ErrorKind::BadAnswer;
    let mut table = vec![
        (UserAccessToken, "without:session_id", BadAnswer, "session for an access token"),
        (UserAccessToken, "with:session_id=../x", BadAnswer, "its id"),
        (UserAccessToken, "without:redirect_uri", BadAnswer, "session for an access token"),
        (UserAccessToken, "with:redirect_uri=http://elsewhere.example/", BadAnswer, "must begin with https"),
        (UserAccessToken, "with:redirect_uri=file:///etc/passwd", BadAnswer, "address for the browser"),
        (UserAccessToken, "with:redirect_uri=javascript:alert(1)", BadAnswer, "address for the browser"),
        (UserPoll, "without:access_token", BadAnswer, "access token cannot be used"),
        (UserPoll, "without:token_type", BadAnswer, "access token cannot be used"),
        (UserPoll, "with:token_type=DPoP", BadAnswer, "not a bearer token"),
        (UserPoll, "with:expires_in=soon", BadAnswer, "access token cannot be used"),
        (UserPoll, "status:404", ErrorKind::Refused, "told to refuse"),
    ];
    [UserAccessToken, UserPoll].into_iter().for_each(|place| table.extend(bad_at(place)));
    table
}

/// What is bad wherever it is answered.
fn bad_at(place: Endpoint) -> Vec<Row> {
    use ErrorKind::{BadAnswer, Configuration, ServerNotAvailable};
    let mut table = vec![
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
    ];
    if !matches!(place, Endpoint::Poll | Endpoint::UserPoll) {
        table.push((place, "status:429", ServerNotAvailable, "busy"));
    }
    table
}

fn each_is_an_error_of_its_own_kind(desk: &Desk, rows: Vec<Row>) {
    let engine = desk.engine();
    let ticket = engine.get_ticket().unwrap();
    for (endpoint, what, expected, words) in rows {
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

#[test]
fn bad_answers_are_errors_of_their_own_kind_and_the_old_session_goes_on() {
    for version in BOTH {
        each_is_an_error_of_its_own_kind(&Desk::new(version).set("login_timeout", "5"), bad_answers());
    }
}

#[test]
fn bad_answers_by_the_second_version_of_the_api_are_errors_of_their_own_kind_too() {
    let desk = Desk::by(Api::V2, |nuts| nuts.auto(true)).acting(Act::Nothing).set("login_timeout", "5");
    each_is_an_error_of_its_own_kind(&desk, bad_user_tokens());
}

#[test]
fn a_busy_node_is_polled_again() {
    for api in Api::BOTH {
        let desk = Desk::by(api, |nuts| nuts);
        desk.nuts.misbehave_times(api.poll(), Misbehaviour::Status(429), 2);
        desk.engine().get_ticket().unwrap();
    }
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
