//! Signs documents with a software card.

use std::time::SystemTime;

use super::SoftwareCard;
use super::key::Key;
use crate::cancel::CancelToken;
use crate::card::certificate::{PrivateKey, Signer, SignerChoice, chain, choose_signer};
use crate::card::{PinStatus, SignerCard, SmartCard};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::secret::Pin;
use crate::sign::Algorithm;

/// A software card, for one request. Its key is in memory from the login to the last signature.
pub(super) struct SoftwareSigner {
    card: SoftwareCard,
    choice: SignerChoice,
    open: Option<(Key, Signer)>,
}

impl SoftwareSigner {
    pub(super) fn new(card: SoftwareCard, choice: SignerChoice) -> Self {
        Self { card, choice, open: None }
    }
}

impl SignerCard for SoftwareSigner {
    fn label(&self) -> &str {
        self.card.label()
    }

    fn signer(&self) -> Option<&Signer> {
        self.open.as_ref().map(|(_, signer)| signer)
    }

    fn pin_status(&self) -> PinStatus {
        self.card.pin_status()
    }

    fn log_in(&mut self, pin: Option<Pin>, cancel: &CancelToken) -> Result<(Signer, Vec<Vec<u8>>)> {
        cancel.check(Stage::Pin)?;
        let mut contents = self.card.open(pin)?;
        let is_key_of = |key: &Key, der: &[u8]| {
            use rsa::traits::PublicKeyParts;
            Signer::from_der(der).is_ok_and(|signer| signer.has_modulus(&key.public().n().to_bytes_be()))
        };
        let candidates: Vec<_> = contents
            .certificates
            .iter()
            .map(|der| (der.clone(), PrivateKey::known(contents.keys.iter().any(|key| is_key_of(key, der)))))
            .collect();
        let (_, signer) = choose_signer(&candidates, SystemTime::now(), &self.choice)?;
        let chain = chain(signer.der(), &contents.certificates);
        let key = contents.keys.iter().position(|key| is_key_of(key, signer.der()));
        let key =
            key.ok_or_else(|| Error::new(ErrorKind::Internal, Stage::Card, "the chosen certificate lost its key"))?;
        self.open = Some((contents.keys.swap_remove(key), signer.clone()));
        Ok((signer, chain))
    }

    fn sign(&mut self, hash: &[u8], cancel: &CancelToken) -> Result<Vec<u8>> {
        cancel.check(Stage::Signing)?;
        let failed = |detail| Error::new(ErrorKind::CardFailed, Stage::Signing, detail);
        let (key, _) = self.open.as_ref().ok_or_else(|| failed("the software card is closed"))?;
        let algorithm = self.choice.algorithm;
        let signed = match algorithm {
            Algorithm::Ps256 => key.sign_pss(hash).ok_or_else(|| {
                let detail = "the software card's key has a long public exponent, which cannot sign with PS256";
                Error::new(ErrorKind::KeyNotSupported, Stage::Signing, detail)
            })?,
            _ => key.sign(&algorithm.digest_info(hash)),
        };
        signed.map_err(|error| failed("the software card's key cannot sign").because(error))
    }
}
