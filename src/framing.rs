//! Messages on a stream socket, or on a pipe where there is none: those of the card helper and those of the agent.
//!
//! A frame is its length (four bytes, little-endian) followed by that many bytes of postcard, at least one. Every
//! buffer that a message passes through is allocated at its full size and wiped, because it may hold a PIN or a
//! ticket.

use std::hint::black_box;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Stage};
use crate::os::ipc::{Socket, receive, send_all, until_readable};
use crate::printable;
use crate::secret::{SecretBytes, secret_buffer, wipe};

/// The bytes of the length.
pub const PREFIX: usize = 4;

/// Most messages are shorter, those with a ticket of 4 KiB included: growing and shrinking would take longer than the
/// rest, as each buffer is wiped.
const USUAL: usize = 4608;

/// The longest sentence of a [`WireError`], in characters.
const SENTENCE: usize = 8 << 10;

/// Why no message was exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The other side has ended or closed its end.
    #[error("the other side has gone")]
    Closed,
    /// The deadline has passed.
    #[error("no answer in time")]
    Timeout,
    /// The received bytes are not a message, or the message to send is too long.
    #[error("a message of {0} bytes that is not understood")]
    Malformed(usize),
    /// The received message is of a kind that does not exist in this version.
    #[error("a message of the unknown kind {0}")]
    Unknown(u32),
}

/// An [`Error`] on its way between processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireError {
    stage: Stage,
    kind: ErrorKind,
    #[serde(deserialize_with = "printable::read_sentence")]
    detail: String,
}

impl WireError {
    pub(crate) fn is(&self, kind: &ErrorKind) -> bool {
        self.kind == *kind
    }
}

impl From<&Error> for WireError {
    fn from(error: &Error) -> Self {
        let detail = error.detail().chars().take(SENTENCE).collect();
        Self { stage: error.stage(), kind: error.kind().clone(), detail }
    }
}

impl From<WireError> for Error {
    fn from(failure: WireError) -> Self {
        Error::new(failure.kind, failure.stage, failure.detail)
    }
}

/// Returns the frame of `message`.
///
/// # Errors
///
/// [`ChannelError::Malformed`] if it is longer than `limit`.
pub fn encode<M: Serialize + ?Sized>(message: &M, limit: usize) -> Result<SecretBytes, ChannelError> {
    let size = postcard::experimental::serialized_size(message).map_err(|_| ChannelError::Malformed(0))?;
    let length = u32::try_from(size).ok().filter(|_| size <= limit).ok_or(ChannelError::Malformed(size))?;
    let mut frame = secret_buffer(PREFIX + size);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.resize(PREFIX + size, 0);
    postcard::to_slice(message, &mut frame[PREFIX..]).map_err(|_| ChannelError::Malformed(size))?;
    Ok(frame)
}

/// Wipes and frees the bytes of a frame, faster than dropping them does.
pub fn wiped(mut frame: SecretBytes) {
    wipe(mem::take(&mut *frame));
}

/// Decodes a frame's bytes; the texts of the message may borrow from them.
///
/// # Errors
///
/// [`ChannelError::Malformed`].
pub fn decode<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> Result<M, ChannelError> {
    postcard::from_bytes(bytes).map_err(|_| ChannelError::Malformed(bytes.len()))
}

/// Received bytes, on their way to becoming messages.
pub struct Inbox {
    bytes: SecretBytes,
    filled: usize,
    limit: usize,
}

impl Inbox {
    /// Returns an empty one for frames of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { bytes: Zeroizing::new(vec![0; USUAL]), filled: 0, limit }
    }

    /// Returns where the next bytes go; never empty, unless a whole message is there. Grows with the message that is
    /// being received, never beyond the longest one.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Malformed`] for a length of zero or beyond the limit.
    pub fn room(&mut self) -> Result<&mut [u8], ChannelError> {
        let needed = self.announced()?.map_or(PREFIX, |length| PREFIX + length).max(USUAL);
        if needed != self.bytes.len() && self.filled <= needed {
            let mut bytes = Zeroizing::new(vec![0; needed]);
            bytes[..self.filled].copy_from_slice(&self.bytes[..self.filled]);
            self.bytes = bytes;
        }
        Ok(&mut self.bytes[self.filled..])
    }

    /// Adds the `count` bytes that were written to [`Inbox::room`].
    pub fn add(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.bytes.len());
    }

    /// Returns the next message, without its length, if it is complete.
    ///
    /// # Errors
    ///
    /// As [`Inbox::room`].
    pub fn message(&self) -> Result<Option<&[u8]>, ChannelError> {
        let length = self.announced()?;
        Ok(length.filter(|length| self.filled >= PREFIX + length).map(|length| &self.bytes[PREFIX..PREFIX + length]))
    }

    /// Wipes that message.
    pub fn done(&mut self) {
        let Ok(Some(message)) = self.message() else { return };
        let over = PREFIX + message.len();
        self.bytes.copy_within(over..self.filled, 0);
        let rest = &mut self.bytes[self.filled - over..self.filled];
        rest.fill(0);
        black_box(rest);
        self.filled -= over;
    }

    /// Returns `true` unless part of a message is there.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    fn announced(&self) -> Result<Option<usize>, ChannelError> {
        let Some(prefix) = self.bytes[..self.filled].first_chunk::<PREFIX>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if (1..=self.limit).contains(&length) { Ok(Some(length)) } else { Err(ChannelError::Malformed(length)) }
    }
}

/// One end of a connection. Clones share it.
///
/// Sending never raises SIGPIPE (`MSG_NOSIGNAL`).
#[derive(Clone)]
pub struct Channel {
    socket: Arc<Socket>,
    inbox: Arc<Mutex<Inbox>>,
    limit: usize,
}

impl Channel {
    /// Wraps `socket`, for frames of up to `limit` bytes.
    pub fn new(socket: Socket, limit: usize) -> Self {
        Self { socket: Arc::new(socket), inbox: Arc::new(Mutex::new(Inbox::new(limit))), limit }
    }

    /// Returns the socket, to shut it down from another thread or to poll it.
    pub fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Sends `message`. Blocks while the other side does not read, at most until `until`.
    ///
    /// # Errors
    ///
    /// [`ChannelError`]. Sends nothing of a message that is too long.
    pub fn send<M: Serialize>(&self, message: &M, until: Option<Instant>) -> Result<(), ChannelError> {
        let frame = encode(message, self.limit)?;
        let sent = self.send_frames(&frame, until);
        wiped(frame);
        sent
    }

    /// As [`Channel::send`], for frames that are encoded already.
    pub(crate) fn send_frames(&self, frames: &[u8], until: Option<Instant>) -> Result<(), ChannelError> {
        send_all(&self.socket, frames, until).map_err(no_exchange)
    }

    /// Waits for a frame until `until`. A frame that has already arrived is read even later.
    ///
    /// # Errors
    ///
    /// [`ChannelError`].
    pub fn receive(&self, until: Option<Instant>) -> Result<Frame, ChannelError> {
        loop {
            match self.read()? {
                Some(frame) => return Ok(frame),
                None => until_readable(&self.socket, until).map_err(no_exchange)?,
            }
        }
    }

    /// Reads a frame without waiting; `None` while it is incomplete.
    ///
    /// # Errors
    ///
    /// [`ChannelError`], but not [`ChannelError::Timeout`].
    pub fn read(&self) -> Result<Option<Frame>, ChannelError> {
        let mut inbox = self.lock();
        loop {
            if let Some(message) = inbox.message()? {
                let frame = Frame(Zeroizing::new(message.to_vec()));
                inbox.done();
                return Ok(Some(frame));
            }
            match receive(&self.socket, inbox.room()?) {
                Ok(0) => return Err(ChannelError::Closed),
                Ok(count) => inbox.add(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(ChannelError::Closed),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_exchange(error: io::Error) -> ChannelError {
    match error.kind() {
        io::ErrorKind::TimedOut => ChannelError::Timeout,
        _ => ChannelError::Closed,
    }
}

/// A received frame, wiped on drop.
pub struct Frame(SecretBytes);

impl Drop for Frame {
    fn drop(&mut self) {
        wiped(mem::take(&mut self.0));
    }
}

impl Frame {
    /// Decodes the message; its texts borrow from the frame.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Malformed`].
    pub fn message<'a, M: Deserialize<'a>>(&'a self) -> Result<M, ChannelError> {
        decode(&self.0)
    }

    /// Returns the bytes of the message.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

// They use the other end as a socket.
#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use rustix::net::{SendFlags, send};

    use super::*;

    const LIMIT: usize = 64 << 10;

    fn pair() -> (Channel, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        (Channel::new(one, LIMIT), other)
    }

    fn write(socket: &UnixStream, bytes: &[u8]) {
        assert_eq!(send(socket, bytes, SendFlags::NOSIGNAL).unwrap(), bytes.len());
    }

    fn put(inbox: &mut Inbox, mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut read = Vec::new();
        while !bytes.is_empty() {
            let room = inbox.room().unwrap();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            inbox.add(count);
            bytes = &bytes[count..];
            while let Some(message) = inbox.message().unwrap() {
                read.push(message.to_vec());
                inbox.done();
            }
        }
        read
    }

    #[test]
    fn messages_are_read_however_they_are_cut() {
        let messages = [vec![7], vec![1, 2, 3], vec![0; USUAL + 600]];
        let frames = messages.iter().flat_map(|bytes| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat());
        let bytes: Vec<u8> = frames.collect();
        for cut in (0..30).chain(USUAL - 30..=bytes.len()) {
            let mut inbox = Inbox::new(LIMIT);
            let mut read = put(&mut inbox, &bytes[..cut]);
            read.extend(put(&mut inbox, &bytes[cut..]));
            assert_eq!(read, messages);
            assert!(inbox.is_empty());
        }
    }

    #[test]
    fn what_was_read_is_wiped_and_a_long_message_leaves_no_long_buffer() {
        let mut inbox = Inbox::new(LIMIT);
        let long = [&(LIMIT as u32).to_le_bytes()[..], &vec![b'x'; LIMIT]].concat();
        assert_eq!(put(&mut inbox, &long), [vec![b'x'; LIMIT]]);
        assert!(inbox.bytes.iter().all(|&byte| byte == 0));
        assert_eq!(inbox.room().unwrap().len(), USUAL);
    }

    #[test]
    fn a_length_beyond_the_longest_message_is_refused_after_its_four_bytes() {
        for length in [0, LIMIT as u32 + 1, 64 << 20, u32::MAX] {
            let mut inbox = Inbox::new(LIMIT);
            inbox.room().unwrap()[..PREFIX].copy_from_slice(&length.to_le_bytes());
            inbox.add(PREFIX);
            assert_eq!(inbox.message(), Err(ChannelError::Malformed(length as usize)));
            assert!(inbox.room().is_err());
            let (channel, other) = pair();
            write(&other, &length.to_le_bytes());
            assert!(matches!(channel.receive(None), Err(ChannelError::Malformed(_))));
        }
        assert_eq!(encode(&vec![1_u8; LIMIT], LIMIT), Err(ChannelError::Malformed(LIMIT + 3)));
    }

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let (channel, other) = pair();
        let other = Channel::new(other, LIMIT);
        for length in [0, 1, 127, 128, 5000] {
            let text = "x".repeat(length);
            channel.send(&(7_u8, &text), None).unwrap();
            assert_eq!(other.receive(None).unwrap().message(), Ok((7_u8, &*text)));
        }
    }

    #[test]
    fn a_frame_that_comes_in_parts_is_read_in_parts() {
        let (channel, other) = pair();
        for (at, byte) in [3, 0, 0, 0, 7, 8, 9, 1, 0, 0, 0, 5].iter().enumerate() {
            assert!(channel.read().unwrap().is_none(), "{at}");
            write(&other, &[*byte]);
            match at {
                6 => assert_eq!(channel.read().unwrap().unwrap().bytes(), [7, 8, 9]),
                11 => assert_eq!(channel.read().unwrap().unwrap().bytes(), [5]),
                _ => {}
            }
        }
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let (channel, _other) = pair();
        let started = Instant::now();
        let until = Some(started + Duration::from_millis(20));
        assert!(matches!(channel.receive(until), Err(ChannelError::Timeout)));
        assert!(started.elapsed() < Duration::from_millis(270));
    }

    #[test]
    fn sending_to_a_process_that_has_gone_is_an_error_and_no_signal() {
        let (channel, other) = pair();
        drop(other);
        assert_eq!(channel.send(&1_u8, None), Err(ChannelError::Closed));
    }

    #[test]
    fn noise_instead_of_a_message_is_an_error() {
        let (channel, other) = pair();
        write(&other, &[2, 0, 0, 0, 0xff, 0xff]);
        assert_eq!(channel.receive(None).unwrap().message::<WireError>(), Err(ChannelError::Malformed(2)));
    }

    #[test]
    fn an_error_arrives_with_its_kind_stage_and_tries_and_not_too_long() {
        let error = Error::new(ErrorKind::PinIncorrect { tries_left: Some(1) }, Stage::Pin, "wrong ".repeat(SENTENCE));
        let frame = encode(&WireError::from(&error), LIMIT).unwrap();
        let arrived = Error::from(decode::<WireError>(&frame[PREFIX..]).unwrap());
        assert_eq!((arrived.tries_left(), arrived.stage()), (Some(1), Stage::Pin));
        assert!(arrived.detail().starts_with("wrong wrong") && arrived.detail().chars().count() <= SENTENCE);
    }
}
