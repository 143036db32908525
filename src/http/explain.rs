//! The words for requests that fail.

use std::io::{self, ErrorKind as Io};
use std::time::Duration;

use super::connection::OpenError;
use super::message::ReadError;
use super::{Origin, Proxy, ProxySetting, tls, tunnel};
use crate::error::{Error, ErrorKind, Stage};
use crate::os::lacks_resources;

/// The way of a request: what an error names.
pub(super) struct Way<'a> {
    pub(super) origin: &'a Origin,
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) setting: &'a ProxySetting,
    pub(super) stage: Stage,
    /// The time for connecting.
    pub(super) connect: Duration,
    /// The time for everything.
    pub(super) request: Duration,
}

impl Way<'_> {
    pub(super) fn explain_opening(&self, failed: OpenError) -> Error {
        match failed {
            OpenError::Lookup(error) => self.explain_lookup(error),
            OpenError::Connect(error) => self.explain_connecting(error),
            OpenError::Secure(error) => self.explain_securing(error),
            OpenError::Tunnel(error) => match self.proxy {
                Some(proxy) => tunnel::explain(error, proxy, self),
                None => self.error(ErrorKind::Internal, "a proxy answered where there is none".to_owned()),
            },
        }
    }

    pub(super) fn explain_lookup(&self, error: io::Error) -> Error {
        let name = match self.proxy {
            None => self.origin.host().to_owned(),
            Some(proxy) => format!("{} of {}", proxy.address().host(), named(proxy)),
        };
        let detail = match error.kind() {
            Io::TimedOut => {
                let limit = seconds(self.request);
                format!("the name {name} was not resolved within {limit}: no name server answers")
            }
            _ if lacks_resources(&error) => format!("the name {name} cannot be resolved: {error}"),
            _ => format!("the name {name} cannot be resolved"),
        };
        self.not_reached(detail, error)
    }

    fn explain_connecting(&self, error: io::Error) -> Error {
        let target = self.proxy.map_or_else(|| self.origin.to_string(), named);
        let detail = self.why_not_connected(&target, &error);
        self.not_reached(detail, error)
    }

    /// An error about the server, or the proxy if there is one.
    fn not_reached(&self, detail: String, error: io::Error) -> Error {
        let remark = if self.proxy.is_some() { "" } else { self.setting.remark() };
        Error::refused(ErrorKind::ServerNotAvailable, self.stage, detail + remark, error)
    }

    pub(super) fn explain_securing(&self, error: io::Error) -> Error {
        if let Some(tls) = tls_error(&error) {
            return self.explain_tls(tls.clone());
        }
        let detail = self.why_not_connected(&self.origin.to_string(), &error);
        self.error(ErrorKind::ServerNotAvailable, detail).because(error)
    }

    fn why_not_connected(&self, server: &str, error: &io::Error) -> String {
        match error.kind() {
            Io::TimedOut | Io::WouldBlock => format!("no connection to {server} within {}", seconds(self.connect)),
            Io::ConnectionRefused => format!("{server} refused the connection"),
            Io::UnexpectedEof | Io::ConnectionReset | Io::BrokenPipe => {
                format!("{server} closed the connection while it was being opened")
            }
            _ => format!("no connection to {server}: {error}"),
        }
    }

    fn explain_tls(&self, error: rustls::Error) -> Error {
        let (kind, detail) = tls::explain(&error, &self.origin.to_string(), self.origin.host());
        self.error(kind, detail).because(error)
    }

    /// Explains why an answer of up to `limit` bytes did not come.
    pub(super) fn explain(&self, failure: ReadError, limit: usize) -> Error {
        use ErrorKind::{BadAnswer, ServerNotAvailable};
        let server = self.origin;
        let (kind, detail) = match failure {
            ReadError::Io(error) => {
                if let Some(tls) = tls_error(&error) {
                    return self.explain_tls(tls.clone());
                }
                let detail = match error.kind() {
                    Io::TimedOut => format!("{server} did not answer within {}", seconds(self.request)),
                    _ => format!("the connection to {server} broke: {error}"),
                };
                return self.error(ServerNotAvailable, detail).because(error);
            }
            ReadError::Silence => (ServerNotAvailable, "closed the connection without an answer".to_owned()),
            ReadError::Truncated => (BadAnswer, "broke off within its answer".to_owned()),
            ReadError::TooLarge => (BadAnswer, format!("sent an answer of more than {}", size(limit))),
            ReadError::LargeHead => (BadAnswer, "sent more headers than are read (200 lines, 32 KiB)".to_owned()),
            ReadError::Compressed => (BadAnswer, "compressed its answer although the request refuses that".to_owned()),
            ReadError::NotHttp => (BadAnswer, "does not answer in HTTP/1.1".to_owned()),
        };
        self.error(kind, format!("{server} {detail}"))
    }

    /// An error of the server, which also names the proxy that led there.
    fn error(&self, kind: ErrorKind, detail: String) -> Error {
        let through = self.proxy.map(|proxy| format!(" (through {})", named(proxy))).unwrap_or_default();
        Error::new(kind, self.stage, detail + &through)
    }
}

fn named(proxy: &Proxy) -> String {
    format!("the proxy {proxy}")
}

/// Returns the error of an answer whose status says that there is nothing to read.
pub(crate) fn unexpected_status(origin: &Origin, stage: Stage, status: u16) -> Error {
    let (kind, detail) = match status {
        500.. => (ErrorKind::ServerNotAvailable, format!("HTTP status {status}")),
        300..400 => (ErrorKind::BadAnswer, format!("a redirect (HTTP status {status}), which is not followed")),
        _ => (ErrorKind::BadAnswer, format!("HTTP status {status}")),
    };
    Error::new(kind, stage, format!("{origin} answered with {detail}"))
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

pub(super) fn seconds(time: Duration) -> String {
    // A deadline that has been handed on is a few microseconds short.
    format!("{} s", (time.as_secs_f64() * 1000.0).round() / 1000.0)
}

fn size(bytes: usize) -> String {
    match bytes {
        0x10_0000.. => format!("{} MiB", (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0),
        _ => format!("{} KiB", bytes.div_ceil(1 << 10)),
    }
}
