//! Sockets: waiting for one until a deadline, and descriptors that keep away from standard input, output and error.
//!
//! A host that has closed these may go on to print, and must not print into a connection of ours.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Waits until `socket` is ready for `what`; returns early when a signal comes.
///
/// A time-out of the socket itself (`SO_RCVTIMEO`) would not do: Linux lets those of 20 seconds
/// come two seconds late.
///
/// # Errors
///
/// [`ErrorKind::TimedOut`] once `until` has passed.
pub(crate) fn until_ready(socket: impl AsFd, what: PollFlags, until: Option<Instant>) -> io::Result<()> {
    until_any_ready(&mut [PollFd::new(&socket, what)], until)
}

/// [`until_ready`] for the first of several.
pub(crate) fn until_any_ready(sockets: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<()> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| left.is_zero()) {
        return Err(ErrorKind::TimedOut.into());
    }
    // A time that the system cannot hold is as good as none.
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(sockets, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Repeats `call` on a socket that does not block, until it is done or `until` has passed.
///
/// The deadline counts for a socket that is always ready as well.
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

/// The same, with a number above those of the three.
pub(crate) fn above_stdio<T: Into<OwnedFd> + From<OwnedFd>>(descriptor: T) -> io::Result<T> {
    let descriptor = descriptor.into();
    if descriptor.as_raw_fd() >= FIRST {
        return Ok(descriptor.into());
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&descriptor, FIRST)?.into())
}

/// Two sockets that are connected.
pub(crate) fn socket_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (one, other) = UnixStream::pair()?;
    Ok((above_stdio(one)?, above_stdio(other)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_above_those_three_stays_what_it_is() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let number = socket.as_raw_fd();
        assert_eq!(above_stdio(socket).unwrap().as_raw_fd(), number);
    }
}
