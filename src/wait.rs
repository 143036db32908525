//! Waiting for a socket until a deadline.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
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
