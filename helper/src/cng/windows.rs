//! Windows' own provider.

use std::sync::Arc;

use ticketapi::sign::Algorithm;
use ticketapi::{Error, ErrorKind, Result, Stage};
use ticketapi_platform::cng::{self, Failed, Hash, Padding};

use super::provider::{CallError, CallResult, Key, Provider};
use crate::pcsc::Readers;

/// Opens the provider.
///
/// # Errors
///
/// [`NotInstalled`](ErrorKind::NotInstalled).
pub fn open() -> Result<Arc<dyn Provider>> {
    let provider = cng::Provider::open().map_err(|failed| {
        let text = format!(
            "no PKCS#11 module is used, and Windows' own smartcard stack cannot be ({})",
            CallError::from(failed)
        );
        Error::new(ErrorKind::NotInstalled, Stage::Card, text)
    })?;
    Ok(Arc::new(Windows(provider)))
}

impl From<Failed> for CallError {
    fn from(Failed { call, code }: Failed) -> Self {
        Self { call, code }
    }
}

struct Windows(cng::Provider);

impl Provider for Windows {
    fn readers(&self) -> Readers {
        Readers::now()
    }

    fn keys(&self, reader: &str) -> CallResult<Vec<Box<dyn Key>>> {
        let boxed = |key| -> Box<dyn Key> { Box::new(OnCard(key)) };
        Ok(self.0.keys(reader)?.into_iter().map(boxed).collect())
    }
}

struct OnCard(cng::Key);

impl Key for OnCard {
    fn certificate(&self) -> CallResult<Vec<u8>> {
        Ok(self.0.certificate()?)
    }

    fn card(&self) -> CallResult<Vec<u8>> {
        Ok(self.0.card()?)
    }

    fn set_pin(&self, pin: &str) -> CallResult<()> {
        Ok(self.0.set_pin(pin)?)
    }

    fn sign(&self, algorithm: Algorithm, hash: &[u8]) -> CallResult<Vec<u8>> {
        let named = match algorithm.hash_len() {
            20 => Hash::Sha1,
            32 => Hash::Sha256,
            48 => Hash::Sha384,
            _ => Hash::Sha512,
        };
        let padding = match algorithm {
            Algorithm::Ps256 => Padding::Pss(named, 32),
            _ if algorithm.is_ecdsa() => Padding::None,
            _ => Padding::Pkcs1(named),
        };
        Ok(self.0.sign(hash, padding)?)
    }
}
