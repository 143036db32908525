//! How requests get to servers and answers back: HTTPS, with a limit on everything.

mod ca_file;
pub(crate) mod charset;
mod client;
mod connection;
mod cookies;
mod explain;
pub(crate) mod form;
pub(crate) mod message;
mod origin;
pub(crate) mod path;
mod probe;
mod proxy;
pub(crate) mod request;
mod tls;
mod trust;
mod tunnel;
mod url;

use std::path::PathBuf;
use std::time::Duration;

pub use crate::session::grant::Call;
pub use client::Client;
pub use cookies::CookieJar;
pub(crate) use explain::unexpected_status;
pub use form::form;
pub use message::{HttpResponse, MAX_ANSWER};
pub use origin::{BadAddress, Origin};
pub use probe::{Probe, Secured, ServerCertificate};
pub use proxy::{BadProxy, Proxy, ProxySetting};
pub use request::HttpRequest;
pub use url::{BadUrl, Url};

/// What there is to set about HTTPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsSettings {
    /// PEM file of the trust anchors; the system's where it is `None`. Read for each connection. The system's
    /// may be elsewhere by the variables `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    pub ca_file: Option<PathBuf>,
    /// The proxy.
    pub proxy: ProxySetting,
    /// The time to connect and agree on TLS, once the server's name is resolved.
    pub connect_deadline: Duration,
    /// The time for all of a request: resolving the name and connecting where that is needed, sending,
    /// and the whole answer.
    pub request_deadline: Duration,
}

impl Default for HttpsSettings {
    /// The system's trust anchors, no proxy, 5 s to connect, 15 s for a request.
    fn default() -> Self {
        Self {
            ca_file: None,
            proxy: ProxySetting::None,
            connect_deadline: Duration::from_secs(5),
            request_deadline: Duration::from_secs(15),
        }
    }
}
