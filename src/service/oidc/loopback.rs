//! The end of a login in the browser: a web server on the loopback interface that takes one redirect.
//!
//! Own code, because servers that a library starts have threads that outlive the login, log the addresses that
//! hold the code, and do not wipe it. Everything here runs on the thread of the login.
//!
//! Any program of this computer can connect, so only `state`, which the provider and the browser know, makes a
//! request the end of the login. Everything else gets a page that says so, and the login continues.

mod page;
mod request;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind as Io, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use zeroize::Zeroizing;

use self::request::{Judgement, Verdict};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::ipc::{Wake, above_stdio, until_any_ready};
use crate::prompt::Opened;
use crate::secret::SecretBytes;
use crate::service::choices::RedirectUri;

pub(crate) use self::request::ProviderError;

/// The largest request. Browsers send the cookies of every program at this address.
const REQUEST_LIMIT: usize = 32 * 1024;

/// How long a client may take to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// The most clients at a time; one more takes the place of the first.
const MOST_CLIENTS: usize = 16;

/// How many free ports are tried for a host with two addresses.
const PORT_TRIES: usize = 16;

/// A listener for one redirect.
pub(crate) struct Loopback {
    listeners: Vec<TcpListener>,
    redirect_uri: RedirectUri,
}

/// What the redirect says.
#[derive(Debug)]
pub(crate) struct Redirect {
    /// The code, or the provider's refusal.
    pub(crate) outcome: std::result::Result<Zeroizing<String>, ProviderError>,
    /// The issuer that sent it (RFC 9207), where it says so.
    pub(crate) iss: Option<String>,
    pub(crate) page: Page,
}

/// Reads what a browser sends.
#[cfg(fuzzing)]
pub(super) fn judge_for_tests(bytes: &[u8]) {
    drop(request::judge(bytes, &RedirectUri::default(), "st-1"));
}

/// The browser's last page, not yet sent. It says how the login went: send it when that is known, before the user
/// is asked anything else. Without an outcome, it says that the login failed.
#[derive(Debug)]
#[must_use = "the browser waits for the page"]
pub(crate) struct Page(Option<TcpStream>);

impl Page {
    /// Shows the outcome of the login.
    pub(crate) fn show<T>(mut self, outcome: &Result<T>) {
        let text = match outcome {
            Ok(_) => page::done(),
            Err(error) => page::failed(error),
        };
        self.send(&text);
    }

    fn send(&mut self, text: &str) {
        if let Some(stream) = self.0.take() {
            answer(&stream, "200 OK", text);
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.send(&page::unknown());
    }
}

impl Loopback {
    /// Listens at `uri`, at any free port where it names none.
    pub(crate) fn bind(uri: &RedirectUri) -> Result<Self> {
        let addresses = uri.addresses();
        let mut tries = if uri.port().is_some() { 1 } else { PORT_TRIES };
        loop {
            match listen(addresses, uri.port().unwrap_or(0)) {
                Ok((listeners, port)) => return Ok(Self { listeners, redirect_uri: uri.with_port(port) }),
                // The port is free at the first address only.
                Err((address, error)) if error.kind() != Io::AddrInUse || tries <= 1 => {
                    return Err(not_listening(uri, address, error));
                }
                Err(_) => tries -= 1,
            }
        }
    }

    /// The redirect URI to give to the provider, with the port.
    pub(crate) fn redirect_uri(&self) -> &RedirectUri {
        &self.redirect_uri
    }

    /// Waits for the redirect that ends the login with this `state`, and stops listening.
    ///
    /// # Errors
    ///
    /// [`Cancelled`](ErrorKind::Cancelled), also at `until`; [`NoPrompter`](ErrorKind::NoPrompter) if the browser
    /// could not be started.
    pub(crate) fn wait(self, state: &str, until: Instant, opened: &Opened, cancel: &CancelToken) -> Result<Redirect> {
        let failed = |error: io::Error| {
            let detail = format!("the redirect cannot be waited for: {error}");
            Error::refused(ErrorKind::Internal, Stage::Browser, detail, error)
        };
        let wake = Wake::by([cancel, opened.failed()]).map_err(failed)?;
        let mut clients: Vec<Client> = Vec::new();
        loop {
            cancel.check(Stage::Browser)?;
            if let Some(why) = opened.failed().reason() {
                return Err(Error::new(ErrorKind::NoPrompter, Stage::Browser, why));
            }
            let next = clients.iter().map(|client| client.until).fold(until, Instant::min);
            match self.until_ready(&wake, &clients, next) {
                Err(error) if error.kind() == Io::TimedOut => {
                    if Instant::now() >= until {
                        return Err(Error::new(ErrorKind::Cancelled, Stage::Browser, NO_REDIRECT_IN_TIME));
                    }
                }
                other => other.map_err(failed)?,
            }
            if let Some((client, verdict)) = self.serve(&mut clients, state) {
                let Verdict { outcome, iss } = verdict;
                return Ok(Redirect { outcome, iss, page: Page(Some(client.stream)) });
            }
            let now = Instant::now();
            clients.retain(|client| client.until > now);
            if !self.accept(&mut clients) {
                // Until descriptors are free again.
                cancel.wait(Duration::from_millis(50));
            }
        }
    }

    fn until_ready(&self, wake: &Wake, clients: &[Client], until: Instant) -> io::Result<()> {
        let listeners = self.listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN));
        let clients = clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::IN));
        let mut sockets: Vec<_> = listeners.chain(clients).chain(wake.poll_fd()).collect();
        until_any_ready(&mut sockets, Some(until))
    }

    /// Reads what the clients have sent. Returns the one that brings the redirect, and answers the others.
    fn serve(&self, clients: &mut Vec<Client>, state: &str) -> Option<(Client, Verdict)> {
        let mut index = 0;
        while let Some(client) = clients.get_mut(index) {
            match client.judge(&self.redirect_uri, state) {
                None => index += 1,
                Some(judgement) => {
                    let client = clients.remove(index);
                    match judgement {
                        Judgement::Redirect(verdict) => return Some((client, verdict)),
                        Judgement::Refused(status, why) => answer(&client.stream, status, &page::refused(why)),
                        Judgement::Gone => {}
                    }
                }
            }
        }
        None
    }

    /// Returns `false` if the system has no room for another client.
    fn accept(&self, clients: &mut Vec<Client>) -> bool {
        self.listeners.iter().all(|listener| {
            loop {
                match listener.accept().and_then(|(stream, _)| Client::new(stream)) {
                    Ok(client) => {
                        if clients.len() == MOST_CLIENTS {
                            clients.remove(0);
                        }
                        clients.push(client);
                    }
                    Err(error) if error.kind() == Io::WouldBlock => return true,
                    // The client has already disconnected.
                    Err(error) if matches!(error.kind(), Io::ConnectionAborted | Io::Interrupted) => {}
                    Err(_) => return false,
                }
            }
        })
    }
}

/// The error if the login in the browser was not finished.
const NO_REDIRECT_IN_TIME: &str = "the login in the browser was not finished in time (login_timeout). If the browser shows an error page, it says why; \
     the provider does not report it to this program";

/// A client whose request has not arrived whole.
struct Client {
    stream: TcpStream,
    /// Of a fixed length: growing would leave copies of the code in memory.
    buffer: SecretBytes,
    filled: usize,
    until: Instant,
}

impl Client {
    fn new(stream: TcpStream) -> io::Result<Self> {
        let stream = above_stdio(stream)?;
        stream.set_nonblocking(true)?;
        let buffer = Zeroizing::new(vec![0; REQUEST_LIMIT]);
        Ok(Self { stream, buffer, filled: 0, until: Instant::now() + REQUEST_TIME })
    }

    /// Reads on; `None` while the request is not complete.
    fn judge(&mut self, uri: &RedirectUri, state: &str) -> Option<Judgement> {
        loop {
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) if self.filled == REQUEST_LIMIT => return Some(request::TOO_LARGE),
                Ok(0) => return Some(Judgement::Gone),
                Ok(read) => {
                    self.filled += read;
                    let judgement = request::judge(&self.buffer[..self.filled], uri, state);
                    if judgement.is_some() {
                        return judgement;
                    }
                }
                Err(error) if error.kind() == Io::Interrupted => {}
                Err(error) if error.kind() == Io::WouldBlock => return None,
                Err(_) => return Some(Judgement::Gone),
            }
        }
    }
}

/// Sends a page and ends the connection. The page fits into the socket's buffer, so nobody waits.
fn answer(mut stream: &TcpStream, status: &str, text: &str) {
    let _ = stream.write(page::response(status, text).as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
}

/// Listens at all `addresses`, at the same port. A browser may try any of them, so another program must have
/// none. Addresses that this computer does not have are left out.
fn listen(
    addresses: &[IpAddr],
    mut port: u16,
) -> std::result::Result<(Vec<TcpListener>, u16), (SocketAddr, io::Error)> {
    let mut listeners = Vec::new();
    let mut missing = None;
    for &address in addresses {
        let address = SocketAddr::new(address, port);
        let bound = TcpListener::bind(address).and_then(|listener| {
            let listener = above_stdio(listener)?;
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?.port(), listener))
        });
        match bound {
            Ok((bound, listener)) => {
                port = bound;
                listeners.push(listener);
            }
            Err(error) if is_absent(&error) => missing = Some((address, error)),
            Err(error) => return Err((address, error)),
        }
    }
    match missing {
        Some(missing) if listeners.is_empty() => Err(missing),
        _ => Ok((listeners, port)),
    }
}

/// Returns `true` if the computer does not have the address, as one without IPv6.
fn is_absent(error: &io::Error) -> bool {
    let no_family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == Io::AddrNotAvailable || error.raw_os_error() == Some(no_family)
}

fn not_listening(uri: &RedirectUri, address: SocketAddr, error: io::Error) -> Error {
    let detail = match (uri.port(), error.kind()) {
        (Some(port), Io::AddrInUse) => format!(
            "redirect_uri: another program uses port {port} of {}. End that program, or set another port that is \
             registered at the provider",
            address.ip()
        ),
        _ => format!("redirect_uri: {address} cannot be listened at: {error}"),
    };
    Error::new(ErrorKind::Configuration, Stage::Browser, detail).because(error)
}
