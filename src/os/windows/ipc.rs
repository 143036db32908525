//! Connections: pipes to other processes, and waiting for sockets with a deadline.

use std::cell::Cell;
use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::windows::io::{AsHandle, AsSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use ticketapi_platform::pipe::set_nonblocking;
use ticketapi_platform::socket::tcp;

#[cfg(feature = "oidc")]
use crate::cancel::{CancelGuard, CancelToken};

/// A connection to another process of this computer.
pub(crate) use ticketapi_platform::pipe::Pipe as Socket;

/// What wakes threads that poll: shutting a socket down does not, as it does elsewhere.
static WAKERS: Mutex<Wakers> = Mutex::new(Wakers { calls: 0, waiting: Vec::new(), idle: Vec::new() });

/// How many sockets are kept for the next waits.
const IDLE: usize = 4;

struct Wakers {
    /// How often threads were woken.
    calls: u64,
    /// A socket for each thread that polls, connected to itself.
    waiting: Vec<Arc<UdpSocket>>,
    /// Sockets that nothing was sent to.
    idle: Vec<Arc<UdpSocket>>,
}

thread_local! {
    /// The calls that this thread has noticed.
    static NOTICED: Cell<u64> = const { Cell::new(0) };
}

fn wakers() -> MutexGuard<'static, Wakers> {
    WAKERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has every thread that waits for a socket look at it again.
fn wake_all() {
    let mut wakers = wakers();
    wakers.calls += 1;
    for waker in &wakers.waiting {
        // It is full if the thread is about to wake anyway.
        let _ = waker.send(&[0]);
    }
}

/// A thread that polls; woken by [`wake_all`] until it is dropped.
struct Waiting {
    socket: Arc<UdpSocket>,
    /// The calls when it began.
    calls: u64,
}

impl Waiting {
    /// Returns `None` if it was woken since it last began to wait.
    fn begin() -> io::Result<Option<Self>> {
        let mut wakers = wakers();
        let calls = wakers.calls;
        if NOTICED.replace(calls) != calls {
            return Ok(None);
        }
        let socket = match wakers.idle.pop() {
            Some(socket) => socket,
            None => connected_to_itself()?,
        };
        wakers.waiting.push(Arc::clone(&socket));
        Ok(Some(Self { socket, calls }))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut wakers = wakers();
        wakers.waiting.retain(|waker| !Arc::ptr_eq(waker, &self.socket));
        if wakers.calls == self.calls && wakers.idle.len() < IDLE {
            wakers.idle.push(Arc::clone(&self.socket));
        }
    }
}

fn connected_to_itself() -> io::Result<Arc<UdpSocket>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(socket.local_addr()?)?;
    socket.set_nonblocking(true)?;
    Ok(Arc::new(socket))
}

/// Waits until `socket` is ready for `what`. May return early.
///
/// # Errors
///
/// [`ErrorKind::TimedOut`] when `until` has passed.
pub(crate) fn until_ready(socket: impl AsSocket, what: PollFlags, until: Option<Instant>) -> io::Result<()> {
    until_any_ready(&mut [PollFd::new(&socket, what)], until)
}

/// As [`until_ready`], for the first of several sockets.
pub(crate) fn until_any_ready(sockets: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<()> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| left.is_zero()) {
        return Err(ErrorKind::TimedOut.into());
    }
    let Some(waiting) = Waiting::begin()? else { return Ok(()) };
    // A time beyond the system's range is no deadline.
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    let mut all = sockets.to_vec();
    all.push(PollFd::new(&*waiting.socket, PollFlags::IN));
    match poll(&mut all, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Repeats `call` on a non-blocking socket until it completes or `until` has passed.
///
/// The deadline also applies to a socket that is always ready.
pub(crate) fn until_done<T>(
    socket: impl AsSocket,
    what: PollFlags,
    until: Option<Instant>,
    mut call: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        if until.is_some_and(|until| until <= Instant::now()) {
            return Err(ErrorKind::TimedOut.into());
        }
        match call() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => until_ready(&socket, what, until)?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Sends all `bytes`. Blocks while the other side does not read, at most until `until`.
///
/// # Errors
///
/// [`ErrorKind::TimedOut`] when `until` has passed.
pub(crate) fn send_all(socket: &Socket, bytes: &[u8], until: Option<Instant>) -> io::Result<()> {
    socket.send_all(bytes, until)
}

/// Reads available bytes; returns 0 at the end.
///
/// # Errors
///
/// [`ErrorKind::WouldBlock`] while nothing is there.
pub(crate) fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    socket.receive(buffer)
}

/// Waits until `socket` can be read.
///
/// # Errors
///
/// [`ErrorKind::TimedOut`] when `until` has passed.
pub(crate) fn until_readable(socket: &Socket, until: Option<Instant>) -> io::Result<()> {
    socket.until_readable(&[], until)
}

/// Returns a pipe whose ends never block. Nothing is written to it: children's standard errors lead nowhere here.
pub(crate) fn nonblocking_pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    set_nonblocking(reader.as_handle())?;
    set_nonblocking(writer.as_handle())?;
    Ok((reader, writer))
}

/// Begins to connect, without blocking. The stream becomes writable when it is connected, and on Windows 10 since
/// version 2004 also when it has failed.
pub(crate) fn begin_connecting(address: &SocketAddr) -> io::Result<TcpStream> {
    // The standard library starts the system's sockets.
    drop(UdpSocket::bind("127.0.0.1:0"));
    let stream = TcpStream::from(tcp(address.is_ipv6())?);
    stream.set_nonblocking(true)?;
    match rustix::net::connect(&stream, address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::WOULDBLOCK) => Ok(stream),
        Err(errno) => Err(errno.into()),
    }
}

/// Ends a connection, and every wait for it.
pub(crate) fn shut_down(stream: &TcpStream) {
    // It fails if the connection is gone already.
    let _ = stream.shutdown(Shutdown::Both);
    wake_all();
}

/// Ends a wait for sockets once a token is cancelled.
#[cfg(feature = "oidc")]
pub(crate) struct Wake {
    _guards: Vec<CancelGuard>,
}

#[cfg(feature = "oidc")]
impl Wake {
    /// Wakes when one of the tokens is cancelled.
    #[expect(clippy::unnecessary_wraps, reason = "other systems have no room for another socket at times")]
    pub(crate) fn by<const N: usize>(tokens: [&CancelToken; N]) -> io::Result<Self> {
        Ok(Self { _guards: tokens.map(|token| token.on_cancel(wake_all)).into() })
    }

    /// What to wait for besides the sockets: nothing.
    pub(crate) fn poll_fd(&self) -> Option<PollFd<'_>> {
        None
    }
}

/// Sockets are no standard input or output here.
#[expect(clippy::unnecessary_wraps, reason = "other systems have no room for another descriptor at times")]
pub(crate) fn above_stdio<T>(socket: T) -> io::Result<T> {
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn shutting_a_socket_down_ends_a_wait_for_it_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let other = stream.try_clone().unwrap();
        let began = Instant::now();
        let waiting = thread::spawn(move || {
            let until = Some(Instant::now() + Duration::from_secs(60));
            drop(until_done(&stream, PollFlags::IN, until, || (&stream).read(&mut [0])));
        });
        thread::sleep(Duration::from_millis(50));
        shut_down(&other);
        waiting.join().unwrap();
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
