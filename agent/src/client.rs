//! One connected program: its unread bytes and unanswered requests.

use std::io;
use std::time::{Duration, Instant};

use ticketapi::agent::protocol::{MAX_REQUEST, Reply, Request};
use ticketapi::framing::{ChannelError, Inbox, wiped};
use zeroize::Zeroizing;

use crate::jobs::Kind;
use crate::os::{Interest, Stream, Watched};

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
    stream: Stream,
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
    pub(crate) fn new(id: u64, stream: Stream, now: Instant) -> Self {
        Self {
            id,
            greeted: false,
            waits_for: None,
            watches: false,
            active: now,
            stream,
            inbox: Inbox::new(MAX_REQUEST),
            outbox: Zeroizing::default(),
            sent: 0,
            spent: 0,
            due: Some(now + PATIENCE),
        }
    }

    /// Returns what to wait for. A closed connection is always reported.
    pub(crate) fn watched(&self) -> Watched<'_> {
        let interest = if !self.outbox.is_empty() {
            Interest::Room
        } else if self.waits_for.is_some() {
            Interest::End
        } else {
            Interest::Bytes
        };
        Watched { id: self.id, stream: &self.stream, interest }
    }

    /// Reads some of the received bytes. An error means that the program has disconnected.
    ///
    /// Only some, so that a flood does not hold up the others.
    pub(crate) fn receive(&mut self, now: Instant) -> io::Result<()> {
        let room = self.inbox.room().map_err(io::Error::other)?;
        match self.stream.receive(room) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.inbox.add(count);
                self.active = now;
                Ok(())
            }
            Err(error) if is_for_later(&error) => Ok(()),
            Err(error) => Err(error),
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
        let sent = if self.outbox.is_empty() { send(&mut self.stream, &message)? } else { 0 };
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
        self.sent += send(&mut self.stream, &self.outbox[self.sent..])?;
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
}

fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<usize> {
    stream.send(bytes).or_else(|error| if is_for_later(&error) { Ok(0) } else { Err(error) })
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
