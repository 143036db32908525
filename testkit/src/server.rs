//! A server on a loopback port: takes requests off the wire, has an application answer them, sends the answers or
//! spoils them.

mod connections;

use std::hash::Hash;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use connections::{Shared, State};
use tempfile::TempDir;

use crate::error::{Context, Result};
use crate::http::{self, HttpRequest};
use crate::tls::{ServerCa, ServerCertificate, TlsVersions};

/// What is simulated.
pub(crate) trait Application: Send + Sized + 'static {
    type Endpoint: Copy + Eq + Hash + Send;
    type Misbehaviour: Clone + Send;
    type Entry: Clone + Send;

    /// The endpoint that a request is for, or the HTTP status that says why there is none.
    fn endpoint(&self, request: &HttpRequest) -> std::result::Result<Self::Endpoint, u16>;

    /// Answers a request, and says what the log is to hold.
    fn answer(
        &mut self,
        incoming: &Incoming<'_>,
        endpoint: std::result::Result<Self::Endpoint, u16>,
        misbehaviour: Option<Self::Misbehaviour>,
    ) -> (Reply, Self::Entry);

    /// The log's entry for a connection on which no request came.
    fn no_request(connection: u64, at: Duration, why: Nothing) -> Self::Entry;
}

/// A request and how it came.
pub(crate) struct Incoming<'a> {
    pub(crate) request: &'a HttpRequest,
    pub(crate) connection: u64,
    /// Since the server was started.
    pub(crate) at: Duration,
    pub(crate) peer: SocketAddr,
    /// Scheme and host as the client spells them.
    pub(crate) base_url: String,
}

/// Why a connection brought no request.
pub(crate) enum Nothing {
    /// There was no HTTP connection, for this reason.
    NoConnection(String),
    /// What came is not HTTP that is understood; the status says how.
    Bad(u16),
}

/// An answer on its way.
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) manner: Manner,
    pub(crate) delay: Duration,
    pub(crate) close: bool,
}

impl Reply {
    pub(crate) fn new(head: String, body: &[u8]) -> Self {
        let bytes = [head.as_bytes(), body].concat();
        Self { bytes, manner: Manner::Whole, delay: Duration::ZERO, close: false }
    }

    /// A status without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self::new(http::head(status, &[("Content-Type", "text/html")], Some(0), false), b"")
    }
}

/// How an answer is sent.
pub(crate) enum Manner {
    Whole,
    /// Ends after the first `.0` bytes.
    Cut(usize),
    OneByteASecond,
    Endless,
    Silent,
    Reset,
}

/// What to do with new connections, before TLS.
#[derive(Clone, Debug)]
pub(crate) enum OnConnect {
    Delay(Duration),
    Reset,
    Silence,
}

/// A server's settings.
pub(crate) struct Setup<A: Application> {
    pub(crate) port: u16,
    pub(crate) plain_http: bool,
    pub(crate) certificate: ServerCertificate,
    pub(crate) tls_versions: TlsVersions,
    pub(crate) state_folder: Option<PathBuf>,
    /// How many seconds the server's clock, as in the header `Date`, is ahead.
    pub(crate) clock_ahead: i64,
    pub(crate) log_capacity: usize,
    pub(crate) observer: Option<Observer<A>>,
}

/// Is shown each log entry as it is made.
pub(crate) type Observer<A> = Box<dyn Fn(&<A as Application>::Entry) + Send + Sync>;

impl<A: Application> Default for Setup<A> {
    fn default() -> Self {
        Self {
            port: 0,
            plain_http: false,
            certificate: ServerCertificate::default(),
            tls_versions: TlsVersions::default(),
            state_folder: None,
            clock_ahead: 0,
            log_capacity: 1_000,
            observer: None,
        }
    }
}

impl<A: Application> Setup<A> {
    /// Starts the server on 127.0.0.1, with the application that `make` returns for its URL. It takes connections
    /// from when this returns.
    pub(crate) fn start(self, make: impl FnOnce(&str) -> Result<A>) -> Result<Server<A>> {
        let temporary = TempDir::with_prefix("testkit-server-").context(|| "cannot make a folder".into())?;
        let folder = self.state_folder.as_deref().unwrap_or(temporary.path());
        let (ca, ca_file) = ServerCa::load_or_create(folder)?;
        let tls = match (&self.certificate, self.plain_http) {
            (_, true) => None,
            (ServerCertificate::OtherCa, _) => {
                Some(ServerCa::new()?.server_config(&self.certificate, self.tls_versions)?)
            }
            _ => Some(ca.server_config(&self.certificate, self.tls_versions)?),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))
            .context(|| format!("cannot listen on 127.0.0.1:{}", self.port))?;
        let address = listener.local_addr().context(|| "cannot tell the port".into())?;
        let application = make(&url(tls.is_some(), address))?;
        let shared = Arc::new(Shared {
            started: Instant::now(),
            tls,
            observer: self.observer,
            clock_ahead: self.clock_ahead,
            log_capacity: self.log_capacity,
            connections: AtomicU64::new(0),
            handshakes: AtomicU64::new(0),
            changed: Condvar::new(),
            state: Mutex::new(State::new(application)),
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept_all(&listener)
        });
        Ok(Server { shared, address, ca_file, thread: Some(thread), _folder: temporary })
    }
}

fn url(tls: bool, address: SocketAddr) -> String {
    format!("{}://{address}", if tls { "https" } else { "http" })
}

/// A running server. Dropping it closes every connection and ends every thread of its own.
pub(crate) struct Server<A: Application> {
    shared: Arc<Shared<A>>,
    address: SocketAddr,
    ca_file: PathBuf,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl<A: Application> Server<A> {
    /// Scheme, 127.0.0.1 and port, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        url(self.shared.tls.is_some(), self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Misbehaves at the next `times` requests to `endpoint`, or at all of them.
    pub(crate) fn misbehave(&self, endpoint: A::Endpoint, misbehaviour: A::Misbehaviour, times: Option<u32>) {
        if times != Some(0) {
            self.shared.lock().misbehaviours.insert(endpoint, (misbehaviour, times));
        }
    }

    pub(crate) fn misbehave_on_connect(&self, how: OnConnect) {
        self.shared.lock().on_connect = Some(how);
    }

    pub(crate) fn behave(&self) {
        let mut state = self.shared.lock();
        state.misbehaviours.clear();
        state.on_connect = None;
    }

    /// Holds every answer of `endpoint` back until the guard is dropped.
    pub(crate) fn hold(&self, endpoint: A::Endpoint) -> Held<'_, A> {
        self.shared.lock().held.insert(endpoint);
        Held { shared: &self.shared, endpoint }
    }

    /// Runs `work` on the application, under the lock that its answers are made under.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut A) -> T) -> T {
        let done = work(&mut self.shared.lock().application);
        self.shared.changed.notify_all();
        done
    }

    pub(crate) fn log(&self) -> Vec<A::Entry> {
        self.shared.lock().log.iter().cloned().collect()
    }

    pub(crate) fn clear_log(&self) {
        self.shared.lock().log.clear();
    }

    #[must_use]
    pub(crate) fn wait_for(&self, timeout: Duration, wanted: impl Fn(&[A::Entry]) -> bool) -> bool {
        self.wait_until(timeout, |state| wanted(state.log.make_contiguous()))
    }

    #[must_use]
    pub(crate) fn wait_for_application(&self, timeout: Duration, wanted: impl Fn(&mut A) -> bool) -> bool {
        self.wait_until(timeout, |state| wanted(&mut state.application))
    }

    #[must_use]
    pub(crate) fn wait_for_connections(&self, timeout: Duration, count: usize) -> bool {
        self.wait_until(timeout, |state| state.sockets.len() == count)
    }

    fn wait_until(&self, timeout: Duration, wanted: impl Fn(&mut State<A>) -> bool) -> bool {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, timeout, |state| !wanted(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn handshakes(&self) -> u64 {
        self.shared.handshakes.load(Ordering::SeqCst)
    }
}

impl<A: Application> Drop for Server<A> {
    fn drop(&mut self) {
        self.shared.stop();
        // The accepting thread sleeps in `accept`; a last connection wakes it.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers held back; see [`Server::hold`].
pub(crate) struct Held<'a, A: Application> {
    shared: &'a Shared<A>,
    endpoint: A::Endpoint,
}

impl<A: Application> Drop for Held<'_, A> {
    fn drop(&mut self) {
        self.shared.lock().held.remove(&self.endpoint);
        self.shared.changed.notify_all();
    }
}
