//! Connects to a server step by step, to find what stops a login.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::client::USER_AGENT;
use super::connection::{Connection, Limits, find, reach};
use super::cookies::Cookies;
use super::explain::Way;
use super::message;
use super::request::HttpRequest;
use super::tls::{self, Verifier};
use super::trust::roots;
use super::{HttpsSettings, Origin, Proxy, Url};
use crate::cancel::CancelToken;
use crate::card::certificate::issuer_and_end;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Result, Stage};

/// Goes the way that a login goes, with the same limits and the same trust, and begins none: what is
/// sent at its end is a `GET /`.
pub struct Probe {
    origin: Origin,
    settings: HttpsSettings,
}

/// A connection to a server that is trusted.
pub struct Secured(Connection);

/// What a server says it is, whether or not it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCertificate {
    /// Its issuer, such as `O=nhs,CN=NHS INT CA`. Unverified: a server can claim any name.
    pub issuer: String,
    /// The last moment at which it is valid.
    pub valid_until: SystemTime,
}

impl Probe {
    /// Of the way to `origin`. Opens nothing yet.
    pub fn new(origin: Origin, settings: HttpsSettings) -> Self {
        Self { origin, settings }
    }

    /// Returns the proxy that leads to the server, if one does.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) for a variable, or settings of Windows, that name no proxy.
    pub fn proxy(&self) -> Result<Option<Proxy>> {
        self.settings.proxy.proxy_to(&self.origin)
    }

    /// Looks the server's name up. Blocks until the deadline of a request at most.
    ///
    /// # Errors
    ///
    /// [`ServerNotAvailable`](ErrorKind::ServerNotAvailable).
    pub fn find(&self, cancel: &CancelToken) -> Result<Vec<SocketAddr>> {
        find(&self.origin, self.limits().deadline, cancel).map_err(|error| self.way(None).explain_lookup(error))
    }

    /// Connects to the first address that answers, through the proxy where there is one. Blocks as
    /// [`Probe::find`] does.
    ///
    /// # Errors
    ///
    /// As [`Probe::find`], and [`Configuration`](ErrorKind::Configuration) for what is no proxy.
    pub fn connect(&self, cancel: &CancelToken) -> Result<Arc<TcpStream>> {
        let proxy = self.proxy()?;
        let reached = reach(&self.origin, proxy.as_ref(), self.limits(), cancel);
        reached.map(|(stream, _)| stream).map_err(|failed| self.way(proxy.as_ref()).explain_opening(failed))
    }

    /// Agrees on TLS, where the address asks for it; also returns the certificate that the server
    /// shows, which is there when it is refused too. Blocks as [`Probe::find`] does.
    ///
    /// # Errors
    ///
    /// [`Tls`](ErrorKind::Tls), [`Configuration`](ErrorKind::Configuration) for a `ca_file` that
    /// cannot be used, and [`ServerNotAvailable`](ErrorKind::ServerNotAvailable).
    pub fn secure(&self, stream: Arc<TcpStream>, cancel: &CancelToken) -> (Result<Secured>, Option<ServerCertificate>) {
        let shown = Shown::default();
        let proxy = self.proxy();
        let secured = proxy.and_then(|proxy| self.try_secure(stream, proxy.as_ref(), &shown, cancel));
        let der = shown.lock().unwrap_or_else(PoisonError::into_inner).take();
        let certificate = der.and_then(|der| issuer_and_end(&der));
        (secured, certificate.map(|(issuer, valid_until)| ServerCertificate { issuer, valid_until }))
    }

    fn try_secure(
        &self,
        stream: Arc<TcpStream>,
        proxy: Option<&Proxy>,
        shown: &Shown,
        cancel: &CancelToken,
    ) -> Result<Secured> {
        let tls = self.origin.is_tls().then(|| telling(&self.settings, shown)).transpose()?;
        Connection::secure(stream, &self.origin, tls, self.limits().connect_by(), cancel)
            .map(Secured)
            .map_err(|error| self.way(proxy).explain_securing(error))
    }

    /// Asks for the first page and returns the `Date` of the answer, where it has one. Blocks until
    /// the deadline of a request at most.
    ///
    /// # Errors
    ///
    /// [`ServerNotAvailable`](ErrorKind::ServerNotAvailable), and
    /// [`BadAnswer`](ErrorKind::BadAnswer) for what is no HTTP.
    pub fn date(&self, Secured(mut connection): Secured, cancel: &CancelToken) -> Result<Option<String>> {
        let proxy = self.proxy()?;
        let explain = |failure| self.way(proxy.as_ref()).explain(failure, 0);
        let _guard = connection.limit(self.limits().deadline, cancel);
        let request = HttpRequest::get(Url::at(&self.origin, "/")).to_bytes(USER_AGENT, &Cookies::default());
        connection.write_all(&request).and_then(|()| connection.flush()).map_err(|error| explain(error.into()))?;
        message::read_date(&mut connection).map_err(explain)
    }

    fn way<'a>(&'a self, proxy: Option<&'a Proxy>) -> Way<'a> {
        let HttpsSettings { connect_deadline: connect, request_deadline: request, .. } = self.settings;
        Way { origin: &self.origin, proxy, setting: &self.settings.proxy, stage: Stage::Session, connect, request }
    }

    fn limits(&self) -> Limits {
        let HttpsSettings { connect_deadline: connect, request_deadline, .. } = self.settings;
        Limits { connect, deadline: Instant::now() + request_deadline }
    }
}

/// The certificate that a server shows, as DER.
type Shown = Arc<Mutex<Option<Vec<u8>>>>;

/// The settings of a login, that also keep the certificate which the server shows.
fn telling(settings: &HttpsSettings, shown: &Shown) -> Result<Arc<ClientConfig>> {
    let (mut config, inner) = tls::client_config(roots(settings.ca_file.as_deref())?)?;
    config.dangerous().set_certificate_verifier(Arc::new(Telling { inner, shown: Arc::clone(shown) }));
    Ok(Arc::new(config))
}

/// Decides nothing itself.
#[derive(Debug)]
struct Telling {
    inner: Arc<Verifier>,
    shown: Shown,
}

impl ServerCertVerifier for Telling {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate.to_vec());
        self.inner.verify_server_cert(certificate, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
