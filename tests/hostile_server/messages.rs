//! Responses that are well-formed but cannot be used.

use ticketapi::{ErrorKind, Stage};
use ticketapi_testkit::spine::{Entry, Outcome};
use ticketapi_testkit::{Endpoint, Misbehaviour};

use crate::elsewhere::Elsewhere;
use crate::support::PATIENCE;
use crate::trial::{REQUESTS, Trial};

/// Sends this response to the activation, and checks that the broker gets no signature.
fn challenge_is_refused(answer: impl FnOnce() -> Misbehaviour, says: &str) {
    let trial = Trial::new();
    let error = trial.error_at(Endpoint::Activate, &answer());
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::BadAnswer, Stage::Activation), "{error}");
    assert!(error.detail().contains(says), "{error}");
    // Only the validation of the successful login that follows.
    let validations = |log: &[Entry]| log.iter().filter(|e| e.endpoint == Some(Endpoint::Validate)).count();
    assert_eq!(validations(&trial.desk.spine.log()), 1);
}

#[test]
fn a_response_without_challenge_is_refused() {
    challenge_is_refused(|| Misbehaviour::Without("challenge".into()), "it has no challenge");
}

#[test]
fn a_challenge_that_is_not_base64_is_refused() {
    challenge_is_refused(|| Misbehaviour::challenge("this is not base64!"), "its challenge cannot be read");
}

#[test]
fn a_challenge_of_0_bytes_is_refused() {
    challenge_is_refused(|| Misbehaviour::challenge(""), "it has no challenge");
}

#[test]
fn a_challenge_of_megabytes_is_refused() {
    let answer = |bytes: usize| {
        let challenge = "AAAA".repeat(bytes / 3);
        let signature = "<gpPARAM name=\"signature\">c2ln</gpPARAM>";
        let text = format!("<gpOBJECT>{signature}<gpPARAM name=\"challenge\">{challenge}</gpPARAM></gpOBJECT>");
        Misbehaviour::Body(text.into_bytes())
    };
    challenge_is_refused(|| answer(3 << 19), "more than 1.5 MiB");
    // Short enough for a response, but too long for a challenge that a card could sign.
    challenge_is_refused(|| answer(700 << 10), "its challenge cannot be read");
}

#[test]
fn two_challenges_are_refused() {
    challenge_is_refused(|| Misbehaviour::Twice("challenge".into()), "it has challenge twice");
}

#[test]
fn a_response_without_ticket_is_refused() {
    let trial = Trial::new();
    let error = trial.error_at(Endpoint::Validate, &Misbehaviour::Without("sso_ticket".into()));
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::BadAnswer, Stage::Authentication), "{error}");
    assert!(error.detail().contains("it has no sso_ticket"), "{error}");
}

#[test]
fn a_session_whose_response_cannot_be_used_is_ended() {
    let trial = Trial::new();
    for parameter in ["sso_ticket", "sso_logout_url", "sso_session_time"] {
        let error = trial.error_at(Endpoint::Validate, &Misbehaviour::Twice(parameter.into()));
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::BadAnswer, Stage::Authentication), "{error}");
        assert!(error.detail().contains(&format!("it has {parameter} twice")), "{error}");
        let log = trial.desk.spine.log();
        assert!(log.iter().any(|entry| matches!(entry.answer, Outcome::Ticket(_))), "no session had begun");
    }
}

#[test]
fn a_refusal_is_reported_with_its_reason() {
    let trial = Trial::new();
    let refusal = Misbehaviour::Refuse("The smartcard has been revoked".into());
    for (endpoint, stage) in REQUESTS {
        let error = trial.error_at(endpoint, &refusal);
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::Refused, stage), "{error}");
        // The last two responses contain only a status.
        let status = matches!(endpoint, Endpoint::SelectRole | Endpoint::Logout);
        let reason = if status { "its status is \"ERROR\"" } else { "The smartcard has been revoked" };
        assert!(error.detail().contains(reason), "{error}");
    }
}

#[test]
fn an_unknown_user_is_reported() {
    let error = Trial::new().error_at(Endpoint::Validate, &Misbehaviour::Refuse("User not found".into()));
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::UserNotValid, Stage::Authentication), "{error}");
}

#[test]
fn a_role_selection_that_is_refused_ends_the_session() {
    let trial = Trial::new();
    for status in ["<HTML><STATUS>FAILED</STATUS></HTML>", "<HTML><STATUS/></HTML>"] {
        let error = trial.error_at(Endpoint::SelectRole, &Misbehaviour::Body(status.into()));
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::Refused, Stage::RoleSelection), "{error}");
    }
}

/// Logs in and out while the broker names other servers' URLs in `parameter`.
fn is_not_followed(endpoint: Endpoint, parameter: &str) {
    let trial = Trial::new();
    let elsewhere = Elsewhere::listen();
    let (broker, path) = (trial.broker(), endpoint.path());
    let other = elsewhere.url("https").split('/').nth(2).unwrap().to_owned();
    for url in [
        elsewhere.url("https"),
        elsewhere.url("http"),
        format!("https://{broker}@{other}{path}"),
        format!("https://{other}#@{broker}{path}"),
        format!("//{other}{path}"),
        format!("http://{broker}{path}"),
        "file:///dev/null".to_owned(),
        format!("https://{broker}/login/none HTTP/1.1\r\nHost: {other}\r\n\r\n"),
    ] {
        trial.desk.spine.misbehave(endpoint, Misbehaviour::With(parameter.into(), url.clone()));
        trial.engine.get_ticket().unwrap_or_else(|error| panic!("{url}: {error}"));
        trial.desk.spine.behave();
        trial.engine.destroy_ticket().unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(trial.desk.spine.wait_for_sessions(PATIENCE, 0), "{url}");
    }
    elsewhere.saw_nobody();
    let connections = |entry: &Entry| matches!(entry.answer, Outcome::NoConnection(_) | Outcome::BadRequest(_));
    assert!(!trial.desk.spine.log().iter().any(connections), "{:?}", trial.desk.spine.log());
}

#[test]
fn a_reply_url_on_another_server_is_not_used() {
    is_not_followed(Endpoint::Activate, "reply_url");
}

#[test]
fn a_logout_url_on_another_server_is_not_used() {
    is_not_followed(Endpoint::Validate, "sso_logout_url");
}
