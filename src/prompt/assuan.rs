//! The Assuan protocol: a command's line, and a pinentry's responses.
//!
//! Read here, not by a library: the PIN passes through every buffer, and these are wiped.

use std::io;

use zeroize::Zeroize;

use crate::secret::{SecretBytes, secret_buffer};

/// The maximum length of a line, with its end. A pinentry ends at a longer one.
const LONGEST_LINE: usize = 1000;

/// A response here has a few lines.
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

/// Returns the line that begins with `command`, its end included. Line ends and percent signs of `text` are
/// percent-escaped; what the line has no room for is left out.
pub(crate) fn line(command: &str, text: &str) -> String {
    const MORE: &str = "…\n";
    let mut line = command.to_owned();
    for character in text.chars() {
        let mut bytes = [0; 4];
        let escaped = match character {
            '%' => "%25",
            '\r' => "%0D",
            '\n' => "%0A",
            _ => character.encode_utf8(&mut bytes),
        };
        if line.len() + escaped.len() + MORE.len() > LONGEST_LINE {
            return line + MORE;
        }
        line.push_str(escaped);
    }
    line + "\n"
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
        let line = line("X ", "100% of\r\nit%");
        assert_eq!(line, "X 100%25 of%0D%0Ait%25\n");
        unescape_into(line.trim_end().as_bytes(), &mut out);
        assert_eq!(&**out, b"X 100% of\r\nit%");
    }

    #[test]
    fn a_text_that_is_too_long_for_a_line_is_cut_between_characters() {
        for character in ["x", "%", "\n", "é", "雪", "🩺"] {
            let line = line("SETDESC ", &character.repeat(2000));
            assert!((993..=1000).contains(&line.len()) && line.ends_with("…\n"), "{line}");
        }
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
