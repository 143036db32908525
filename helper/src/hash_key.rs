//! A key that signs hashes, after the login.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use ticketapi::card::Signer;
use ticketapi::{Error, Result, Stage};

/// The key of a card, however that is reached.
pub struct HashKey<'a> {
    signer: &'a Signer,
    chain: &'a [Vec<u8>],
    verify: bool,
    sign: &'a mut dyn FnMut(&[u8]) -> Signed,
    /// Why it signs nothing more.
    ended: Option<Error>,
}

/// The raw signature of a hash, or why there is none.
pub type Signed = std::result::Result<Vec<u8>, Refused>;

/// Why a hash was not signed.
pub struct Refused {
    error: Error,
    lost: bool,
}

impl Refused {
    /// With `lost`, the card is gone.
    pub fn new(error: Error, lost: bool) -> Self {
        Self { error, lost }
    }

    /// Returns `true` if no other hash may be tried, either.
    pub fn is_last(&self) -> bool {
        self.lost || self.error.stage() == Stage::Pin
    }
}

impl<'a> HashKey<'a> {
    /// `sign` returns the raw signature of a hash. With `verify` it is checked by the certificate of `signer`. `chain` are
    /// the certificates of its issuers, nearest first.
    pub fn new(
        signer: &'a Signer,
        chain: &'a [Vec<u8>],
        verify: bool,
        sign: &'a mut dyn FnMut(&[u8]) -> Signed,
    ) -> Self {
        Self { signer, chain, verify, sign, ended: None }
    }

    /// The certificate.
    pub fn signer(&self) -> &Signer {
        self.signer
    }

    /// The certificates of the signer's issuers, nearest first.
    pub fn chain(&self) -> &[Vec<u8>] {
        self.chain
    }

    /// Returns the raw signature of a hash. After the card has been lost, or has refused the PIN for one signature,
    /// all others fail: the PIN is tried neither again nor with another card that has come meanwhile.
    ///
    /// # Errors
    ///
    /// Those of [`SmartCard::sign`](ticketapi::card::SmartCard::sign).
    pub fn sign(&mut self, hash: &[u8]) -> Result<Vec<u8>> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        let signature = (self.sign)(hash).map_err(|refused| {
            if refused.is_last() {
                self.ended = Some(refused.error.clone());
            }
            refused.error
        })?;
        if self.verify && !verifies(self.signer, hash, &signature) {
            return Err(self.signer.mismatch());
        }
        Ok(signature)
    }
}

/// Verifies the raw signature of a hash by an elliptic key: the library, whose ring hashes messages itself, cannot.
/// Not by `C_Verify`, because a broken module would accept its own wrong signatures.
fn verifies(signer: &Signer, hash: &[u8], signature: &[u8]) -> bool {
    let Some(point) = signer.point() else { return false };
    match hash.len() {
        32 => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point);
            let signature = p256::ecdsa::Signature::from_slice(signature);
            key.and_then(|key| key.verify_prehash(hash, &signature?)).is_ok()
        }
        _ => {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point);
            let signature = p384::ecdsa::Signature::from_slice(signature);
            key.and_then(|key| key.verify_prehash(hash, &signature?)).is_ok()
        }
    }
}
