//! One connected program: what it sent and did not yet get an answer to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use ticketapi::agent::inbox::Inbox;
use ticketapi::agent::protocol::{Malformed, Reply, Request};
use zeroize::Zeroizing;

use crate::jobs::Kind;

/// The time in which a program has to send the rest of a message, or read its answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much may wait to be read by the program before it is asked for more requests.
const OUTBOX: usize = 128 << 10;

/// What one program may cost before it is the next one's turn, and what an answer costs besides its
/// length, in bytes.
const TURN: usize = 16 << 10;
const ANSWER: usize = 512;

pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) greeted: bool,
    /// What it waits for.
    pub(crate) waits_for: Option<Kind>,
    /// When it last sent something.
    pub(crate) active: Instant,
    socket: UnixStream,
    inbox: Inbox,
    outbox: Zeroizing<Vec<u8>>,
    /// What it has cost in this turn.
    spent: usize,
    /// When it has to have done what it began.
    pub(crate) due: Option<Instant>,
}

impl Client {
    pub(crate) fn new(id: u64, socket: UnixStream, now: Instant) -> Self {
        Self {
            id,
            greeted: false,
            waits_for: None,
            active: now,
            socket,
            inbox: Inbox::default(),
            outbox: Zeroizing::default(),
            spent: 0,
            due: Some(now + PATIENCE),
        }
    }

    /// What to wait for. That it goes away is always told.
    pub(crate) fn interest(&self) -> PollFlags {
        if !self.outbox.is_empty() {
            PollFlags::OUT
        } else if self.waits_for.is_some() {
            PollFlags::empty()
        } else {
            PollFlags::IN
        }
    }

    /// Reads a part of what has come. An error means that the program has gone.
    ///
    /// Only a part, so that a flood is no longer than others can wait.
    pub(crate) fn receive(&mut self, now: Instant) -> io::Result<()> {
        let room = self.inbox.room().map_err(io::Error::other)?;
        match recv(&self.socket, &mut *room, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((count, _)) => {
                self.inbox.add(count);
                self.active = now;
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Begins its turn. True when it has sent a request before that can be answered now.
    pub(crate) fn begin_turn(&mut self) -> bool {
        self.spent = 0;
        self.has_request()
    }

    /// Whether a request is there that can be answered now.
    pub(crate) fn has_request(&self) -> bool {
        self.waits_for.is_none() && self.outbox.len() < OUTBOX && !matches!(self.inbox.message(), Ok(None))
    }

    /// The next request, if it can be answered in this turn.
    pub(crate) fn request(&mut self) -> Option<Result<Request, Malformed>> {
        if !self.has_request() || self.spent >= TURN {
            return None;
        }
        let request = match self.inbox.message() {
            Ok(None) => return None,
            Ok(Some(message)) => Request::decode(message),
            Err(malformed) => Err(malformed),
        };
        self.inbox.done();
        Some(request)
    }

    /// Answers. What the program does not read at once is kept for it.
    pub(crate) fn answer(&mut self, reply: &Reply) -> io::Result<()> {
        let message = reply.encode();
        self.spent += ANSWER + message.len();
        let sent = if self.outbox.is_empty() { self.send(&message)? } else { 0 };
        if sent < message.len() {
            // In a buffer of its own: one that grows leaves its old bytes behind.
            let mut outbox = Zeroizing::new(Vec::with_capacity(self.outbox.len() + message.len() - sent));
            outbox.extend_from_slice(&self.outbox);
            outbox.extend_from_slice(&message[sent..]);
            self.outbox = outbox;
        }
        Ok(())
    }

    /// Sends what was kept.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let sent = self.send(&self.outbox)?;
        self.outbox = Zeroizing::new(self.outbox[sent..].to_vec());
        Ok(())
    }

    /// Whether it reads its answers.
    pub(crate) fn keeps_up(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Gives it time for what it has begun.
    pub(crate) fn set_due(&mut self, now: Instant) {
        let has_begun = !self.greeted || !self.keeps_up() || (self.waits_for.is_none() && !self.inbox.is_empty());
        self.due = has_begun.then(|| self.due.unwrap_or(now + PATIENCE));
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) => Ok(sent),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
