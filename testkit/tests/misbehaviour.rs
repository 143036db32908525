//! Each misbehaviour as a client sees it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Client, Message, SOON, USER_AGENT};
use ticketapi_testkit::spine::{MISBEHAVIOURS, Outcome};
use ticketapi_testkit::{CardIdentity, CardSpec, Endpoint, Misbehaviour, Spine, TestCa};

fn spine_and_card() -> (Spine, CardIdentity) {
    let ca = TestCa::new().unwrap();
    let spine = Spine::builder().strict().card_ca(&ca).start().unwrap();
    (spine, ca.issue(&CardSpec::default()).unwrap())
}

fn named(name: &str) -> Misbehaviour {
    Misbehaviour::from_name(name).unwrap()
}

fn send_activation(client: &mut Client) {
    let body = Message::activate().write();
    client.send("POST", "/login/authactivate", &[("User-Agent", USER_AGENT)], body.as_bytes());
}

#[test]
fn statuses_redirects_and_bodies_are_sent_unchanged() {
    let (spine, _) = spine_and_card();
    let mut client = Client::connect(&spine);
    spine.misbehave(Endpoint::Activate, named("redirect:http://127.0.0.1:9/x"));
    let response = client.activate();
    assert_eq!((response.status, response.header("Location")), (302, Some("http://127.0.0.1:9/x")));
    for status in [404, 500, 503] {
        spine.misbehave(Endpoint::Activate, Misbehaviour::Status(status));
        assert_eq!(client.activate().status, status);
    }
    for (name, holds) in [
        ("empty-body", ""),
        ("html", "<!DOCTYPE html>"),
        ("entity-bomb", "&a9;"),
        ("external-entity:file:///etc/hostname", "SYSTEM \"file:///etc/hostname\""),
        ("nul", "\0"),
    ] {
        spine.misbehave(Endpoint::Activate, named(name));
        let response = client.activate();
        assert_eq!(response.status, 200);
        assert!(response.text().contains(holds), "{name}: {}", response.text());
        assert_eq!(response.body.is_empty(), name == "empty-body");
        assert!(matches!(spine.log().last().unwrap().answer, Outcome::Misbehaved(_)));
    }
    spine.misbehave(Endpoint::Activate, named("nested"));
    let nested = client.activate();
    assert_eq!(nested.text().matches("<a>").count(), 200_000);
    assert!(nested.body.len() < 1 << 20);
    spine.misbehave(Endpoint::Activate, named("invalid-utf8"));
    assert!(String::from_utf8(client.activate().body).is_err());
    assert_eq!(spine.connections(), 1);

    spine.behave();
    assert!(client.activate().parameter("challenge").is_some());
}

#[test]
fn parameters_are_omitted_changed_and_repeated() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    let mut challenge = |name: &str| {
        spine.misbehave(Endpoint::Activate, named(name));
        client.activate()
    };
    assert_eq!(challenge("no-challenge").parameter("challenge"), None);
    assert!(STANDARD.decode(challenge("challenge-not-base64").parameter("challenge").unwrap()).is_err());
    assert_eq!(challenge("challenge-empty").parameter("challenge").unwrap(), "");
    let huge = challenge("challenge-huge").parameter("challenge").unwrap();
    assert_eq!(STANDARD.decode(huge).unwrap().len(), 1 << 20);
    assert_eq!(challenge("two-challenges").text().matches("name=\"challenge\"").count(), 2);
    let elsewhere = challenge("reply-url:https://127.0.0.1:9/login/authvalidate");
    assert_eq!(elsewhere.parameter("reply_url").unwrap(), "https://127.0.0.1:9/login/authvalidate");

    spine.behave();
    let mut validated = |name: &str| {
        spine.misbehave(Endpoint::Validate, named(name));
        let message = client.answer_challenge(&card);
        client.validate(&message)
    };
    assert_eq!(validated("no-ticket").parameter("sso_ticket"), None);
    assert_eq!(spine.open_sessions(), 0, "nobody could end a session without its ticket");
    let elsewhere = validated("logout-url:https://127.0.0.1:9/");
    assert_eq!(elsewhere.parameter("sso_logout_url").unwrap(), "https://127.0.0.1:9/");
    assert_eq!(spine.open_sessions(), 1);
}

#[test]
fn attributes_of_assertions_and_sessions_are_omitted_changed_and_repeated() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    let ticket = client.log_in(&card);
    let query = format!("/saml/RoleAssertion?token={}", common::escaped(&ticket));
    let mut assertion = |misbehaviour| {
        spine.misbehave(Endpoint::RoleAssertion, misbehaviour);
        client.get(&query).text()
    };
    assert!(!assertion(Misbehaviour::Without("Status".into())).contains("StatusCode"));
    assert!(!assertion(Misbehaviour::Without("Assertion".into())).contains("saml:Assertion "));
    assert!(!assertion(Misbehaviour::Without("nhsIdCode".into())).contains("\"nhsIdCode\""));
    assert!(assertion(Misbehaviour::With("Status".into(), "a<b".into())).contains("Value=\"a&#60;b\""));
    assert!(assertion(Misbehaviour::With("uid".into(), "1".into())).contains("<saml:AttributeValue>1<"));
    assert_eq!(assertion(Misbehaviour::Twice("cn".into())).matches("\"cn\"").count(), 2);

    let mut session = |misbehaviour| {
        spine.misbehave(Endpoint::SessionService, misbehaviour);
        let question = format!(
            "<RequestSet vers=\"1.0\" svcid=\"session\" reqid=\"7\"><Request><![CDATA[<SessionRequest vers=\"1.0\" reqid=\"5\">\
             <GetSession reset=\"false\"><SessionID>{ticket}</SessionID></GetSession></SessionRequest>]]></Request></RequestSet>"
        );
        client.post("/amserver/sessionservice", question.as_bytes()).text()
    };
    assert!(!session(Misbehaviour::Without("Session".into())).contains("<Session "));
    assert!(!session(Misbehaviour::Without("UserId".into())).contains("UserId"));
    assert!(session(Misbehaviour::With("state".into(), "destroyed".into())).contains(" state=\"destroyed\""));
    assert!(session(Misbehaviour::With("SessionHandle".into(), "x".into())).contains("\"SessionHandle\" value=\"x\""));
    assert_eq!(session(Misbehaviour::Twice("UserId".into())).matches("UserId").count(), 2);
    assert_eq!(spine.log().last().unwrap().parameter("reset"), Some("false"));
}

#[test]
fn a_refusal_contains_its_reason_at_every_endpoint() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    let ticket = client.log_in(&card);
    for endpoint in Endpoint::ALL {
        spine.misbehave(endpoint, named("refusal:because & why"));
    }
    assert_eq!(client.activate().parameter("error").unwrap(), "because & why");
    assert!(client.select_role(&ticket, "1").text().contains("<STATUS>ERROR</STATUS><REASON>because &amp; why"));
    assert!(client.log_out(&ticket, card.uid()).text().contains("ERROR"));
    assert!(client.get("/saml/RoleAssertion?token=x").text().contains("<samlp:StatusMessage>because &amp; why"));
    assert!(client.post("/amserver/sessionservice", b"").text().contains("<Exception>"));
    assert_eq!(spine.open_sessions(), 1, "a logout that is refused ends nothing");
}

#[test]
fn a_misbehaviour_can_be_limited_to_some_requests() {
    let (spine, _) = spine_and_card();
    let mut client = Client::connect(&spine);
    spine.misbehave_times(Endpoint::Activate, Misbehaviour::Status(500), 2);
    let statuses = [(); 3].map(|()| client.activate().status);
    assert_eq!(statuses, [500, 500, 200]);
}

#[test]
fn a_truncated_response_ends_early_and_leaves_no_session() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    let message = client.answer_challenge(&card);
    spine.misbehave(Endpoint::Validate, Misbehaviour::Truncated);
    client.send("POST", "/login/authvalidate", &[("User-Agent", USER_AGENT)], message.write().as_bytes());
    let error = client.read_response().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(spine.open_sessions(), 0);
}

#[test]
fn a_reset_resets_the_connection() {
    let (spine, _) = spine_and_card();
    spine.misbehave(Endpoint::Activate, Misbehaviour::Reset);
    let mut client = Client::connect(&spine);
    send_activation(&mut client);
    assert_eq!(client.read_response().unwrap_err().kind(), ErrorKind::ConnectionReset);

    spine.misbehave_on_connect(Misbehaviour::Reset);
    let mut raw = TcpStream::connect(("127.0.0.1", spine.port())).unwrap();
    assert_eq!(raw.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn no_response_is_sent_until_the_client_disconnects_or_the_simulator_stops() {
    let (spine, _) = spine_and_card();
    spine.misbehave(Endpoint::Activate, Misbehaviour::NoAnswer);
    let mut client = Client::connect(&spine);
    send_activation(&mut client);
    assert!(spine.wait_for(SOON, |log| log.len() == 1));
    drop(client);
    assert!(spine.wait_for_connections(SOON, 0), "the client's leaving went unseen");

    spine.misbehave_on_connect(Misbehaviour::NoAnswer);
    let mut raw = TcpStream::connect(("127.0.0.1", spine.port())).unwrap();
    assert!(spine.wait_for_connections(SOON, 1));
    let stopping = Instant::now();
    drop(spine);
    assert!(stopping.elapsed() < Duration::from_secs(5), "stopping waited for a silent connection");
    assert_eq!(raw.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn one_byte_a_second_is_sent_until_the_client_disconnects() {
    let (spine, _) = spine_and_card();
    spine.misbehave(Endpoint::Activate, Misbehaviour::OneByteASecond);
    let mut client = Client::connect(&spine);
    send_activation(&mut client);
    let mut byte = [0; 64];
    assert_eq!(client.stream.read(&mut byte).unwrap(), 1);
    let began = Instant::now();
    assert_eq!(client.stream.read(&mut byte).unwrap(), 1);
    assert!(began.elapsed() > Duration::from_millis(500));
    drop(client);
    assert!(spine.wait_for_connections(SOON, 0));
}

#[test]
fn an_endless_response_continues_until_the_client_disconnects() {
    let (spine, _) = spine_and_card();
    spine.misbehave(Endpoint::Activate, Misbehaviour::Endless);
    let mut client = Client::connect(&spine);
    send_activation(&mut client);
    let mut body = vec![0; 4 << 20];
    client.stream.read_exact(&mut body).unwrap();
    drop(client);
    assert!(spine.wait_for_connections(SOON, 0));
    // One more client, which never reads: stopping must not wait for it.
    let mut client = Client::connect(&spine);
    send_activation(&mut client);
    assert!(spine.wait_for(SOON, |log| log.len() == 2));
    drop(spine);
}

#[test]
fn a_delayed_response_is_sent_later_but_the_session_begins_at_once() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    let message = client.answer_challenge(&card);
    spine.misbehave(Endpoint::Validate, named("delay:300"));
    let began = Instant::now();
    assert!(client.validate(&message).parameter("sso_ticket").is_some());
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[test]
fn held_responses_are_sent_when_the_test_releases_them() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    let message = client.answer_challenge(&card);
    let hold = spine.hold(Endpoint::Validate);
    client.send("POST", "/login/authvalidate", &[("User-Agent", USER_AGENT)], message.write().as_bytes());
    assert!(spine.wait_for_sessions(SOON, 1));
    drop(hold);
    assert!(client.read_response().unwrap().parameter("sso_ticket").is_some());
    let hold = spine.hold(Endpoint::Activate);
    send_activation(&mut client);
    assert!(spine.wait_for(SOON, |log| log.len() == 3));
    // Still held when the simulator stops: it must not wait until the response is sent.
    std::mem::forget(hold);
}

#[test]
fn a_connection_closes_after_the_response_on_request() {
    let (spine, _) = spine_and_card();
    spine.misbehave(Endpoint::Activate, Misbehaviour::Close);
    let mut client = Client::connect(&spine);
    assert!(client.activate().parameter("challenge").is_some());
    assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0);
    let mut client = Client::connect(&spine);
    client.activate();
    assert_eq!((spine.connections(), spine.handshakes()), (2, 2));
}

#[test]
fn malformed_requests_get_an_error_status() {
    let (spine, _) = spine_and_card();
    let status = |method: &str, target: &str| {
        let mut client = Client::connect(&spine);
        client.send(method, target, &[], b"");
        client.read_response().unwrap().status
    };
    assert_eq!(status("GET", "/favicon.ico"), 404);
    assert_eq!(status("GET", "/login/authactivate"), 405);
    assert_eq!(status("B\u{1}D", "/"), 400);
}

#[test]
fn every_misbehaviour_works_at_every_endpoint_and_lets_the_simulator_stop() {
    let (spine, card) = spine_and_card();
    let ticket = Client::connect(&spine).log_in(&card);
    for (name, _) in MISBEHAVIOURS {
        let name = name.split(':').next().unwrap();
        for endpoint in Endpoint::ALL {
            spine.misbehave(endpoint, named(name));
        }
        let mut client = Client::connect(&spine);
        send_activation(&mut client);
        let count = spine.connections();
        assert!(spine.wait_for(SOON, |log| log.last().is_some_and(|entry| entry.connection == count)), "{name}");
    }
    assert!(spine.end_session(&ticket));
}
