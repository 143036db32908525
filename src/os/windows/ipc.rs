//! Connections: pipes to other processes, and waiting for sockets with a deadline.

use std::cell::Cell;
use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::windows::io::{AsHandle, AsSocket};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use ticketapi_platform::event::{Event, wait_any};
use ticketapi_platform::pipe::set_nonblocking;
use ticketapi_platform::socket::{set_on_data, tcp};

#[cfg(feature = "oidc")]
use crate::cancel::{CancelGuard, CancelToken};

/// A connection to another process of this computer.
pub(crate) use ticketapi_platform::pipe::Pipe as Socket;

/// What wakes threads that wait for sockets: shutting a socket down does not, as it does elsewhere.
static WAKERS: Mutex<Wakers> = Mutex::new(Wakers { calls: 0, waiting: Vec::new(), idle: Vec::new() });

/// How many wakers are kept for the next waits.
const IDLE: usize = 4;

struct Wakers {
    /// How often threads were woken.
    calls: u64,
    /// One for each thread that waits.
    waiting: Vec<Arc<Waker>>,
    /// Those that have woken nobody.
    idle: Vec<Arc<Waker>>,
}

struct Waker {
    /// Also set by the data that the thread waits for.
    event: Event,
    /// For threads that poll: a socket that is connected to itself.
    socket: OnceLock<UdpSocket>,
}

impl Waker {
    fn socket(&self) -> io::Result<&UdpSocket> {
        if let Some(socket) = self.socket.get() {
            return Ok(socket);
        }
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(socket.local_addr()?)?;
        socket.set_nonblocking(true)?;
        Ok(self.socket.get_or_init(|| socket))
    }

    fn wake(&self) {
        self.event.set();
        if let Some(socket) = self.socket.get() {
            // It is full if the thread is about to wake anyway.
            let _ = socket.send(&[0]);
        }
    }
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
    wakers.waiting.iter().for_each(|waker| waker.wake());
}

/// How a thread waits.
#[derive(Clone, Copy)]
enum Wait {
    ForData,
    Polling,
}

/// A thread that waits; woken by [`wake_all`] until it is dropped.
struct Waiting {
    waker: Arc<Waker>,
    /// The calls when it began.
    calls: u64,
}

impl Waiting {
    /// Returns `None` if it was woken since it last began to wait.
    fn begin(how: Wait) -> io::Result<Option<Self>> {
        let mut wakers = wakers();
        let calls = wakers.calls;
        if NOTICED.replace(calls) != calls {
            return Ok(None);
        }
        let waker = match wakers.idle.pop() {
            Some(waker) => waker,
            None => Arc::new(Waker { event: Event::new()?, socket: OnceLock::new() }),
        };
        match how {
            // What it last waited for may have set it.
            Wait::ForData => waker.event.reset(),
            Wait::Polling => drop(waker.socket()?),
        }
        wakers.waiting.push(Arc::clone(&waker));
        Ok(Some(Self { waker, calls }))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut wakers = wakers();
        wakers.waiting.retain(|waker| !Arc::ptr_eq(waker, &self.waker));
        if wakers.calls == self.calls && wakers.idle.len() < IDLE {
            wakers.idle.push(Arc::clone(&self.waker));
        }
    }
}

/// Waits until `socket` is ready for `what`. May return early.
///
/// # Errors
///
/// [`ErrorKind::TimedOut`] when `until` has passed.
pub(crate) fn until_ready(socket: impl AsSocket, what: PollFlags, until: Option<Instant>) -> io::Result<()> {
    if what != PollFlags::IN {
        return until_any_ready(&mut [PollFd::new(&socket, what)], until);
    }
    // Not polled: the process that Wine's sockets are in would be busy until this thread has seen the data.
    not_over(until)?;
    let Some(waiting) = Waiting::begin(Wait::ForData)? else { return Ok(()) };
    let event = &waiting.waker.event;
    set_on_data(socket.as_socket(), event)?;
    wait_any(&[event.as_handle()], until).map(drop)
}

/// Returns how long it is until then.
///
/// # Errors
///
/// [`ErrorKind::TimedOut`] when it has passed.
fn not_over(until: Option<Instant>) -> io::Result<Option<Duration>> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| left.is_zero()) { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// As [`until_ready`], for the first of several sockets.
pub(crate) fn until_any_ready(sockets: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<()> {
    let left = not_over(until)?;
    let Some(waiting) = Waiting::begin(Wait::Polling)? else { return Ok(()) };
    // A time beyond the system's range is no deadline.
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    let mut all = sockets.to_vec();
    all.push(PollFd::new(waiting.waker.socket()?, PollFlags::IN));
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
    /// The standard library starts the system's sockets, once for the process.
    static STARTED: Once = Once::new();
    STARTED.call_once(|| drop(UdpSocket::bind("127.0.0.1:0")));
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
