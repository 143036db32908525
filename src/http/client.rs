//! Sends requests and reads responses, over one connection for each server.

use std::borrow::{Borrow, Cow};
use std::io::Write;
use std::net::IpAddr;
use std::time::Instant;

use tracing::debug;

use super::connection::{Connection, Limits};
use super::cookies::CookieJar;
use super::explain::Way;
use super::message::{HttpResponse, ReadError, Received, read_response};
use super::request::HttpRequest;
use super::{HttpsSettings, Origin, trust};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::session::grant::Call;

pub(super) const USER_AGENT: &str = concat!("ticketapi/", env!("CARGO_PKG_VERSION"));

/// An HTTPS client for one login, or for one call about a session.
///
/// - TLS 1.2 or 1.3, and the server's certificate is always verified. Plain TCP only to loopback hosts.
/// - Through a proxy where [`ProxySetting`](super::ProxySetting) names one; TLS is with the server, not the
///   proxy.
/// - No redirect is followed; no compression or TLS session resumption is used.
/// - Each server's cookies are sent back to it: load balancers need that.
/// - One connection for each server is opened for the first request and kept for the others. One that the
///   server has closed meanwhile is replaced before the next request. A request that was sent is not
///   repeated: the server may have acted on it.
/// - Looking up a name is done by a thread of its own, which ends before the request is sent. It may outlive a
///   deadline or a cancelled login, until the resolver gives up.
/// - The connections are closed when this is dropped.
///
/// What is sent and received is wiped from the buffers here; those of TLS and of the system are out of
/// reach.
pub struct Client {
    settings: HttpsSettings,
    user_agent: Cow<'static, str>,
    servers: Vec<Server>,
}

struct Server {
    origin: Origin,
    connection: Option<Connection>,
    cookies: CookieJar,
}

impl Client {
    /// Opens no file and no connection yet.
    pub fn new(settings: HttpsSettings) -> Self {
        Self { settings, user_agent: USER_AGENT.into(), servers: Vec::new() }
    }

    /// Sends another `User-Agent` than this library's.
    #[must_use]
    pub fn user_agent(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Returns the cookies of a server, for as long as its session lives.
    pub fn cookies(&mut self, origin: &Origin) -> CookieJar {
        self.server(origin).cookies.clone()
    }

    /// Uses cookies that the server has set in the same session before.
    pub fn use_cookies(&mut self, origin: &Origin, cookies: &CookieJar) {
        self.server(origin).cookies = cookies.clone();
    }

    /// Sends a request and reads its response, whatever the status. Blocks, until the deadline of `call` or that
    /// of a request at most, and ends soon after `call` is cancelled.
    ///
    /// # Errors
    ///
    /// At `stage`: [`ServerNotAvailable`](ErrorKind::ServerNotAvailable), [`Tls`](ErrorKind::Tls),
    /// [`TlsNotSupported`](ErrorKind::TlsNotSupported), [`BadAnswer`](ErrorKind::BadAnswer) for what is no
    /// HTTP or too large, and [`Cancelled`](ErrorKind::Cancelled). [`Internal`](ErrorKind::Internal) for a
    /// header whose value would break the request.
    pub fn send(&mut self, stage: Stage, request: &HttpRequest, call: &Call<'_>) -> Result<HttpResponse> {
        self.send_and(stage, request, || (), call)
    }

    /// As [`Client::send`]; does `meanwhile` between sending and reading.
    pub(crate) fn send_and(
        &mut self,
        stage: Stage,
        request: &HttpRequest,
        meanwhile: impl FnOnce(),
        call: &Call<'_>,
    ) -> Result<HttpResponse> {
        if let Some(header) = request.unsendable() {
            let detail = format!("the header {header} has a character that HTTP cannot carry");
            return Err(Error::new(ErrorKind::Internal, stage, detail));
        }
        whole(self.send_parts(stage, request.url.origin(), |_| Ok(request), meanwhile, call)?)
    }

    /// As [`Client::send`], with a request that is made once it is known from which local address it goes out.
    pub(crate) fn send_from<R: Borrow<HttpRequest>>(
        &mut self,
        stage: Stage,
        origin: &Origin,
        request: impl FnOnce(IpAddr) -> Result<R>,
        call: &Call<'_>,
    ) -> Result<HttpResponse> {
        whole(self.send_parts(stage, origin, request, || (), call)?)
    }

    /// As [`Client::send_from`]. If the request wants any part of its response, also returns an incomplete one, with the
    /// reason.
    #[cfg(feature = "oidc")]
    pub(crate) fn send_for_any_part<R: Borrow<HttpRequest>>(
        &mut self,
        stage: Stage,
        origin: &Origin,
        request: impl FnOnce(IpAddr) -> Result<R>,
        call: &Call<'_>,
    ) -> Result<(HttpResponse, Option<Error>)> {
        self.send_parts(stage, origin, request, || (), call)
    }

    fn send_parts<R: Borrow<HttpRequest>>(
        &mut self,
        stage: Stage,
        origin: &Origin,
        request: impl FnOnce(IpAddr) -> Result<R>,
        meanwhile: impl FnOnce(),
        call: &Call<'_>,
    ) -> Result<(HttpResponse, Option<Error>)> {
        call.cancel.check(stage)?;
        let time = call.left().min(self.settings.request_deadline);
        let limits = Limits { connect: self.settings.connect_deadline, deadline: Instant::now() + time };
        let setting = &self.settings.proxy.clone();
        let proxy = setting.proxy_to(origin)?;
        let connect = self.settings.connect_deadline;
        let way = Way { origin, proxy: proxy.as_ref(), setting, stage, connect, request: time };
        // Cancelling shows as a broken connection of some kind.
        let or_cancelled = |error: Error| call.cancel.check(stage).err().unwrap_or(error);

        let kept = self.server(origin).connection.take().and_then(Connection::if_open);
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open(&way, limits, call).map_err(or_cancelled)?,
        };
        let request = request(connection.local())?;
        let request = request.borrow();
        let guard = connection.limit(limits.deadline, call.cancel);
        let Received { response, cookies, keep_alive, broken } = self
            .exchange(&mut connection, request, meanwhile)
            .map_err(|failure| or_cancelled(way.explain(failure, request.wanted.limit)))?;
        drop(guard);
        if response.status >= 400 {
            // Its body may have been cut short.
            call.cancel.check(stage)?;
        }
        let server = self.server(origin);
        server.cookies.lock().extend(cookies);
        server.connection = keep_alive.then_some(connection);
        Ok((response, broken.map(|failure| or_cancelled(way.explain(failure, request.wanted.limit)))))
    }

    fn exchange(
        &mut self,
        connection: &mut Connection,
        request: &HttpRequest,
        meanwhile: impl FnOnce(),
    ) -> std::result::Result<Received, ReadError> {
        let cookies = self.cookies(request.url.origin());
        let bytes = request.to_bytes(&self.user_agent, &cookies.lock());
        connection.write_all(&bytes)?;
        connection.flush()?;
        meanwhile();
        read_response(connection, request.wanted)
    }

    fn open(&self, way: &Way<'_>, limits: Limits, call: &Call<'_>) -> Result<Connection> {
        let tls = way.origin.is_tls().then(|| trust::client_config(self.settings.ca_file.as_deref())).transpose()?;
        let connection = Connection::open(way.origin, way.proxy, tls, limits, call.cancel)
            .map_err(|failed| way.explain_opening(failed))?;
        debug!(server = %way.origin, "connected");
        Ok(connection)
    }

    fn server(&mut self, origin: &Origin) -> &mut Server {
        let known = self.servers.iter().position(|server| server.origin == *origin);
        let at = known.unwrap_or_else(|| {
            self.servers.push(Server { origin: origin.clone(), connection: None, cookies: CookieJar::default() });
            self.servers.len() - 1
        });
        &mut self.servers[at]
    }
}

/// An incomplete response counts as none.
fn whole((response, incomplete): (HttpResponse, Option<Error>)) -> Result<HttpResponse> {
    incomplete.map_or(Ok(response), Err)
}
