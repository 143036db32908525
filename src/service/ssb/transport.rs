//! Sends requests to the broker, as an Identity Agent does.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::BrokerAddress;
use crate::cancel::CancelToken;
use crate::error::{Result, Stage};
use crate::http::{Call, Client, CookieJar, HttpRequest, HttpsSettings, Url, unexpected_status};
use crate::secret::SecretBytes;

#[cfg(doc)]
use crate::error::ErrorKind;

/// The version string of the Identity Agent, with its unusual spacing.
pub(super) const GAC_VERSION: &str = "10. 0. 0. 1";

/// A request to the broker.
pub struct Request {
    /// Path and query. May contain the ticket.
    pub(super) path: Zeroizing<String>,
    /// The message to POST; `None` means GET.
    pub(super) message: Option<SecretBytes>,
}

impl Request {
    /// The requested path and query. They contain the ticket when a role is selected or asserted.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The message that is sent with POST; `None` for a GET. It contains the ticket in a logout, and in a request
    /// about the session.
    pub fn message(&self) -> Option<&[u8]> {
        self.message.as_deref().map(Vec::as_slice)
    }

    fn into_http(self, broker: &BrokerAddress) -> HttpRequest {
        let url = Url::at(broker, &self.path);
        let request = match self.message {
            Some(message) => HttpRequest::post(url, "text/xml; charset=UTF-8", message),
            None => HttpRequest::get(url),
        };
        // The broker explains its refusals in responses with status 200.
        request.without_error_body()
    }
}

/// Sends requests to a broker, for one login or one logout.
pub trait Transport: Send {
    /// The broker's address.
    fn address(&self) -> &BrokerAddress;

    /// Sends a request and returns the body of its response, which has status 200.
    ///
    /// `request` creates the request once the local address of the connection is known; it is called at most once.
    /// No request is ever sent twice. Blocks, with a deadline for everything, and ends soon after `cancel` is
    /// cancelled.
    ///
    /// # Errors
    ///
    /// At `stage`: [`ServerNotAvailable`](ErrorKind::ServerNotAvailable), [`Tls`](ErrorKind::Tls),
    /// [`BadAnswer`](ErrorKind::BadAnswer), [`Cancelled`](ErrorKind::Cancelled), and the errors of `request`.
    fn exchange(
        &mut self,
        stage: Stage,
        request: &dyn Fn(IpAddr) -> Result<Request>,
        cancel: &CancelToken,
    ) -> Result<SecretBytes>;

    /// The broker's cookies, which belong to the session that begins.
    fn cookies(&mut self) -> CookieJar;

    /// Sends the cookies of a session that began over another transport.
    fn use_cookies(&mut self, cookies: &CookieJar);
}

/// Sends requests to the broker over HTTPS.
pub struct HttpsTransport {
    address: BrokerAddress,
    client: Client,
    settings: HttpsSettings,
}

impl HttpsTransport {
    /// Creates a transport to `address`. Opens no file and no connection yet.
    pub fn new(address: BrokerAddress, settings: HttpsSettings) -> Self {
        let user_agent = format!("Mozilla/4.0(compatible;IE;GACv{GAC_VERSION})");
        Self { address, client: Client::new(settings.clone()).user_agent(user_agent), settings }
    }
}

impl Transport for HttpsTransport {
    fn address(&self) -> &BrokerAddress {
        &self.address
    }

    fn exchange(
        &mut self,
        stage: Stage,
        request: &dyn Fn(IpAddr) -> Result<Request>,
        cancel: &CancelToken,
    ) -> Result<SecretBytes> {
        let call = Call::within(self.settings.request_deadline, cancel);
        let broker = &self.address;
        let request = |local| request(local).map(|request| request.into_http(broker));
        let answer = self.client.send_from(stage, broker, request, &call)?;
        if answer.status != 200 {
            return Err(unexpected_status(broker, stage, answer.status));
        }
        Ok(answer.body)
    }

    fn cookies(&mut self) -> CookieJar {
        self.client.cookies(&self.address)
    }

    fn use_cookies(&mut self, cookies: &CookieJar) {
        self.client.use_cookies(&self.address, cookies);
    }
}
