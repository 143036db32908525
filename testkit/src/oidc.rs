//! The OpenID provider's simulator: on a loopback port, as NHS CIS2, the Danish eHealth infrastructure, or a
//! Keycloak realm.

mod authorize;
mod client;
mod jose;
mod log;
mod misbehaviour;
mod provider;
mod server;
mod token;
mod user;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::server::{Held, OnConnect, Server, Setup};
use crate::tls::{ServerCertificate, TlsVersions};
use provider::{Paths, Provider, Settings};

pub use client::Client;
pub use jose::{Algorithm, Forgery, Key};
pub use log::{Entry, Outcome};
pub use misbehaviour::{Endpoint, MISBEHAVIOURS, Misbehaviour};
pub use user::{User, nrbac_role};

/// Configures a provider; see [`OidcProvider::builder`].
pub struct OidcBuilder {
    settings: Settings,
    server: Setup<Provider>,
    clients: Vec<Client>,
    users: Vec<User>,
}

impl Default for OidcBuilder {
    fn default() -> Self {
        let methods = ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"];
        Self {
            settings: Settings {
                paths: Paths::Keycloak,
                issuer_path: "/realms/test".into(),
                issuer: None,
                algorithm: Algorithm::Rs256,
                signed_user_info: false,
                refresh_tokens: true,
                rotates_refresh_tokens: true,
                issuer_in_redirect: true,
                pages: false,
                without: HashSet::from([Endpoint::Contexts]),
                acr_values: vec!["1".into()],
                token_lifetime: Duration::from_secs(300),
                session_lifetime: Duration::from_secs(36_000),
                session_idle: Duration::from_secs(1_800),
                code_lifetime: Duration::from_secs(60),
                token_padding: 0,
                methods: methods.map(Into::into).into(),
                clock_ahead: 0,
                capacity: 1_000,
            },
            server: Setup::default(),
            clients: Vec::new(),
            users: Vec::new(),
        }
    }
}

impl OidcBuilder {
    /// As NHS CIS2: its paths, its acr values, a user with three roles.
    pub fn cis2(mut self) -> Self {
        self.settings.paths = Paths::Cis2;
        self.settings.issuer_path = "/openam/oauth2/realms/root/realms/NHSIdentity/realms/Healthcare".into();
        let values = [
            "AAL3_ANY",
            "AAL2_OR_AAL3_ANY",
            "AAL3_SMARTCARD",
            "AAL3_N3_SMARTCARD",
            "AAL3_CIS2_SMARTCARD",
            "AAL3_FIDO2",
            "AAL2_TOTP",
        ];
        self.settings.acr_values = values.map(Into::into).into();
        let user = User::new("555021935107").name("TEST USER").nrbac_roles(3).acr("AAL3_ANY");
        self.users = vec![user.claim("nhsid_useruid", "555021935107".into())];
        self
    }

    /// As the Danish eHealth infrastructure: a realm `ehealth` with contexts, a user in two care teams.
    pub fn ehealth_dk(mut self) -> Self {
        self.settings.issuer_path = "/auth/realms/ehealth".into();
        self.settings.without.remove(&Endpoint::Contexts);
        let fhir = |path: &str| format!("https://organization.test.example/fhir/{path}");
        let user = User::new("f6c9a2b0-anna")
            .name("Anna Testsen")
            .username("anna")
            .role_names(&["Citizen Enroller", "Clinical Viewer", "Monitoring Adjuster"])
            .care_team(
                &fhir("CareTeam/1"),
                "Team 1",
                &fhir("Organization/10"),
                &["Clinical Viewer", "Monitoring Adjuster"],
            )
            .care_team(&fhir("CareTeam/2"), "Team 2", &fhir("Organization/20"), &["Clinical Viewer"])
            .organization(&fhir("Organization/10"), "Org 10", &["Citizen Enroller"])
            .organization(&fhir("Organization/20"), "Org 20", &["Clinical Viewer"]);
        self.users = vec![user];
        self
    }

    /// The path of the issuer's address.
    pub fn issuer_path(mut self, path: impl Into<String>) -> Self {
        self.settings.issuer_path = path.into();
        self
    }

    /// The issuer to the character, as metadata and tokens have it; without this call it follows from the port.
    /// The endpoints are below it, so clients need a way there from its host and port.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.settings.issuer = Some(issuer.into());
        self
    }

    /// A client. Without this call there is one that is public and is called `test-client`.
    pub fn client(mut self, client: Client) -> Self {
        self.clients.push(client);
        self
    }

    /// The user in front of the browser, in place of the one that there is otherwise.
    pub fn user(mut self, user: User) -> Self {
        self.users = vec![user];
        self
    }

    /// Changes the user in front of the browser.
    pub fn change_user(mut self, change: impl FnOnce(User) -> User) -> Self {
        let user = self.users.pop().unwrap_or_else(|| User::new("test-user"));
        self.users = vec![change(user)];
        self
    }

    /// What it signs with; RS256 without this call.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.settings.algorithm = algorithm;
        self
    }

    /// UserInfo is a signed token.
    pub fn signed_user_info(mut self) -> Self {
        self.settings.signed_user_info = true;
        self
    }

    /// Gives no refresh tokens.
    pub fn without_refresh_tokens(mut self) -> Self {
        self.settings.refresh_tokens = false;
        self
    }

    /// Takes a refresh token any number of times. Without this call a second time ends the session.
    pub fn reusable_refresh_tokens(mut self) -> Self {
        self.settings.rotates_refresh_tokens = false;
        self
    }

    /// Removes this endpoint, also from the metadata.
    pub fn without(mut self, endpoint: Endpoint) -> Self {
        self.settings.without.insert(endpoint);
        self
    }

    /// Sends no `iss` in redirects.
    pub fn without_issuer_in_redirect(mut self) -> Self {
        self.settings.issuer_in_redirect = false;
        self
    }

    /// Shows a login page and a role page, with the marks that Keycloak's have (`#username`, `#password`,
    /// `#kc-login`, `#cis2-roles button`). Without this call the user is logged in at once.
    pub fn pages(mut self) -> Self {
        self.settings.pages = true;
        self
    }

    /// The methods of client authentication that it takes and lists; all without this call.
    pub fn authentication_methods(mut self, methods: &[&str]) -> Self {
        self.settings.methods = methods.iter().map(ToString::to_string).collect();
        self
    }

    /// The values of `acr` that it knows.
    pub fn acr_values(mut self, values: &[&str]) -> Self {
        self.settings.acr_values = values.iter().map(ToString::to_string).collect();
        self
    }

    /// How long access tokens and ID tokens live; 300 s without this call.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.token_lifetime = lifetime;
        self
    }

    /// How long a session may last, and how long without a renewal; 10 hours and 30 minutes without this call.
    pub fn session_lifetime(mut self, lifetime: Duration, idle: Duration) -> Self {
        (self.settings.session_lifetime, self.settings.session_idle) = (lifetime, idle);
        self
    }

    /// How long a code can be exchanged; 60 s without this call.
    pub fn code_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.code_lifetime = lifetime;
        self
    }

    /// Makes tokens longer: both hold a claim of this many bytes.
    pub fn token_padding(mut self, bytes: usize) -> Self {
        self.settings.token_padding = bytes;
        self
    }

    /// How many seconds its clock is ahead, in `Date` and in tokens; negative is behind.
    pub fn clock_ahead(mut self, seconds: i64) -> Self {
        (self.settings.clock_ahead, self.server.clock_ahead) = (seconds, seconds);
        self
    }

    /// How many sessions, codes and log entries are kept, the newest of each; 1,000 without this call.
    pub fn capacity(mut self, count: usize) -> Self {
        (self.settings.capacity, self.server.log_capacity) = (count.max(1), count.max(1));
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

    /// Keeps the server's CA in this folder, which exists, so that later runs and other simulators use the same.
    pub fn state_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.server.state_folder = Some(folder.into());
        self
    }

    /// Shows each log entry to `observer`, on the thread of its connection.
    pub fn observer(mut self, observer: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        self.server.observer = Some(Box::new(observer));
        self
    }

    /// Starts it on 127.0.0.1. It takes connections from when this returns.
    pub fn start(mut self) -> Result<OidcProvider> {
        if self.clients.is_empty() {
            self.clients.push(Client::public("test-client"));
        }
        if self.users.is_empty() {
            self.users.push(User::new("test-user"));
        }
        let (settings, clients, users) = (self.settings, self.clients, self.users);
        Ok(OidcProvider { server: self.server.start(|url| Provider::new(settings, url, clients, users))? })
    }
}

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
        self.server.with(|provider| provider.sent_twice.iter().filter(|other| **other == endpoint).count())
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
