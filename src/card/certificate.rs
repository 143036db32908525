//! Certificates on a card: which one is for authentication, and whose it is. Pure.

/// The certificate to log in with, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    uid: String,
}

impl Certificate {
    /// The certificate as DER, byte for byte as it is on the card.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The user's id: the common name of the subject.
    pub fn uid(&self) -> &str {
        &self.uid
    }
}
