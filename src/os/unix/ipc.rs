//! Sockets: waiting with a deadline, and keeping descriptors away from standard input, output and error.
//!
//! A host that has closed those three may still print, and must not print into our connection.

use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

#[cfg(feature = "oidc")]
use crate::cancel::{CancelGuard, CancelToken};

/// A connection to another process of this computer.
pub(crate) type Socket = UnixStream;

/// Waits until `socket` is ready for `what`. Returns early on a signal.
///
/// A socket's own time-out (`SO_RCVTIMEO`) will not do: on Linux 20 seconds take up to two seconds longer.
///
/// # Errors
///
/// [`ErrorKind::TimedOut`] when `until` has passed.
pub(crate) fn until_ready(socket: impl AsFd, what: PollFlags, until: Option<Instant>) -> io::Result<()> {
    until_any_ready(&mut [PollFd::new(&socket, what)], until)
}

/// As [`until_ready`], for the first of several sockets.
pub(crate) fn until_any_ready(sockets: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<()> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| left.is_zero()) {
        return Err(ErrorKind::TimedOut.into());
    }
    // A time beyond the system's range is no deadline.
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(sockets, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Repeats `call` on a non-blocking socket until it completes or `until` has passed.
///
/// The deadline also applies to a socket that is always ready.
pub(crate) fn until_done<T>(
    socket: impl AsFd,
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

/// Sends all `bytes`. Blocks while the other side does not read, at most until `until`. Raises no SIGPIPE.
///
/// # Errors
///
/// [`ErrorKind::TimedOut`] when `until` has passed.
pub(crate) fn send_all(socket: &Socket, mut bytes: &[u8], until: Option<Instant>) -> io::Result<()> {
    while !bytes.is_empty() {
        match net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::AGAIN | Errno::INTR) => until_ready(socket, PollFlags::OUT, until)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Reads available bytes; returns 0 at the end.
///
/// # Errors
///
/// [`ErrorKind::WouldBlock`] while nothing is there.
pub(crate) fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(net::recv(socket, buffer, RecvFlags::DONTWAIT)?.0)
}

/// Waits until `socket` can be read. Returns early on a signal.
///
/// # Errors
///
/// [`ErrorKind::TimedOut`] when `until` has passed.
pub(crate) fn until_readable(socket: &Socket, until: Option<Instant>) -> io::Result<()> {
    until_ready(socket, PollFlags::IN, until)
}

/// Returns a pipe whose ends never block.
pub(crate) fn nonblocking_pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    fcntl_setfl(&writer, OFlags::NONBLOCK)?;
    Ok((reader, writer))
}

/// Begins to connect, without blocking. The stream becomes writable when it is connected or has failed.
pub(crate) fn begin_connecting(address: &SocketAddr) -> io::Result<TcpStream> {
    let socket = above_stdio(net::socket_with(
        if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 },
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?)?;
    match net::connect(&socket, address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// Ends a connection, and every wait for it.
pub(crate) fn shut_down(stream: &TcpStream) {
    // It fails if the connection is gone already.
    let _ = stream.shutdown(Shutdown::Both);
}

/// Ends a wait for sockets once a token is cancelled.
#[cfg(feature = "oidc")]
pub(crate) struct Wake {
    socket: UnixStream,
    _guards: Vec<CancelGuard>,
}

#[cfg(feature = "oidc")]
impl Wake {
    /// Wakes when one of the tokens is cancelled.
    pub(crate) fn by<const N: usize>(tokens: [&CancelToken; N]) -> io::Result<Self> {
        let (socket, other_end) = socket_pair()?;
        let mut guards = Vec::new();
        for token in tokens {
            let other_end = other_end.try_clone()?;
            guards.push(token.on_cancel(move || {
                let _ = other_end.shutdown(Shutdown::Both);
            }));
        }
        Ok(Self { socket, _guards: guards })
    }

    /// What to wait for besides the sockets.
    pub(crate) fn poll_fd(&self) -> Option<PollFd<'_>> {
        Some(PollFd::new(&self.socket, PollFlags::IN))
    }
}

const FIRST: i32 = 3;

/// Moves a descriptor above those three numbers.
pub(crate) fn above_stdio<T: Into<OwnedFd> + From<OwnedFd>>(descriptor: T) -> io::Result<T> {
    let descriptor = descriptor.into();
    if descriptor.as_raw_fd() >= FIRST {
        return Ok(descriptor.into());
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&descriptor, FIRST)?.into())
}

/// Returns two connected sockets.
pub(crate) fn socket_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (one, other) = UnixStream::pair()?;
    Ok((above_stdio(one)?, above_stdio(other)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_above_those_three_is_unchanged() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let number = socket.as_raw_fd();
        assert_eq!(above_stdio(socket).unwrap().as_raw_fd(), number);
    }
}
