//! How requests get to the broker and answers back: HTTPS, with a limit on everything.

mod address;
mod ca_file;
pub(crate) mod charset;
mod connection;
mod cookies;
pub(crate) mod message;
mod path;
mod probe;
mod tls;

use std::env;
use std::io::{self, ErrorKind as Io, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, RootCertStore};
use tracing::debug;
use zeroize::Zeroizing;

use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::fs::{read_trusted, trusted};
use crate::os::privilege::{is_raised, variable};
pub use address::{BadAddress, BrokerAddress};
use connection::{Connection, Limits, OpenError};
use cookies::Cookies;
use message::{Answer, Failure, read_answer};
pub use message::{MAX_ANSWER, Request};

pub use probe::{Probe, Secured, ServerCertificate};

/// Brings requests to a broker, for one login or one logout.
pub trait Transport: Send {
    /// The broker it leads to.
    fn address(&self) -> &BrokerAddress;

    /// Sends a request and reads the body of its answer, which has status 200.
    ///
    /// `request` makes the request once it is known from which local address it goes out; it is
    /// called once at most. No request is ever sent twice. Blocks, with a deadline over everything,
    /// and ends soon after `cancel` is cancelled.
    ///
    /// # Errors
    ///
    /// At `stage`: [`ServerNotAvailable`](ErrorKind::ServerNotAvailable), [`Tls`](ErrorKind::Tls),
    /// [`BadAnswer`](ErrorKind::BadAnswer), [`Cancelled`](ErrorKind::Cancelled), and what `request`
    /// fails with.
    fn exchange(
        &mut self,
        stage: Stage,
        request: &dyn Fn(IpAddr) -> Result<Request>,
        cancel: &CancelToken,
    ) -> Result<Zeroizing<Vec<u8>>>;
}

/// What there is to set about HTTPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsSettings {
    /// PEM file of the trust anchors; the system's where it is `None`. Read for each connection.
    pub ca_file: Option<PathBuf>,
    /// The time to connect and agree on TLS, once the broker's name is resolved.
    pub connect_deadline: Duration,
    /// The time for all of a request: resolving the name and connecting where that is needed, sending,
    /// and the whole answer.
    pub request_deadline: Duration,
}

impl Default for HttpsSettings {
    /// The system's trust anchors, 5 s to connect, 15 s for a request.
    fn default() -> Self {
        Self { ca_file: None, connect_deadline: Duration::from_secs(5), request_deadline: Duration::from_secs(15) }
    }
}

/// HTTPS with one connection, opened for the first request and kept for the others.
///
/// - TLS 1.2 or 1.3, and the server's certificate is always verified. Plain TCP only where the
///   [`BrokerAddress`] is a loopback one.
/// - No redirect is followed; no proxy, compression or TLS session resumption is used; no
///   environment variable is read but those that say where the system's trust anchors are
///   (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
/// - Cookies that the server sets are sent back to it until this is dropped: load balancers need that.
/// - A connection that the server has closed meanwhile is replaced before the next request. A request
///   that was sent is not repeated: the broker may have acted on it.
/// - Looking up the name and connecting are done by a thread of their own, which ends before the
///   request is sent. It may outlive a deadline or a cancelled login, until the resolver gives up.
/// - The connection is closed when this is dropped.
///
/// What is sent and received is wiped from the buffers here; those of TLS and of the system are out
/// of reach.
pub struct HttpsTransport {
    address: BrokerAddress,
    settings: HttpsSettings,
    connection: Option<Connection>,
    cookies: Cookies,
}

impl HttpsTransport {
    /// A transport to `address`. Opens no file and no connection yet.
    pub fn new(address: BrokerAddress, settings: HttpsSettings) -> Self {
        Self { address, settings, connection: None, cookies: Cookies::default() }
    }

    fn open(&self, deadline: Instant, stage: Stage, cancel: &CancelToken) -> Result<Connection> {
        let tls = self.address.is_tls().then(|| client_config(self.settings.ca_file.as_deref())).transpose()?;
        let limits = Limits { connect: self.settings.connect_deadline, deadline };
        let connection = Connection::open(&self.address, tls, limits, cancel).map_err(|failed| match failed {
            OpenError::Lookup(error) => self.explain_lookup(error, stage),
            OpenError::Connect(error) => self.explain_connecting(error, stage),
        })?;
        debug!(broker = %self.address, "connected");
        Ok(connection)
    }

    fn send(&self, connection: &mut Connection, request: &Request) -> std::result::Result<Answer, Failure> {
        self.write(connection, request)?;
        read_answer(connection)
    }

    fn write(&self, connection: &mut Connection, request: &Request) -> std::result::Result<(), Failure> {
        connection.write_all(&request.to_bytes(&self.address.host_header(), &self.cookies))?;
        Ok(connection.flush()?)
    }

    fn explain_lookup(&self, error: io::Error, stage: Stage) -> Error {
        let name = self.address.host();
        let detail = match error.kind() {
            Io::TimedOut => {
                let limit = seconds(self.settings.request_deadline);
                format!("the name {name} was not resolved within {limit}: no name server answers")
            }
            _ => format!("the name {name} cannot be resolved"),
        };
        Error::new(ErrorKind::ServerNotAvailable, stage, detail).because(error)
    }

    fn explain_connecting(&self, error: io::Error, stage: Stage) -> Error {
        let broker = &self.address;
        if let Some(tls) = tls_error(&error) {
            return self.explain_tls(tls.clone(), stage);
        }
        let detail = match error.kind() {
            Io::TimedOut | Io::WouldBlock => {
                format!("no connection to {broker} within {}", seconds(self.settings.connect_deadline))
            }
            Io::ConnectionRefused => format!("{broker} refused the connection"),
            Io::UnexpectedEof | Io::ConnectionReset | Io::BrokenPipe => {
                format!("{broker} closed the connection while it was being opened")
            }
            _ => format!("no connection to {broker}: {error}"),
        };
        Error::new(ErrorKind::ServerNotAvailable, stage, detail).because(error)
    }

    fn explain_tls(&self, error: rustls::Error, stage: Stage) -> Error {
        let (kind, detail) = tls::explain(&error, &self.address.to_string(), self.address.host());
        Error::new(kind, stage, detail).because(error)
    }

    fn explain(&self, failure: Failure, stage: Stage) -> Error {
        use ErrorKind::{BadAnswer, ServerNotAvailable};
        let broker = &self.address;
        let (kind, detail) = match failure {
            Failure::Io(error) => {
                if let Some(tls) = tls_error(&error) {
                    return self.explain_tls(tls.clone(), stage);
                }
                let detail = match error.kind() {
                    Io::TimedOut => {
                        format!("{broker} did not answer within {}", seconds(self.settings.request_deadline))
                    }
                    _ => format!("the connection to {broker} broke: {error}"),
                };
                return Error::new(ServerNotAvailable, stage, detail).because(error);
            }
            Failure::Silence => (ServerNotAvailable, "closed the connection without an answer".to_owned()),
            Failure::Status(status @ 500..) => (ServerNotAvailable, format!("answered with HTTP status {status}")),
            Failure::Status(status @ 300..400) => {
                (BadAnswer, format!("answered with a redirect (HTTP status {status}), which is not followed"))
            }
            Failure::Status(status) => (BadAnswer, format!("answered with HTTP status {status}")),
            Failure::Truncated => (BadAnswer, "broke off within its answer".to_owned()),
            Failure::TooLarge => (BadAnswer, "sent an answer of more than 1.5 MiB".to_owned()),
            Failure::LargeHead => (BadAnswer, "sent more headers than are read (200 lines, 32 KiB)".to_owned()),
            Failure::Compressed => (BadAnswer, "compressed its answer although the request refuses that".to_owned()),
            Failure::NotHttp => (BadAnswer, "does not answer in HTTP/1.1".to_owned()),
        };
        Error::new(kind, stage, format!("{broker} {detail}"))
    }
}

impl Transport for HttpsTransport {
    fn address(&self) -> &BrokerAddress {
        &self.address
    }

    fn exchange(
        &mut self,
        stage: Stage,
        request: &dyn Fn(IpAddr) -> Result<Request>,
        cancel: &CancelToken,
    ) -> Result<Zeroizing<Vec<u8>>> {
        cancel.check(stage)?;
        let deadline = Instant::now() + self.settings.request_deadline;
        // Cancelling shows as a broken connection of some kind.
        let or_cancelled = |error: Error| cancel.check(stage).err().unwrap_or(error);

        let kept = self.connection.take().and_then(Connection::if_open);
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open(deadline, stage, cancel).map_err(or_cancelled)?,
        };
        let request = request(connection.local())?;
        let guard = connection.limit(deadline, cancel).map_err(|e| self.explain(e.into(), stage))?;
        let answer = self.send(&mut connection, &request).map_err(|e| or_cancelled(self.explain(e, stage)))?;
        drop(guard);
        self.cookies.extend(answer.cookies);
        if answer.keep_alive {
            self.connection = Some(connection);
        }
        Ok(answer.body)
    }
}

fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>> {
    Ok(Arc::new(tls::client_config(roots(ca_file)?)?.0))
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore> {
    ca_file.map_or_else(system_roots, roots_from)
}

/// More than ten times what systems trust.
const CA_FILE_LIMIT: u64 = 16 << 20;

fn roots_from(file: &Path) -> Result<RootCertStore> {
    let wrong = |what: &str| {
        Error::new(ErrorKind::Configuration, Stage::Configuration, format!("ca_file {}: {what}", file.display()))
    };
    let pem = read_trusted(file, CA_FILE_LIMIT).map_err(|error| wrong(&format!("it cannot be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in ca_file::certificates(&pem).map_err(wrong)? {
        roots.add(certificate).map_err(|error| wrong("it holds what is no certificate").because(error))?;
    }
    Ok(roots)
}

/// Where systems have their trust anchors in one file; looked at where the environment may not say so.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

fn system_certificates() -> Result<Vec<rustls::pki_types::CertificateDer<'static>>> {
    if is_raised() {
        let pem = BUNDLES.iter().find_map(|file| read_trusted(Path::new(file), CA_FILE_LIMIT).ok()).unwrap_or_default();
        return Ok(ca_file::certificates(&pem).unwrap_or_default());
    }
    let refused = |name: &str, path: &Path, error: io::Error| {
        let detail = format!("{name} {}: it cannot be read: {error}", path.display());
        Error::new(ErrorKind::Configuration, Stage::Configuration, detail)
    };
    // What is not there is skipped below.
    if let Some(file) = variable("SSL_CERT_FILE").map(PathBuf::from).filter(|file| file.exists()) {
        read_trusted(&file, CA_FILE_LIMIT).map_err(|error| refused("SSL_CERT_FILE", &file, error))?;
    }
    for folder in env::split_paths(&variable("SSL_CERT_DIR").unwrap_or_default()).filter(|folder| folder.exists()) {
        trusted(&folder).map_err(|error| refused("SSL_CERT_DIR", &folder, error))?;
    }
    Ok(rustls_native_certs::load_native_certs().certs)
}

fn system_roots() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // Systems ship certificates that do not parse; the rest are used.
    roots.add_parsable_certificates(system_certificates()?);
    if roots.is_empty() {
        let detail = "this system has no trusted certificates, and ca_file names none";
        return Err(Error::new(ErrorKind::Configuration, Stage::Configuration, detail));
    }
    Ok(roots)
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn seconds(time: Duration) -> String {
    // A deadline that has been handed on is a few microseconds short.
    format!("{} s", (time.as_secs_f64() * 1000.0).round() / 1000.0)
}
