//! A real Keycloak on a loopback port, over TLS, with realms that are like those of the health services.
//!
//! Needs a JDK (17 or newer), Maven and `unzip`; the first time also a network, as Maven fetches Keycloak.

mod admin;
mod prepare;
mod realms;

use std::path::{Path, PathBuf};

use crate::error::{Result, write_key};
use crate::leash::Leash;
use crate::tls::ServerCa;
use prepare::Prepared;

/// The public client of the realms `ehealth` and `ehealth-short`; it has to use PKCE.
pub const EHEALTH_PUBLIC: &str = "fut-native";
/// The confidential client of the realms `ehealth` and `ehealth-short`, and its secret.
pub const EHEALTH_CONFIDENTIAL: &str = "fut-server";
/// The secret of [`EHEALTH_CONFIDENTIAL`].
pub const EHEALTH_SECRET: &str = "fut-server-secret";
/// The client of the realm `cis2` that signs its requests (RS512), with [`Keycloak::client_key_file`].
pub const CIS2_WITH_KEY: &str = "100000000001.apps.test";
/// The `kid` of its key.
pub const CLIENT_KEY_ID: &str = "test-client-1";
/// The client of the realm `cis2` that has a secret.
pub const CIS2_WITH_SECRET: &str = "100000000002.apps.test";
/// The secret of [`CIS2_WITH_SECRET`].
pub const CIS2_SECRET: &str = "cis2-secret";

/// The administrator's name and password.
const ADMIN: &str = "admin";

/// The password of every user.
pub fn password(user: &str) -> String {
    format!("pw-{user}")
}

/// A running Keycloak. It ends when it is dropped, and when the process ends.
///
/// Its realms are `ehealth` (users `anna`, `bent`, `none`), `ehealth-short` (the same; tokens of 12 s, sessions
/// of 26 s) and `cis2` (users `zero`, `one`, `five`, `six` and `many`, with so many roles; `many` has 400).
pub struct Keycloak {
    leash: Leash,
    port: u16,
    ca_file: PathBuf,
    _prepared: Prepared,
}

impl Keycloak {
    /// Starts one with the realms as they were made. The first start of a version prepares it below `target`,
    /// which takes a minute; others take some seconds.
    pub fn start() -> Result<Self> {
        let prepared = Prepared::get()?;
        let folder = prepare::temporary()?;
        let (ca, ca_file) = ServerCa::load_or_create(folder.path())?;
        let (certificate, key) = ca.issue_pem()?;
        let option = |name: &str, file: &str| format!("--https-{name}={}", folder.path().join(file).display());
        let options = [
            "--http-enabled=false".into(),
            "--https-port=0".into(),
            option("certificate-file", "server.pem"),
            option("certificate-key-file", "server.key"),
        ];
        write_key(&folder.path().join("server.pem"), certificate)?;
        write_key(&folder.path().join("server.key"), key)?;
        write_key(&folder.path().join("client.key"), prepared.client_key()?)?;
        let (leash, port) = prepared.start(folder, &options)?;
        Ok(Self { leash, port, ca_file, _prepared: prepared })
    }

    /// The issuer of a realm's tokens.
    pub fn issuer(&self, realm: &str) -> String {
        format!("{}/realms/{realm}", self.url())
    }

    /// The PEM file of the server's CA, for `ca_file`.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The private key of the client [`CIS2_WITH_KEY`], as PEM.
    pub fn client_key_file(&self) -> PathBuf {
        self.leash.folder().join("client.key")
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        self.leash.log()
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}/auth", self.port)
    }
}
