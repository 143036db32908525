//! Brokers that delay a login, and responses that do not end.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use ticketapi::{Engine, Error, ErrorKind, Stage};
use ticketapi_testkit::{Endpoint, Misbehaviour};

use crate::support::{Desk, User};
use crate::trial::{Trial, alone, bounded_error};

#[test]
fn a_broker_that_never_responds_is_abandoned_at_the_deadline() {
    let not_available = ErrorKind::ServerNotAvailable;
    Trial::impatient().fails_at_each_request(&Misbehaviour::NoAnswer, &not_available, "did not answer within 1 s");
}

#[test]
fn a_broker_that_stops_responding_is_abandoned_after_one_attempt_to_log_out() {
    let trial = Trial::impatient();
    trial.desk.spine.misbehave(Endpoint::SelectRole, Misbehaviour::NoAnswer);
    trial.desk.spine.misbehave(Endpoint::Logout, Misbehaviour::NoAnswer);
    let error = bounded_error(&trial.desk.config, 2, || trial.engine.get_ticket());
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::ServerNotAvailable, Stage::RoleSelection));
    trial.desk.spine.behave();
    trial.desk.spine.end_all_sessions();
    trial.logs_in_and_out();
}

#[test]
fn a_response_at_one_byte_a_second_is_abandoned_at_the_deadline() {
    let not_available = ErrorKind::ServerNotAvailable;
    let slow = Misbehaviour::OneByteASecond;
    Trial::impatient().fails_at_each_request(&slow, &not_available, "did not answer within 1 s");
}

#[test]
fn an_endless_body_is_abandoned_at_the_limit() {
    Trial::new().fails_at_each_request(&Misbehaviour::Endless, &ErrorKind::BadAnswer, "more than 1.5 MiB");
}

/// The error of a login at a server that sends `beginning`, then `again` until the client disconnects.
fn error_at_a_server_that_says(beginning: &str, again: &str) -> Error {
    let _alone = alone();
    let Desk { mut config, folder: _folder, .. } = Desk::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (config.allow_http, config.request_timeout) = (true, Duration::from_secs(1));
    config.set("base_url", &url).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let _ = client.read(&mut [0; 4096]).unwrap();
            let mut sent = client.write_all(beginning.as_bytes());
            while sent.is_ok() {
                sent = client.write_all(again.as_bytes());
            }
        });
        let engine = Engine::builder(config.clone()).prompter(User::new()).build().unwrap();
        bounded_error(&config, 1, || engine.get_ticket())
    })
}

#[test]
fn an_endless_head_is_abandoned_at_the_limit() {
    let error = error_at_a_server_that_says("HTTP/1.1 200 OK\r\n", &"x".repeat(4096));
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::BadAnswer, Stage::Activation), "{error}");
}

#[test]
fn endless_interim_responses_are_abandoned_at_the_deadline() {
    let error = error_at_a_server_that_says("", "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::ServerNotAvailable, Stage::Activation), "{error}");
}

#[test]
fn endless_chunks_are_abandoned_at_the_limit() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let error = error_at_a_server_that_says(head, &format!("400\r\n{}\r\n", "x".repeat(0x400)));
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::BadAnswer, Stage::Activation), "{error}");
    assert!(error.detail().contains("more than 1.5 MiB"), "{error}");
}
