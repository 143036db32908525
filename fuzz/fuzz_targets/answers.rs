//! What a broker sends: HTTP, messages, pages, roles, URLs. The first byte tells which.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use ticketapi::ssb::assertion::read_assertion;
use ticketapi::ssb::message::{self, Malformed, Rejection};
use ticketapi::ssb::session_service::{read_session, write_question};
use ticketapi::ssb::{BrokerAddress, Environment, Role};
use ticketapi::{Ticket, fuzzing};

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 5 {
        0 => read_message(data),
        1 => read_http(data),
        2 => text(data, write_and_read),
        3 => text(data, take_a_role_apart),
        _ => text(data, read_url),
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
    }
    let _ = read_session(answer, &Ticket::new("AQIC5wM2LY4Sfcw=@AAJTSQACMDE=#".into()));
}

/// A stream whose pieces have the sizes that the first byte tells.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let room = buffer.len().min(self.1);
        self.0.read(&mut buffer[..room])
    }
}

fn read_http(data: &[u8]) {
    let Some((&size, bytes)) = data.split_first() else { return };
    let whole = fuzzing::http_answer(&mut Pieces(bytes, usize::MAX));
    let pieces = fuzzing::http_answer(&mut Pieces(bytes, usize::from(size) + 1));
    // Whether bytes wait behind the answer shows only once they have come.
    assert_eq!(whole.map(|(body, _)| body), pieces.map(|(body, _)| body));
}

fn write_and_read(value: &str) {
    // A ticket is as free as any value, and what is written for it must not end what it stands in.
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
    assert_eq!(parts.concat(), letters(text));
    assert!(role.to_string().contains(&role.name));
}

fn read_url(text: &str) {
    let broker = Environment::Int.broker();
    if let Some(path) = fuzzing::path_of(&broker, text) {
        assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    for plain in [false, true] {
        let Ok(address) = BrokerAddress::parse(text, plain) else { continue };
        assert!(address.is_tls() || plain);
        let scheme = if address.is_tls() { "https" } else { "http" };
        assert_eq!(BrokerAddress::parse(&format!("{scheme}://{address}"), plain).as_ref(), Ok(&address));
    }
}
