//! Sets a provider up.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use super::OidcProvider;
use super::client::Client;
use super::jose::Algorithm;
use super::log::Entry;
use super::misbehaviour::Endpoint;
use super::provider::{Paths, Provider, Settings};
use super::user::User;
use crate::error::Result;
use crate::server::Setup;
use crate::tls::{ServerCertificate, TlsVersions};

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
                session_ids: true,
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

    /// Names no sessions: no `sid` in ID tokens, and no `session_state`.
    pub fn without_session_ids(mut self) -> Self {
        self.settings.session_ids = false;
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
