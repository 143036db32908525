//! The protocol between a program and the card helper, over a socket pair.
//!
//! Frames are those of [`crate::framing`]. Each side
//! starts with [`Hello`]; the program's [`Request`]s and the helper's [`Reply`]s follow:
//!
//! ```text
//! Find                    Card | Absent | Failed
//! Sign (once or more)     WrongPin | Signature Done | Failed Done
//! End  (instead of Sign)  Done
//! ```
//!
//! To sign documents:
//!
//! ```text
//! FindSigner            Signer | Absent | Failed
//! LogIn (once or more)  WrongPin | LoggedIn | Failed Done
//! SignHash (any number) Signed
//! End                   Done
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

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(feature = "sign")]
use super::SignerChoice;
use super::events::{Presence, Snapshot};
use super::pkcs11::CardSettings;
use super::{Absence, PinStatus};
use crate::card::Digest;
use crate::printable;

pub use crate::framing::{Channel, ChannelError, WireError};

/// The protocol version. A helper of another version is not used.
pub const VERSION: u32 = 7;

/// The argument of a helper that only resets a card.
pub const RESET_ARGUMENT: &str = "reset";

/// The argument of a helper that watches the readers.
pub const EVENTS_ARGUMENT: &str = "events";

/// The argument of a helper that only examines the computer.
pub const EXAMINE_ARGUMENT: &str = "doctor";

/// The longest frame. A message to sign can be as long as the broker's longest answer.
pub const MAX_FRAME: usize = 2 << 20;

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
    /// Search for a card to sign documents with, once.
    #[cfg(feature = "sign")]
    FindSigner {
        /// As for [`Request::Find`]. Label and serial number select the token for the key of a login only.
        settings: CardSettings,
        /// Which certificate.
        choice: SignerChoice,
        /// Time allowed for each operation. The helper ends itself if it takes much longer.
        deadline: Duration,
    },
    /// Log in to sign documents. May be repeated after a wrong PIN.
    #[cfg(feature = "sign")]
    LogIn {
        /// `None` for the reader's PIN pad.
        #[serde(borrow)]
        pin: Option<&'a str>,
    },
    /// Sign a hash.
    #[cfg(feature = "sign")]
    SignHash {
        /// That of the algorithm of the choice.
        hash: &'a [u8],
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
        failure: WireError,
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
        failure: WireError,
        /// The PIN status now.
        pin: PinStatus,
    },
    /// A final failure.
    Failed(WireError),
    /// The helper has released the card.
    Done(Reset),
    /// A detached process continues the reset.
    Detached,
    /// The card to sign documents with.
    #[cfg(feature = "sign")]
    Signer {
        /// The token's label.
        #[serde(deserialize_with = "printable::read_name")]
        label: String,
        /// The certificate of the key, as DER; `None` if the card shows none before the login.
        certificate: Option<Vec<u8>>,
        /// The PIN status.
        pin: PinStatus,
        /// The slot's description, if the slot may be a PC/SC reader.
        reader: Option<String>,
    },
    /// Hashes may be signed now.
    #[cfg(feature = "sign")]
    LoggedIn {
        /// The certificate of the key, as DER.
        certificate: Vec<u8>,
        /// The certificates of its issuers, nearest first, as DER.
        chain: Vec<Vec<u8>>,
    },
    /// The raw signature of the hash, verified if the choice says so, or why there is none.
    #[cfg(feature = "sign")]
    Signed(std::result::Result<Vec<u8>, WireError>),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{PREFIX, decode, encode};

    #[test]
    fn a_request_to_sign_is_read_as_it_was_written() {
        let frame = encode(&Request::Sign { pin: Some("1234"), digest: Digest::Sha256, message: b"text" }, MAX_FRAME);
        let frame = frame.unwrap();
        let Request::Sign { pin, digest, message } = decode(&frame[PREFIX..]).unwrap() else {
            panic!("another message")
        };
        assert_eq!((pin, digest, message), (Some("1234"), Digest::Sha256, &b"text"[..]));
    }
}
