//! The OpenID provider's simulator: on a loopback port, as NHS CIS2, the Danish eHealth infrastructure, or a
//! Keycloak realm.

mod authorize;
mod builder;
mod client;
mod jose;
mod log;
mod misbehaviour;
mod provider;
mod server;
mod token;
mod user;

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::server::{Held, OnConnect, Server};
use provider::Provider;

pub use builder::OidcBuilder;
pub use client::Client;
pub use jose::{Algorithm, Forgery, Key};
pub use log::{Entry, Outcome};
pub use misbehaviour::{Endpoint, MISBEHAVIOURS, Misbehaviour};
pub use user::{User, nrbac_role};

/// A running provider. Dropping it closes every connection and ends every thread of its own.
///
/// All methods may be called from any thread.
pub struct OidcProvider {
    server: Server<Provider>,
}

impl OidcProvider {
    /// A provider to be set up and started.
    pub fn builder() -> OidcBuilder {
        OidcBuilder::default()
    }

    /// The issuer, for the setting `issuer`.
    pub fn issuer(&self) -> String {
        self.server.with(|provider| provider.issuer.clone())
    }

    /// The id of the first client, for the setting `client_id`.
    pub fn client_id(&self) -> String {
        self.server
            .with(|provider| provider.doorkeeper.clients.first().map(|client| client.id.clone()).unwrap_or_default())
    }

    /// The address of an endpoint.
    pub fn address_of(&self, endpoint: Endpoint) -> String {
        self.server.with(|provider| provider.address_of(endpoint))
    }

    /// Scheme, host and port.
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
    pub fn misbehave_on_connect(&self, misbehaviour: &Misbehaviour) {
        self.server.misbehave_on_connect(match misbehaviour {
            Misbehaviour::Delay(delay) => OnConnect::Delay(*delay),
            Misbehaviour::Reset => OnConnect::Reset,
            _ => OnConnect::Silence,
        });
    }

    /// Behaves well everywhere from now on.
    pub fn behave(&self) {
        self.server.behave();
    }

    /// Holds every answer of `endpoint` back until the guard is dropped. The request is carried out and logged
    /// before.
    pub fn hold(&self, endpoint: Endpoint) -> Hold<'_> {
        Hold { _held: self.server.hold(endpoint) }
    }

    /// Puts this user in front of the browser, in place of who was there before. A user with the same `sub` is
    /// changed, in sessions that are open too.
    pub fn set_user(&self, user: User) {
        self.server.with(|provider| {
            provider.present.clone_from(&user.sub);
            provider.users.insert(user.sub.clone(), user);
        });
    }

    /// The user in front of the browser.
    pub fn user(&self) -> Option<User> {
        self.server.with(|provider| provider.users.get(&provider.present).cloned())
    }

    /// Disables a user, who can neither log in nor renew tokens then; or enables them again.
    pub fn set_disabled(&self, sub: &str, disabled: bool) {
        self.server.with(|provider| {
            if let Some(user) = provider.users.get_mut(sub) {
                user.disabled = disabled;
            }
        });
    }

    /// Which role (`person_roleid`) the user chooses next, where no page is shown; the first without this call.
    pub fn choose_role(&self, id: impl Into<String>) {
        self.server.with(|provider| provider.chosen_role = Some(id.into()));
    }

    /// Signs with a new key from now on. The JWKS lists those before too, until [`OidcProvider::drop_old_keys`].
    pub fn rotate_keys(&self) -> Result<()> {
        self.server.with(Provider::rotate_keys)
    }

    /// Takes all keys but the newest out of the JWKS.
    pub fn drop_old_keys(&self) {
        self.server.with(|provider| provider.keys.drain(..provider.keys.len() - 1).count());
    }

    /// Makes all access tokens expire now, whatever they say.
    pub fn expire_access_tokens(&self) {
        self.server.with(|provider| {
            let tokens = provider.sessions.iter_mut().flat_map(|session| &mut session.access);
            tokens.for_each(|token| token.expires = Instant::now());
        });
    }

    /// Sets how long new tokens live.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.server.with(|provider| provider.settings.token_lifetime = lifetime);
    }

    /// Sets the lifetimes of all sessions; see [`OidcBuilder::session_lifetime`].
    pub fn set_session_lifetime(&self, lifetime: Duration, idle: Duration) {
        self.server.with(|provider| {
            (provider.settings.session_lifetime, provider.settings.session_idle) = (lifetime, idle);
        });
    }

    /// Ends all sessions, as an administrator would.
    pub fn end_all_sessions(&self) {
        self.server.with(|provider| provider.sessions.iter_mut().for_each(|session| session.ended = true));
    }

    /// How many sessions there are that a client got tokens of, and that were not ended by request or by time.
    pub fn open_sessions(&self) -> usize {
        self.server.with(|provider| provider.open_sessions())
    }

    /// Waits until there are `count` sessions; false when there are not within `timeout`.
    #[must_use]
    pub fn wait_for_sessions(&self, timeout: Duration, count: usize) -> bool {
        self.server.wait_for_application(timeout, |provider| provider.open_sessions() == count)
    }

    /// How many times a refresh token came that may have been used before.
    pub fn refresh_tokens_sent_twice(&self) -> usize {
        self.sent_twice(Endpoint::Refresh)
    }

    /// How many times a code came again.
    pub fn codes_sent_twice(&self) -> usize {
        self.sent_twice(Endpoint::Token)
    }

    fn sent_twice(&self, endpoint: Endpoint) -> usize {
        self.server.with(|provider| provider.sent_twice.get(&endpoint).copied().unwrap_or(0))
    }

    /// Every code, token, verifier, secret and assertion that was issued or came, for tests to look for in
    /// outputs.
    pub fn secrets(&self) -> Vec<String> {
        self.server.with(|provider| provider.secrets.iter().cloned().collect())
    }

    /// What it got so far, without secrets, as far as it is kept (see [`OidcBuilder::capacity`]).
    pub fn log(&self) -> Vec<Entry> {
        self.server.log()
    }

    /// The requests to `endpoint` so far.
    pub fn log_of(&self, endpoint: Endpoint) -> Vec<Entry> {
        self.log().into_iter().filter(|entry| entry.endpoint == Some(endpoint)).collect()
    }

    /// Empties the log.
    pub fn clear_log(&self) {
        self.server.clear_log();
    }

    /// Waits until the log is as `wanted` says; false when it is not within `timeout`.
    ///
    /// `wanted` runs under a lock at each change: it must not use this provider.
    #[must_use]
    pub fn wait_for(&self, timeout: Duration, wanted: impl Fn(&[Entry]) -> bool) -> bool {
        self.server.wait_for(timeout, wanted)
    }

    /// Waits until `count` connections are open; false when there are not within `timeout`.
    #[must_use]
    pub fn wait_for_connections(&self, timeout: Duration, count: usize) -> bool {
        self.server.wait_for_connections(timeout, count)
    }

    /// How many TCP connections came so far, the browser's too.
    pub fn connections(&self) -> u64 {
        self.server.connections()
    }

    /// How many connections of the log carried requests of a client, not of a browser.
    pub fn client_connections(&self) -> usize {
        let log = self.log();
        let clients = log.iter().filter(|entry| entry.endpoint.is_some_and(|endpoint| !endpoint.is_the_browsers()));
        clients.map(|entry| entry.connection).collect::<HashSet<_>>().len()
    }

    /// How many TLS handshakes were completed so far.
    pub fn handshakes(&self) -> u64 {
        self.server.handshakes()
    }
}

/// Answers held back; see [`OidcProvider::hold`].
#[must_use = "the answers go when the guard is dropped"]
pub struct Hold<'a> {
    _held: Held<'a, Provider>,
}
