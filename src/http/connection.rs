//! One connection to a server: found, opened, secured, and never waited for too long.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::tunnel::{self, TunnelError};
use super::{Origin, Proxy};
use crate::cancel::{CancelGuard, CancelToken};
use crate::os::fork::ForkGuard;
use crate::os::ipc::{begin_connecting, shut_down, until_done, until_ready};
use crate::os::thread;

/// A TCP stream that does not block, whose calls end at a deadline. Shared with what ends them when they are cancelled.
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    deadline: Instant,
    /// Whether the last read filled its buffer, so that more may be there already.
    filled: bool,
}

impl Socket {
    pub(super) fn new(stream: Arc<TcpStream>, deadline: Instant) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, deadline, filled: false })
    }

    pub(super) fn into_stream(self) -> Arc<TcpStream> {
        self.stream
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = &*self.stream;
        if !self.filled {
            // An answer takes its time: a try now would be in vain.
            until_ready(stream, PollFlags::IN, Some(self.deadline))?;
        }
        let count = until_done(stream, PollFlags::IN, Some(self.deadline), || stream.read(buffer))?;
        self.filled = count == buffer.len();
        Ok(count)
    }
}

/// Leaves `write_vectored` as it is by default: the socket's own raises SIGPIPE, which ends a C
/// host, when the connection is gone.
impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = &*self.stream;
        until_done(stream, PollFlags::OUT, Some(self.deadline), || stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long opening a connection may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// For connecting and TLS, from when the addresses are known: a resolver waits five seconds by
    /// itself before it asks the second name server.
    pub(super) connect: Duration,
    /// For everything.
    pub(super) deadline: Instant,
}

impl Limits {
    pub(super) fn connect_by(self) -> Instant {
        self.deadline.min(Instant::now() + self.connect)
    }
}

/// Which step of opening a connection failed.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Looking up the name of the server, or of the proxy.
    Lookup(io::Error),
    /// Connecting to the server, or to the proxy.
    Connect(io::Error),
    /// Having the proxy connect to the server.
    Tunnel(TunnelError),
    /// Agreeing on TLS with the server.
    Secure(io::Error),
}

/// A connection that is ready for a request.
pub(super) struct Connection {
    stream: Stream,
    local: IpAddr,
    owner: ForkGuard,
}

enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

impl Connection {
    /// Finds and connects to the server, directly or through a proxy, and agrees on TLS, within `limits`.
    pub(super) fn open(
        address: &Origin,
        proxy: Option<&Proxy>,
        tls: Option<Arc<ClientConfig>>,
        limits: Limits,
        cancel: &CancelToken,
    ) -> Result<Self, OpenError> {
        let (stream, connect_by) = reach(address, proxy, limits, cancel)?;
        Self::secure(stream, address, tls, connect_by, cancel).map_err(OpenError::Secure)
    }

    /// Agrees on TLS over `stream`, until `deadline`.
    pub(super) fn secure(
        stream: Arc<TcpStream>,
        address: &Origin,
        tls: Option<Arc<ClientConfig>>,
        deadline: Instant,
        cancel: &CancelToken,
    ) -> io::Result<Self> {
        let local = stream.local_addr()?.ip();
        let mut socket = Socket::new(stream, deadline)?;
        let stream = match tls {
            None => Stream::Plain(socket),
            Some(config) => {
                let _guard = shut_down_on_cancel(&socket.stream, cancel);
                let name = ServerName::try_from(address.host().to_owned()).map_err(io::Error::other)?;
                let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
                while session.is_handshaking() {
                    session.complete_io(&mut socket)?;
                }
                Stream::Tls(Box::new(StreamOwned::new(session, socket)))
            }
        };
        Ok(Self { stream, local, owner: ForkGuard::this_process() })
    }

    /// The address at this end.
    pub(super) fn local(&self) -> IpAddr {
        self.local
    }

    /// Has every call that follows end at `deadline`, and at once when `cancel` is cancelled.
    pub(super) fn limit(&mut self, deadline: Instant, cancel: &CancelToken) -> CancelGuard {
        let socket = self.socket();
        socket.deadline = deadline;
        shut_down_on_cancel(&socket.stream, cancel)
    }

    /// The connection, if the server has neither closed it nor sent unrequested data.
    pub(super) fn if_open(mut self) -> Option<Self> {
        let open = match &mut self.stream {
            Stream::Plain(socket) => would_block(&socket.stream.peek(&mut [0])),
            // Records of TLS itself may come between two answers.
            Stream::Tls(tls) => loop {
                match tls.conn.read_tls(&mut &*tls.sock.stream) {
                    Ok(1..) => match tls.conn.process_new_packets() {
                        Ok(state) if !state.peer_has_closed() && state.plaintext_bytes_to_read() == 0 => {}
                        _ => break false,
                    },
                    result => break would_block(&result),
                }
            },
        };
        open.then_some(self)
    }

    fn socket(&mut self) -> &mut Socket {
        match &mut self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => &mut tls.sock,
        }
    }
}

fn would_block(result: &io::Result<usize>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

impl Drop for Connection {
    /// Says that it ends, where that needs no waiting.
    fn drop(&mut self) {
        if let Stream::Tls(tls) = &mut self.stream
            && self.owner.is_this_process()
        {
            tls.conn.send_close_notify();
            let mut farewell = Vec::new();
            let _ = tls.conn.write_tls(&mut farewell);
            // In one piece: writing several to a dead socket raises SIGPIPE, which ends a C host.
            let _ = (&*tls.sock.stream).write(&farewell);
        }
    }
}

pub(super) fn shut_down_on_cancel(stream: &Arc<TcpStream>, cancel: &CancelToken) -> CancelGuard {
    let stream = Arc::clone(stream);
    cancel.on_cancel(move || shut_down(&stream))
}

/// Connects to the server, directly or through a proxy. Also returns until when to agree on TLS.
pub(super) fn reach(
    address: &Origin,
    proxy: Option<&Proxy>,
    limits: Limits,
    cancel: &CancelToken,
) -> Result<(Arc<TcpStream>, Instant), OpenError> {
    let found = find(proxy.map_or(address, Proxy::address), limits.deadline, cancel).map_err(OpenError::Lookup)?;
    let connect_by = limits.connect_by();
    let stream = connect(&found, connect_by, cancel).map_err(OpenError::Connect)?;
    let Some(proxy) = proxy else { return Ok((stream, connect_by)) };
    // The proxy looks the name up, which may take as long as it does here.
    let stream = tunnel::open(stream, proxy, address, limits.deadline, cancel).map_err(OpenError::Tunnel)?;
    Ok((stream, limits.connect_by()))
}

/// The host's addresses, in the order in which they are tried.
pub(super) fn find(address: &Origin, deadline: Instant, cancel: &CancelToken) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = address.host().parse() {
        return Ok(vec![SocketAddr::new(ip, address.port())]);
    }
    let address = address.clone();
    apart(deadline, cancel, move || Ok((address.host(), address.port()).to_socket_addrs()?.collect()))
}

/// Looking a name up cannot be cut short from outside, so a thread does it, which is left to itself at
/// the deadline or on cancelling. It ends as soon as the system's resolver gives up.
fn apart<T: Send + 'static>(
    deadline: Instant,
    cancel: &CancelToken,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = mpsc::channel();
    let _guard = cancel.on_cancel({
        let sender = sender.clone();
        move || {
            let _ = sender.send(Err(ErrorKind::Interrupted.into()));
        }
    });
    let thread = thread::start("ticketapi-lookup", move || {
        let _ = sender.send(work());
    })?;
    match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => Err(error),
        Ok(result) => {
            // It has sent its result and does nothing more: no thread is left when this returns.
            let _ = thread.join();
            result
        }
        Err(_) => Err(ErrorKind::TimedOut.into()),
    }
}

/// Connects to the first of the addresses that answers. Each gets its share of the time that is left, so
/// that one that is silent does not keep the next from being tried.
pub(super) fn connect(addresses: &[SocketAddr], deadline: Instant, cancel: &CancelToken) -> io::Result<Arc<TcpStream>> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now);
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match connect_to(address, now + share, cancel) {
            Err(error) if error.kind() != ErrorKind::Interrupted => last = error,
            result => return result,
        }
    }
    Err(last)
}

/// Connects without blocking, as a cancellation must end it at once.
fn connect_to(address: &SocketAddr, deadline: Instant, cancel: &CancelToken) -> io::Result<Arc<TcpStream>> {
    let stream = Arc::new(begin_connecting(address)?);
    let _guard = shut_down_on_cancel(&stream, cancel);
    loop {
        if cancel.is_cancelled() {
            return Err(ErrorKind::Interrupted.into());
        }
        // To this computer it is there at once.
        if stream.peer_addr().is_ok() {
            return Ok(stream);
        }
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        // It also returns on a signal, when the connection may not be there yet.
        until_ready(&stream, PollFlags::OUT, Some(deadline))?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddrV4, TcpListener};

    use std::thread;

    use rustix::net::{self, AddressFamily, SocketType};

    use super::*;

    /// A port that lets nobody in: its queue is full and nobody accepts. It does so while the
    /// sockets are kept.
    fn silent_port() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        net::bind(&socket, &SocketAddrV4::new([127, 0, 0, 1].into(), 0)).unwrap();
        net::listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            waiting.push(stream);
        }
        (address, listener, waiting)
    }

    #[test]
    fn connecting_ends_at_its_deadline() {
        let (silent, ..) = &silent_port();
        let began = Instant::now();
        let error = connect(&[*silent], began + Duration::from_millis(300), &CancelToken::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
    }

    #[test]
    fn cancelling_ends_connecting() {
        let (silent, _listener, _waiting) = silent_port();
        let cancel = CancelToken::new();
        let connecting = thread::spawn({
            let cancel = cancel.clone();
            move || {
                let error = connect(&[silent], Instant::now() + Duration::from_secs(60), &cancel).unwrap_err();
                (error.kind(), Instant::now())
            }
        });
        // Whether it has begun to connect by then or not, it must not go on.
        thread::sleep(Duration::from_millis(50));
        let began = Instant::now();
        cancel.cancel();
        let (kind, ended) = connecting.join().unwrap();
        assert_eq!(kind, ErrorKind::Interrupted);
        assert!(ended - began < Duration::from_millis(200), "{:?}", ended - began);
    }

    #[test]
    fn a_silent_address_does_not_keep_the_next_from_being_tried() {
        let (silent, ..) = &silent_port();
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [*silent, open.local_addr().unwrap()];
        let deadline = Instant::now() + Duration::from_millis(600);
        let stream = connect(&addresses, deadline, &CancelToken::new()).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
    }
}
