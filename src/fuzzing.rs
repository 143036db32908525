//! The private parsers, for the fuzz targets. Compiled only for them.

use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use crate::agent::protocol::SessionData;
use crate::card::certificate::issuer_and_end;
use crate::http::message::{read_date, read_response};
use crate::http::request::Wanted;
use crate::prompt::assuan::{Broken, Responses, line};
use crate::service::ssb::SsbService;
use crate::session::Session;
use crate::ssb::BrokerAddress;

/// The body of an HTTP response and whether its connection can be reused. `None` if the response is not valid.
pub fn http_answer(stream: &mut impl Read) -> Option<(Vec<u8>, bool)> {
    let received = read_response(stream, Wanted::default()).ok()?;
    Some((received.response.body.to_vec(), received.keep_alive))
}

/// The date in an HTTP response.
pub fn http_date(stream: &mut impl Read) -> Option<String> {
    read_date(stream).ok()?
}

/// A session as the agent sends it.
pub fn agent_session(data: SessionData) -> Session {
    data.into_session(&SsbService::for_tests(), Arc::default())
}

/// The issuer of a certificate, and the end of its validity.
pub fn issuer_and_end_of(certificate: &[u8]) -> Option<(String, SystemTime)> {
    issuer_and_end(certificate)
}

/// A pinentry's responses up to the first malformed one: what was typed, or an error's number.
pub fn pinentry_answers(mut bytes: &[u8], piece: usize) -> Vec<Result<Vec<u8>, u32>> {
    let mut responses = Responses::new();
    let mut read = Vec::new();
    loop {
        let receive = |buffer: &mut [u8]| {
            let room = buffer.len().min(piece);
            bytes.read(&mut buffer[..room])
        };
        match responses.next(receive) {
            Ok(outcome) => read.push(outcome.map(|typed| typed.to_vec())),
            Err(Broken::Io(_) | Broken::LongLine | Broken::LongAnswer) => return read,
        }
    }
}

/// A line of pinentry's protocol.
pub fn pinentry_line(command: &str, text: &str) -> String {
    line(command, text)
}

/// The path of a URL from a broker, if the URL is on `broker`.
pub fn path_of(broker: &BrokerAddress, url: &str) -> Option<String> {
    broker.path_of(url)
}

/// An anchor, issuers and a server's certificate, as a server sends its chain.
pub fn chain<'a>(certificates: impl Iterator<Item = &'a [u8]>) {
    crate::http::path::fuzzing::read(certificates);
}

/// What an OpenID provider, a browser, or a file with a private key sends; `kind` selects one.
pub fn openid(kind: u8, data: &[u8]) {
    crate::service::oidc::fuzzing::read(kind, data);
}

/// What a Nuts node sends; `kind` selects one.
pub fn nuts(kind: u8, data: &[u8]) {
    crate::service::nuts::fuzzing::read(kind, data);
}
