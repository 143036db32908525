//! Descriptors that keep away from standard input, output and error.
//!
//! A host that has closed these may go on to print, and must not print into a connection of ours.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

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
