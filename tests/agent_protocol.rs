//! The agent's messages: files in tests/data/agent, which every version 1 reads and writes unchanged.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use ticketapi::agent::AgentStatus;
use ticketapi::agent::protocol::{Change, Hello, MAX_REPLY, MAX_REQUEST, Reply, Request, SessionData, WireError};
use ticketapi::engine::Status;
use ticketapi::framing::{ChannelError, PREFIX};
use ticketapi::session::{CareTeam, Context, Contexts, LockReason, Organization};
use ticketapi::ssb::Role;
use ticketapi::{Error, ErrorKind, Stage, Ticket};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/agent")
}

fn ticket() -> Ticket {
    Ticket::new("AQIC5wM2LY4SfcxOa2eyaPM=@AAJTSQACMDE=#".into())
}

fn failure(kind: ErrorKind, stage: Stage, detail: &str) -> Reply {
    Reply::Failed(WireError::from(&Error::new(kind, stage, detail)))
}

fn requests() -> Vec<(&'static str, Request)> {
    vec![
        ("request-hello", Request::Hello(Hello { version: 1, service: "gas.national.ncrs.nhs.uk:443".into() })),
        ("request-ticket-no-auth", Request::TicketNoAuth),
        ("request-ticket", Request::Ticket),
        ("request-new-ticket", Request::NewTicket),
        ("request-destroy", Request::Destroy),
        ("request-session", Request::Session { known: 300 }),
        ("request-status", Request::Status),
        ("request-log-in", Request::LogIn { anew: true, known: 300 }),
        ("request-change-role", Request::ChangeRole),
        ("request-switch-context", Request::SwitchContext(context())),
        ("request-contexts", Request::Contexts),
        ("request-claims", Request::Claims),
        ("request-watch", Request::Watch),
    ]
}

fn context() -> Context {
    Context::new()
        .care_team("https://careteam.example/fhir/CareTeam/7")
        .patient("https://patient.example/fhir/Patient/21")
}

fn contexts() -> Contexts {
    let mut organization = Organization::default();
    organization.id = "https://organization.example/fhir/Organization/3".into();
    organization.name = "Hospital".into();
    organization.roles = vec!["Nurse".into(), "Doctor".into()];
    let mut team = CareTeam::default();
    team.id = "https://careteam.example/fhir/CareTeam/7".into();
    team.name = "Ward 7".into();
    let mut contexts = Contexts::default();
    (contexts.organizations, contexts.care_teams) = (vec![organization], vec![team]);
    contexts
}

fn replies() -> Vec<(&'static str, Reply)> {
    let mut role = Role::new("555021935107", "RKF", "Nurse");
    role.organisation = "HOSPITAL, \"NORTH\"".into();
    (role.role_type, role.sub_type) = ("Clinical".into(), "Nursing".into());
    let mut other = role.clone();
    other.organisation_code.clear();
    let session = SessionData {
        number: 301,
        login: 299,
        ticket: ticket(),
        expires_in: Some(Duration::from_secs(240)),
        uid: "123456789012".into(),
        name: "Zoë Example".into(),
        roles: vec![role, other],
        role: Some(1),
        idle: Some(Duration::from_secs(3600)),
        total: None,
        card_watched: true,
    };
    let live = Status::Live { card_watched: true };
    let locked = Status::Locked { why: LockReason::CardRemoved, ends_in: Duration::from_secs(1799) };
    vec![
        ("reply-hello", Reply::Hello(Hello { version: 1, service: "gas.national.ncrs.nhs.uk:443".into() })),
        ("reply-ticket", Reply::Ticket(ticket())),
        ("reply-done", Reply::Done),
        ("reply-session", Reply::Session(session)),
        ("reply-unchanged", Reply::Unchanged),
        ("reply-status", Reply::Status(AgentStatus::new(4711, "0.1.0".into(), live, false, 2))),
        ("reply-status-locked", Reply::Status(AgentStatus::new(4711, "0.1.0".into(), locked, true, 3))),
        ("reply-waiting", Reply::Waiting),
        ("reply-contexts", Reply::Contexts(contexts())),
        ("reply-changed", Reply::Changed(Change::Locked)),
        ("reply-claims", Reply::Claims("{\"sub\":\"910000000001\"}".into())),
        ("reply-failed", failure(ErrorKind::TicketNotAvailable, Stage::Session, "nobody is logged in")),
        ("reply-failed-pin", failure(ErrorKind::PinIncorrect { tries_left: Some(1) }, Stage::Pin, "the PIN is wrong")),
    ]
}

/// Returns the message in the file, without its length.
fn message(name: &str) -> Vec<u8> {
    let file = fs::read(folder().join(name).with_extension("bin")).unwrap();
    let (prefix, message) = file.split_first_chunk::<PREFIX>().unwrap();
    assert_eq!(u32::from_le_bytes(*prefix) as usize, message.len(), "{name}");
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
        let kind = bytes[PREFIX];
        let (side, name) = name.split_once('-').unwrap();
        let row = format!("| {kind} | `{}`", name.trim_end_matches("-pin").trim_end_matches("-locked"));
        let (requests, replies) = page.split_once("## Replies").unwrap();
        assert!(if side == "request" { requests } else { replies }.contains(&row), "{side}: {row}");
    }
}

#[test]
fn the_version_in_first_messages_of_other_versions_is_parsed() {
    for fields in [&[2][..], &[2, 0xff, 0xff], b"\x02\x05other things"] {
        let message = [&[0][..], fields].concat();
        let expected = || Hello { version: 2, service: String::new() };
        assert_eq!(Request::decode(&message), Ok(Request::Hello(expected())));
        assert_eq!(Reply::decode(&message), Ok(Reply::Hello(expected())));
    }
}

#[test]
fn messages_of_kinds_that_do_not_exist_are_told_from_malformed_ones() {
    let (requests, replies) = (requests(), replies());
    let next = |kinds: &mut dyn Iterator<Item = u8>| kinds.max().unwrap() + 1;
    let request = next(&mut requests.iter().map(|(_, request)| request.encode()[PREFIX]));
    let reply = next(&mut replies.iter().map(|(_, reply)| reply.encode()[PREFIX]));
    for fields in [&[][..], b"what a later version has"] {
        assert_eq!(Request::decode(&[&[request][..], fields].concat()), Err(ChannelError::Unknown(u32::from(request))));
        assert_eq!(Reply::decode(&[&[reply][..], fields].concat()), Err(ChannelError::Unknown(u32::from(reply))));
    }
    assert_eq!(Request::decode(&[0xac, 0x02]), Err(ChannelError::Unknown(300)));
    let session = 5;
    assert_eq!(Request::decode(&[session, 0xff]), Err(ChannelError::Malformed(2)));
    assert_eq!(Request::decode(&[]), Err(ChannelError::Malformed(0)));
}

#[test]
fn ten_thousand_roles_and_their_claims_fit_into_a_reply() {
    let Some((_, Reply::Session(mut session))) = replies().into_iter().find(|(name, _)| *name == "reply-session")
    else {
        panic!("no session")
    };
    session.roles = (0..10_000)
        .map(|number| Role::new(&format!("{number:012}"), "RKF", &format!("{}, \"A\":\"B\":\"C\"", "x".repeat(200))))
        .collect();
    for reply in [Reply::Session(session), Reply::Claims("x".repeat(10_000 * 500))] {
        let bytes = reply.encode();
        assert_eq!(Reply::decode(&bytes[PREFIX..]), Ok(reply));
    }
}

#[test]
fn a_reply_that_is_too_long_becomes_a_failure_that_says_so() {
    let reply = Reply::Ticket(Ticket::new("x".repeat(MAX_REPLY))).encode();
    let Ok(Reply::Failed(failure)) = Reply::decode(&reply[PREFIX..]) else { panic!("it was sent") };
    assert!(Error::from(failure).detail().contains("does not fit"));
    let long = Error::new(ErrorKind::Refused, Stage::Authentication, "ä".repeat(MAX_REPLY));
    let long = Reply::Failed(WireError::from(&long)).encode();
    assert!(matches!(Reply::decode(&long[PREFIX..]), Ok(Reply::Failed(_))));
    assert!(Request::SwitchContext(Context::new().care_team("x".repeat(MAX_REQUEST))).encode().is_empty());
}

#[test]
fn debug_forms_show_no_ticket() {
    for (_, reply) in replies() {
        assert!(!format!("{reply:?}").contains("AQIC5w"), "{reply:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(kind in 0u8..16, fields in proptest::collection::vec(any::<u8>(), 0..200)) {
        let message = [&[kind][..], &fields].concat();
        if let Err(error) = Request::decode(&message) {
            prop_assert!(matches!(error, ChannelError::Malformed(_) | ChannelError::Unknown(_)));
        }
        let _ = Reply::decode(&message);
    }
}
