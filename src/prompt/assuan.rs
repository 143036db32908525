//! A pinentry's responses in the Assuan protocol.
//!
//! Read here, not by a library: the PIN passes through every buffer, and these are wiped.

use std::io;

use zeroize::Zeroize;

use crate::secret::{SecretBytes, secret_buffer};

/// A line of the protocol has at most 1,000 bytes; a response here has a few lines.
const LIMIT: usize = 4096;

/// A command's outcome: the typed data, or an error number.
pub(crate) type Outcome = std::result::Result<SecretBytes, u32>;

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Reading failed; `UnexpectedEof` at the end of the input.
    Io(io::Error),
    /// A line longer than the protocol allows.
    LongLine,
    /// More data than a user types.
    LongAnswer,
}

/// Reads responses from a stream.
pub(crate) struct Responses {
    unread: SecretBytes,
}

impl Responses {
    pub(crate) fn new() -> Self {
        Self { unread: secret_buffer(LIMIT) }
    }

    /// Reads lines up to the end of the response. `receive` fills a buffer and returns 0 at the end.
    pub(crate) fn next(&mut self, mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>) -> Result<Outcome, Broken> {
        let mut data = secret_buffer(LIMIT);
        loop {
            let line = self.line(&mut receive)?;
            let (keyword, rest) = match line.iter().position(|&byte| byte == b' ') {
                Some(space) => (&line[..space], &line[space + 1..]),
                None => (&line[..], &[][..]),
            };
            match keyword {
                b"OK" => return Ok(Ok(data)),
                b"ERR" => {
                    let number = rest.split(|&byte| byte == b' ').next().unwrap_or_default();
                    let number = std::str::from_utf8(number).ok().and_then(|digits| digits.parse().ok());
                    return Ok(Err(number.unwrap_or(0)));
                }
                b"D" if data.len() + rest.len() <= LIMIT => unescape_into(rest, &mut data),
                b"D" => return Err(Broken::LongAnswer),
                // Status lines, comments and inquiries need no response.
                _ => {}
            }
        }
    }

    fn line(&mut self, receive: &mut impl FnMut(&mut [u8]) -> io::Result<usize>) -> Result<SecretBytes, Broken> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let mut line = secret_buffer(end);
                line.extend_from_slice(&self.unread[..end]);
                let rest = self.unread.len() - (end + 1);
                self.unread.copy_within(end + 1.., 0);
                self.unread[rest..].zeroize();
                self.unread.truncate(rest);
                return Ok(line);
            }
            let filled = self.unread.len();
            if filled == LIMIT {
                return Err(Broken::LongLine);
            }
            // Within its capacity, so the buffer is not reallocated.
            self.unread.resize(LIMIT, 0);
            let read = receive(&mut self.unread[filled..]);
            self.unread.truncate(filled + read.as_ref().map_or(0, |&read| read));
            if read.map_err(Broken::Io)? == 0 {
                return Err(Broken::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// Percent-escapes line ends and the percent sign.
pub(crate) fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn unescape_into(escaped: &[u8], out: &mut SecretBytes) {
    let hex = |digit: u8| char::from(digit).to_digit(16);
    let mut rest = escaped;
    while let Some((&first, tail)) = rest.split_first() {
        if let (b'%', [high, low, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push((high * 16 + low) as u8);
            rest = after;
        } else {
            out.push(first);
            rest = tail;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_is_undone_by_unescaping() {
        let mut out = secret_buffer(64);
        unescape_into(escape("100% of\r\nit%").as_bytes(), &mut out);
        assert_eq!(&**out, b"100% of\r\nit%");
    }

    fn answered(text: &str) -> Result<Outcome, Broken> {
        let mut text = text.as_bytes();
        Responses::new().next(|buffer| io::Read::read(&mut text, buffer))
    }

    #[test]
    fn an_answer_is_every_line_of_data_up_to_the_ok() {
        let answer = answered("# x\nS PROGRESS\nD 12\nD 3%254\nD\nOK done\n").unwrap().unwrap();
        assert_eq!(&**answer, b"123%4");
        assert_eq!(answered("ERR 83886179 cancelled\n").unwrap().unwrap_err(), 83_886_179);
    }

    #[test]
    fn an_answer_longer_than_anybody_types_is_refused_however_many_lines_it_takes() {
        let line = |length| format!("D {}\n", "x".repeat(length));
        let most = [line(LIMIT - 100), line(100), "OK\n".into()].concat();
        assert_eq!(answered(&most).unwrap().unwrap().len(), LIMIT);
        let more = [line(LIMIT - 100), line(101), "OK\n".into()].concat();
        assert!(matches!(answered(&more), Err(Broken::LongAnswer)));
        let line_without_end = "x".repeat(LIMIT + 1);
        assert!(matches!(answered(&line_without_end), Err(Broken::LongLine)));
    }

    #[test]
    fn a_percent_sign_that_escapes_nothing_stays() {
        let mut out = secret_buffer(64);
        unescape_into(b"%zz%4", &mut out);
        assert_eq!(&**out, b"%zz%4");
    }
}
