//! HTTP/1.1 over a socket, with or without TLS: as much as a login needs.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};

const HEAD_LIMIT: usize = 64 << 10;
const BODY_LIMIT: usize = 2 << 20;

/// A request, taken off the wire.
#[derive(Debug, Default)]
pub(crate) struct HttpRequest {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) keep_alive: bool,
}

impl HttpRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(crate) fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |parts| parts.1)
    }
}

/// Why there is no next request.
#[derive(Debug)]
pub(crate) enum NoRequest {
    /// The client has left.
    Closed,
    /// The bytes are not HTTP that is understood here; the status says how.
    Bad(u16),
}

impl From<io::Error> for NoRequest {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// The socket, shared with code that may have to shut it down.
#[derive(Clone)]
struct Socket(Arc<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}

/// One connection.
pub(crate) struct Channel {
    socket: Socket,
    tls: Option<ServerConnection>,
    unread: Vec<u8>,
}

impl Channel {
    /// Performs the handshake if TLS is used.
    pub(crate) fn open(socket: Arc<TcpStream>, tls: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let mut channel = Self { socket: Socket(socket), tls: None, unread: Vec::new() };
        if let Some(config) = tls {
            let mut connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            while connection.is_handshaking() {
                connection.complete_io(&mut channel.socket)?;
            }
            channel.tls = Some(connection);
        }
        Ok(channel)
    }

    /// The next request.
    pub(crate) fn read_request(&mut self) -> Result<HttpRequest, NoRequest> {
        let (mut request, head) = loop {
            if let Some(parsed) = parse_head(&self.unread)? {
                break parsed;
            }
            if self.unread.len() > HEAD_LIMIT {
                return Err(NoRequest::Bad(431));
            }
            self.read_more()?;
        };
        let length = match request.header("Content-Length") {
            Some(digits) => digits.parse::<usize>().map_err(|_| NoRequest::Bad(400))?,
            None if request.header("Transfer-Encoding").is_some() => return Err(NoRequest::Bad(411)),
            None => 0,
        };
        if length > BODY_LIMIT {
            return Err(NoRequest::Bad(413));
        }
        while self.unread.len() < head + length {
            self.read_more()?;
        }
        request.body = self.unread[head..head + length].to_vec();
        self.unread.drain(..head + length);
        Ok(request)
    }

    fn read_more(&mut self) -> Result<(), NoRequest> {
        let mut buffer = [0; 8 << 10];
        let count = match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls, &mut self.socket).read(&mut buffer)?,
            None => self.socket.read(&mut buffer)?,
        };
        if count == 0 {
            return Err(NoRequest::Closed);
        }
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(())
    }

    /// Sends all the bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => {
                let mut stream = rustls::Stream::new(tls, &mut self.socket);
                stream.write_all(bytes)?;
                stream.flush()
            }
            None => self.socket.write_all(bytes),
        }
    }

    /// Waits this long for the client to leave; true when it has. A client that is still owed an
    /// answer has nothing to send, so whatever it sends means that it leaves.
    pub(crate) fn client_leaves_within(&mut self, time: Duration) -> bool {
        let _ = self.socket.0.set_read_timeout(Some(time));
        let outcome = self.socket.read(&mut [0; 256]);
        let _ = self.socket.0.set_read_timeout(None);
        !matches!(outcome, Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }

    /// Reads and drops what comes until the client has left.
    pub(crate) fn wait_until_client_leaves(&mut self) {
        while matches!(self.socket.read(&mut [0; 4096]), Ok(1..)) {}
    }

    /// Ends the connection in good order.
    pub(crate) fn close(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.socket);
        }
        let _ = self.socket.0.shutdown(Shutdown::Write);
    }

    /// Ends the connection with a reset (RST) when the last holder of the socket drops it.
    pub(crate) fn reset(self) {
        let _ = rustix::net::sockopt::set_socket_linger(&*self.socket.0, Some(Duration::ZERO));
    }
}

/// The request line and the headers, and their length; `None` while they are incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<(HttpRequest, usize)>, NoRequest> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(bytes).map_err(|_| NoRequest::Bad(400))? else {
        return Ok(None);
    };
    let mut request = HttpRequest {
        method: parsed.method.unwrap_or_default().into(),
        target: parsed.path.unwrap_or_default().into(),
        ..HttpRequest::default()
    };
    for header in &*parsed.headers {
        let value = std::str::from_utf8(header.value).map_err(|_| NoRequest::Bad(400))?;
        request.headers.push((header.name.into(), value.into()));
    }
    let connection = request.header("Connection").unwrap_or_default().to_ascii_lowercase();
    request.keep_alive = if parsed.version == Some(1) { connection != "close" } else { connection == "keep-alive" };
    Ok(Some((request, length)))
}

/// The parameters of a query or form in their order, decoded; what is not well-formed stays as it came.
pub(crate) fn decode_form(text: &str) -> Vec<(String, String)> {
    let decoded = |part: &str| percent_decode(part).unwrap_or_else(|| part.into());
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| (decoded(n), decoded(v))).collect()
}

/// Undoes `application/x-www-form-urlencoded`.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'+' => b' ',
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A query or form of these parameters.
pub(crate) fn encode_form<N: AsRef<str>, V: AsRef<str>>(parameters: impl IntoIterator<Item = (N, V)>) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        percent_encode(name.as_ref(), &mut text);
        text.push('=');
        percent_encode(value.as_ref(), &mut text);
    }
    text
}

fn percent_encode(text: &str, to: &mut String) {
    for byte in text.bytes() {
        match byte {
            // RFC 3986, unreserved characters.
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => to.push(char::from(byte)),
            _ => to.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// Status line and headers of an answer whose body has `length` bytes; `None` for one without end.
pub(crate) fn head(status: u16, headers: &[(&str, &str)], length: Option<usize>, close: bool) -> String {
    let reason = match status {
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        500 => "Internal Server Error",
        _ => "Status",
    };
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    // RFC 9110, section 8.6: 204 has no length.
    if let Some(length) = length.filter(|_| status != 204) {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    if close {
        head.push_str("Connection: close\r\n");
    }
    head.push_str("\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        assert!(parse_head(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n").unwrap().is_none());
        let (request, length) = parse_head(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\nrest").unwrap().unwrap();
        assert_eq!((request.path(), request.query(), length), ("/a", "b=c", 32));
        assert!(request.keep_alive);
    }

    #[test]
    fn a_form_is_decoded_as_it_was_encoded() {
        let parameters = [("a b", "c&d=e+ü"), ("", ""), ("x", "%")];
        let text = encode_form(parameters);
        assert_eq!(text, "a%20b=c%26d%3De%2B%C3%BC&=&x=%25");
        assert_eq!(decode_form(&text), parameters.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(decode_form("a+b=%zz"), [("a b".to_owned(), "%zz".to_owned())]);
    }

    #[test]
    fn bytes_that_are_no_http_are_told() {
        assert!(matches!(parse_head(b"\x16\x03\x01\x02\x00"), Err(NoRequest::Bad(400))));
    }
}
