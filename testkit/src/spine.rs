//! The Spine simulator: a Security Broker on a loopback port.

mod assertion;
mod broker;
mod form;
mod log;
mod message;
mod misbehaviour;
mod refusal;
mod role;
mod server;
mod session_service;
mod verify;

use std::path::{Path, PathBuf};
use std::time::Duration;

use openssl::x509::X509;

use crate::ca::TestCa;
use crate::error::Result;
use crate::server::{Held, OnConnect, Server, Setup};
use broker::{Broker, Settings};
use verify::Verifier;

pub use log::{Entry, Outcome};
pub use misbehaviour::{Endpoint, MISBEHAVIOURS, Misbehaviour};
pub use refusal::Refusal;
pub use role::Role;
pub use verify::Digest;

pub use crate::tls::{ServerCertificate, TlsVersions};

/// How a simulator is to be; see [`Spine::builder`].
#[derive(Default)]
pub struct SpineBuilder {
    settings: Settings,
    server: Setup<Broker>,
    card_cas: Vec<X509>,
    digest: Digest,
    accept_expired_cards: bool,
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
        self.server.log_capacity = count.max(1);
        self
    }

    /// The port; without this call a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.server.port = port;
        self
    }

    /// Speaks plain http instead of TLS.
    pub fn plain_http(mut self) -> Self {
        self.server.plain_http = true;
        self
    }

    /// What is wrong with the server's certificate.
    pub fn server_certificate(mut self, certificate: ServerCertificate) -> Self {
        self.server.certificate = certificate;
        self
    }

    /// Which TLS versions it speaks.
    pub fn tls_versions(mut self, versions: TlsVersions) -> Self {
        self.server.tls_versions = versions;
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
        self.server.state_folder = Some(folder.into());
        self
    }

    /// How many seconds its clock is ahead, as the `Date` of its answers tells; negative is behind.
    pub fn clock_ahead(mut self, seconds: i64) -> Self {
        self.server.clock_ahead = seconds;
        self
    }

    /// Has each log entry shown to `observer`, on the thread of its connection.
    pub fn observer(mut self, observer: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        self.server.observer = Some(Box::new(observer));
        self
    }

    /// Starts it on 127.0.0.1. It takes connections from when this returns.
    pub fn start(self) -> Result<Spine> {
        let verifier = Verifier::new(self.card_cas, self.digest, self.accept_expired_cards)?;
        let settings = self.settings;
        Ok(Spine { server: self.server.start(|_| Ok(Broker::new(settings, verifier)))? })
    }
}

/// A running simulator. Dropping it closes every connection and ends every thread of its own.
///
/// All methods may be called from any thread.
pub struct Spine {
    server: Server<Broker>,
}

impl Spine {
    /// A simulator to be set up and started.
    pub fn builder() -> SpineBuilder {
        SpineBuilder::default()
    }

    /// The address for `base_url`: scheme, 127.0.0.1 and port, without a slash at the end.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The PEM file of the server's CA, for `ca_file`.
    pub fn ca_file(&self) -> &Path {
        self.server.ca_file()
    }

    /// Misbehaves at each request to `endpoint` from now on.
    pub fn misbehave(&self, endpoint: Endpoint, misbehaviour: Misbehaviour) {
        self.server.misbehave(endpoint, misbehaviour, None);
    }

    /// Misbehaves at the next `times` requests to `endpoint`, then behaves.
    pub fn misbehave_times(&self, endpoint: Endpoint, misbehaviour: Misbehaviour, times: u32) {
        self.server.misbehave(endpoint, misbehaviour, Some(times));
    }

    /// Misbehaves at each new connection, before the TLS handshake: [`Misbehaviour::Reset`] resets it,
    /// [`Misbehaviour::Delay`] begins the handshake later, all others never begin it.
    pub fn misbehave_on_connect(&self, misbehaviour: Misbehaviour) {
        self.server.misbehave_on_connect(match misbehaviour {
            Misbehaviour::Delay(delay) => OnConnect::Delay(delay),
            Misbehaviour::Reset => OnConnect::Reset,
            _ => OnConnect::Silence,
        });
    }

    /// Behaves well everywhere from now on.
    pub fn behave(&self) {
        self.server.behave();
    }

    /// Holds every answer of `endpoint` back until the guard is dropped. The request is carried out
    /// and logged before: so a test can wait for it, do something, and let the answer go.
    pub fn hold(&self, endpoint: Endpoint) -> Hold<'_> {
        Hold { _held: self.server.hold(endpoint) }
    }

    /// Gives the user other roles, from the next login on.
    pub fn set_roles(&self, roles: Vec<Role>) {
        self.server.with(|broker| broker.settings.roles = roles);
    }

    /// Returns the users' roles.
    pub fn roles(&self) -> Vec<Role> {
        self.server.with(|broker| broker.settings.roles.clone())
    }

    /// What it got so far, as far as it is kept (see [`SpineBuilder::capacity`]).
    pub fn log(&self) -> Vec<Entry> {
        self.server.log()
    }

    /// Empties the log.
    pub fn clear_log(&self) {
        self.server.clear_log();
    }

    /// Waits until the log is as `wanted` says; false when it is not within `timeout`.
    ///
    /// `wanted` runs under a lock at each change: it must not use this simulator.
    #[must_use]
    pub fn wait_for(&self, timeout: Duration, wanted: impl Fn(&[Entry]) -> bool) -> bool {
        self.server.wait_for(timeout, wanted)
    }

    /// Waits until there are `count` sessions; false when there are not within `timeout`.
    #[must_use]
    pub fn wait_for_sessions(&self, timeout: Duration, count: usize) -> bool {
        self.server.wait_for_application(timeout, |broker| broker.open_sessions() == count)
    }

    /// Waits until `count` connections are open; false when there are not within `timeout`.
    #[must_use]
    pub fn wait_for_connections(&self, timeout: Duration, count: usize) -> bool {
        self.server.wait_for_connections(timeout, count)
    }

    /// How many sessions there are: logged in, and not ended by logout or time.
    pub fn open_sessions(&self) -> usize {
        self.server.with(|broker| broker.open_sessions())
    }

    /// Ends a session, as an administrator would; whether there was one.
    pub fn end_session(&self, ticket: &str) -> bool {
        self.server.with(|broker| broker.end_session(ticket))
    }

    /// Ends all sessions.
    pub fn end_all_sessions(&self) {
        self.server.with(Broker::end_all_sessions);
    }

    /// How many TCP connections came so far.
    pub fn connections(&self) -> u64 {
        self.server.connections()
    }

    /// How many TLS handshakes were completed so far.
    pub fn handshakes(&self) -> u64 {
        self.server.handshakes()
    }
}

/// Answers held back; see [`Spine::hold`].
#[must_use = "the answers go when the guard is dropped"]
pub struct Hold<'a> {
    _held: Held<'a, Broker>,
}
