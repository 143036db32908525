//! As much of HTTP/1.1 as a broker needs: one request, one answer, bounded in size.
//!
//! Written here, over httparse, because ureq hands every byte that it sends and receives to the host's
//! logger at its finest level, and the ticket is among them.

use std::io::{self, ErrorKind, Read};

use httparse::{EMPTY_HEADER, Header, Response, Status};
use zeroize::{Zeroize, Zeroizing};

use super::charset::{Charset, Unconvertible};
use super::cookies::Cookies;
use crate::secret::{SecretBytes, secret_buffer};

/// The longest answer that is read, in bytes: a role assertion of 400 roles has 1.1 MB.
pub const MAX_ANSWER: usize = 3 << 19;

/// As the Identity Agent of this version names itself, in its odd spacing.
pub(crate) const GAC_VERSION: &str = "10. 0. 0. 1";

/// Head of an answer, or what frames a piece of its body: what has to be there at once. Gateways add
/// headers of many kilobytes.
const BUFFER: usize = 32 << 10;
const MAX_HEADERS: usize = 200;

/// What is asked of the broker.
pub struct Request {
    /// Path and query. May hold the ticket.
    pub(crate) path: Zeroizing<String>,
    /// The message to POST; without one it is a GET.
    pub(crate) message: Option<Zeroizing<Vec<u8>>>,
}

impl Request {
    /// The path and query that are asked for. They hold the ticket when a role is selected
    /// or asserted.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The message that is sent by POST; `None` for a GET. It holds the ticket in a logout, and in a
    /// question about the session.
    pub fn message(&self) -> Option<&[u8]> {
        self.message.as_deref().map(Vec::as_slice)
    }

    /// The request as it goes over the wire.
    pub(super) fn to_bytes(&self, host: &str, cookies: &Cookies) -> SecretBytes {
        let method = if self.message.is_some() { "POST " } else { "GET " };
        // Without a word on encodings a server may choose any (RFC 9110, 12.5.3).
        let mut headers = format!(
            " HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Mozilla/4.0(compatible;IE;GACv{GAC_VERSION})\r\nAccept: */*\r\n\
             Accept-Encoding: identity\r\n"
        );
        let body = self.message().unwrap_or_default();
        if self.message.is_some() {
            headers += &format!("Content-Type: text/xml; charset=UTF-8\r\nContent-Length: {}\r\n", body.len());
        }
        let mut parts = vec![method.as_bytes(), self.path.as_bytes(), headers.as_bytes()];
        for (number, cookie) in cookies.iter().enumerate() {
            parts.extend([if number == 0 { &b"Cookie: "[..] } else { b"; " }, cookie]);
        }
        if cookies.iter().next().is_some() {
            parts.push(b"\r\n");
        }
        parts.extend([&b"\r\n"[..], body]);
        let mut bytes = secret_buffer(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }
}

/// The body of an answer with status 200.
pub(crate) struct Answer {
    pub(crate) body: SecretBytes,
    /// What the server wants to be sent back with the requests that follow.
    pub(crate) cookies: Cookies,
    /// Whether the connection can carry another request.
    pub(crate) keep_alive: bool,
}

/// Why there is no such answer.
#[derive(Debug)]
pub(crate) enum Failure {
    Io(io::Error),
    /// The connection ended before the first byte.
    Silence,
    /// The connection ended within the answer.
    Truncated,
    TooLarge,
    /// The head of the answer has too many lines or bytes.
    LargeHead,
    /// The body is compressed, though the request refuses that.
    Compressed,
    NotHttp,
    Status(u16),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads the answer to a GET or POST.
///
/// An answer with another status than 200 is not read to its end.
pub(crate) fn read_answer(stream: &mut impl Read) -> Result<Answer, Failure> {
    let mut input = Input::new(stream);
    let head = loop {
        let head = input.parse(parse_head, Failure::Silence)?;
        // Interim answers may come at any time; the one to this request follows.
        if !(100..200).contains(&head.status) || head.status == 101 {
            break head;
        }
    };
    if head.status != 200 {
        return Err(Failure::Status(head.status));
    }
    let (body, ends) = match head.body {
        Body::Sized(size) => (input.sized(size)?, true),
        Body::Chunked => (input.chunked()?, true),
        Body::UntilClosed => (input.until_closed()?, false),
    };
    let body = match head.charset {
        Some(charset) if str::from_utf8(&body).is_err() => in_utf8(charset, &body)?,
        _ => body,
    };
    Ok(Answer { body, cookies: head.cookies, keep_alive: head.keep_alive && ends && input.is_empty() })
}

fn in_utf8(charset: Charset, body: &[u8]) -> Result<SecretBytes, Failure> {
    match charset.convert(body, MAX_ANSWER) {
        Ok(mut text) => Ok(Zeroizing::new(std::mem::take(&mut *text).into_bytes())),
        Err(Unconvertible::TooLong) => Err(Failure::TooLarge),
        Err(Unconvertible::NoText) => Err(Failure::NotHttp),
    }
}

/// Reads the head of an answer of any status, and returns its `Date`.
pub(crate) fn read_date(stream: &mut impl Read) -> Result<Option<String>, Failure> {
    Input::new(stream).parse(parse_date, Failure::Silence)
}

fn parse_date(bytes: &[u8]) -> Result<Option<(Option<String>, usize)>, Failure> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    let Status::Complete(len) = response.parse(bytes).map_err(bad_head)? else {
        return Ok(None);
    };
    let date = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("date"));
    Ok(Some((date.and_then(|date| String::from_utf8(date.value.to_vec()).ok()), len)))
}

struct Head {
    status: u16,
    keep_alive: bool,
    charset: Option<Charset>,
    body: Body,
    cookies: Cookies,
}

enum Body {
    Sized(usize),
    Chunked,
    UntilClosed,
}

/// Parses the beginning of `bytes`: what it says and how long it is, or `None` when more is needed.
type Parse<T> = fn(bytes: &[u8]) -> Result<Option<(T, usize)>, Failure>;

fn bad_head(error: httparse::Error) -> Failure {
    if matches!(error, httparse::Error::TooManyHeaders) { Failure::LargeHead } else { Failure::NotHttp }
}

fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Failure> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    let Status::Complete(len) = response.parse(bytes).map_err(bad_head)? else {
        return Ok(None);
    };
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Err(Failure::NotHttp);
    };

    let mut keep_alive = version == 1;
    let mut body = Body::UntilClosed;
    let mut charset = None;
    let (mut cookies, mut compressed) = (Cookies::default(), false);
    for Header { name, value } in response.headers.iter() {
        if name.eq_ignore_ascii_case("set-cookie") {
            cookies.set(value);
            continue;
        }
        let value = str::from_utf8(value).map(str::trim).unwrap_or_default();
        if name.eq_ignore_ascii_case("connection") {
            keep_alive &= !value.split(',').any(|token| token.trim().eq_ignore_ascii_case("close"));
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(Failure::NotHttp);
            }
            body = Body::Chunked;
        } else if name.eq_ignore_ascii_case("content-length") {
            if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Failure::NotHttp);
            }
            let size = value.parse().unwrap_or(usize::MAX);
            match body {
                // RFC 9112, 6.3: chunks go before a length, but the connection is not to be trusted.
                Body::Chunked => {}
                Body::Sized(other) if other != size => return Err(Failure::NotHttp),
                _ => body = Body::Sized(size),
            }
        } else if name.eq_ignore_ascii_case("content-type") {
            charset = Charset::of_content_type(value);
        } else if name.eq_ignore_ascii_case("content-encoding") && !value.eq_ignore_ascii_case("identity") {
            compressed = true;
        }
    }
    if compressed && status == 200 {
        return Err(Failure::Compressed);
    }
    Ok(Some((Head { status, keep_alive, charset, body, cookies }, len)))
}

fn parse_chunk_size(bytes: &[u8]) -> Result<Option<(usize, usize)>, Failure> {
    match httparse::parse_chunk_size(bytes).map_err(|_| Failure::NotHttp)? {
        Status::Complete((len, size)) => Ok(Some((usize::try_from(size).unwrap_or(usize::MAX), len))),
        Status::Partial => Ok(None),
    }
}

fn parse_line_end(bytes: &[u8]) -> Result<Option<((), usize)>, Failure> {
    match bytes {
        [b'\r', b'\n', ..] => Ok(Some(((), 2))),
        [] | [b'\r'] => Ok(None),
        _ => Err(Failure::NotHttp),
    }
}

fn parse_trailer(bytes: &[u8]) -> Result<Option<((), usize)>, Failure> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    match httparse::parse_headers(bytes, &mut headers).map_err(|_| Failure::NotHttp)? {
        Status::Complete((len, _)) => Ok(Some(((), len))),
        Status::Partial => Ok(None),
    }
}

/// What has come and is not used yet.
struct Input<'a, R> {
    stream: &'a mut R,
    buffer: SecretBytes,
    start: usize,
    end: usize,
}

impl<'a, R: Read> Input<'a, R> {
    fn new(stream: &'a mut R) -> Self {
        Self { stream, buffer: Zeroizing::new(vec![0; BUFFER]), start: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes up to `len` bytes that are here.
    fn take(&mut self, len: usize) -> &[u8] {
        let from = self.start;
        self.start += len.min(self.end - from);
        &self.buffer[from..self.start]
    }

    /// Waits for more bytes; false at the end of the connection.
    fn fill(&mut self) -> Result<bool, Failure> {
        if self.end == BUFFER {
            if self.start == 0 {
                return Err(Failure::LargeHead);
            }
            self.buffer.copy_within(self.start.., 0);
            self.end -= self.start;
            self.start = 0;
        }
        let count = self.stream.read(&mut self.buffer[self.end..])?;
        self.end += count;
        Ok(count > 0)
    }

    fn parse<T>(&mut self, parse: Parse<T>, at_end: Failure) -> Result<T, Failure> {
        loop {
            if let Some((parsed, len)) = parse(&self.buffer[self.start..self.end])? {
                self.start += len;
                return Ok(parsed);
            }
            if !self.fill()? {
                return Err(if self.is_empty() { at_end } else { Failure::Truncated });
            }
        }
    }

    fn sized(&mut self, size: usize) -> Result<SecretBytes, Failure> {
        let mut body = secret_buffer(size.min(MAX_ANSWER));
        self.append(&mut body, size)?;
        Ok(body)
    }

    fn append(&mut self, body: &mut SecretBytes, mut len: usize) -> Result<(), Failure> {
        if len > MAX_ANSWER - body.len() {
            return Err(Failure::TooLarge);
        }
        while len > 0 {
            if self.is_empty() && !self.fill()? {
                return Err(Failure::Truncated);
            }
            let piece = self.take(len);
            len -= piece.len();
            push(body, piece);
        }
        Ok(())
    }

    fn chunked(&mut self) -> Result<SecretBytes, Failure> {
        let mut body = secret_buffer(BUFFER);
        loop {
            match self.parse(parse_chunk_size, Failure::Truncated)? {
                0 => break,
                size => self.append(&mut body, size)?,
            }
            self.parse(parse_line_end, Failure::Truncated)?;
        }
        self.parse(parse_trailer, Failure::Truncated)?;
        Ok(body)
    }

    /// An answer that is cut short here is no complete message, and told so by its reader.
    fn until_closed(&mut self) -> Result<SecretBytes, Failure> {
        let mut body = secret_buffer(BUFFER);
        loop {
            let piece = self.take(BUFFER);
            if piece.len() > MAX_ANSWER - body.len() {
                return Err(Failure::TooLarge);
            }
            push(&mut body, piece);
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return Ok(body),
                // Many servers end TLS without saying so.
                Err(Failure::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => return Ok(body),
                Err(failure) => return Err(failure),
            }
        }
    }
}

/// Appends without leaving a copy behind where the buffer has to move.
fn push(body: &mut SecretBytes, piece: &[u8]) {
    if body.capacity() - body.len() < piece.len() {
        let mut larger = secret_buffer((body.len() + piece.len()).max(2 * body.capacity()));
        larger.extend_from_slice(body);
        std::mem::swap(body, &mut larger);
        larger.zeroize();
    }
    body.extend_from_slice(piece);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes in pieces, then ends.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            let (piece, rest) = self.0.split_at(count);
            buffer[..count].copy_from_slice(piece);
            self.0 = rest;
            Ok(count)
        }
    }

    fn read(answer: &[u8]) -> Result<(Vec<u8>, bool), String> {
        let results: Vec<_> = [1, 7, usize::MAX]
            .into_iter()
            .map(|piece| match read_answer(&mut Pieces(answer, piece)) {
                Ok(answer) => Ok((answer.body.to_vec(), answer.keep_alive)),
                Err(failure) => Err(format!("{failure:?}")),
            })
            .collect();
        // How the bytes come makes no difference, but for what follows an answer.
        assert_eq!(results[0].clone().map(|read| read.0), results[2].clone().map(|read| read.0));
        assert_eq!(results[1].clone().map(|read| read.0), results[2].clone().map(|read| read.0));
        results[2].clone()
    }

    fn ok(body: &str, keep_alive: bool) -> Result<(Vec<u8>, bool), String> {
        Ok((body.into(), keep_alive))
    }

    fn failed(failure: &str) -> Result<(Vec<u8>, bool), String> {
        Err(failure.into())
    }

    #[test]
    fn a_body_ends_where_its_length_or_its_last_chunk_or_the_connection_ends() {
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), ok("hi", true));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!"), ok("hi", false));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), ok("", true));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nhi"), ok("hi", true));
        assert_eq!(
            read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\nA\r\n0123456789\r\n0\r\na: b\r\n\r\n"),
            ok("hi0123456789", true)
        );
        // RFC 9112, 6.3: chunks go before a length.
        for headers in
            ["Transfer-Encoding: chunked\r\nContent-Length: 9", "Content-Length: 9\r\nTransfer-Encoding: chunked"]
        {
            assert_eq!(
                read(format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n2\r\nhi\r\n0\r\n\r\n").as_bytes()),
                ok("hi", true)
            );
        }
        assert_eq!(read(b"HTTP/1.1 200 OK\r\n\r\nhi"), ok("hi", false));
        assert_eq!(read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"), ok("x", true));
    }

    #[test]
    fn a_body_in_another_encoding_than_utf_8_is_converted_where_the_server_names_it() {
        let answer = |kind: &str, body: &[u8]| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
            read(&[head.as_bytes(), body].concat())
        };
        assert_eq!(answer("text/xml; charset=ISO-8859-1", b"Ren\xe9e"), ok("Renée", true));
        assert_eq!(answer("text/xml; charset=ISO-8859-1", "Renée".as_bytes()), ok("Renée", true));
        assert_eq!(answer("text/xml", b"Ren\xe9e"), Ok((b"Ren\xe9e".to_vec(), true)));
        assert_eq!(answer("text/xml; charset=latin1", &vec![0xe9; MAX_ANSWER]), failed("TooLarge"));
    }

    #[test]
    fn a_connection_is_kept_only_where_the_server_keeps_it() {
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, Close\r\n\r\nh"), ok("h", false));
        assert_eq!(read(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nh"), ok("h", false));
    }

    #[test]
    fn other_statuses_are_told() {
        assert_eq!(read(b"HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\n\r\n"), failed("Status(302)"));
        assert_eq!(read(b"HTTP/1.1 500 Error\r\nContent-Length: 999999999\r\n\r\n"), failed("Status(500)"));
        assert_eq!(read(b"HTTP/1.1 101 Switching\r\n\r\n"), failed("Status(101)"));
    }

    #[test]
    fn an_answer_that_stops_early_is_told_apart_from_none() {
        assert_eq!(read(b""), failed("Silence"));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Le"), failed("Truncated"));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi"), failed("Truncated"));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi"), failed("Truncated"));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"), failed("Truncated"));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"), failed("Truncated"));
    }

    #[test]
    fn what_is_larger_than_a_message_may_be_is_refused_before_it_is_read() {
        let size = MAX_ANSWER + 1;
        for answer in [
            format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n".to_owned(),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n"),
            format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(size)),
        ] {
            assert_eq!(read(answer.as_bytes()), failed("TooLarge"));
        }
        let largest = "x".repeat(MAX_ANSWER);
        assert_eq!(read(format!("HTTP/1.1 200 OK\r\n\r\n{largest}").as_bytes()), ok(&largest, false));
        assert_eq!(read(format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(BUFFER)).as_bytes()), failed("LargeHead"));
    }

    #[test]
    fn a_head_may_have_as_many_lines_as_gateways_add() {
        let with = |count| format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{}\r\nx", "X-Trace: y\r\n".repeat(count));
        assert_eq!(read(with(MAX_HEADERS - 1).as_bytes()), ok("x", true));
        assert_eq!(read(with(MAX_HEADERS).as_bytes()), failed("LargeHead"));
        let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nPolicy: {}\r\n\r\nx", "y".repeat(20_000));
        assert_eq!(read(long.as_bytes()), ok("x", true));
    }

    #[test]
    fn a_compressed_answer_is_told_apart() {
        for coding in ["gzip", "br", "deflate, gzip"] {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: 1\r\n\r\nx");
            assert_eq!(read(answer.as_bytes()), failed("Compressed"));
        }
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\n\r\nx"), ok("x", false));
        // Why there is no good answer goes before how that is written.
        assert_eq!(read(b"HTTP/1.1 503 Oh\r\nContent-Encoding: gzip\r\n\r\n"), failed("Status(503)"));
    }

    #[test]
    fn what_is_not_http_or_is_ambiguous_is_refused() {
        for answer in [
            "hello",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nhi\r\n",
        ] {
            assert_eq!(read(answer.as_bytes()), failed("NotHttp"), "{answer}");
        }
    }

    #[test]
    fn a_request_is_one_head_and_its_message() {
        let post = Request { path: "/a".to_owned().into(), message: Some(b"<x/>".to_vec().into()) };
        assert_eq!(
            std::str::from_utf8(&post.to_bytes("gas.example", &Cookies::default())).unwrap(),
            "POST /a HTTP/1.1\r\nHost: gas.example\r\nUser-Agent: Mozilla/4.0(compatible;IE;GACv10. 0. 0. 1)\r\n\
             Accept: */*\r\nAccept-Encoding: identity\r\nContent-Type: text/xml; charset=UTF-8\r\nContent-Length: 4\r\n\r\n<x/>"
        );
        let get = Request { path: "/b?c".to_owned().into(), message: None };
        let bytes = get.to_bytes("h", &Cookies::default());
        assert!(bytes.starts_with(b"GET /b?c HTTP/1.1\r\nHost: h\r\n"));
        assert!(bytes.ends_with(b"Accept-Encoding: identity\r\n\r\n"));
        let mut cookies = Cookies::default();
        cookies.set(b"node=1; path=/");
        assert!(get.to_bytes("h", &cookies).ends_with(b"identity\r\nCookie: node=1\r\n\r\n"));
        cookies.set(b"lb=a");
        assert!(post.to_bytes("h", &cookies).ends_with(b"\r\nCookie: node=1; lb=a\r\n\r\n<x/>"));
        // What another transport is given.
        assert_eq!((get.path(), get.message()), ("/b?c", None));
        assert_eq!((post.path(), post.message()), ("/a", Some(&b"<x/>"[..])));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(rest in "([0-9a-f:; x]|\r\n|Content-Length: |Transfer-Encoding: chunked){0,30}") {
            let _ = read(format!("HTTP/1.1 200 OK\r\n{rest}").as_bytes());
        }
    }
}
