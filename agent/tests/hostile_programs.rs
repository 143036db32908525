//! Programs that break the protocol do not disturb the agent or other programs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use support::{Desk, InProcess, InThread, User, auto_program, program, settings, socket};
use ticketapi::Engine;
use ticketapi::agent::AgentUse;
use ticketapi::agent::protocol::{Hello, MAX_REPLY, MAX_REQUEST, Reply, Request, VERSION};
use ticketapi::framing::Inbox;
use ticketapi::session::Context;

/// The longest time for which one program may delay another.
const UNDISTURBED: Duration = Duration::from_millis(500);

struct Raw {
    stream: UnixStream,
    inbox: Inbox,
}

impl Raw {
    fn connect(desk: &Desk) -> Self {
        let stream = UnixStream::connect(socket(desk)).unwrap();
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
        Self { stream, inbox: Inbox::new(MAX_REPLY) }
    }

    fn greeted(desk: &Desk) -> Self {
        let mut raw = Self::connect(desk);
        raw.send(&Request::Hello(Hello::new("")).encode());
        assert!(matches!(raw.reply(), Some(Reply::Hello(Hello { version: VERSION, .. }))));
        raw
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Returns the next response, or `None` at the end of the connection.
    fn reply(&mut self) -> Option<Reply> {
        loop {
            if let Some(message) = self.inbox.message().unwrap() {
                let reply = Reply::decode(message).unwrap();
                self.inbox.done();
                return Some(reply);
            }
            match self.stream.read(self.inbox.room().unwrap()) {
                Ok(0) => return None,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                read => self.inbox.add(read.unwrap()),
            }
        }
    }
}

fn message(kind: u8, fields: &[u8]) -> Vec<u8> {
    [&(1 + fields.len() as u32).to_le_bytes()[..], &[kind], fields].concat()
}

/// Requests the ticket many times and checks that each request is fast.
fn is_served(engine: &Engine) {
    for _ in 0..200 {
        let began = Instant::now();
        engine.get_ticket_no_auth().unwrap();
        let time = began.elapsed();
        assert!(time < UNDISTURBED, "an answer took {time:?}");
    }
}

fn desk_with_session() -> (Desk, InThread, Engine) {
    let desk = Desk::with(|spine| spine.roles(1000));
    let agent = InThread::start(&desk, &User::new());
    let engine = program(&desk);
    engine.get_ticket().unwrap();
    (desk, agent, engine)
}

#[test]
fn an_unknown_request_of_a_newer_program_is_refused_and_the_next_one_answered() {
    let (desk, _agent, engine) = desk_with_session();
    let mut raw = Raw::greeted(&desk);
    for unknown in [message(13, b"whatever it may say"), message(0x7f, b""), message(0xff, &[0xff, 3])] {
        raw.send(&unknown);
        let Some(Reply::Failed(failure)) = raw.reply() else { panic!("it was not refused") };
        let error = ticketapi::Error::from(failure);
        assert_eq!(*error.kind(), ticketapi::ErrorKind::NotImplemented);
        assert!(error.detail().contains("unknown kind"), "{error}");
    }
    raw.send(&Request::TicketNoAuth.encode());
    assert_eq!(raw.reply(), Some(Reply::Ticket(engine.get_ticket_no_auth().unwrap())));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (desk, _agent, _engine) = desk_with_session();
    let mut raw = Raw::greeted(&desk);
    let claims = Request::Claims.encode();
    raw.send(
        &[&Request::TicketNoAuth.encode()[..], &claims, &Request::Destroy.encode(), &Request::TicketNoAuth.encode()]
            .concat(),
    );
    assert!(matches!(raw.reply(), Some(Reply::Ticket(_))));
    let Some(Reply::Failed(failure)) = raw.reply() else { panic!("the SSB has no claims") };
    assert_eq!(*ticketapi::Error::from(failure).kind(), ticketapi::ErrorKind::NotImplemented);
    assert_eq!(raw.reply(), Some(Reply::Done));
    assert!(matches!(raw.reply(), Some(Reply::Failed(_))));
}

#[test]
fn a_program_that_sends_no_or_a_malformed_first_message_is_disconnected() {
    let (desk, _agent, engine) = desk_with_session();
    let session = 5;
    let known_kind_with_other_fields = message(session, &[0xff; 20]);
    for noise in
        [&Request::TicketNoAuth.encode()[..], &message(77, b""), &[0xff; 64], &[0; 8], b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut raw = Raw::connect(&desk);
        raw.send(noise);
        while let Some(reply) = raw.reply() {
            assert!(matches!(reply, Reply::Failed(_)), "{reply:?}");
        }
    }
    let mut raw = Raw::greeted(&desk);
    raw.send(&known_kind_with_other_fields);
    assert!(matches!(raw.reply(), Some(Reply::Failed(_))));
    assert_eq!(raw.reply(), None);
    is_served(&engine);
}

#[test]
fn a_program_of_another_version_gets_the_agents_version_and_is_disconnected() {
    let (desk, _agent, _engine) = desk_with_session();
    for version in [0, VERSION + 1, u32::MAX] {
        let mut raw = Raw::connect(&desk);
        // Later versions may append fields to the first message, or send another message after it.
        let hello = Request::Hello(Hello { version, service: "\u{7}what comes later".into() }).encode();
        raw.send(&[&hello[..], &Request::Ticket.encode()].concat());
        assert!(matches!(raw.reply(), Some(Reply::Hello(Hello { version: VERSION, .. }))));
        assert_eq!(raw.reply(), None);
    }
}

#[test]
fn an_agent_of_another_version_causes_an_error_or_a_login_in_the_program() {
    let desk = Desk::new();
    let listener = UnixListener::bind(socket(&desk)).unwrap();
    std::fs::set_permissions(socket(&desk), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let agent = thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 512]).unwrap();
            // Version 300, with fields that this version does not know.
            stream.write_all(&message(0, &[0xac, 0x02, 0xff, 0xff, 0xff])).unwrap();
        }
    });
    let error = program(&desk).get_ticket().unwrap_err();
    assert_eq!(*error.kind(), ticketapi::ErrorKind::AgentVersion);
    assert_eq!(error.detail(), "the ticketapi agent speaks version 300 of the messages, this program version 1");
    let user = User::new();
    let auto = auto_program(&desk, &user);
    auto.get_ticket().unwrap();
    assert_eq!(user.pins_asked(), 1);
    assert!(ticketapi::agent::status(&settings(&desk, AgentUse::Auto)).is_err());
    agent.join().unwrap();
}

#[test]
fn an_agent_that_is_silent_or_malformed_or_disconnects_causes_an_error_by_the_deadline() {
    for nonsense in [vec![], vec![0xff; 40], message(0, &[1, 0]), message(0, &[1]), message(3, &[1, 1, 1])] {
        let desk = Desk::new();
        let listener = UnixListener::bind(socket(&desk)).unwrap();
        std::fs::set_permissions(socket(&desk), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let agent = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&nonsense).unwrap();
            // The first one never answers; the others close the connection.
            while nonsense.is_empty() && stream.read(&mut [0; 64]).unwrap() > 0 {}
            drop(listener);
        });
        let began = Instant::now();
        let error = program(&desk).get_ticket_no_auth().unwrap_err();
        assert_eq!(*error.kind(), ticketapi::ErrorKind::AgentNotAvailable, "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
        agent.join().unwrap();
    }
}

#[test]
fn an_agent_that_accepts_no_connection_causes_an_error_by_the_deadline() {
    let desk = Desk::new();
    let listener = UnixListener::bind(socket(&desk)).unwrap();
    std::fs::set_permissions(socket(&desk), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    // Fills the queue of waiting connections.
    let _waiting = UnixStream::connect(socket(&desk)).unwrap();
    let began = Instant::now();
    let error = program(&desk).get_ticket_no_auth().unwrap_err();
    assert_eq!(*error.kind(), ticketapi::ErrorKind::AgentNotAvailable, "{error}");
    assert!(error.detail().contains("does not answer"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn programs_that_stop_within_a_message_disturb_nobody_and_are_disconnected() {
    let (desk, _agent, engine) = desk_with_session();
    let mut halves: Vec<_> = [&[][..], &[5], &[10, 0, 0, 0, 0], &[0, 0, 1, 0, 0, 0, 1, 2, 3]]
        .map(|half| {
            let mut raw = Raw::connect(&desk);
            raw.send(half);
            raw
        })
        .into();
    let mut greeted = Raw::greeted(&desk);
    greeted.send(&[200, 0, 0]);
    halves.push(greeted);
    is_served(&engine);
    // The agent closes them after ten seconds.
    for mut half in halves {
        assert_eq!(half.reply(), None);
    }
    is_served(&engine);
}

#[test]
fn sixty_four_mebibytes_are_refused() {
    let (desk, _agent, engine) = desk_with_session();
    for announced in [64 << 20, MAX_REQUEST as u32 + 1] {
        let mut raw = Raw::greeted(&desk);
        let megabyte = vec![0; 1 << 20];
        let sent = raw
            .stream
            .write_all(&u32::to_le_bytes(announced))
            .and_then(|()| (0..64).try_for_each(|_| raw.stream.write_all(&megabyte)));
        assert!(sent.is_err(), "it took them");
    }
    // Split into messages of allowed length they are that many requests.
    let mut raw = Raw::greeted(&desk);
    let mut reader = raw.stream.try_clone().unwrap();
    let drain = thread::spawn(move || while reader.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {});
    // A context that the agent refuses before it asks anybody.
    let longest = Request::SwitchContext(Context::new().patient("x".repeat(MAX_REQUEST - 8))).encode();
    assert_eq!(longest.len(), 4 + MAX_REQUEST);
    for _ in 0..1024 {
        raw.send(&longest);
    }
    is_served(&engine);
    raw.stream.shutdown(std::net::Shutdown::Both).unwrap();
    drain.join().unwrap();
}

#[test]
fn many_requests_of_one_program_do_not_delay_others() {
    let (desk, _agent, engine) = desk_with_session();
    let small = Request::TicketNoAuth.encode().repeat(10_000);
    let large = Request::Session { known: 0 }.encode().repeat(1000);
    let floods: Vec<_> = [(&small, true), (&large, true), (&small, false), (&large, false)]
        .into_iter()
        .map(|(flood, reads)| {
            let raw = Raw::greeted(&desk);
            let (mut writer, mut reader) = (raw.stream.try_clone().unwrap(), raw.stream.try_clone().unwrap());
            let flood = flood.clone();
            thread::spawn(move || while writer.write_all(&flood).is_ok() {});
            if reads {
                thread::spawn(move || while reader.read(&mut [0; 65536]).is_ok_and(|count| count > 0) {});
            }
            raw.stream
        })
        .collect();
    is_served(&engine);
    for flood in floods {
        flood.shutdown(std::net::Shutdown::Both).unwrap();
    }
    is_served(&engine);
}

#[test]
fn programs_that_connect_and_disconnect_leave_nothing_behind() {
    let (desk, _agent, engine) = desk_with_session();
    let hello = Request::Hello(Hello::new("")).encode();
    for round in 0..300 {
        let mut raw = Raw::connect(&desk);
        let bytes = [&hello[..], &Request::TicketNoAuth.encode()].concat();
        raw.send(&bytes[..round % bytes.len()]);
    }
    let config = settings(&desk, AgentUse::Require);
    // The engine's connection and the one that asks for the status.
    support::wait_until(|| ticketapi::agent::status(&config).unwrap().clients <= 2);
    is_served(&engine);
}

#[test]
fn more_programs_than_the_agent_accepts_at_once_are_all_served() {
    let desk = Desk::with(|spine| spine.roles(1));
    let _agent = InProcess::start(&desk, "");
    program(&desk).get_ticket().unwrap();
    let engines: Vec<_> = (0..600).map(|_| program(&desk)).collect();
    for _ in 0..3 {
        for engine in &engines {
            engine.get_ticket_no_auth().unwrap();
        }
    }
}
