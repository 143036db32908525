//! What a provider of smartcards does: Windows' own, or one that follows a script.

use std::fmt;

use ticketapi::sign::Algorithm;

use super::error;
use crate::pcsc::Readers;

/// A call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallError {
    /// The call's name.
    pub call: &'static str,
    /// Its `HRESULT`.
    pub code: u32,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match error::name(self.code) {
            Some(name) => write!(f, "{}: {name}", self.call),
            None => write!(f, "{}: {:#010x}", self.call, self.code),
        }
    }
}

/// The result of a call.
pub type CallResult<T> = Result<T, CallError>;

/// Readers, and the keys of the cards in them.
pub trait Provider: Send + Sync {
    /// The readers now.
    fn readers(&self) -> Readers;

    /// Opens the keys of the card in a reader.
    fn keys(&self, reader: &str) -> CallResult<Vec<Box<dyn Key>>>;
}

/// A private key on a card.
pub trait Key: Send {
    /// Returns its certificate, in DER.
    fn certificate(&self) -> CallResult<Vec<u8>>;

    /// Returns the identifier of the card.
    fn card(&self) -> CallResult<Vec<u8>>;

    /// Gives the PIN, without a zero in it, to Windows. It may be tried at once, or at the next signature.
    fn set_pin(&self, pin: &str) -> CallResult<()>;

    /// Returns the raw signature of a hash.
    fn sign(&self, algorithm: Algorithm, hash: &[u8]) -> CallResult<Vec<u8>>;
}
