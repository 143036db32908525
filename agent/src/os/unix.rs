//! Unix: sockets, and signals.

#[path = "hardening.rs"]
mod hardening;
#[path = "listener.rs"]
mod listener;

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use super::{Ready, Wait, Watched, failed};

pub(crate) use hardening::harden;
pub(crate) use listener::Listener;

/// A program's connection. No call waits.
pub(crate) struct Stream(UnixStream);

impl Stream {
    /// Reads available bytes; returns 0 at the end.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) while nothing is there.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(&self.0, buffer, RecvFlags::DONTWAIT)?.0)
    }

    /// Sends the first of `bytes`, and returns how many.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) while there is no room.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(&self.0, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
    }
}

/// What a connection is waited for. Its end always counts.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    End,
    Bytes,
    Room,
}

/// Wakes the poller, from any thread.
pub(crate) struct Waker(UnixStream);

impl Waker {
    pub(crate) fn wake(&self) {
        // A full buffer already wakes it, and an agent that has ended needs nothing.
        let _ = (&self.0).write(&[0]);
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

/// Stops the agent, from any thread or a signal handler.
#[derive(Debug)]
pub struct Stopper(UnixStream);

impl Stopper {
    /// Has the agent end its session and then itself. Its second call changes nothing.
    pub fn stop(&self) {
        let _ = (&self.0).write(&[0]);
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl From<Stopper> for OwnedFd {
    fn from(stopper: Stopper) -> Self {
        stopper.0.into()
    }
}

/// Waits for everything that the agent reacts to.
pub(crate) struct Poller {
    woken: UnixStream,
    stopped: UnixStream,
}

impl Poller {
    pub(crate) fn new() -> io::Result<(Self, Waker, Stopper)> {
        let ((woken, wake), (stopped, stop)) = (UnixStream::pair()?, UnixStream::pair()?);
        for socket in [&woken, &wake, &stopped] {
            socket.set_nonblocking(true)?;
        }
        Ok((Self { woken, stopped }, Waker(wake), Stopper(stop)))
    }

    /// Waits until one of these is ready or woken, or until the time. May return early.
    pub(crate) fn wait<'a>(&mut self, what: Wait<'_>, clients: impl Iterator<Item = Watched<'a>>) -> io::Result<Ready> {
        let clients: Vec<_> = clients.collect();
        let mut fds = Vec::with_capacity(clients.len() + 3);
        fds.push(PollFd::new(&self.woken, PollFlags::IN));
        // The writing end of `stopped` may be closed.
        let stop = if what.stop { PollFlags::IN } else { PollFlags::empty() };
        fds.push(PollFd::new(&self.stopped, stop));
        let listener = what.listener.as_deref();
        fds.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        let others = fds.len();
        fds.extend(clients.iter().map(|client| {
            PollFd::new(
                &client.stream.0,
                match client.interest {
                    Interest::End => PollFlags::empty(),
                    Interest::Bytes => PollFlags::IN,
                    Interest::Room => PollFlags::OUT,
                },
            )
        }));
        let left = what.until.map(|until| until.saturating_duration_since(Instant::now()));
        match poll(&mut fds, left.and_then(|left: Duration| Timespec::try_from(left).ok()).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let ready = Ready {
            stop: is_ready(&fds[1]),
            listener: others == 3 && is_ready(&fds[2]),
            clients: clients
                .iter()
                .zip(&fds[others..])
                .filter(|(_, fd)| is_ready(fd))
                .map(|(client, _)| client.id)
                .collect(),
        };
        if is_ready(&fds[0]) {
            // The number of bytes does not matter.
            while (&self.woken).read(&mut [0; 64]).is_ok_and(|count| count == 64) {}
        }
        Ok(ready)
    }
}

/// Has SIGTERM and SIGINT stop the agent.
pub(crate) fn stop_with_desktop(stopper: &Stopper) -> io::Result<()> {
    for signal in [SIGTERM, SIGINT] {
        pipe::register(signal, stopper.try_clone()?)?;
    }
    Ok(())
}
