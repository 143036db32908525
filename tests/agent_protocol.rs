//! The agent's messages: files in tests/data/agent, which every version 1 reads and writes unchanged.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use ticketapi::agent::AgentStatus;
use ticketapi::agent::protocol::{Failure, Hello, MAX_MESSAGE, Malformed, PREFIX, Reply, Request, SessionData, length};
use ticketapi::engine::Status;
use ticketapi::session::LockReason;
use ticketapi::ssb::Role;
use ticketapi::{Error, ErrorKind, Stage, Ticket};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/agent")
}

fn ticket() -> Ticket {
    Ticket::new("AQIC5wM2LY4SfcxOa2eyaPM=@AAJTSQACMDE=#".into())
}

fn failure(kind: ErrorKind, stage: Stage, detail: &str) -> Reply {
    Reply::Failed(Failure::from(&Error::new(kind, stage, detail)))
}

fn requests() -> Vec<(&'static str, Request)> {
    vec![
        ("request-hello", Request::Hello(Hello { version: 1, broker: "gas.national.ncrs.nhs.uk:443".into() })),
        ("request-ticket-no-auth", Request::TicketNoAuth),
        ("request-ticket", Request::Ticket),
        ("request-new-ticket", Request::NewTicket),
        ("request-destroy", Request::Destroy),
        ("request-session", Request::Session { known: 300 }),
        ("request-roles", Request::Roles { session: 301, from: 250 }),
        ("request-status", Request::Status),
    ]
}

fn replies() -> Vec<(&'static str, Reply)> {
    let role = Role {
        id: "555021935107".into(),
        organisation_code: "RKF".into(),
        organisation: "HOSPITAL, \"NORTH\"".into(),
        role_type: "Clinical".into(),
        sub_type: "Nursing".into(),
        name: "Nurse".into(),
    };
    let session = SessionData {
        number: 301,
        ticket: ticket(),
        uid: "123456789012".into(),
        name: "Zoë Example".into(),
        roles: 1000,
        role: Some(999),
        idle: Some(Duration::from_secs(3600)),
        total: None,
        card_watched: true,
    };
    let live = Status::Live { card_watched: true };
    let locked = Status::Locked { why: LockReason::CardRemoved, ends_in: Duration::from_secs(1799) };
    vec![
        ("reply-hello", Reply::Hello(Hello { version: 1, broker: "gas.national.ncrs.nhs.uk:443".into() })),
        ("reply-ticket", Reply::Ticket(ticket())),
        ("reply-done", Reply::Done),
        ("reply-session", Reply::Session(session)),
        ("reply-unchanged", Reply::Unchanged),
        ("reply-roles", Reply::Roles(vec![role.clone(), Role { organisation_code: String::new(), ..role }])),
        ("reply-status", Reply::Status(AgentStatus::new(4711, "0.1.0".into(), live, false, 2))),
        ("reply-status-locked", Reply::Status(AgentStatus::new(4711, "0.1.0".into(), locked, true, 3))),
        ("reply-waiting", Reply::Waiting),
        ("reply-failed", failure(ErrorKind::TicketNotAvailable, Stage::Session, "nobody is logged in")),
        ("reply-failed-pin", failure(ErrorKind::PinIncorrect { tries_left: Some(1) }, Stage::Pin, "the PIN is wrong")),
    ]
}

/// Returns the message in the file, without its length.
fn message(name: &str) -> Vec<u8> {
    let file = fs::read(folder().join(name).with_extension("bin")).unwrap();
    let (prefix, message) = file.split_first_chunk::<PREFIX>().unwrap();
    assert_eq!(length(*prefix).unwrap(), message.len(), "{name}");
    message.to_vec()
}

#[test]
fn every_message_is_parsed_from_and_encoded_as_its_file() {
    for (name, request) in requests() {
        assert_eq!(Request::decode(&message(name)).unwrap(), request, "{name}");
        assert_eq!(request.encode()[PREFIX..], message(name), "{name}");
    }
    for (name, reply) in replies() {
        assert_eq!(Reply::decode(&message(name)).unwrap(), reply, "{name}");
        assert_eq!(reply.encode()[PREFIX..], message(name), "{name}");
    }
}

#[test]
fn every_file_belongs_to_a_tested_message() {
    let tested = requests().into_iter().map(|(name, _)| name).chain(replies().into_iter().map(|(name, _)| name));
    let tested: BTreeSet<_> = tested.map(|name| format!("{name}.bin")).collect();
    let files: BTreeSet<_> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, tested);
}

#[test]
fn the_protocols_documentation_names_every_message() {
    let page = include_str!("../docs/agent-protocol.md");
    let names = requests().into_iter().map(|(name, request)| (name, request.encode()));
    for (name, bytes) in names.chain(replies().into_iter().map(|(name, reply)| (name, reply.encode()))) {
        let kind = u16::from_le_bytes([bytes[PREFIX], bytes[PREFIX + 1]]);
        let (side, name) = name.split_once('-').unwrap();
        let row = format!("| {kind} | `{}`", name.trim_end_matches("-pin").trim_end_matches("-locked"));
        let (requests, replies) = page.split_once("## Replies").unwrap();
        assert!(if side == "request" { requests } else { replies }.contains(&row), "{side}: {row}");
    }
}

#[test]
fn the_version_in_first_messages_of_other_versions_is_parsed() {
    for fields in [&[2][..], &[2, 0xff, 0xff], b"\x02\x05other things"] {
        let message = [&[0, 0][..], fields].concat();
        let expected = Hello { version: 2, broker: String::new() };
        assert_eq!(Request::decode(&message), Ok(Request::Hello(Hello { version: 2, broker: String::new() })));
        assert_eq!(Reply::decode(&message), Ok(Reply::Hello(expected)));
    }
}

#[test]
fn roles_are_split_into_as_many_messages_as_needed() {
    let role = |number: usize| {
        Role::new(&format!("{number:012}"), "RKF", &format!("{}, \"A\":\"B\":\"C\"", "x".repeat(number % 700)))
    };
    let roles: Vec<_> = (0..1000).map(role).collect();
    let (mut read, mut messages) = (Vec::new(), 0);
    while read.len() < roles.len() {
        let message = Reply::roles(&roles, read.len()).encode();
        assert!(message.len() <= PREFIX + MAX_MESSAGE);
        let Ok(Reply::Roles(some)) = Reply::decode(&message[PREFIX..]) else { panic!("no roles") };
        assert!(!some.is_empty());
        read.extend(some);
        messages += 1;
    }
    assert_eq!(read, roles);
    assert!(messages < 10, "{messages}");
}

#[test]
fn a_message_with_roles_has_at_most_the_maximum_length() {
    let mut lengths = Vec::new();
    for length in 0..250 {
        let name = |length| format!("{}, \"A\":\"B\":\"C\"", "x".repeat(length));
        let mut roles = vec![Role::new("1", "RKF", &name(200)); MAX_MESSAGE / 200];
        roles[0] = Role::new("1", "RKF", &name(length));
        let message = Reply::roles(&roles, 0).encode();
        let Ok(Reply::Roles(some)) = Reply::decode(&message[PREFIX..]) else { panic!("it does not fit: {length}") };
        assert!(some.len() < roles.len());
        lengths.push(message.len());
    }
    let longest = lengths.iter().max().unwrap();
    // The number of roles may take three bytes, but takes two here.
    assert_eq!(*longest, PREFIX + MAX_MESSAGE - 1);
}

#[test]
fn a_reply_that_is_too_long_becomes_a_failure_that_says_so() {
    let reply = Reply::Ticket(Ticket::new("x".repeat(MAX_MESSAGE))).encode();
    let Ok(Reply::Failed(failure)) = Reply::decode(&reply[PREFIX..]) else { panic!("it was sent") };
    assert!(Error::from(failure).detail().contains("does not fit"));
    let long = failure_of(&"ä".repeat(MAX_MESSAGE)).encode();
    assert!(matches!(Reply::decode(&long[PREFIX..]), Ok(Reply::Failed(_))));
}

fn failure_of(detail: &str) -> Reply {
    failure(ErrorKind::Refused, Stage::Authentication, detail)
}

#[test]
fn debug_forms_show_no_ticket() {
    for (_, reply) in replies() {
        assert!(!format!("{reply:?}").contains("AQIC5w"), "{reply:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(kind in 0u16..12, fields in proptest::collection::vec(any::<u8>(), 0..200)) {
        let message = [&kind.to_le_bytes()[..], &fields].concat();
        if let Err(malformed) = Request::decode(&message) {
            prop_assert!(matches!(malformed, Malformed::Kind(_) | Malformed::Fields(_)));
        }
        let _ = Reply::decode(&message);
    }
}
