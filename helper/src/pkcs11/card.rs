//! A card with a session: log in once, sign once, log out.

use cryptoki::error::{Error as CallError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use ticketapi::cancel::CancelToken;
use ticketapi::card::events::Presence;
use ticketapi::card::pkcs11::AfterLogin;
use ticketapi::card::protocol::Reset;
use ticketapi::card::{Certificate, PinStatus, PinTries, SmartCard};
use ticketapi::challenge::Digest;
use ticketapi::{Error, ErrorKind, Pin, Result, Stage};

use super::error::{call, code, failed, is_fault, is_lost};
use super::module::Module;
use super::objects::Key;
use super::token::{Token, pin_status};
use crate::card_lock::CardLock;
use crate::cards::LoginCard;
use crate::pcsc;

/// A card found through PKCS#11. Dropping it does the same as [`Pkcs11Card::end`].
pub struct Pkcs11Card {
    /// `None` once the card has been released.
    token: Option<Token>,
    modules: Vec<Module>,
    label: String,
    pin: PinStatus,
    /// The reader claims to have a PIN pad, but has none.
    no_pin_pad: bool,
    after_login: AfterLogin,
    presence: Option<Presence>,
    login: Login,
    /// The last login failed, perhaps because the card was removed.
    failed: bool,
    /// Keeps other programs from using the PIN.
    lock: Option<CardLock>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Login {
    NotTried,
    Failed,
    Ours,
    /// The host logged in before us, so neither its login nor the card's state is ours to end.
    Hosts,
}

impl Pkcs11Card {
    pub(super) fn new(token: Token, modules: Vec<Module>, after_login: AfterLogin, presence: Option<Presence>) -> Self {
        let (label, pin) = (token.label.clone(), token.pin);
        Self {
            token: Some(token),
            modules,
            label,
            pin,
            no_pin_pad: false,
            after_login,
            presence,
            login: Login::NotTried,
            failed: false,
            lock: None,
        }
    }

    /// Returns the description of the slot with the card, if that may be a reader.
    pub fn reader(&self) -> Option<&str> {
        self.token.as_ref()?.reader.as_deref()
    }

    /// Identifies the card to all programs: by its certificate, or else by serial number and label.
    fn name(&self) -> Result<Vec<u8>> {
        let token = self.token()?;
        let certificate = token.certificate.as_ref().map(|certificate| certificate.der().to_owned());
        Ok(certificate.unwrap_or_else(|| format!("{} {}", token.serial, token.label).into_bytes()))
    }

    /// Logs out, closes the session and, if the settings say so, resets the card so that no other program can use
    /// the login. Blocks.
    pub fn end(mut self) -> Reset {
        self.release()
    }

    fn release(&mut self) -> Reset {
        let Some(Token { session, reader, .. }) = self.token.take() else { return Reset::Left };
        if self.login == Login::Ours {
            // The reset below also ends the login.
            let _ = session.logout();
        }
        drop(session);
        self.modules.drain(..).for_each(Module::end);
        let reset = match (self.after_login, self.login, reader) {
            (AfterLogin::Leave, ..) | (_, Login::NotTried | Login::Hosts, _) => Reset::Left,
            // Resetting is the safe way, also for ways that this version does not know.
            (_, _, None) => Reset::NoReader,
            (_, _, Some(reader)) => pcsc::reset(&reader, self.failed),
        };
        self.lock = None;
        reset
    }

    /// Reads the PIN status and refuses a try that the user has not agreed to: other programs may have used up
    /// tries since the last reading.
    fn check_pin(&mut self, pin: Option<&Pin>) -> Result<()> {
        let before = self.pin.tries;
        self.read_pin_status()?;
        if self.pin.tries == PinTries::Locked {
            return Err(Error::new(ErrorKind::PinLocked, Stage::Pin, "the card's PIN is locked; it was not tried"));
        }
        let status @ PinStatus { tries, min_len, max_len, pin_pad, .. } = self.pin;
        let not_tried = |text| Err(pin_incorrect(tries, text));
        if tries == PinTries::Last && before != PinTries::Last {
            return not_tried("only one try is left now, so the PIN was not tried".to_owned());
        }
        match pin.map(|pin| pin.expose().len()) {
            Some(length) if !status.may_allow(length) => {
                not_tried(format!("the card's PINs have {min_len} to {max_len} bytes, so this one was not tried"))
            }
            None if !pin_pad => Err(Error::new(ErrorKind::Internal, Stage::Pin, "the reader has no PIN pad")),
            _ => Ok(()),
        }
    }

    fn read_pin_status(&mut self) -> Result<()> {
        let Token { context, slot, .. } = self.token()?;
        let info = context.get_token_info(*slot).map_err(|error| failed(Stage::Pin, &error))?;
        self.pin = pin_status(&info);
        self.pin.pin_pad &= !self.no_pin_pad;
        Ok(())
    }

    pub(super) fn token(&self) -> Result<&Token> {
        self.token.as_ref().ok_or_else(ended)
    }

    fn token_mut(&mut self) -> Result<&mut Token> {
        self.token.as_mut().ok_or_else(ended)
    }

    fn log_in(&mut self, pin: Option<&AuthPin>) -> Result<()> {
        let mut login = self.token()?.session.login(UserType::User, pin);
        if login.as_ref().is_err_and(is_logged_in) {
            // The card has not checked the PIN.
            if self.login != Login::Ours && self.modules.iter().any(|module| !module.exclusive) {
                self.login = Login::Hosts;
                let text = "this program has logged in to the card itself, so the PIN could not be checked; \
                    it has to log out of the card first";
                return Err(Error::new(ErrorKind::CardFailed, Stage::Pin, text));
            }
            let session = &self.token()?.session;
            // If this fails, the login fails too.
            let _ = session.logout();
            login = session.login(UserType::User, pin);
        }
        self.login = if login.is_ok() { Login::Ours } else { Login::Failed };
        login.map_err(|error| self.login_error(&error, pin))
    }

    fn login_error(&mut self, error: &CallError, pin: Option<&AuthPin>) -> Error {
        let because = |text: &str| format!("{text} ({})", call(error));
        match code(error) {
            Some(RvError::PinLocked) => {
                Error::new(ErrorKind::PinLocked, Stage::Pin, because("the card's PIN is locked"))
            }
            Some(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange) => {
                // The card may have been removed by now; then the tries left are unknown.
                if self.read_pin_status().is_err() {
                    self.pin.tries = PinTries::Unknown;
                }
                if self.pin.tries == PinTries::Locked {
                    let text = because("the PIN was wrong, and the card's PIN is locked now");
                    return Error::new(ErrorKind::PinLocked, Stage::Pin, text);
                }
                pin_incorrect(self.pin.tries, because("the PIN was wrong"))
            }
            Some(RvError::PinExpired) => {
                Error::new(ErrorKind::CardFailed, Stage::Pin, because("the card's PIN has expired"))
            }
            Some(RvError::FunctionCanceled | RvError::FunctionRejected) => {
                Error::new(ErrorKind::Cancelled, Stage::Pin, because("entering the PIN was cancelled"))
            }
            _ => {
                if pin.is_none() && !is_lost(error) {
                    self.no_pin_pad = true;
                    self.pin.pin_pad = false;
                }
                failed(Stage::Pin, error)
            }
        }
    }

    fn sign_with_card(&mut self, pin: Option<&AuthPin>, digest: Digest, message: &[u8]) -> Result<Vec<u8>> {
        let keys = self.token_mut()?.keys()?;
        let Some((last, others)) = keys.split_last() else {
            let text = "the card has no private key for its authentication certificate";
            return Err(Error::new(ErrorKind::NoKey, Stage::Signing, text));
        };
        // Several keys may have the certificate's id.
        for key in others {
            let signature = self.sign_with_key(key, pin, digest, message)?;
            let fits = |certificate: &Certificate| certificate.verify(digest, message, &signature).is_ok();
            if self.certificate().is_some_and(fits) {
                return Ok(signature);
            }
        }
        self.sign_with_key(last, pin, digest, message)
    }

    fn sign_with_key(&mut self, key: &Key, pin: Option<&AuthPin>, digest: Digest, message: &[u8]) -> Result<Vec<u8>> {
        let hashing = match digest {
            Digest::Sha1 => Mechanism::Sha1RsaPkcs,
            Digest::Sha256 => Mechanism::Sha256RsaPkcs,
        };
        let Token { context, slot, .. } = self.token()?;
        let offered = context.get_mechanism_list(*slot).map_err(|error| failed(Stage::Signing, &error))?;
        let login = key.always_authenticate.then_some(pin);

        if offered.contains(&hashing.mechanism_type()) {
            match self.sign_as(&hashing, key, login, message) {
                // Some modules list the mechanism and then refuse it with various codes.
                Err(SignError::Call(error)) if !is_fault(&error) => self.renew_session(),
                result => return result.map_err(Error::from),
            }
        }
        self.sign_as(&Mechanism::RsaPkcs, key, login, &digest.digest_info(message)).map_err(Error::from)
    }

    /// Notes that the card may have been removed.
    pub(super) fn may_be_gone(&mut self) {
        self.failed = true;
    }

    /// Ends an operation that a failed call may have left active. The login remains, because the new session is
    /// opened before the old one is closed.
    pub(super) fn renew_session(&mut self) {
        if let Some(token) = &mut self.token
            && let Ok(session) = token.context.open_ro_session(token.slot)
        {
            token.session = session;
        }
    }

    /// Signs. `login` is set for keys that need the PIN at each use.
    pub(super) fn sign_as(
        &mut self,
        mechanism: &Mechanism<'_>,
        key: &Key,
        login: Option<Option<&AuthPin>>,
        data: &[u8],
    ) -> std::result::Result<Vec<u8>, SignError> {
        let Token { session, calls, .. } = self.token()?;
        let calls = calls.clone();
        if let (None, None) = (login, &calls) {
            return Ok(session.sign(mechanism, key.handle, data)?);
        }
        session.sign_init(mechanism, key.handle)?;
        if let Some(pin) = login {
            match self.token()?.session.login(UserType::ContextSpecific, pin) {
                // The card has already checked the PIN at the first login.
                Err(error) if !is_logged_in(&error) => return Err(self.login_error(&error, pin).into()),
                _ => {}
            }
        }
        let session = &self.token()?.session;
        Ok(match calls {
            Some(calls) => calls.sign(session, data)?,
            None => {
                session.sign_update(data)?;
                session.sign_final()?
            }
        })
    }
}

/// Returns `true` if somebody had already logged in.
fn is_logged_in(error: &CallError) -> bool {
    matches!(code(error), Some(RvError::UserAlreadyLoggedIn | RvError::UserAnotherAlreadyLoggedIn))
}

pub(super) enum SignError {
    Call(CallError),
    Other(Error),
}

impl From<CallError> for SignError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<Error> for SignError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<SignError> for Error {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Call(error) => failed(Stage::Signing, &error),
            SignError::Other(error) => error,
        }
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::CardFailed, Stage::Signing, "the card has already been released")
}

fn pin_incorrect(tries: PinTries, text: String) -> Error {
    Error::new(ErrorKind::PinIncorrect { tries_left: tries.left() }, Stage::Pin, text)
}

impl SmartCard for Pkcs11Card {
    fn label(&self) -> &str {
        &self.label
    }

    fn certificate(&self) -> Option<&Certificate> {
        self.token.as_ref()?.certificate.as_ref()
    }

    fn pin_status(&self) -> PinStatus {
        self.pin
    }

    fn presence(&self) -> Option<&Presence> {
        self.presence.as_ref()
    }

    fn sign(&mut self, pin: Option<Pin>, digest: Digest, message: &[u8], cancel: &CancelToken) -> Result<Vec<u8>> {
        self.with_login(pin, cancel, |card, pin| card.sign_with_card(pin, digest, message))
    }
}

impl LoginCard for Pkcs11Card {
    fn reader(&self) -> Option<&str> {
        self.reader()
    }

    fn reset_afterwards(&self) -> Option<String> {
        self.reader().filter(|_| self.after_login == AfterLogin::Reset).map(str::to_owned)
    }

    fn may_sign_again(&self, pin_pad: bool, error: &Error) -> bool {
        // The reader may have turned out to have no PIN pad.
        matches!(error.kind(), ErrorKind::PinIncorrect { .. }) || pin_pad && self.no_pin_pad
    }

    fn end(self) -> Reset {
        self.end()
    }
}

impl Pkcs11Card {
    /// Logs in, and signs by `sign`.
    pub(super) fn with_login<T>(
        &mut self,
        pin: Option<Pin>,
        cancel: &CancelToken,
        sign: impl FnOnce(&mut Self, Option<&AuthPin>) -> Result<T>,
    ) -> Result<T> {
        cancel.check(Stage::Signing)?;
        let pin_pad = pin.is_none();
        // A token without a reader is software: it has no try counter and nothing to reset.
        let lock = match (self.lock.take(), self.reader()) {
            (None, Some(_)) => Some(CardLock::with_pin(&self.name()?, cancel)?),
            (kept, _) => kept,
        };
        let signed = self.check_pin(pin.as_ref()).and_then(|()| {
            let pin = pin.map(|pin| AuthPin::from(pin.expose()));
            self.log_in(pin.as_ref())?;
            sign(self, pin.as_ref())
        });
        // The user is asked again, which may take long.
        let again = signed.as_ref().is_err_and(|error| self.may_sign_again(pin_pad, error));
        self.lock = lock.filter(|_| !again);
        self.failed |= signed.as_ref().is_err_and(|error| *error.kind() == ErrorKind::CardFailed);
        signed
    }
}

impl Drop for Pkcs11Card {
    fn drop(&mut self) {
        self.release();
    }
}
