//! What a program and the card helper say to each other, over a socket pair.
//!
//! A frame is its length (four bytes, little-endian) and as many bytes of postcard. Each side
//! begins with [`Hello`]; then come the program's [`Request`]s and the helper's [`Reply`]s:
//!
//! ```text
//! Find                    Card | Absent | Failed
//! Sign (once or more)     WrongPin | Signature Done | Failed Done
//! End  (instead of Sign)  Done
//! ```
//!
//! A helper that is started with [`RESET_ARGUMENT`] hears one [`Request::Reset`] instead, without
//! [`Hello`], answers [`Reply::Detached`] as soon as it can be reaped, and [`Reply::Done`] later.
//!
//! One that is started with [`EVENTS_ARGUMENT`] hears nothing after [`Hello`], and tells
//! [`Reply::Readers`], now and after each change.
//!
//! One that is started with [`EXAMINE_ARGUMENT`] answers one [`Request::Examine`] with an
//! [`Examination`](super::examination::Examination) instead.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::events::{Presence, Snapshot};
use super::pkcs11::CardSettings;
use super::{Absence, PinStatus};
use crate::challenge::Digest;
use crate::error::{Error, ErrorKind, Stage};
use crate::os::ipc::until_ready;
use crate::printable;
use crate::secret::{SecretBytes, secret_buffer};

/// The version of the messages. A helper of another version is not used.
pub const VERSION: u32 = 3;

/// The helper's only argument, in a helper that only resets a card.
pub const RESET_ARGUMENT: &str = "reset";

/// The only argument of a helper that watches the readers.
pub const EVENTS_ARGUMENT: &str = "events";

/// The helper's only argument, in a helper that only looks at what there is.
pub const EXAMINE_ARGUMENT: &str = "doctor";

/// The longest frame: a message to sign can be as long as the broker's longest answer.
pub const MAX_FRAME: usize = 2 << 20;

/// The first frame of each side. Never changes, so that all versions understand it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The version of all that follows.
    pub version: u32,
}

/// What the program asks of the helper.
#[derive(Serialize, Deserialize)]
pub enum Request<'a> {
    /// Look for the card to log in with, once.
    Find {
        /// Which modules, which card, what to do with it afterwards.
        settings: CardSettings,
        /// How long each operation may take. The helper ends itself when it takes much longer.
        deadline: Duration,
    },
    /// Log in and sign, then end as [`Request::End`] does. After a wrong PIN it may be asked again.
    Sign {
        /// None for the reader's own PIN pad.
        #[serde(borrow)]
        pin: Option<&'a str>,
        /// The digest to sign the message with.
        digest: Digest,
        /// The message, not its digest.
        message: &'a [u8],
    },
    /// Log out, let go of the card, reset it where the settings ask for it.
    End,
    /// Reset the card in the reader of this name, without any module.
    Reset {
        /// The slot's description, as PKCS#11 gives it.
        reader: &'a str,
    },
    /// Tell what there is of readers, or of one module.
    Examine {
        /// The module; none for the readers.
        module: Option<PathBuf>,
        /// Names of the issuers whose certificates are for logging in; any where it is empty.
        issuers: Vec<String>,
        /// How long it may take. The helper ends itself when it takes much longer.
        deadline: Duration,
    },
}

/// What the helper answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// There is no card to log in with; one may come.
    Absent {
        /// Why, for the user.
        absence: Absence,
        /// Why, as the error where nobody waits.
        failure: Failure,
        /// What there was before it was looked.
        readers: Snapshot,
        /// Whether `readers` has to change before it is worth looking again: no module shows
        /// anything but PC/SC readers, and no card is in them that it does not know.
        watched: bool,
    },
    /// This is the card.
    Card {
        /// The token's label.
        #[serde(deserialize_with = "printable::read_name")]
        label: String,
        /// The certificate to log in with, as DER.
        certificate: Vec<u8>,
        /// How it stands with the PIN.
        pin: PinStatus,
        /// The slot's description, where the slot may be a reader that PC/SC knows.
        reader: Option<String>,
        /// Where the card is, where PC/SC shows it.
        presence: Option<Presence>,
    },
    /// The readers have changed, or this is how they stand.
    Readers(Snapshot),
    /// The signature.
    Signature(Vec<u8>),
    /// The PIN was not taken; another may be tried.
    WrongPin {
        /// The error for the caller.
        failure: Failure,
        /// How it stands with the PIN now.
        pin: PinStatus,
    },
    /// It failed, for good.
    Failed(Failure),
    /// The helper has let go of the card.
    Done(Reset),
    /// The reset goes on in a process that is nobody's child.
    Detached,
}

/// How resetting the card went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reset {
    /// The card has been reset: nobody can use this login's PIN any more.
    Done,
    /// The settings say to leave the card as it is, or the host had logged in to it before.
    Left,
    /// PC/SC knows no such reader or no card in it, as with a card in software.
    NoReader,
    /// It failed, for this reason.
    Failed(#[serde(deserialize_with = "printable::read_sentence")] String),
}

/// An [`Error`] on its way from the helper to the program.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failure {
    kind: ErrorKind,
    stage: Stage,
    #[serde(deserialize_with = "printable::read_sentence")]
    detail: String,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind().clone(), stage: error.stage(), detail: error.detail().to_owned() }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::new(failure.kind, failure.stage, failure.detail)
    }
}

/// Why no message came through.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side has gone, or has closed its end.
    #[error("the other side has gone")]
    Closed,
    /// The time is over.
    #[error("no answer in time")]
    Timeout,
    /// What came is no message, or what was to be sent is too long.
    #[error("a message of {0} bytes that is not understood")]
    Malformed(usize),
}

/// One end of the socket pair, as messages. Clones share the socket.
///
/// Every buffer that a message passes through is allocated in its full size and wiped, since a
/// message may hold a PIN. Sending never raises SIGPIPE (`MSG_NOSIGNAL`).
#[derive(Clone)]
pub struct Channel(Arc<UnixStream>);

impl Channel {
    /// Messages over `socket`.
    pub fn new(socket: UnixStream) -> Self {
        Self(Arc::new(socket))
    }

    /// The socket itself, to shut it down from another thread or to poll it.
    pub fn socket(&self) -> &Arc<UnixStream> {
        &self.0
    }

    /// Sends `message`. Blocks for as long as the other side does not read, at most until `until`.
    ///
    /// # Errors
    ///
    /// [`ChannelError`]; of a message that is longer than [`MAX_FRAME`] nothing is sent.
    pub fn send<M: Serialize>(&self, message: &M, until: Option<Instant>) -> Result<(), ChannelError> {
        let size = postcard::experimental::serialized_size(message).map_err(|_| ChannelError::Malformed(0))?;
        let length = u32::try_from(size).ok().filter(|_| size <= MAX_FRAME).ok_or(ChannelError::Malformed(size))?;
        let mut frame = secret_buffer(4 + size);
        frame.extend_from_slice(&length.to_le_bytes());
        frame.resize(4 + size, 0);
        postcard::to_slice(message, &mut frame[4..]).map_err(|_| ChannelError::Malformed(size))?;

        let mut rest = &frame[..];
        while !rest.is_empty() {
            match send(&*self.0, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::AGAIN | Errno::INTR) => self.wait(PollFlags::OUT, until)?,
                Err(_) => return Err(ChannelError::Closed),
            }
        }
        Ok(())
    }

    /// Waits for a frame, at most until `until`. What has come already is read even after that.
    ///
    /// # Errors
    ///
    /// [`ChannelError`].
    pub fn receive(&self, until: Option<Instant>) -> Result<Frame, ChannelError> {
        let mut incoming = Incoming::default();
        loop {
            match self.read(&mut incoming)? {
                Some(frame) => return Ok(frame),
                None => self.wait(PollFlags::IN, until)?,
            }
        }
    }

    /// Reads what has come of a frame, without waiting; `None` where some of it is still to come.
    ///
    /// # Errors
    ///
    /// [`ChannelError`], but not [`ChannelError::Timeout`].
    pub fn read(&self, incoming: &mut Incoming) -> Result<Option<Frame>, ChannelError> {
        loop {
            let rest = incoming.rest();
            if !rest.is_empty() {
                match recv(&*self.0, rest, RecvFlags::DONTWAIT) {
                    Ok((0, _)) => return Err(ChannelError::Closed),
                    Ok((read, _)) => incoming.filled += read,
                    Err(Errno::AGAIN) => return Ok(None),
                    Err(Errno::INTR) => {}
                    Err(_) => return Err(ChannelError::Closed),
                }
            } else if let Some(bytes) = incoming.bytes.take() {
                *incoming = Incoming::default();
                return Ok(Some(Frame(bytes)));
            } else {
                let length = u32::from_le_bytes(incoming.length) as usize;
                if length > MAX_FRAME {
                    return Err(ChannelError::Malformed(length));
                }
                *incoming = Incoming { bytes: Some(Zeroizing::new(vec![0; length])), ..Incoming::default() };
            }
        }
    }

    fn wait(&self, ready: PollFlags, until: Option<Instant>) -> Result<(), ChannelError> {
        until_ready(&*self.0, ready, until).map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => ChannelError::Timeout,
            _ => ChannelError::Closed,
        })
    }
}

/// A frame of which some has come.
#[derive(Default)]
pub struct Incoming {
    length: [u8; 4],
    /// Once all of the length is there.
    bytes: Option<SecretBytes>,
    /// How much of the length is there, or else of the bytes.
    filled: usize,
}

impl Incoming {
    fn rest(&mut self) -> &mut [u8] {
        match &mut self.bytes {
            Some(bytes) => &mut bytes[self.filled..],
            None => &mut self.length[self.filled..],
        }
    }
}

/// A received frame: wiped when dropped.
pub struct Frame(SecretBytes);

impl Frame {
    /// The message in it; its texts stay in the frame.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Malformed`].
    pub fn message<'a, M: Deserialize<'a>>(&'a self) -> Result<M, ChannelError> {
        postcard::from_bytes(&self.0).map_err(|_| ChannelError::Malformed(self.0.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().unwrap();
        (Channel::new(one), Channel::new(other))
    }

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let (program, helper) = pair();
        program.send(&Request::Sign { pin: Some("1234"), digest: Digest::Sha256, message: b"text" }, None).unwrap();
        let frame = helper.receive(None).unwrap();
        let Request::Sign { pin, digest, message } = frame.message().unwrap() else { panic!("another message") };
        assert_eq!((pin, digest, message), (Some("1234"), Digest::Sha256, &b"text"[..]));
    }

    #[test]
    fn an_error_arrives_with_its_kind_stage_and_tries() {
        let (program, helper) = pair();
        let error = Error::new(ErrorKind::PinIncorrect { tries_left: Some(1) }, Stage::Pin, "the PIN is wrong");
        helper.send(&Reply::Failed(Failure::from(&error)), None).unwrap();
        let Reply::Failed(failure) = program.receive(None).unwrap().message().unwrap() else {
            panic!("another message")
        };
        let arrived = Error::from(failure);
        assert_eq!((arrived.tries_left(), arrived.stage()), (Some(1), Stage::Pin));
        assert_eq!(arrived.detail(), "the PIN is wrong");
    }

    #[test]
    fn sending_to_a_helper_that_has_gone_is_an_error_and_no_signal() {
        let (program, helper) = pair();
        drop(helper);
        assert!(matches!(program.send(&Request::End, None), Err(ChannelError::Closed)));
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let (program, _helper) = pair();
        let started = Instant::now();
        let until = Some(started + Duration::from_millis(20));
        assert!(matches!(program.receive(until), Err(ChannelError::Timeout)));
        assert!(started.elapsed() < Duration::from_millis(270));
    }

    #[test]
    fn a_frame_that_comes_in_parts_is_read_in_parts() {
        let (program, helper) = pair();
        let mut incoming = Incoming::default();
        let bytes = [3, 0, 0, 0, 7, 8, 9, 0, 0, 0, 0];
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(program.read(&mut incoming).unwrap().map(|frame| frame.0.to_vec()), None, "{at}");
            send(&**helper.socket(), &[*byte], SendFlags::NOSIGNAL).unwrap();
            match at {
                6 => assert_eq!(*program.read(&mut incoming).unwrap().unwrap().0, [7, 8, 9]),
                10 => assert!(program.read(&mut incoming).unwrap().unwrap().0.is_empty()),
                _ => {}
            }
        }
    }

    #[test]
    fn a_frame_that_says_it_is_longer_than_allowed_is_not_read() {
        let (program, helper) = pair();
        send(&**helper.socket(), &u32::MAX.to_le_bytes(), SendFlags::NOSIGNAL).unwrap();
        assert!(matches!(program.receive(None), Err(ChannelError::Malformed(_))));
    }

    #[test]
    fn noise_instead_of_a_message_is_an_error() {
        let (program, helper) = pair();
        send(&**helper.socket(), &[2, 0, 0, 0, 0xff, 0xff], SendFlags::NOSIGNAL).unwrap();
        assert!(matches!(program.receive(None).unwrap().message::<Reply>(), Err(ChannelError::Malformed(2))));
    }
}
