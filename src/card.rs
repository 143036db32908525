//! Cards, as a login uses them.

mod ber;
#[doc(hidden)]
pub mod certificate;
pub(crate) mod digest;
pub mod events;
#[doc(hidden)]
pub mod examination;
#[doc(hidden)]
pub mod helper;
pub mod pkcs11;
#[doc(hidden)]
pub mod protocol;
#[cfg(feature = "software-card")]
pub mod software;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cancel::CancelToken;
use crate::error::Result;
#[cfg(feature = "sign")]
use crate::error::{Error, ErrorKind, Stage};
use crate::printable;
use crate::secret::Pin;

pub use certificate::Certificate;
#[cfg(feature = "sign")]
pub use certificate::{Signer, SignerChoice};
pub use digest::Digest;
use events::{CardWatch, Presence};
pub use pkcs11::AfterLogin;

/// Card readers: find the card to log in with.
///
/// May be called from any thread, one login at a time.
pub trait CardReader: Send + Sync {
    /// Waits up to `wait` for a card and reads what it shows without a PIN. Zero checks once.
    ///
    /// Blocks. Calls `absent` when the wait begins without a usable card, and again when the reason
    /// changes, so that the prompt can ask for one.
    ///
    /// # Errors
    ///
    /// [`NoCard`](crate::ErrorKind::NoCard) when `wait` has passed, and every other kind of the
    /// stage [`Card`](crate::Stage::Card).
    fn wait_for_card(
        &self,
        wait: Duration,
        absent: &mut dyn FnMut(Absence),
        cancel: &CancelToken,
    ) -> Result<Box<dyn SmartCard>>;

    /// Waits up to `wait` for a card with a key to sign with, and reads what it shows without a PIN; otherwise as
    /// [`CardReader::wait_for_card`].
    ///
    /// # Errors
    ///
    /// Those of [`CardReader::wait_for_card`]; [`NotImplemented`](crate::ErrorKind::NotImplemented) if cards of this
    /// kind sign nothing but logins.
    #[cfg(feature = "sign")]
    fn wait_for_signer(
        &self,
        _choice: &SignerChoice,
        _wait: Duration,
        _absent: &mut dyn FnMut(Absence),
        _cancel: &CancelToken,
    ) -> Result<Box<dyn SignerCard>> {
        let detail = "cards of this kind sign nothing but logins";
        Err(Error::new(ErrorKind::NotImplemented, Stage::Card, detail))
    }

    /// Watches the readers for insertions and removals. `None` if there are no such readers.
    ///
    /// # Errors
    ///
    /// [`NotInstalled`](crate::ErrorKind::NotInstalled) if the watch cannot be started.
    fn watch(&self) -> Result<Option<Box<dyn CardWatch>>> {
        Ok(None)
    }
}

/// Why there is no usable card yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Absence {
    /// No card is in a reader.
    NoCard,
    /// There is a card, but not one to log in with. The text is for the user.
    NotRecognised(#[serde(deserialize_with = "printable::read_sentence")] String),
    /// There is no reader.
    NoReader,
    /// The PC/SC service does not answer.
    NoService,
}

/// A card in a reader, for one login. Dropping it leaves the card logged out.
pub trait SmartCard: Send {
    /// Returns the name the user knows the card by: the token's label, or a file's name.
    fn label(&self) -> &str;

    /// Returns the certificate to log in with. `None` before the first successful [`SmartCard::sign`] if
    /// reading it needs the PIN; always present after one.
    fn certificate(&self) -> Option<&Certificate>;

    /// Returns the PIN status as last read; performs no card I/O.
    fn pin_status(&self) -> PinStatus;

    /// Returns where the card is; `None` if no reader can be watched, as for software cards.
    fn presence(&self) -> Option<&Presence> {
        None
    }

    /// Logs in to the card with `pin` and signs `message`: PKCS#1 v1.5 over its digest.
    ///
    /// Without a PIN it uses the reader's PIN pad; see [`PinStatus::pin_pad`]. The PIN is tried once.
    /// Blocks, with a deadline.
    ///
    /// # Errors
    ///
    /// [`PinIncorrect`](crate::ErrorKind::PinIncorrect): `sign` may be called again with another PIN.
    /// [`PinLocked`](crate::ErrorKind::PinLocked).
    /// [`CardFailed`](crate::ErrorKind::CardFailed): this card can no longer be used. Only if `sign` was called without
    /// a PIN and [`PinStatus::pin_pad`] is false now, the reader has no keys, and `sign` may be called with a PIN.
    fn sign(&mut self, pin: Option<Pin>, digest: Digest, message: &[u8], cancel: &CancelToken) -> Result<Vec<u8>>;
}

/// A card that signs documents, for one request. Dropping it leaves the card logged out.
#[cfg(feature = "sign")]
pub trait SignerCard: Send {
    /// As [`SmartCard::label`].
    fn label(&self) -> &str;

    /// Returns the certificate to sign with. `None` before the login if reading it needs the PIN.
    fn signer(&self) -> Option<&Signer>;

    /// As [`SmartCard::pin_status`].
    fn pin_status(&self) -> PinStatus;

    /// Logs in to the card with `pin`; see [`SmartCard::sign`]. Returns the certificate to sign with and those of its
    /// issuers as far as the card has them, each before its own issuer's. Keeps the PIN, if the key needs it for each
    /// signature, where the module runs.
    ///
    /// # Errors
    ///
    /// Those of [`SmartCard::sign`].
    fn log_in(&mut self, pin: Option<Pin>, cancel: &CancelToken) -> Result<(Signer, Vec<Vec<u8>>)>;

    /// Signs a hash with the algorithm that the key was chosen for. Returns the raw signature.
    ///
    /// # Errors
    ///
    /// [`CardFailed`](crate::ErrorKind::CardFailed), [`Cancelled`](crate::ErrorKind::Cancelled).
    fn sign(&mut self, hash: &[u8], cancel: &CancelToken) -> Result<Vec<u8>>;

    /// Returns `true` if [`SignerCard::sign`] verifies the signatures of elliptic keys with the certificate, in code
    /// that is not the card maker's. The library can do it only if it has the message, so other cards sign no hashes
    /// with these keys.
    fn verifies_hashes(&self) -> bool {
        false
    }

    /// Returns `true` if the card can sign nothing more.
    fn is_lost(&self) -> bool {
        false
    }
}

/// A card's PIN status (PKCS#11 `CK_TOKEN_INFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PinStatus {
    /// What the card reports about the tries left.
    pub tries: PinTries,
    /// The shortest PIN that the card takes, in bytes. Zero only for a software card, whose password may be empty.
    pub min_len: usize,
    /// The longest PIN that the card takes, in bytes.
    pub max_len: usize,
    /// The PIN is entered on the reader's keys (`CKF_PROTECTED_AUTHENTICATION_PATH`).
    pub pin_pad: bool,
}

impl PinStatus {
    /// Returns the status of a card whose PIN is entered on the computer, and has `min_len` to `max_len` bytes.
    pub fn new(tries: PinTries, min_len: usize, max_len: usize) -> Self {
        Self { tries, min_len, max_len, pin_pad: false }
    }

    /// Returns `true` if the card's limits allow a PIN of `length` bytes.
    pub fn allows(&self, length: usize) -> bool {
        (self.min_len..=self.max_len).contains(&length)
    }

    /// Returns `true` if the card may take a PIN of `length` bytes, whatever its limits are: some modules report wrong
    /// limits, and the PINs of these cards have 4 to 8 bytes.
    pub fn may_allow(&self, length: usize) -> bool {
        self.allows(length) || (4..=8).contains(&length)
    }
}

/// What a card reports about the PIN tries left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PinTries {
    /// Nothing. It does not mean that all tries are left.
    Unknown,
    /// At least one wrong PIN (`CKF_USER_PIN_COUNT_LOW`).
    Low,
    /// One try left: a wrong PIN locks the card (`CKF_USER_PIN_FINAL_TRY`).
    Last,
    /// No try left (`CKF_USER_PIN_LOCKED`).
    Locked,
}

impl PinTries {
    /// Returns the number of tries left, if the card reports it.
    pub fn left(self) -> Option<u8> {
        match self {
            Self::Unknown | Self::Low => None,
            Self::Last => Some(1),
            Self::Locked => Some(0),
        }
    }
}
