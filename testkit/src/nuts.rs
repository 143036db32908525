//! The Nuts simulator: an employer's node on loopback ports, with its internal and its public address.
//!
//! It answers as two real nodes (5.4.37 and 6.2.10) did; `tests/data/nuts` of ticketapi has what they said. It
//! parses requests and verifies signatures by itself, with OpenSSL.

mod access;
mod answer;
mod contract;
mod keys;
mod login;
mod misbehaviour;
mod node;
mod page;
mod presentation;
mod real;
mod registry;
mod server;
mod session;
mod time;
mod user_token;
mod visitor;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::server::{Server, Setup};
use keys::DidKey;
use login::ApiLogin;
use node::{Node, Side};
use server::{Port, lock};
use session::Sessions;
use user_token::UserTokens;

pub use misbehaviour::{Endpoint, MISBEHAVIOURS, Misbehaviour};
pub use real::RunningNode;
pub use server::Entry;
pub use visitor::{Page, visit};

/// Which node is simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// 5.4: one port for both addresses.
    #[default]
    V5,
    /// 6.2: a port for each.
    V6,
}

impl Version {
    fn pick<T>(self, five: T, six: T) -> T {
        match self {
            Self::V5 => five,
            Self::V6 => six,
        }
    }
}

/// The credential that says which organisation a DID is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// By an issuer that the node trusts.
    Trusted,
    /// By an issuer that it does not trust.
    Untrusted,
    /// There is none.
    None,
}

/// An organisation with a DID of this node.
struct Organization {
    key: DidKey,
    name: String,
    city: String,
    credential: Credential,
    services: Vec<String>,
}

/// Configures a simulator; see [`Nuts::builder`].
#[derive(Default)]
pub struct NutsBuilder {
    version: Version,
    internal: Setup<Port>,
    public: Setup<Port>,
    tls: bool,
    auto_accept: Option<bool>,
    api_login: Option<(Vec<u8>, String, String)>,
}

impl NutsBuilder {
    /// Which node is simulated; version 5 without this call.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The port of the internal address (in version 5 of both); without this call a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.internal.port = port;
        self
    }

    /// The port of the public address, in version 6.
    pub fn public_port(mut self, port: u16) -> Self {
        self.public.port = port;
        self
    }

    /// Speaks TLS on both addresses.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Keeps the CA of the server's certificates in this folder, which exists.
    pub fn state_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        self.internal.state_folder = Some(folder.clone());
        self.public.state_folder = Some(folder);
        self
    }

    /// Accepts or rejects each session as soon as it begins, for programs without a browser.
    pub fn auto(mut self, accept: bool) -> Self {
        self.auto_accept = Some(accept);
        self
    }

    /// Wants each request to the internal address to have a JWT (`token_v2`) of this public key, with `user` as
    /// the comment in its line of `authorized_keys`, for `audience`, the node's name.
    pub fn api_login(mut self, public_key_pem: &[u8], user: &str, audience: &str) -> Self {
        self.api_login = Some((public_key_pem.to_owned(), user.into(), audience.into()));
        self
    }

    /// How many log entries are kept, the newest; 1,000 without this call.
    pub fn log_capacity(mut self, count: usize) -> Self {
        (self.internal.log_capacity, self.public.log_capacity) = (count.max(1), count.max(1));
        self
    }

    /// Passes each log entry to `observer`, on the connection's thread.
    pub fn observer(mut self, observer: impl Fn(&Entry) + Send + Sync + 'static) -> Self {
        let observer = Arc::new(observer);
        let public = Arc::clone(&observer);
        self.internal.observer = Some(Box::new(move |entry| observer(entry)));
        self.public.observer = Some(Box::new(move |entry| public(entry)));
        self
    }

    /// Starts it on 127.0.0.1, with one organisation: CareBears in CareTown, which offers the service `test`.
    /// It takes connections from when this returns.
    pub fn start(mut self) -> Result<Nuts> {
        let api_login =
            self.api_login.map(|(pem, user, audience)| ApiLogin::new(&pem, &user, &audience)).transpose()?;
        let employer = Organization {
            key: DidKey::new()?,
            name: "CareBears".into(),
            city: "CareTown".into(),
            credential: Credential::Trusted,
            services: vec!["test".into()],
        };
        let did = employer.key.did().to_owned();
        let node = Arc::new(Mutex::new(Node {
            version: self.version,
            organizations: vec![employer],
            sessions: Sessions::default(),
            user_tokens: UserTokens::default(),
            api_login,
            auto_accept: self.auto_accept,
            public_url: String::new(),
            other: DidKey::new()?,
            began: time::now(),
        }));
        (self.internal.plain_http, self.public.plain_http) = (!self.tls, !self.tls);
        let port = |side| Port { side, node: Arc::clone(&node) };
        let internal = self.internal.start(|_| Ok(port(Side::Internal)))?;
        let public = match self.version {
            Version::V5 => None,
            Version::V6 => Some(self.public.start(|_| Ok(port(Side::Public)))?),
        };
        lock(&node).public_url = public.as_ref().unwrap_or(&internal).url();
        Ok(Nuts { node, internal, public, employer: did })
    }
}

/// A running simulator. Dropping it closes every connection and ends every thread of its own.
///
/// All methods may be called from any thread.
pub struct Nuts {
    node: Arc<Mutex<Node>>,
    internal: Server<Port>,
    public: Option<Server<Port>>,
    employer: String,
}

impl Nuts {
    /// A simulator to be set up and started.
    pub fn builder() -> NutsBuilder {
        NutsBuilder::default()
    }

    /// The internal address, for the setting `nuts_node`.
    pub fn url(&self) -> String {
        self.internal.url()
    }

    /// The public address, where the pages are.
    pub fn public_url(&self) -> String {
        self.public.as_ref().unwrap_or(&self.internal).url()
    }

    /// The PEM file of the internal address's CA, for `ca_file`.
    pub fn ca_file(&self) -> &Path {
        self.internal.ca_file()
    }

    /// The DID of the organisation that it began with.
    pub fn employer(&self) -> &str {
        &self.employer
    }

    /// Adds an organisation, which offers `services`. Returns its DID.
    pub fn add_organization(
        &self,
        name: &str,
        city: &str,
        credential: Credential,
        services: &[&str],
    ) -> Result<String> {
        let services = services.iter().map(|service| (*service).to_owned()).collect();
        let key = DidKey::new()?;
        let did = key.did().to_owned();
        let organization = Organization { key, name: name.into(), city: city.into(), credential, services };
        lock(&self.node).organizations.push(organization);
        Ok(did)
    }

    /// Gives the organisation another credential, if `did` is one.
    pub fn set_credential(&self, did: &str, credential: Credential) {
        let mut node = lock(&self.node);
        if let Some(known) = node.organizations.iter_mut().find(|known| known.key.did() == did) {
            known.credential = credential;
        }
    }

    /// Forgets the organisation: its DID is unknown from now on.
    pub fn forget(&self, did: &str) {
        lock(&self.node).organizations.retain(|known| known.key.did() != did);
    }

    /// Signs a grant as the node of `requester` does, with `identity` in it, whatever that is.
    pub fn sign_grant(&self, requester: &str, authorizer: &str, identity: &Value) -> Result<String> {
        let node = lock(&self.node);
        let known = node.organization(requester).ok_or_else(|| Error::Usage(format!("{requester} is unknown")))?;
        Ok(node.sign_grant(&known.key, authorizer, "test", identity))
    }

    /// Signing sessions that the node still knows.
    pub fn sessions(&self) -> Vec<String> {
        lock(&self.node).sessions.ids()
    }

    /// How many sessions wait for their user, or for the program that began them.
    pub fn open_sessions(&self) -> usize {
        let node = lock(&self.node);
        node.sessions.count() + node.user_tokens.count()
    }

    /// Misbehaves at each request to `endpoint` from now on.
    pub fn misbehave(&self, endpoint: Endpoint, misbehaviour: Misbehaviour) {
        for server in self.servers() {
            server.misbehave(endpoint, misbehaviour.clone(), None);
        }
    }

    /// Misbehaves at the next `times` requests to `endpoint`, then behaves.
    pub fn misbehave_times(&self, endpoint: Endpoint, misbehaviour: Misbehaviour, times: u32) {
        for server in self.servers() {
            server.misbehave(endpoint, misbehaviour.clone(), Some(times));
        }
    }

    /// Behaves well everywhere from now on.
    pub fn behave(&self) {
        self.servers().for_each(Server::behave);
    }

    /// What came to the internal address so far.
    pub fn log(&self) -> Vec<Entry> {
        self.internal.log()
    }

    /// Empties the logs.
    pub fn clear_log(&self) {
        self.servers().for_each(Server::clear_log);
    }

    /// Waits until the internal address's log is as `wanted` says; false when it is not within `timeout`.
    #[must_use]
    pub fn wait_for(&self, timeout: Duration, wanted: impl Fn(&[Entry]) -> bool) -> bool {
        self.internal.wait_for(timeout, wanted)
    }

    /// How many TCP connections came to the internal address so far (in version 5 also to the public one).
    pub fn connections(&self) -> u64 {
        self.internal.connections()
    }

    fn servers(&self) -> impl Iterator<Item = &Server<Port>> {
        [Some(&self.internal), self.public.as_ref()].into_iter().flatten()
    }
}
