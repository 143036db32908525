//! Cards: what a login needs of one, whoever talks to it.

pub mod certificate;
pub mod events;
pub mod examination;
pub mod helper;
pub mod pkcs11;
pub mod protocol;
pub mod software;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cancel::CancelToken;
use crate::challenge::Digest;
use crate::error::Result;
use crate::printable;
use crate::secret::Pin;

pub use certificate::Certificate;
use events::{CardWatch, Presence};

/// Where cards are put in: finds the one to log in with.
///
/// Implementations may be called from any thread, one login at a time.
pub trait CardReader: Send + Sync {
    /// Waits up to `wait` for a card and reads what it tells without a PIN. Zero looks once.
    ///
    /// Blocks. `absent` is called when the wait begins because there is no card to log in with, and
    /// again when the reason changes, so that the user can be told to put one in.
    ///
    /// # Errors
    ///
    /// [`NoCard`](crate::ErrorKind::NoCard) when the time is over, and every other kind of the
    /// stage [`Card`](crate::Stage::Card).
    fn wait_for_card(
        &self,
        wait: Duration,
        absent: &mut dyn FnMut(Absence),
        cancel: &CancelToken,
    ) -> Result<Box<dyn SmartCard>>;

    /// Watches the readers for cards that come and go. `None` where there are no such readers.
    ///
    /// # Errors
    ///
    /// [`NotInstalled`](crate::ErrorKind::NotInstalled) when the watching cannot be started.
    fn watch(&self) -> Result<Option<Box<dyn CardWatch>>> {
        Ok(None)
    }
}

/// Why there is no card to log in with yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Absence {
    /// No card is in a reader.
    NoCard,
    /// There is one, but not one to log in with; in words for the user.
    NotRecognised(#[serde(deserialize_with = "printable::read_sentence")] String),
    /// There is no reader to put one into.
    NoReader,
    /// The PC/SC service does not answer: nobody knows what is in the readers.
    NoService,
}

/// A card that is in the reader, for one login. Dropping it leaves the card logged out.
pub trait SmartCard: Send {
    /// What the user knows the card by: the token's label, or a file's name.
    fn label(&self) -> &str;

    /// The certificate to log in with. `None` before a [`SmartCard::sign`] that succeeded, where the
    /// PIN is needed to read it; always there after one.
    fn certificate(&self) -> Option<&Certificate>;

    /// How it stands with the PIN, as last read. Does not touch the card.
    fn pin_status(&self) -> PinStatus;

    /// Where the card is; `None` where no reader can be watched for it, as with cards in software.
    fn presence(&self) -> Option<&Presence> {
        None
    }

    /// Logs in to the card with `pin` and signs `message`: PKCS#1 v1.5 over its digest.
    ///
    /// Without a PIN the reader's own PIN pad is used, where
    /// [`PinStatus::pin_pad`] says that it has one. The PIN is tried once. Blocks, with a deadline.
    ///
    /// # Errors
    ///
    /// [`PinIncorrect`](crate::ErrorKind::PinIncorrect), after which `sign` may be called again
    /// with another PIN; [`PinLocked`](crate::ErrorKind::PinLocked);
    /// [`CardFailed`](crate::ErrorKind::CardFailed), after which this card is of no more use.
    fn sign(&mut self, pin: Option<Pin>, digest: Digest, message: &[u8], cancel: &CancelToken) -> Result<Vec<u8>>;
}

/// How it stands with a card's PIN (PKCS#11 `CK_TOKEN_INFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinStatus {
    /// What the card says about the tries that are left.
    pub tries: PinTries,
    /// The shortest PIN that the card takes, in characters.
    pub min_len: usize,
    /// The longest PIN that the card takes, in characters.
    pub max_len: usize,
    /// The reader takes the PIN on its own keys (`CKF_PROTECTED_AUTHENTICATION_PATH`).
    pub pin_pad: bool,
}

/// What a card says about the PIN tries that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PinTries {
    /// It says nothing, which does not mean that all are left.
    Unknown,
    /// At least one was wrong (`CKF_USER_PIN_COUNT_LOW`).
    Low,
    /// One is left; a wrong PIN locks the card (`CKF_USER_PIN_FINAL_TRY`).
    Last,
    /// None is left (`CKF_USER_PIN_LOCKED`).
    Locked,
}

impl PinTries {
    /// The number, where the card tells it.
    pub fn left(self) -> Option<u8> {
        match self {
            Self::Unknown | Self::Low => None,
            Self::Last => Some(1),
            Self::Locked => Some(0),
        }
    }
}
