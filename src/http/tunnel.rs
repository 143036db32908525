//! A connection through a proxy: the proxy's answer to CONNECT, and the words when it is none.

use std::io::{self, ErrorKind as Io, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use httparse::{EMPTY_HEADER, Response, Status};

use super::client::USER_AGENT;
use super::connection::{Socket, shut_down_on_cancel};
use super::explain::{Way, seconds};
use super::message::{Input, MAX_HEADERS, ReadError, bad_head};
use super::{Origin, Proxy};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind};
use crate::secret::secret_buffer;

/// Why a proxy opened no connection.
#[derive(Debug)]
pub(super) enum TunnelError {
    Failed(ReadError),
    /// It refuses. The schemes are those by which it authenticates users.
    Refused {
        status: u16,
        schemes: Vec<String>,
    },
    /// More than the head of an answer came, such as a page: no server has been asked anything yet.
    Page,
}

impl From<io::Error> for TunnelError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Has `proxy`, which `stream` leads to, connect to `origin` until `deadline`.
pub(super) fn open(
    stream: Arc<TcpStream>,
    proxy: &Proxy,
    origin: &Origin,
    deadline: Instant,
    cancel: &CancelToken,
) -> Result<Arc<TcpStream>, TunnelError> {
    let guard = shut_down_on_cancel(&stream, cancel);
    let mut socket = Socket::new(stream, deadline)?;
    let head = format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\nUser-Agent: {USER_AGENT}\r\n");
    let authorization = proxy.authorization().map(|value| ["Proxy-Authorization: ", value, "\r\n"]);
    let parts = [&*head].into_iter().chain(authorization.into_iter().flatten()).chain(["\r\n"]);
    let mut request = secret_buffer(parts.clone().map(str::len).sum());
    parts.for_each(|part| request.extend_from_slice(part.as_bytes()));
    socket.write_all(&request)?;
    let mut input = Input::new(&mut socket, 0);
    let (status, schemes) = loop {
        match input.parse(parse_head, ReadError::Silence).map_err(TunnelError::Failed)? {
            (100..200, _) => {}
            head => break head,
        }
    };
    let alone = input.is_empty();
    drop((input, guard));
    match status {
        200..300 if alone => Ok(socket.into_stream()),
        200..300 => Err(TunnelError::Page),
        _ => Err(TunnelError::Refused { status, schemes }),
    }
}

type Head = (u16, Vec<String>);

/// Parses the head of a proxy's answer: its status, and the schemes that it authenticates users by.
fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, ReadError> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    let Status::Complete(len) = response.parse(bytes).map_err(bad_head)? else {
        return Ok(None);
    };
    let challenges = response.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("proxy-authenticate"));
    let schemes = challenges.filter_map(|header| {
        let scheme = str::from_utf8(header.value).ok()?.split([' ', ',']).next()?;
        let is_name = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (is_name && (1..=20).contains(&scheme.len())).then(|| scheme.to_owned())
    });
    Ok(Some(((response.code.ok_or(ReadError::NotHttp)?, schemes.take(5).collect()), len)))
}

/// Says what `proxy` did instead of opening a connection on `way`.
pub(super) fn explain(error: TunnelError, proxy: &Proxy, way: &Way<'_>) -> Error {
    use ErrorKind::{Configuration, ServerNotAvailable};
    let (origin, named_by) = (way.origin, proxy.named_by());
    let proxy_named = format!("the proxy {proxy} ({named_by})");
    let no_proxy = |what: &str| (Configuration, format!("{proxy_named} {what}: it is no proxy, or not one for https"));
    let (kind, detail) = match error {
        TunnelError::Failed(ReadError::Io(error)) => {
            let detail = match error.kind() {
                Io::TimedOut => format!("{proxy_named} did not answer within {}", seconds(way.request)),
                _ => format!("the connection to {proxy_named} broke: {error}"),
            };
            return Error::new(ServerNotAvailable, way.stage, detail).because(error);
        }
        TunnelError::Failed(ReadError::Silence) => {
            (ServerNotAvailable, format!("{proxy_named} closed the connection without an answer"))
        }
        TunnelError::Failed(ReadError::Truncated) => {
            (ServerNotAvailable, format!("{proxy_named} broke off within its answer"))
        }
        TunnelError::Failed(ReadError::LargeHead) => no_proxy("sent more headers than are read (200 lines, 32 KiB)"),
        TunnelError::Failed(_) => no_proxy("does not answer in HTTP/1.1"),
        TunnelError::Page => no_proxy("answered with more than a connection, such as a page"),
        // 401 is tinyproxy's answer to a wrong password.
        TunnelError::Refused { status: status @ (401 | 407), schemes } => {
            let knows_basic = schemes.is_empty() || schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic"));
            let detail = match proxy.authorization() {
                _ if !knows_basic => format!(
                    "{proxy_named} authenticates users by {} only, which is not supported; Basic is",
                    schemes.join(", ")
                ),
                Some(_) => format!("{proxy_named} does not accept its user name and password"),
                None => format!(
                    "{proxy_named} asks for a user name and a password; give them as http://user:password@{}",
                    proxy.address()
                ),
            };
            (Configuration, format!("{detail} (HTTP status {status})"))
        }
        TunnelError::Refused { status: status @ (405 | 501), .. } => {
            no_proxy(&format!("does not know CONNECT (HTTP status {status})"))
        }
        TunnelError::Refused { status: 403, .. } => {
            (ServerNotAvailable, format!("{proxy_named} does not allow connections to {origin} (HTTP status 403)"))
        }
        TunnelError::Refused { status: status @ 500.., .. } => {
            (ServerNotAvailable, format!("{proxy_named} cannot reach {origin} (HTTP status {status})"))
        }
        TunnelError::Refused { status, .. } => {
            (ServerNotAvailable, format!("{proxy_named} refused to connect to {origin} (HTTP status {status})"))
        }
    };
    Error::new(kind, way.stage, detail)
}
