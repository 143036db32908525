//! The parsers that are private, for the fuzz targets. Only their build has this.

use std::io::Read;

use crate::prompt::assuan::{Answers, Broken};
use crate::ssb::BrokerAddress;
use crate::ssb::http::read_answer;

/// The body of an HTTP answer and whether its connection can be used again; `None` where there is
/// no good answer.
pub fn http_answer(stream: &mut impl Read) -> Option<(Vec<u8>, bool)> {
    let answer = read_answer(stream).ok()?;
    Some((answer.body.to_vec(), answer.keep_alive))
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

/// The path of a URL that a broker gave, where it leads back to `broker`.
pub fn path_of(broker: &BrokerAddress, url: &str) -> Option<String> {
    broker.path_of(url)
}
