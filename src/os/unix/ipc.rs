//! Sockets: waiting with a deadline, and keeping descriptors away from standard input, output and error.
//!
//! A host that has closed those three may still print, and must not print into our connection.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

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
