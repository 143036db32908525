//! Cards as the program uses them, whether they are reached through PKCS#11 or through Windows.

use ticketapi::card::events::Snapshot;
use ticketapi::card::protocol::{Reply, Reset, WireError};
use ticketapi::card::{Absence, PinStatus, Signer, SmartCard};
use ticketapi::{Error, ErrorKind, Pin, Result, Stage};

use crate::hash_key::HashKey;
use crate::pcsc::Readers;

/// The result of a search.
pub enum Search<C> {
    /// The card.
    Found(C),
    /// No card yet.
    Absent(Missing),
}

/// Why there is no card to log in with, although one may be inserted.
pub struct Missing {
    /// For the user.
    pub absence: Absence,
    /// For callers that do not wait.
    pub error: Error,
    /// The readers before the search.
    pub readers: Snapshot,
    /// See [`Reply::Absent`].
    pub watched: bool,
}

impl From<Missing> for Reply {
    fn from(Missing { absence, error, readers, watched }: Missing) -> Self {
        Self::Absent { absence, failure: WireError::from(&error), readers, watched }
    }
}

impl Missing {
    /// For cards that cannot be reached at all, perhaps because there is no reader or no PC/SC service.
    pub fn without_reader(error: Error, before: &Readers) -> Self {
        let (reason, absence) = before.problem().unwrap_or_else(|| ("no card is in a reader".into(), Absence::NoCard));
        let kind = match error.kind() {
            ErrorKind::CardFailed => ErrorKind::ReaderNotAvailable,
            other => other.clone(),
        };
        let error = Error::new(kind, Stage::Card, format!("{reason}: {}", error.detail()));
        Self { absence, error, readers: before.snapshot(), watched: false }
    }
}

/// A card to log in with.
pub trait LoginCard: SmartCard {
    /// Returns the name of the reader with the card, if there may be one.
    fn reader(&self) -> Option<&str>;

    /// Returns [`LoginCard::reader`] if its card has to be reset after a login.
    fn reset_afterwards(&self) -> Option<String>;

    /// Returns `true` if another PIN may be tried after this error, of a PIN or of the reader's `pin_pad`.
    fn may_sign_again(&self, pin_pad: bool, error: &Error) -> bool;

    /// Logs out, releases the card and, if the settings say so, resets it. Blocks.
    fn end(self) -> Reset;
}

/// A card to sign documents with.
pub trait DocumentCard {
    /// As [`SmartCard::label`].
    fn label(&self) -> &str;

    /// As [`SmartCard::pin_status`].
    fn pin_status(&self) -> PinStatus;

    /// As [`LoginCard::reader`].
    fn reader(&self) -> Option<&str>;

    /// As [`LoginCard::reset_afterwards`].
    fn reset_afterwards(&self) -> Option<String>;

    /// Returns the certificate to sign with, if it is visible before the login.
    fn signer(&self) -> Option<&Signer>;

    /// Logs in and has `serve` sign hashes. The PIN is kept meanwhile, for keys that need it at each signature.
    ///
    /// # Errors
    ///
    /// Those of [`SmartCard::sign`].
    fn log_in(&mut self, pin: Option<Pin>, serve: &mut dyn FnMut(&mut HashKey<'_>)) -> Result<()>;

    /// As [`LoginCard::may_sign_again`].
    fn may_sign_again(&self, pin_pad: bool, error: &Error) -> bool;

    /// As [`LoginCard::end`].
    fn end(self) -> Reset;
}
