//! The Spine simulator: a Security Broker on a loopback port.

mod assertion;
mod broker;
mod form;
mod http;
mod log;
mod message;
mod misbehaviour;
mod refusal;
mod role;
mod server;
mod session_service;
mod tls;
mod verify;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use openssl::x509::X509;
use tempfile::TempDir;

use crate::ca::TestCa;
use crate::error::{Context, Result};
use broker::{Broker, Settings};
use server::{Observer, Shared, State};
use verify::Verifier;

pub use log::{Entry, Outcome};
pub use misbehaviour::{Endpoint, MISBEHAVIOURS, Misbehaviour};
pub use refusal::Refusal;
pub use role::Role;
pub use tls::{ServerCertificate, TlsVersions};
pub use verify::Digest;

/// How a simulator is to be; see [`Spine::builder`].
#[derive(Default)]
pub struct SpineBuilder {
    settings: Settings,
    card_cas: Vec<X509>,
    port: u16,
    plain_http: bool,
    certificate: ServerCertificate,
    tls_versions: TlsVersions,
    digest: Digest,
    accept_expired_cards: bool,
    log_capacity: Option<usize>,
    state_folder: Option<PathBuf>,
    observer: Option<Observer>,
    clock_ahead: i64,
}

impl SpineBuilder {
    /// Takes cards of this CA. May be called for several.
    pub fn card_ca(mut self, ca: &TestCa) -> Self {
        self.card_cas.push(ca.certificate().clone());
        self
    }

    /// Takes cards of the CAs in this PEM text.
    pub fn card_ca_pem(mut self, pem: &[u8]) -> Result<Self> {
        self.card_cas.extend(X509::stack_from_pem(pem)?);
        Ok(self)
    }

    /// Refuses what it else takes with a warning (see [`Entry::warnings`]): requests that differ in form from
    /// the genuine client's, as those of working clients do. For tests of a client that is to be exact.
    pub fn strict(mut self) -> Self {
        self.settings.strict = true;
        self
    }

    /// How many roles the user has, out of [`Role::generate`]; 3 without this call.
    pub fn roles(self, count: usize) -> Self {
        self.these_roles(Role::generate(count))
    }

    /// The user's roles.
    pub fn these_roles(mut self, roles: Vec<Role>) -> Self {
        self.settings.roles = roles;
        self
    }

    /// The user's name (`cn`), `TEST USER` without this call.
    pub fn display_name(mut self, name: impl Into<String>) -> Self {
        self.settings.display_name = name.into();
        self
    }

    /// `sso_session_time`, how long a session may be idle, and `sso_max_session_time`, in minutes;
    /// 600 both without this call. Sessions really end then.
    pub fn session_minutes(mut self, idle: u64, max: u64) -> Self {
        (self.settings.session_minutes, self.settings.max_session_minutes) = (idle, max);
        self
    }

    /// Ends sessions this long after they began, whatever the answer says.
    pub fn session_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.session_lifetime = Some(lifetime);
        self
    }

    /// How long a challenge may be answered; five minutes without this call.
    pub fn challenge_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.challenge_lifetime = lifetime;
        self
    }

    /// How many challenges, sessions and log entries are kept, the newest of each; 1,000 without
    /// this call. It bounds the simulator's memory in long tests.
    pub fn capacity(mut self, count: usize) -> Self {
        self.settings.capacity = count.max(1);
        self.log_capacity = Some(count.max(1));
        self
    }

    /// The port; without this call a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Speaks plain http instead of TLS.
    pub fn plain_http(mut self) -> Self {
        self.plain_http = true;
        self
    }

    /// What is wrong with the server's certificate.
    pub fn server_certificate(mut self, certificate: ServerCertificate) -> Self {
        self.certificate = certificate;
        self
    }

    /// Which TLS versions it speaks.
    pub fn tls_versions(mut self, versions: TlsVersions) -> Self {
        self.tls_versions = versions;
        self
    }

    /// The digest that it wants in signatures; SHA-1 without this call.
    pub fn digest(mut self, digest: Digest) -> Self {
        self.digest = digest;
        self
    }

    /// Takes expired cards too.
    pub fn accept_expired_cards(mut self) -> Self {
        self.accept_expired_cards = true;
        self
    }

    /// Keeps the server's CA in this folder, which exists, so that later runs use the same one;
    /// without this call it is new each time, in a folder that goes with the simulator.
    pub fn state_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state_folder = Some(folder.into());
        self
    }

    /// How many seconds its clock is ahead, as the `Date` of its answers tells; negative is behind.
    pub fn clock_ahead(mut self, seconds: i64) -> Self {
        self.clock_ahead = seconds;
        self
    }

    /// Has each log entry shown to `observer`, on the thread of its connection.
    pub fn observer(mut self, observer: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Starts it on 127.0.0.1. It takes connections from when this returns.
    pub fn start(self) -> Result<Spine> {
        let temporary = TempDir::with_prefix("spine-simulator-").context(|| "cannot make a folder".into())?;
        let folder = self.state_folder.as_deref().unwrap_or(temporary.path());
        let (ca, ca_file) = tls::ServerCa::load_or_create(folder)?;
        let tls = match (&self.certificate, self.plain_http) {
            (_, true) => None,
            (ServerCertificate::OtherCa, _) => {
                Some(tls::ServerCa::new()?.server_config(&self.certificate, self.tls_versions)?)
            }
            _ => Some(ca.server_config(&self.certificate, self.tls_versions)?),
        };
        let verifier = Verifier::new(self.card_cas, self.digest, self.accept_expired_cards)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))
            .context(|| format!("cannot listen on 127.0.0.1:{}", self.port))?;
        let address = listener.local_addr().context(|| "cannot tell the port".into())?;
        let shared = Arc::new(Shared {
            started: Instant::now(),
            tls,
            observer: self.observer,
            clock_ahead: self.clock_ahead,
            log_capacity: self.log_capacity.unwrap_or(self.settings.capacity),
            connections: AtomicU64::new(0),
            handshakes: AtomicU64::new(0),
            changed: Condvar::new(),
            state: Mutex::new(State::new(Broker::new(self.settings, verifier))),
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept_all(&listener)
        });
        Ok(Spine { shared, address, ca_file, thread: Some(thread), _folder: temporary })
    }
}

/// A running simulator. Dropping it closes every connection and ends every thread of its own.
///
/// All methods may be called from any thread.
pub struct Spine {
    shared: Arc<Shared>,
    address: SocketAddr,
    ca_file: PathBuf,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Spine {
    /// A simulator to be set up and started.
    pub fn builder() -> SpineBuilder {
        SpineBuilder::default()
    }

    /// The address for `base_url`: scheme, 127.0.0.1 and port, without a slash at the end.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.shared.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The PEM file of the server's CA, for `ca_file`.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Misbehaves at each request to `endpoint` from now on.
    pub fn misbehave(&self, endpoint: Endpoint, misbehaviour: Misbehaviour) {
        self.shared.lock().misbehaviours.insert(endpoint, (misbehaviour, None));
    }

    /// Misbehaves at the next `times` requests to `endpoint`, then behaves.
    pub fn misbehave_times(&self, endpoint: Endpoint, misbehaviour: Misbehaviour, times: u32) {
        if times > 0 {
            self.shared.lock().misbehaviours.insert(endpoint, (misbehaviour, Some(times)));
        }
    }

    /// Misbehaves at each new connection, before the TLS handshake: [`Misbehaviour::Reset`] resets it,
    /// [`Misbehaviour::Delay`] begins the handshake later, all others never begin it.
    pub fn misbehave_on_connect(&self, misbehaviour: Misbehaviour) {
        self.shared.lock().on_connect = Some(misbehaviour);
    }

    /// Behaves well everywhere from now on.
    pub fn behave(&self) {
        let mut state = self.shared.lock();
        state.misbehaviours.clear();
        state.on_connect = None;
    }

    /// Holds every answer of `endpoint` back until the guard is dropped. The request is carried out
    /// and logged before: so a test can wait for it, do something, and let the answer go.
    pub fn hold(&self, endpoint: Endpoint) -> Hold<'_> {
        self.shared.lock().held.insert(endpoint);
        Hold { shared: &self.shared, endpoint }
    }

    /// Gives the user other roles, from the next login on.
    pub fn set_roles(&self, roles: Vec<Role>) {
        self.shared.lock().broker.settings.roles = roles;
    }

    /// Returns the users' roles.
    pub fn roles(&self) -> Vec<Role> {
        self.shared.lock().broker.settings.roles.clone()
    }

    /// What it got so far, as far as it is kept (see [`SpineBuilder::capacity`]).
    pub fn log(&self) -> Vec<Entry> {
        self.shared.lock().log.iter().cloned().collect()
    }

    /// Empties the log.
    pub fn clear_log(&self) {
        self.shared.lock().log.clear();
    }

    /// Waits until the log is as `wanted` says; false when it is not within `timeout`.
    ///
    /// `wanted` runs under a lock at each change: it must not use this simulator.
    #[must_use]
    pub fn wait_for(&self, timeout: Duration, wanted: impl Fn(&[Entry]) -> bool) -> bool {
        self.wait_until(timeout, |state| wanted(state.log.make_contiguous()))
    }

    /// Waits until there are `count` sessions; false when there are not within `timeout`.
    #[must_use]
    pub fn wait_for_sessions(&self, timeout: Duration, count: usize) -> bool {
        self.wait_until(timeout, |state| state.broker.open_sessions() == count)
    }

    /// Waits until `count` connections are open; false when there are not within `timeout`.
    #[must_use]
    pub fn wait_for_connections(&self, timeout: Duration, count: usize) -> bool {
        self.wait_until(timeout, |state| state.open_connections() == count)
    }

    fn wait_until(&self, timeout: Duration, wanted: impl Fn(&mut State) -> bool) -> bool {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, timeout, |state| !wanted(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// How many sessions there are: logged in, and not ended by logout or time.
    pub fn open_sessions(&self) -> usize {
        self.shared.lock().broker.open_sessions()
    }

    /// Ends a session, as an administrator would; whether there was one.
    pub fn end_session(&self, ticket: &str) -> bool {
        self.shared.lock().broker.end_session(ticket)
    }

    /// Ends all sessions.
    pub fn end_all_sessions(&self) {
        self.shared.lock().broker.end_all_sessions();
    }

    /// How many TCP connections came so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many TLS handshakes were completed so far.
    pub fn handshakes(&self) -> u64 {
        self.shared.handshakes.load(Ordering::SeqCst)
    }
}

impl Drop for Spine {
    fn drop(&mut self) {
        self.shared.stop();
        // The accepting thread sleeps in `accept`; a last connection wakes it.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers held back; see [`Spine::hold`].
#[must_use = "the answers go when the guard is dropped"]
pub struct Hold<'a> {
    shared: &'a Shared,
    endpoint: Endpoint,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.shared.lock().held.remove(&self.endpoint);
        self.shared.changed.notify_all();
    }
}
