//! The parsers that are private, for the fuzz targets. Only their build has this.

use std::io::Read;
use std::sync::Arc;
use std::time::SystemTime;

use crate::agent::protocol::SessionData;
use crate::card::certificate::issuer_and_end;
use crate::http::message::{read_answer, read_date};
use crate::http::request::Wanted;
use crate::prompt::assuan::{Answers, Broken, escape};
use crate::service::ssb::SsbService;
use crate::session::Session;
use crate::ssb::BrokerAddress;

/// The body of an HTTP answer and whether its connection can be used again; `None` where there is
/// no good answer.
pub fn http_answer(stream: &mut impl Read) -> Option<(Vec<u8>, bool)> {
    let received = read_answer(stream, Wanted::default()).ok()?;
    Some((received.answer.body.to_vec(), received.keep_alive))
}

/// The date that an HTTP answer has.
pub fn http_date(stream: &mut impl Read) -> Option<String> {
    read_date(stream).ok()?
}

/// A session as the agent tells it.
pub fn agent_session(data: SessionData) -> Session {
    data.into_session(&SsbService::for_tests(), Arc::default())
}

/// Who made a certificate, and when it ends.
pub fn issuer_and_end_of(certificate: &[u8]) -> Option<(String, SystemTime)> {
    issuer_and_end(certificate)
}

/// The answers of a pinentry, to the first that cannot be read: what was typed, or an error's number.
pub fn pinentry_answers(mut bytes: &[u8], piece: usize) -> Vec<Result<Vec<u8>, u32>> {
    let mut answers = Answers::new();
    let mut read = Vec::new();
    loop {
        let receive = |buffer: &mut [u8]| {
            let room = buffer.len().min(piece);
            bytes.read(&mut buffer[..room])
        };
        match answers.next(receive) {
            Ok(outcome) => read.push(outcome.map(|typed| typed.to_vec())),
            Err(Broken::Io(_) | Broken::LongLine | Broken::LongAnswer) => return read,
        }
    }
}

/// A text as a command to a pinentry has it.
pub fn pinentry_text(text: &str) -> String {
    escape(text)
}

/// The path of a URL that a broker gave, where it leads back to `broker`.
pub fn path_of(broker: &BrokerAddress, url: &str) -> Option<String> {
    broker.path_of(url)
}
