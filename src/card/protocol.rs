//! The protocol between a program and the card helper, over a socket pair.
//!
//! A frame is its length (four bytes, little-endian) followed by that many bytes of postcard. Each side
//! starts with [`Hello`]; the program's [`Request`]s and the helper's [`Reply`]s follow:
//!
//! ```text
//! Find                    Card | Absent | Failed
//! Sign (once or more)     WrongPin | Signature Done | Failed Done
//! End  (instead of Sign)  Done
//! ```
//!
//! A helper started with [`RESET_ARGUMENT`] takes one [`Request::Reset`] and no [`Hello`]. It answers
//! [`Reply::Detached`] as soon as it can be reaped, and [`Reply::Done`] later.
//!
//! A helper started with [`EVENTS_ARGUMENT`] takes nothing after [`Hello`]. It sends
//! [`Reply::Readers`] at once and after each change.
//!
//! A helper started with [`EXAMINE_ARGUMENT`] answers one [`Request::Examine`] with an
//! [`Examination`](super::examination::Examination).

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
use crate::card::Digest;
use crate::error::{Error, ErrorKind, Stage};
use crate::os::ipc::until_ready;
use crate::printable;
use crate::secret::{SecretBytes, secret_buffer};

/// The protocol version. A helper of another version is not used.
pub const VERSION: u32 = 4;

/// The argument of a helper that only resets a card.
pub const RESET_ARGUMENT: &str = "reset";

/// The argument of a helper that watches the readers.
pub const EVENTS_ARGUMENT: &str = "events";

/// The argument of a helper that only examines the computer.
pub const EXAMINE_ARGUMENT: &str = "doctor";

/// The longest frame. A message to sign can be as long as the broker's longest answer.
pub(crate) const MAX_FRAME: usize = 2 << 20;

/// The first frame of each side. Its form never changes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The version of everything that follows.
    pub version: u32,
}

/// A request to the helper.
#[derive(Serialize, Deserialize)]
pub enum Request<'a> {
    /// Search for the card, once.
    Find {
        /// The modules, the card to choose, and how to leave it.
        settings: CardSettings,
        /// Time allowed for each operation. The helper ends itself if it takes much longer.
        deadline: Duration,
    },
    /// Log in and sign, then end as for [`Request::End`]. May be repeated after a wrong PIN.
    Sign {
        /// `None` for the reader's PIN pad.
        #[serde(borrow)]
        pin: Option<&'a str>,
        /// The digest to sign the message with.
        digest: Digest,
        /// The message, not its digest.
        message: &'a [u8],
    },
    /// Log out, release the card, and reset it if the settings say so.
    End,
    /// Reset the card in the reader of this name, without a module.
    Reset {
        /// The slot's description, as PKCS#11 gives it.
        reader: &'a str,
    },
    /// Report the readers, or one module.
    Examine {
        /// The module; `None` for the readers.
        module: Option<PathBuf>,
        /// Names of the issuers whose certificates may log in; empty means any.
        issuers: Vec<String>,
        /// Time allowed. The helper ends itself if it takes much longer.
        deadline: Duration,
    },
}

/// A reply of the helper.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// No usable card yet; one may come.
    Absent {
        /// The reason, for the prompt.
        absence: Absence,
        /// The reason as an error, if nobody waits.
        failure: Failure,
        /// The readers before the search.
        readers: Snapshot,
        /// Whether searching again needs a change of `readers`: all slots are PC/SC readers, and they hold no
        /// card that the module does not know.
        watched: bool,
    },
    /// The card.
    Card {
        /// The token's label.
        #[serde(deserialize_with = "printable::read_name")]
        label: String,
        /// The certificate to log in with, as DER; `None` if the card shows none before the login.
        certificate: Option<Vec<u8>>,
        /// The PIN status.
        pin: PinStatus,
        /// The slot's description, if the slot may be a PC/SC reader.
        reader: Option<String>,
        /// Where the card is, if PC/SC shows it.
        presence: Option<Presence>,
    },
    /// The readers now.
    Readers(Snapshot),
    /// The card has signed.
    Signature {
        /// The signature.
        signature: Vec<u8>,
        /// The certificate of its key, as DER.
        certificate: Vec<u8>,
    },
    /// The PIN was refused; another may be tried.
    WrongPin {
        /// The error for the caller.
        failure: Failure,
        /// The PIN status now.
        pin: PinStatus,
    },
    /// A final failure.
    Failed(Failure),
    /// The helper has released the card.
    Done(Reset),
    /// A detached process continues the reset.
    Detached,
}

/// The outcome of a card reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reset {
    /// The card was reset: no program can use this login's PIN.
    Done,
    /// The card was left as it is, by the settings or because the host had logged in to it before.
    Left,
    /// PC/SC shows no such reader or no card in it, as for software tokens.
    NoReader,
    /// The reset failed, for this reason.
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

/// Why no message was exchanged.
#[derive(Debug, thiserror::Error)]
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
}

/// One end of the socket pair. Clones share the socket.
///
/// Every buffer a message passes through is allocated at its full size and wiped, because a message may
/// hold a PIN. Sending never raises SIGPIPE (`MSG_NOSIGNAL`).
#[derive(Clone)]
pub struct Channel(Arc<UnixStream>);

impl Channel {
    /// Wraps `socket`.
    pub fn new(socket: UnixStream) -> Self {
        Self(Arc::new(socket))
    }

    /// Returns the socket, to shut it down from another thread or to poll it.
    pub fn socket(&self) -> &Arc<UnixStream> {
        &self.0
    }

    /// Sends `message`. Blocks while the other side does not read, at most until `until`.
    ///
    /// # Errors
    ///
    /// [`ChannelError`]. Sends nothing of a message longer than [`MAX_FRAME`].
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

    /// Waits for a frame until `until`. A frame that has already arrived is read even later.
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

    /// Reads a frame without waiting; `None` while it is incomplete.
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

/// A partly received frame.
#[derive(Default)]
pub struct Incoming {
    length: [u8; 4],
    /// Allocated once the length is complete.
    bytes: Option<SecretBytes>,
    /// How many bytes of the length, or else of the frame, have arrived.
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

/// A received frame, wiped on drop.
pub struct Frame(SecretBytes);

impl Frame {
    /// Decodes the message; its texts borrow from the frame.
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
