//! As much of HTTP/1.1 as a login needs: one response to one request, bounded in size.
//!
//! Written here, over httparse, because ureq hands every byte that it sends and receives to the host's
//! logger at its finest level, and the ticket is among them.

use std::fmt;
use std::io::{self, ErrorKind, Read};

use httparse::{EMPTY_HEADER, Header, Response, Status};
use zeroize::{Zeroize, Zeroizing};

use super::charset::{Charset, Unconvertible};
use super::cookies::Cookies;
use super::request::Wanted;
use crate::secret::{SecretBytes, secret_buffer};

/// The longest response that is read, in bytes: a role assertion of 400 roles has 1.1 MB.
pub const MAX_ANSWER: usize = 3 << 19;

/// Head of a response, or what frames a piece of its body: what has to be there at once. Gateways add
/// headers of many kilobytes.
const BUFFER: usize = 32 << 10;
pub(super) const MAX_HEADERS: usize = 200;

/// The response to a request, whatever its status.
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `WWW-Authenticate`.
    pub www_authenticate: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// The body, in UTF-8 where the server names another encoding. Empty with a redirect, and where the body
    /// of an error is too long or not wanted, or breaks off.
    pub body: SecretBytes,
}

impl HttpResponse {
    /// Returns `true` if the body is of this media type, or of none that the server names.
    pub fn is_of(&self, media_type: &str) -> bool {
        let named = self.content_type.as_deref().and_then(|value| value.split(';').next());
        named.is_none_or(|named| named.trim().eq_ignore_ascii_case(media_type))
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

/// A response, and what it means for the next request.
pub(crate) struct Received {
    pub(crate) response: HttpResponse,
    /// What the server wants to be sent back with the requests that follow.
    pub(crate) cookies: Cookies,
    /// Whether the connection can carry another request.
    pub(crate) keep_alive: bool,
    /// Why the body is not complete, if a part of it is wanted.
    pub(crate) broken: Option<ReadError>,
}

/// Why no response can be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    /// The connection ended before the first byte.
    Silence,
    /// The connection ended within the response.
    Truncated,
    TooLarge,
    /// The head of the response has too many lines or bytes.
    LargeHead,
    /// The body is compressed, though the request refuses that.
    Compressed,
    NotHttp,
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads the response to a GET or POST.
pub(crate) fn read_response(stream: &mut impl Read, wanted: Wanted) -> Result<Received, ReadError> {
    let mut input = Input::new(stream, wanted.limit);
    input.any_part = wanted.any_part;
    let mut broken = None;
    let head = loop {
        let head = input.parse(parse_head, ReadError::Silence)?;
        // Interim responses may come at any time; the one to this request follows.
        if !(100..200).contains(&head.response.status) || head.response.status == 101 {
            break head;
        }
    };
    let Head { mut response, mut keep_alive, cookies, .. } = head;
    match response.status {
        200..300 => {
            broken = input.body(&head.body, head.charset, &mut response.body).err();
            if !wanted.any_part
                && let Some(error) = broken
            {
                return Err(error);
            }
        }
        // That it is an error counts, and how it is explained does not.
        400.. if wanted.error_body => {
            let mut body = SecretBytes::default();
            match input.body(&head.body, head.charset, &mut body) {
                Ok(()) => response.body = body,
                Err(_) => keep_alive = false,
            }
        }
        _ => keep_alive &= matches!(head.body, Body::Sized(0)),
    }
    keep_alive &= !matches!(head.body, Body::UntilClosed) && input.is_empty() && broken.is_none();
    Ok(Received { response, cookies, keep_alive, broken })
}

fn in_utf8(charset: Charset, body: &[u8], limit: usize) -> Result<SecretBytes, ReadError> {
    match charset.convert(body, limit) {
        Ok(mut text) => Ok(Zeroizing::new(std::mem::take(&mut *text).into_bytes())),
        Err(Unconvertible::TooLong) => Err(ReadError::TooLarge),
        Err(Unconvertible::NoText) => Err(ReadError::NotHttp),
    }
}

/// Reads the head of a response of any status, and returns its `Date`.
pub(crate) fn read_date(stream: &mut impl Read) -> Result<Option<String>, ReadError> {
    Input::new(stream, 0).parse(parse_date, ReadError::Silence)
}

fn parse_date(bytes: &[u8]) -> Result<Option<(Option<String>, usize)>, ReadError> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    let Status::Complete(len) = response.parse(bytes).map_err(bad_head)? else {
        return Ok(None);
    };
    let date = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("date"));
    Ok(Some((date.and_then(|date| String::from_utf8(date.value.to_vec()).ok()), len)))
}

struct Head {
    /// Without its body.
    response: HttpResponse,
    keep_alive: bool,
    charset: Option<Charset>,
    body: Body,
    cookies: Cookies,
}

enum Body {
    Compressed,
    Sized(usize),
    Chunked,
    UntilClosed,
}

/// Parses the beginning of `bytes`: what it says and how long it is, or `None` when more is needed.
pub(super) type Parse<T> = fn(bytes: &[u8]) -> Result<Option<(T, usize)>, ReadError>;

pub(super) fn bad_head(error: httparse::Error) -> ReadError {
    if matches!(error, httparse::Error::TooManyHeaders) { ReadError::LargeHead } else { ReadError::NotHttp }
}

fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, ReadError> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    let Status::Complete(len) = response.parse(bytes).map_err(bad_head)? else {
        return Ok(None);
    };
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Err(ReadError::NotHttp);
    };

    let mut keep_alive = version == 1;
    let mut body = Body::UntilClosed;
    let mut charset = None;
    let (mut cookies, mut compressed) = (Cookies::default(), false);
    let (mut content_type, mut www_authenticate, mut retry_after) = (None, None, None);
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
                return Err(ReadError::NotHttp);
            }
            body = Body::Chunked;
        } else if name.eq_ignore_ascii_case("content-length") {
            if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(ReadError::NotHttp);
            }
            let size = value.parse().unwrap_or(usize::MAX);
            match body {
                // RFC 9112, 6.3: chunks go before a length, but the connection is not to be trusted.
                Body::Chunked => {}
                Body::Sized(other) if other != size => return Err(ReadError::NotHttp),
                _ => body = Body::Sized(size),
            }
        } else if name.eq_ignore_ascii_case("content-type") {
            charset = Charset::of_content_type(value);
            content_type = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("www-authenticate") {
            www_authenticate = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("retry-after") {
            retry_after = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("content-encoding") && !value.eq_ignore_ascii_case("identity") {
            compressed = true;
        }
    }
    // RFC 9110: these have no body.
    if matches!(status, 204 | 304) {
        body = Body::Sized(0);
    } else if compressed {
        body = Body::Compressed;
    }
    let response = HttpResponse { status, content_type, www_authenticate, retry_after, body: SecretBytes::default() };
    Ok(Some((Head { response, keep_alive, charset, body, cookies }, len)))
}

fn parse_chunk_size(bytes: &[u8]) -> Result<Option<(usize, usize)>, ReadError> {
    match httparse::parse_chunk_size(bytes).map_err(|_| ReadError::NotHttp)? {
        Status::Complete((len, size)) => Ok(Some((usize::try_from(size).unwrap_or(usize::MAX), len))),
        Status::Partial => Ok(None),
    }
}

fn parse_line_end(bytes: &[u8]) -> Result<Option<((), usize)>, ReadError> {
    match bytes {
        [b'\r', b'\n', ..] => Ok(Some(((), 2))),
        [] | [b'\r'] => Ok(None),
        _ => Err(ReadError::NotHttp),
    }
}

fn parse_trailer(bytes: &[u8]) -> Result<Option<((), usize)>, ReadError> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    match httparse::parse_headers(bytes, &mut headers).map_err(|_| ReadError::NotHttp)? {
        Status::Complete((len, _)) => Ok(Some(((), len))),
        Status::Partial => Ok(None),
    }
}

/// What has come and is not used yet.
pub(super) struct Input<'a, R> {
    stream: &'a mut R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How much of the buffer has ever held something. The rest need not be wiped, which takes longer than reading.
    used: usize,
    /// The longest body.
    limit: usize,
    /// Whether to read as much as `limit` of a longer one.
    any_part: bool,
}

impl<'a, R: Read> Input<'a, R> {
    pub(super) fn new(stream: &'a mut R, limit: usize) -> Self {
        Self { stream, buffer: vec![0; BUFFER], start: 0, end: 0, used: 0, limit, any_part: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes up to `len` bytes that are here.
    fn take(&mut self, len: usize) -> &[u8] {
        let from = self.start;
        self.start += len.min(self.end - from);
        &self.buffer[from..self.start]
    }

    /// Waits for more bytes; false at the end of the connection.
    fn fill(&mut self) -> Result<bool, ReadError> {
        if self.end == BUFFER {
            if self.start == 0 {
                return Err(ReadError::LargeHead);
            }
            self.buffer.copy_within(self.start.., 0);
            self.end -= self.start;
            self.start = 0;
        }
        let count = self.stream.read(&mut self.buffer[self.end..])?;
        self.end += count;
        self.used = self.used.max(self.end);
        Ok(count > 0)
    }

    pub(super) fn parse<T>(&mut self, parse: Parse<T>, at_end: ReadError) -> Result<T, ReadError> {
        let mut tried = 0;
        loop {
            let here = &self.buffer[self.start..self.end];
            // All that is parsed ends with a line. Trying again at each byte would take the square of its length.
            if here.len() >= 2 * tried || here[tried..].contains(&b'\n') {
                tried = here.len();
                if let Some((parsed, len)) = parse(here)? {
                    self.start += len;
                    return Ok(parsed);
                }
            }
            let filled = self.fill();
            if !matches!(filled, Ok(true)) {
                // What has not been tried yet may be wrong by itself.
                parse(&self.buffer[self.start..self.end])?;
                filled?;
                return Err(if self.is_empty() { at_end } else { ReadError::Truncated });
            }
        }
    }

    /// Reads the body into `text`, which holds what has come if it breaks off.
    fn body(&mut self, body: &Body, charset: Option<Charset>, text: &mut SecretBytes) -> Result<(), ReadError> {
        match *body {
            Body::Compressed => return Err(ReadError::Compressed),
            Body::Sized(size) => {
                *text = secret_buffer(size.min(self.limit));
                self.append(text, size)?;
            }
            Body::Chunked => self.chunked(text)?,
            Body::UntilClosed => self.until_closed(text)?,
        }
        if let Some(charset) = charset.filter(|_| str::from_utf8(text).is_err()) {
            *text = in_utf8(charset, text, self.limit)?;
        }
        Ok(())
    }

    fn append(&mut self, body: &mut SecretBytes, mut len: usize) -> Result<(), ReadError> {
        let room = self.limit - body.len();
        let is_too_large = len > room;
        if is_too_large {
            len = if self.any_part { room } else { 0 };
        }
        while len > 0 {
            if self.is_empty() && !self.fill()? {
                return Err(ReadError::Truncated);
            }
            let piece = self.take(len);
            len -= piece.len();
            push(body, piece);
        }
        if is_too_large { Err(ReadError::TooLarge) } else { Ok(()) }
    }

    fn chunked(&mut self, body: &mut SecretBytes) -> Result<(), ReadError> {
        *body = secret_buffer(BUFFER);
        loop {
            match self.parse(parse_chunk_size, ReadError::Truncated)? {
                0 => break,
                size => self.append(body, size)?,
            }
            self.parse(parse_line_end, ReadError::Truncated)?;
        }
        self.parse(parse_trailer, ReadError::Truncated)
    }

    /// A response that is truncated here is not a complete message, which its parser reports.
    fn until_closed(&mut self, body: &mut SecretBytes) -> Result<(), ReadError> {
        *body = secret_buffer(BUFFER);
        loop {
            let room = self.limit - body.len();
            let piece = self.take(BUFFER);
            let is_too_large = piece.len() > room;
            push(body, &piece[..piece.len().min(room)]);
            if is_too_large {
                return Err(ReadError::TooLarge);
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // Many servers end TLS without saying so.
                Err(ReadError::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(failure) => return Err(failure),
            }
        }
    }
}

impl<R> Drop for Input<'_, R> {
    fn drop(&mut self) {
        self.buffer[..self.used].zeroize();
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
mod tests;
