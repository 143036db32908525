//! One connected program: its unread bytes and unanswered requests.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use ticketapi::agent::protocol::{MAX_REQUEST, Reply, Request};
use ticketapi::framing::{ChannelError, Inbox, wiped};
use zeroize::Zeroizing;

use crate::jobs::Kind;

/// Time allowed for a program to complete a message, or to read its answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many unread answer bytes are kept before no further request is taken.
const OUTBOX: usize = 128 << 10;

/// A program's budget for one turn, and the cost of an answer besides its length, in bytes.
const TURN: usize = 16 << 10;
const ANSWER: usize = 512;

/// What a program waits for.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    pub(crate) kind: Kind,
    /// The session that the program knows, if it wants the session and not only its ticket.
    pub(crate) known: Option<u64>,
}

pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) greeted: bool,
    /// The request that waits.
    pub(crate) waits_for: Option<Wait>,
    /// Whether it is sent the changes of the session.
    pub(crate) watches: bool,
    /// When it last sent a message.
    pub(crate) active: Instant,
    socket: UnixStream,
    inbox: Inbox,
    /// Answers, of which `sent` bytes have been sent.
    outbox: Zeroizing<Vec<u8>>,
    sent: usize,
    /// Its cost in this turn.
    spent: usize,
    /// When it must have completed what it began.
    pub(crate) due: Option<Instant>,
}

impl Client {
    pub(crate) fn new(id: u64, socket: UnixStream, now: Instant) -> Self {
        Self {
            id,
            greeted: false,
            waits_for: None,
            watches: false,
            active: now,
            socket,
            inbox: Inbox::new(MAX_REQUEST),
            outbox: Zeroizing::default(),
            sent: 0,
            spent: 0,
            due: Some(now + PATIENCE),
        }
    }

    /// Returns what to poll for. A closed connection is always reported.
    pub(crate) fn interest(&self) -> PollFlags {
        if !self.outbox.is_empty() {
            PollFlags::OUT
        } else if self.waits_for.is_some() {
            PollFlags::empty()
        } else {
            PollFlags::IN
        }
    }

    /// Reads some of the received bytes. An error means that the program has disconnected.
    ///
    /// Only some, so that a flood does not hold up the others.
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

    /// Starts its turn. Returns `true` if an earlier request can be answered now.
    pub(crate) fn begin_turn(&mut self) -> bool {
        self.spent = 0;
        self.has_request()
    }

    /// Returns `true` if a request can be answered now.
    pub(crate) fn has_request(&self) -> bool {
        self.waits_for.is_none() && self.outbox.len() < OUTBOX && !matches!(self.inbox.message(), Ok(None))
    }

    /// Returns the next request that fits into this turn.
    pub(crate) fn request(&mut self) -> Option<Result<Request, ChannelError>> {
        if !self.has_request() || self.spent >= TURN {
            return None;
        }
        let request = match self.inbox.message() {
            Ok(None) => return None,
            Ok(Some(message)) => Request::decode(message),
            Err(error) => Err(error),
        };
        self.inbox.done();
        Some(request)
    }

    /// Sends an answer, and keeps what the program does not read at once.
    pub(crate) fn answer(&mut self, reply: &Reply) -> io::Result<()> {
        let message = reply.encode();
        self.spent += ANSWER + message.len();
        let sent = if self.outbox.is_empty() { self.send(&message)? } else { 0 };
        if sent < message.len() {
            // A new buffer: a growing one would leave copies of a ticket in memory.
            let kept = &self.outbox[self.sent..];
            let mut outbox = Zeroizing::new(Vec::with_capacity(kept.len() + message.len() - sent));
            outbox.extend_from_slice(kept);
            outbox.extend_from_slice(&message[sent..]);
            (self.outbox, self.sent) = (outbox, 0);
        }
        wiped(message);
        Ok(())
    }

    /// Sends kept answers.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.sent += self.send(&self.outbox[self.sent..])?;
        if self.sent == self.outbox.len() {
            (self.outbox, self.sent) = (Zeroizing::default(), 0);
        }
        Ok(())
    }

    /// Returns `true` if the program reads its answers.
    pub(crate) fn keeps_up(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Restarts its time allowance.
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
