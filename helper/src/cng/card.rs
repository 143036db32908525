//! A card whose key Windows has opened.

use std::sync::Arc;

use ticketapi::cancel::CancelToken;
use ticketapi::card::events::Presence;
use ticketapi::card::protocol::Reset;
use ticketapi::card::{AfterLogin, Certificate, PinStatus, PinTries, SmartCard};
use ticketapi::challenge::Digest;
use ticketapi::sign::Algorithm;
use ticketapi::{Error, ErrorKind, Pin, Result, Stage};

use super::error::failed;
use super::provider::{Key, Provider};
use crate::card_lock::CardLock;
use crate::cards::LoginCard;
use crate::pcsc::{self, Readers};

/// What Windows says about a PIN before it is tried: nothing.
pub fn unknown_pin() -> PinStatus {
    PinStatus::new(PinTries::Unknown, 1, 255)
}

/// A card and the key to use. Dropping it does the same as [`Held::end`].
pub struct Held {
    provider: Arc<dyn Provider>,
    /// `None` once the card has been released.
    key: Option<Box<dyn Key>>,
    pub reader: String,
    /// Identifies the card to all programs: its certificate.
    name: Vec<u8>,
    pub pin: PinStatus,
    after_login: AfterLogin,
    pub presence: Option<Presence>,
    /// A PIN has been tried.
    tried: bool,
    /// The last login failed, perhaps because the card was removed.
    failed: bool,
    /// Keeps other programs from using the PIN.
    lock: Option<CardLock>,
}

impl Held {
    /// `before` are the readers before the card was read.
    pub fn new(
        provider: Arc<dyn Provider>,
        key: Box<dyn Key>,
        reader: String,
        certificate: &[u8],
        after_login: AfterLogin,
        before: &Readers,
    ) -> Self {
        let presence = before.presence(&reader);
        let (key, name, pin) = (Some(key), certificate.to_owned(), unknown_pin());
        Self { provider, key, reader, name, pin, after_login, presence, tried: false, failed: false, lock: None }
    }

    pub fn reset_afterwards(&self) -> Option<String> {
        (self.after_login == AfterLogin::Reset).then(|| self.reader.clone())
    }

    pub fn may_sign_again(error: &Error) -> bool {
        matches!(error.kind(), ErrorKind::PinIncorrect { .. })
    }

    /// Tries the PIN, and uses the key by `use_key`.
    pub fn with_pin<T>(
        &mut self,
        pin: Option<&Pin>,
        cancel: &CancelToken,
        use_key: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        cancel.check(Stage::Signing)?;
        let pin = pin.ok_or_else(|| Error::new(ErrorKind::Internal, Stage::Pin, "the reader has no PIN pad"))?;
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => CardLock::with_pin(&self.name, cancel)?,
        };
        let used = self.try_pin(pin).and_then(|()| use_key(self));
        if used.as_ref().is_err_and(|error| *error.kind() == ErrorKind::PinLocked) {
            self.pin.tries = PinTries::Locked;
        }
        // The user is asked again, which may take long.
        let again = used.as_ref().is_err_and(Self::may_sign_again);
        self.lock = Some(lock).filter(|_| !again);
        self.failed |= used.as_ref().is_err_and(|error| *error.kind() == ErrorKind::CardFailed);
        used
    }

    /// Gives the PIN to Windows, unless another card may have come meanwhile: Windows could try it there.
    pub fn try_pin(&mut self, pin: &Pin) -> Result<()> {
        let pin = pin.expose();
        if !self.pin.may_allow(pin.len()) || pin.contains('\0') {
            let text = "the card's PINs have 1 to 255 bytes other than zero, so this one was not tried";
            return Err(Error::new(ErrorKind::PinIncorrect { tries_left: None }, Stage::Pin, text));
        }
        if self.presence.is_none() || self.provider.readers().presence(&self.reader) != self.presence {
            let text = "the card was taken out or changed, so the PIN was not tried";
            return Err(Error::new(ErrorKind::CardFailed, Stage::Pin, text));
        }
        self.tried = true;
        self.key()?.set_pin(pin).map_err(|error| failed(Stage::Pin, &error))
    }

    pub fn key(&self) -> Result<&dyn Key> {
        let ended = || Error::new(ErrorKind::CardFailed, Stage::Signing, "the card has already been released");
        self.key.as_deref().ok_or_else(ended)
    }

    pub fn end(mut self) -> Reset {
        self.release()
    }

    fn release(&mut self) -> Reset {
        // Windows keeps the card for itself while the key is open.
        let Some(key) = self.key.take() else { return Reset::Left };
        drop(key);
        let reset = match self.after_login {
            AfterLogin::Leave => Reset::Left,
            _ if !self.tried => Reset::Left,
            _ => pcsc::reset(&self.reader, self.failed),
        };
        self.lock = None;
        reset
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

/// A card to log in with.
pub struct CngCard {
    held: Held,
    certificate: Certificate,
}

impl CngCard {
    pub fn new(held: Held, certificate: Certificate) -> Self {
        Self { held, certificate }
    }
}

impl SmartCard for CngCard {
    /// Windows shows no label; the reader's name tells the user which card it is.
    fn label(&self) -> &str {
        &self.held.reader
    }

    fn certificate(&self) -> Option<&Certificate> {
        Some(&self.certificate)
    }

    fn pin_status(&self) -> PinStatus {
        self.held.pin
    }

    fn presence(&self) -> Option<&Presence> {
        self.held.presence.as_ref()
    }

    fn sign(&mut self, pin: Option<Pin>, digest: Digest, message: &[u8], cancel: &CancelToken) -> Result<Vec<u8>> {
        let algorithm = match digest {
            Digest::Sha1 => Algorithm::Rs1,
            Digest::Sha256 => Algorithm::Rs256,
        };
        self.held.with_pin(pin.as_ref(), cancel, |held| {
            let signed = held.key()?.sign(algorithm, &digest.hash(message));
            signed.map_err(|error| failed(Stage::Signing, &error))
        })
    }
}

impl LoginCard for CngCard {
    fn reader(&self) -> Option<&str> {
        Some(&self.held.reader)
    }

    fn reset_afterwards(&self) -> Option<String> {
        self.held.reset_afterwards()
    }

    fn may_sign_again(&self, _: bool, error: &Error) -> bool {
        Held::may_sign_again(error)
    }

    fn end(self) -> Reset {
        self.held.end()
    }
}
