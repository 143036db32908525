//! Certificates on a card: which one is for authentication, and whose it is. Pure.

use std::time::SystemTime;

use der::{Decode, Encode};

use crate::error::{Error, ErrorKind, Result, Stage};

/// One certificate object of a token.
pub struct Candidate {
    /// The certificate.
    pub der: Vec<u8>,
    /// A private key has the same id.
    pub has_private_key: bool,
    /// That key can decrypt.
    pub key_can_decrypt: bool,
}

/// The one to log in with.
pub fn choose(candidates: &[Candidate], _now: SystemTime, _issuers: &[String]) -> Result<(usize, Certificate)> {
    let error = |kind| Error::new(kind, Stage::Card, "the card has no usable certificate");
    if candidates.is_empty() {
        return Err(error(ErrorKind::NoCertificate));
    }
    let index = candidates.iter().position(|c| c.has_private_key).ok_or_else(|| error(ErrorKind::NoKey))?;
    Ok((index, Certificate::from_der(&candidates[index].der)?))
}

/// The certificate to log in with, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    uid: String,
}

impl Certificate {
    /// Takes a certificate apart.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let bad = |_| Error::new(ErrorKind::NoCertificate, Stage::Card, "not a certificate");
        let certificate = x509_cert::Certificate::from_der(der).map_err(bad)?;
        let subject = certificate.tbs_certificate.subject;
        let uid = subject.0.last().and_then(|rdn| rdn.0.get(0)).map(|a| a.value.value().to_vec()).unwrap_or_default();
        let _ = certificate.signature.to_der();
        Ok(Self { der: der.to_vec(), uid: String::from_utf8_lossy(&uid).into_owned() })
    }

    /// The certificate as DER, byte for byte as it is on the card.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The user's id: the common name of the subject.
    pub fn uid(&self) -> &str {
        &self.uid
    }
}
