//! What a broker sends: HTTP, messages, pages, roles, URLs; and the messages between the agent and programs. The
//! first byte selects one.
#![no_main]

use std::io::{ErrorKind, Read};

use libfuzzer_sys::fuzz_target;
use ticketapi::agent::protocol::{Hello, MAX_REPLY, MAX_REQUEST, Reply, Request, SessionData, StatusData, WireError};
use ticketapi::engine::Status;
use ticketapi::framing::{Inbox, PREFIX};
use ticketapi::ssb::assertion::read_assertion;
use ticketapi::ssb::message::{self, Malformed, Rejection};
use ticketapi::ssb::session_service::{read_session, write_question};
use ticketapi::ssb::{BrokerAddress, Environment, Role};
use ticketapi::{Ticket, fuzzing};

fuzz_target!(init: send_what_the_agent_sends(), |data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 6 {
        0 => read_message(data),
        1 => read_http(data),
        2 => text(data, write_and_read),
        3 => text(data, take_a_role_apart),
        4 => text(data, read_url),
        _ => read_agent(data),
    }
});

fn text(data: &[u8], run: impl Fn(&str)) {
    if let Ok(text) = str::from_utf8(data) {
        run(text);
    }
}

fn read_message(answer: &[u8]) {
    if let Ok(activated) = message::read_activation(answer) {
        assert!(!activated.challenge.is_empty() && !activated.signature.is_empty());
    }
    let status = message::read_status(answer);
    if let Err(Rejection::Refused(reason)) = &status {
        assert!(!reason.contains(char::is_control) && reason.chars().count() < 350);
    }
    match message::read_authentication(answer) {
        Ok(user) => {
            assert!(user.ticket.expose().bytes().all(|byte| byte.is_ascii_graphic()));
            assert!(user.roles.iter().all(|role| !role.id.is_empty()));
            assert_eq!(message::read_ticket(answer), Some(user.ticket));
            assert!(status.is_err(), "an answer of two kinds");
        }
        Err(_) => drop(message::read_ticket(answer)),
    }
    if let Ok(assertion) = read_assertion(answer) {
        assert!(assertion.session_role().is_none_or(|role| assertion.roles.contains(role)));
        for date in assertion.roles.iter().flat_map(|role| role.opened.iter().chain(&role.closed)) {
            let parts = format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day());
            assert_eq!(date.to_string(), parts);
        }
    }
    let _ = read_session(answer, &Ticket::new("AQIC5wM2LY4Sfcw=@AAJTSQACMDE=#".into()));
}

/// A stream that delivers pieces, with as many bytes after the input as the limits need, and one of the possible
/// ends.
struct Stream<'a> {
    bytes: &'a [u8],
    more: usize,
    piece: usize,
    end: Option<ErrorKind>,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let room = buffer.len().min(self.piece);
        if !self.bytes.is_empty() {
            return self.bytes.read(&mut buffer[..room]);
        }
        let count = room.min(self.more);
        self.more -= count;
        buffer[..count].fill(b'x');
        match self.end {
            Some(kind) if count == 0 => Err(kind.into()),
            _ => Ok(count),
        }
    }
}

/// The first bytes select how the others are delivered.
fn read_http(data: &[u8]) {
    let [how, piece, bytes @ ..] = data else { return };
    let more = [0, 100, 20 << 10, 2 << 20][usize::from(how & 3)];
    let end = [None, Some(ErrorKind::UnexpectedEof), Some(ErrorKind::ConnectionReset)][usize::from(how >> 2) % 3];
    let stream = |piece| Stream { bytes, more, piece, end };
    let answer = |piece| fuzzing::http_answer(&mut stream(piece)).map(|(body, _)| body);
    let date = |piece| fuzzing::http_date(&mut stream(piece));
    assert_eq!(date(usize::MAX), date(usize::from(*piece) * 8 + 1));
    // Bytes after the response are noticed only if they have arrived.
    assert_eq!(answer(usize::MAX), answer(usize::from(*piece) * 8 + 1));
}

fn write_and_read(value: &str) {
    // A ticket may be any value, and must not end the element that contains it.
    if let Ok(question) = write_question(&Ticket::new(value.to_owned()), false) {
        let question = String::from_utf8(question.to_vec()).unwrap();
        assert_eq!((question.matches("]]>").count(), question.matches("</SessionID>").count()), (1, 1));
    }
    let Ok(request) = message::write(&[("challenge", "QQ=="), ("signature", value)]) else { return };
    match message::read_activation(&request) {
        Ok(read) => assert_eq!(read.signature, value),
        Err(Rejection::Malformed(why)) => assert!(value.is_empty() || why == Malformed::TooLarge, "{why}"),
        Err(Rejection::Refused(reason)) => panic!("{reason}"),
    }
}

fn take_a_role_apart(text: &str) {
    let role = Role::new("1", "A", text);
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let parts = [&role.organisation, &role.role_type, &role.sub_type, &role.name].map(|part| letters(part));
    // Longer names are truncated.
    if text.chars().count() <= 256 {
        assert_eq!(parts.concat(), letters(text));
    }
    assert!(role.to_string().contains(&role.name));
}

fn read_url(text: &str) {
    let environment = Environment::from_name(text).unwrap_or(Environment::Int);
    if let Some(path) = fuzzing::path_of(&environment.broker(), text) {
        assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    for plain in [false, true] {
        let Ok(address) = BrokerAddress::parse(text, plain) else { continue };
        assert!(address.is_tls() || plain);
        let scheme = if address.is_tls() { "https" } else { "http" };
        assert_eq!(BrokerAddress::parse(&format!("{scheme}://{address}"), plain).as_ref(), Ok(&address));
    }
}

/// What either side of the agent's socket receives, in pieces whose length the first byte selects.
fn read_agent(data: &[u8]) {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let messages = take_messages(bytes, usize::MAX);
    assert_eq!(take_messages(bytes, usize::from(piece) + 1), messages);
    for message in &messages {
        if let Ok(request) = Request::decode(message) {
            assert_eq!(Request::decode(&request.encode()[PREFIX..]), Ok(request));
        }
        match Reply::decode(message) {
            Ok(reply) => {
                assert_eq!(Reply::decode(&reply.encode()[PREFIX..]).as_ref(), Ok(&reply));
                match reply {
                    Reply::Failed(failure) => {
                        let error = ticketapi::Error::from(failure);
                        let again = ticketapi::Error::from(WireError::from(&error));
                        // A long text is truncated.
                        assert!(again.kind() == error.kind() && error.detail().starts_with(again.detail()));
                    }
                    Reply::Session(data) => {
                        let (number, login) = (data.number, data.login);
                        let session = fuzzing::agent_session(data);
                        let again = SessionData::new(number, login, &session);
                        assert_eq!((again.number, &again.uid), (number, &session.user().uid));
                    }
                    _ => {}
                }
            }
            Err(_) => {}
        }
    }
}

/// Checks once what the agent itself sends.
fn send_what_the_agent_sends() {
    let status = Reply::Status(StatusData::new(1, "0.1.0".into(), Status::Live { card_watched: true }, false, 2));
    let long = Reply::Claims("x".repeat(MAX_REPLY));
    for reply in [Reply::Hello(Hello::new("broker")), status] {
        assert_eq!(Reply::decode(&reply.encode()[PREFIX..]), Ok(reply));
    }
    assert!(matches!(Reply::decode(&long.encode()[PREFIX..]), Ok(Reply::Failed(_))), "it does not fit");
    assert!(Inbox::new(MAX_REPLY).is_empty());
}

fn take_messages(mut bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let (mut inbox, mut messages) = (Inbox::new(MAX_REQUEST), Vec::new());
    while !bytes.is_empty() {
        let Ok(room) = inbox.room() else { break };
        let count = room.len().min(bytes.len()).min(piece);
        room[..count].copy_from_slice(&bytes[..count]);
        inbox.add(count);
        bytes = &bytes[count..];
        while let Ok(Some(message)) = inbox.message() {
            messages.push(message.to_vec());
            inbox.done();
        }
    }
    messages
}
