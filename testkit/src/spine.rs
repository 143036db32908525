//! The Spine simulator: a Spine Security Broker on a loopback port.

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

/// Configures a simulator; see [`Spine::builder`].
#[derive(Default)]
pub struct SpineBuilder {
    settings: Settings,
    server: Setup<Broker>,
    card_cas: Vec<X509>,
    digest: Digest,
    accept_expired_cards: bool,
}

impl SpineBuilder {
    /// Accepts cards of this CA. May be repeated.
    pub fn card_ca(mut self, ca: &TestCa) -> Self {
        self.card_cas.push(ca.certificate().clone());
        self
    }

    /// Accepts cards of the CAs in this PEM text.
    pub fn card_ca_pem(mut self, pem: &[u8]) -> Result<Self> {
        self.card_cas.extend(X509::stack_from_pem(pem)?);
        Ok(self)
    }

    /// Refuses requests that differ from the genuine client's in form, instead of accepting them with a warning
    /// (see [`Entry::warnings`]). For testing clients that must be exact.
    pub fn strict(mut self) -> Self {
        self.settings.strict = true;
        self
    }

    /// The number of the user's roles, from [`Role::generate`] (default 3).
    pub fn roles(self, count: usize) -> Self {
        self.these_roles(Role::generate(count))
    }

    /// The user's roles.
    pub fn these_roles(mut self, roles: Vec<Role>) -> Self {
        self.settings.roles = roles;
        self
    }

    /// The user's name (`cn`, default `TEST USER`).
    pub fn display_name(mut self, name: impl Into<String>) -> Self {
        self.settings.display_name = name.into();
        self
    }

    /// `sso_session_time`, how long a session may be idle, and `sso_max_session_time`, both in minutes (default
    /// 600). The simulator enforces them.
    pub fn session_minutes(mut self, idle: u64, max: u64) -> Self {
        (self.settings.session_minutes, self.settings.max_session_minutes) = (idle, max);
        self
    }

    /// Ends sessions after this time, whatever the response says.
    pub fn session_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.session_lifetime = Some(lifetime);
        self
    }

    /// How long a challenge is valid (default five minutes).
    pub fn challenge_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.challenge_lifetime = lifetime;
        self
    }

    /// How many challenges, sessions and log entries to keep, the newest of each (default 1,000). This limits the
    /// simulator's memory in long tests.
    pub fn capacity(mut self, count: usize) -> Self {
        self.settings.capacity = count.max(1);
        self.server.log_capacity = count.max(1);
        self
    }

    /// The port (default: a free one).
    pub fn port(mut self, port: u16) -> Self {
        self.server.port = port;
        self
    }

    /// Uses plain HTTP instead of TLS.
    pub fn plain_http(mut self) -> Self {
        self.server.plain_http = true;
        self
    }

    /// Selects a fault of the server's certificate.
    pub fn server_certificate(mut self, certificate: ServerCertificate) -> Self {
        self.server.certificate = certificate;
        self
    }

    /// The supported TLS versions.
    pub fn tls_versions(mut self, versions: TlsVersions) -> Self {
        self.server.tls_versions = versions;
        self
    }

    /// The digest that signatures must use (default SHA-1).
    pub fn digest(mut self, digest: Digest) -> Self {
        self.digest = digest;
        self
    }

    /// Accepts expired cards.
    pub fn accept_expired_cards(mut self) -> Self {
        self.accept_expired_cards = true;
        self
    }

    /// Keeps the server's CA in this existing folder, so that later runs use the same CA. By default it is new
    /// each time, in a folder that is removed with the simulator.
    pub fn state_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.server.state_folder = Some(folder.into());
        self
    }

    /// How many seconds the simulator's clock, as in the header `Date`, is ahead; negative if behind.
    pub fn clock_ahead(mut self, seconds: i64) -> Self {
        self.server.clock_ahead = seconds;
        self
    }

    /// Passes each log entry to `observer`, on the connection's thread.
    pub fn observer(mut self, observer: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        self.server.observer = Some(Box::new(observer));
        self
    }

    /// Starts the simulator on 127.0.0.1. It accepts connections when this returns.
    pub fn start(self) -> Result<Spine> {
        let verifier = Verifier::new(self.card_cas, self.digest, self.accept_expired_cards)?;
        let settings = self.settings;
        Ok(Spine { server: self.server.start(|_| Ok(Broker::new(settings, verifier)))? })
    }
}

/// A running simulator. Dropping it closes every connection and ends its threads.
///
/// All methods may be called from any thread.
pub struct Spine {
    server: Server<Broker>,
}

impl Spine {
    /// Returns a builder for a simulator.
    pub fn builder() -> SpineBuilder {
        SpineBuilder::default()
    }

    /// The URL for `base_url`: scheme, 127.0.0.1 and port, without a slash at the end.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The PEM file with the server's CA, for `ca_file`.
    pub fn ca_file(&self) -> &Path {
        self.server.ca_file()
    }

    /// Misbehaves at each later request to `endpoint`.
    pub fn misbehave(&self, endpoint: Endpoint, misbehaviour: Misbehaviour) {
        self.server.misbehave(endpoint, misbehaviour, None);
    }

    /// Misbehaves at the next `times` requests to `endpoint`.
    pub fn misbehave_times(&self, endpoint: Endpoint, misbehaviour: Misbehaviour, times: u32) {
        self.server.misbehave(endpoint, misbehaviour, Some(times));
    }

    /// Misbehaves at each new connection, before the TLS handshake: [`Misbehaviour::Reset`] resets it,
    /// [`Misbehaviour::Delay`] delays the handshake, all others never begin it.
    pub fn misbehave_on_connect(&self, misbehaviour: Misbehaviour) {
        self.server.misbehave_on_connect(match misbehaviour {
            Misbehaviour::Delay(delay) => OnConnect::Delay(delay),
            Misbehaviour::Reset => OnConnect::Reset,
            _ => OnConnect::Silence,
        });
    }

    /// Ends all misbehaviour.
    pub fn behave(&self) {
        self.server.behave();
    }

    /// Holds back every response of `endpoint` until the guard is dropped. The request has been processed and
    /// logged by then, so a test can wait for it and act before the client gets the response.
    pub fn hold(&self, endpoint: Endpoint) -> Hold<'_> {
        Hold { _held: self.server.hold(endpoint) }
    }

    /// Changes the user's roles, from the next login on.
    pub fn set_roles(&self, roles: Vec<Role>) {
        self.server.with(|broker| broker.settings.roles = roles);
    }

    /// Returns the user's roles.
    pub fn roles(&self) -> Vec<Role> {
        self.server.with(|broker| broker.settings.roles.clone())
    }

    /// The requests so far, as many as are kept (see [`SpineBuilder::capacity`]).
    pub fn log(&self) -> Vec<Entry> {
        self.server.log()
    }

    /// Empties the log.
    pub fn clear_log(&self) {
        self.server.clear_log();
    }

    /// Waits until the log satisfies `wanted`. Returns `false` after `timeout`.
    ///
    /// `wanted` runs under a lock at each change, so it must not call the simulator.
    #[must_use]
    pub fn wait_for(&self, timeout: Duration, wanted: impl Fn(&[Entry]) -> bool) -> bool {
        self.server.wait_for(timeout, wanted)
    }

    /// Waits until there are `count` sessions. Returns `false` after `timeout`.
    #[must_use]
    pub fn wait_for_sessions(&self, timeout: Duration, count: usize) -> bool {
        self.server.wait_for_application(timeout, |broker| broker.open_sessions() == count)
    }

    /// Waits until `count` connections are open. Returns `false` after `timeout`.
    #[must_use]
    pub fn wait_for_connections(&self, timeout: Duration, count: usize) -> bool {
        self.server.wait_for_connections(timeout, count)
    }

    /// The number of sessions that were not ended by logout or time.
    pub fn open_sessions(&self) -> usize {
        self.server.with(|broker| broker.open_sessions())
    }

    /// Ends a session, as an administrator would. Returns `true` if there was one.
    pub fn end_session(&self, ticket: &str) -> bool {
        self.server.with(|broker| broker.end_session(ticket))
    }

    /// Ends all sessions.
    pub fn end_all_sessions(&self) {
        self.server.with(Broker::end_all_sessions);
    }

    /// The number of TCP connections so far.
    pub fn connections(&self) -> u64 {
        self.server.connections()
    }

    /// The number of completed TLS handshakes so far.
    pub fn handshakes(&self) -> u64 {
        self.server.handshakes()
    }
}

/// Holds back responses; see [`Spine::hold`].
#[must_use = "the responses are sent when the guard is dropped"]
pub struct Hold<'a> {
    _held: Held<'a, Broker>,
}
