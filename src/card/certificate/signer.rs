//! The certificate to sign with: which one it is, and what its key has signed.

use std::time::SystemTime;

use der::oid::db::rfc5912;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use rsa::Pss;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::*;
use crate::sign::{Algorithm, KeyUse};

/// A signer's certificate, parsed as far as signing needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    der: Vec<u8>,
    uid: String,
    issuer_common_name: Option<String>,
    not_before: DateTime,
    not_after: DateTime,
    key: SignerKey,
    for_login: bool,
    for_commitment: bool,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SignerKey {
    Rsa(RsaPublicKey),
    P256(Vec<u8>),
    P384(Vec<u8>),
}

/// Which key to sign with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SignerChoice {
    /// What it is for.
    pub key: KeyUse,
    /// What it has to sign with.
    pub algorithm: Algorithm,
    /// Names of the accepted issuers; empty accepts any.
    pub issuers: Vec<String>,
    /// The card helper verifies each signature of an elliptic key, as the library can verify only those of messages.
    pub verify: bool,
}

impl SignerChoice {
    /// Chooses a key for `algorithm`, of any issuer.
    pub fn new(key: KeyUse, algorithm: Algorithm) -> Self {
        Self { key, algorithm, issuers: Vec::new(), verify: false }
    }
}

/// What was signed.
#[derive(Clone, Copy, Debug)]
pub enum Signed<'a> {
    /// This message.
    Message(&'a [u8]),
    /// A message with this hash.
    Hash(&'a [u8]),
}

impl Signer {
    /// Parses a certificate, as [`Certificate::from_der`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Certificate::from_der`]; keys on P-256 and P-384 are supported, too.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        read(der, |der, uid, usages, tbs| {
            Ok(Self {
                der,
                issuer_common_name: common_name(tbs.issuer),
                not_before: tbs.validity.not_before.to_date_time(),
                not_after: tbs.validity.not_after.to_date_time(),
                key: signer_key(&tbs.public_key, &uid)?,
                for_login: is_for_login(tbs)?,
                for_commitment: usages.is_some_and(|KeyUsage(usages)| usages.contains(KeyUsages::NonRepudiation)),
                uid,
            })
        })
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The user's id: the common name of the subject.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Returns `true` if its key has this modulus (`CKA_MODULUS`).
    #[doc(hidden)]
    pub fn has_modulus(&self, modulus: &[u8]) -> bool {
        matches!(&self.key, SignerKey::Rsa(key) if has_modulus(key, modulus))
    }

    /// Returns the public key on an elliptic curve, as an uncompressed point (SEC 1, 2.3.3).
    #[doc(hidden)]
    pub fn point(&self) -> Option<&[u8]> {
        match &self.key {
            SignerKey::P256(point) | SignerKey::P384(point) => Some(point),
            SignerKey::Rsa(_) => None,
        }
    }

    /// Verifies a raw signature; that of a hash only with an RSA key.
    ///
    /// # Errors
    ///
    /// [`CardFailed`](ErrorKind::CardFailed) if it is not a signature by the certificate's key.
    pub fn verify(&self, algorithm: Algorithm, signed: Signed<'_>, signature: &[u8]) -> Result<()> {
        let hash = match signed {
            Signed::Hash(hash) => hash.to_vec(),
            Signed::Message(message) => algorithm.hash(message),
        };
        let fits = match (&self.key, algorithm, signed) {
            (SignerKey::Rsa(key), _, Signed::Message(message)) if verify_fast(key, algorithm, message, signature) => {
                true
            }
            (SignerKey::Rsa(key), Algorithm::Ps256, _) => key.verify(Pss::new::<Sha256>(), &hash, signature).is_ok(),
            (SignerKey::Rsa(key), ..) => {
                let info = algorithm.digest_info(&hash);
                key.verify(Pkcs1v15Sign::new_unprefixed(), &info, signature).is_ok()
            }
            (SignerKey::P256(key), _, Signed::Message(message)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature).is_ok()
            }
            (SignerKey::P384(key), _, Signed::Message(message)) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key).verify(message, signature).is_ok()
            }
            // ring hashes messages itself; the card helper verifies these.
            (SignerKey::P256(_) | SignerKey::P384(_), _, Signed::Hash(_)) => false,
        };
        if fits {
            return Ok(());
        }
        Err(self.mismatch())
    }

    /// The error for a signature that is not by the certificate's key.
    #[doc(hidden)]
    pub fn mismatch(&self) -> Error {
        let detail = format!("the card's signature does not match the certificate of {}", self.uid);
        Error::new(ErrorKind::CardFailed, Stage::Signing, detail)
    }

    fn check_key(&self, algorithm: Algorithm) -> Result<()> {
        let (what, fits) = match self.key {
            SignerKey::Rsa(_) => ("an RSA key", !algorithm.is_ecdsa()),
            SignerKey::P256(_) => ("a key on P-256", algorithm == Algorithm::Es256),
            SignerKey::P384(_) => ("a key on P-384", algorithm == Algorithm::Es384),
        };
        if fits {
            return Ok(());
        }
        let detail = format!("the certificate of {} has {what}, which cannot sign with {algorithm}", self.uid);
        Err(Error::new(ErrorKind::KeyNotSupported, Stage::Card, detail))
    }

    fn check_validity(&self, now: SystemTime) -> Result<()> {
        check_validity(&self.uid, self.not_before, self.not_after, now)
    }

    fn is_for(&self, key: KeyUse) -> bool {
        match key {
            KeyUse::ContentCommitment => self.for_commitment && !self.for_login,
            KeyUse::Login => self.for_login,
        }
    }
}

/// Chooses the certificate to sign with. Returns its index and the certificate; the order of the candidates does not
/// matter.
///
/// Excludes certificates for other purposes, of other issuers, or without a private key. Prefers the valid ones,
/// and of these the newest. Skips certificates that cannot be parsed, with a warning.
///
/// # Errors
///
/// At the stage [`Card`](Stage::Card): [`NoCertificate`](ErrorKind::NoCertificate), [`NoKey`](ErrorKind::NoKey),
/// [`CertificateNotValid`](ErrorKind::CertificateNotValid), [`KeyNotSupported`](ErrorKind::KeyNotSupported).
pub fn choose_signer(
    candidates: &[(Vec<u8>, PrivateKey)],
    now: SystemTime,
    choice: &SignerChoice,
) -> Result<(usize, Signer)> {
    let what = match choice.key {
        KeyUse::ContentCommitment => "certificate for signatures (key usage nonRepudiation)",
        KeyUse::Login => "certificate to log in with",
    };
    let (mut found, mut unreadable) = (Vec::new(), None);
    for (index, (der, key)) in candidates.iter().enumerate() {
        match Signer::from_der(der) {
            Ok(signer) if signer.is_for(choice.key) => found.push((index, *key, signer)),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a certificate on the card is skipped");
                unreadable = unreadable.or(Some(error));
            }
        }
    }
    if found.is_empty() {
        return Err(match unreadable {
            Some(error) if candidates.len() == 1 => error,
            _ => no_certificate(format!("the card contains no {what}")),
        });
    }
    found.retain(|(_, _, signer)| {
        let name = signer.issuer_common_name.as_ref();
        choice.issuers.is_empty() || name.is_some_and(|name| choice.issuers.contains(name))
    });
    if found.is_empty() {
        return Err(no_certificate(format!("the card contains no {what} issued by {}", choice.issuers.join(" or "))));
    }
    found.retain(|(_, key, _)| *key != PrivateKey::Absent);
    let best = found.into_iter().max_by_key(|(_, key, signer)| {
        (
            signer.check_validity(now).is_ok(),
            signer.check_key(choice.algorithm).is_ok(),
            *key,
            signer.not_before,
            // Makes the choice between equals independent of their order.
            signer.der.clone(),
        )
    });
    let (index, _, signer) = best.ok_or_else(|| {
        Error::new(ErrorKind::NoKey, Stage::Card, format!("the card contains no private key for its {what}"))
    })?;
    signer.check_validity(now)?;
    signer.check_key(choice.algorithm)?;
    Ok((index, signer))
}

/// Verifies an RSA signature much faster than the crate `rsa` does. Returns `false` also for keys that ring does not
/// support: short ones, and those with unusual exponents.
fn verify_fast(key: &RsaPublicKey, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    let parameters = match algorithm {
        Algorithm::Rs1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::Es256 | Algorithm::Es384 => return false,
    };
    let (n, e) = (key.n().to_bytes_be(), key.e().to_bytes_be());
    RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
}

/// Returns the certificates of `signer`'s issuers among `certificates`, each before its own issuer's.
pub fn chain(signer: &[u8], certificates: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut chain: Vec<Vec<u8>> = Vec::new();
    let mut last = signer.to_vec();
    while let Some((subject, issuer)) = names(&last) {
        let next = certificates.iter().find(|der| {
            let is_new = **der != *signer && !chain.contains(der);
            is_new && subject != issuer && names(der).is_some_and(|(subject, _)| subject == issuer)
        });
        let Some(next) = next else { break };
        chain.push(next.clone());
        last.clone_from(next);
    }
    chain
}

/// Returns subject and issuer of a certificate, in their original encoding.
fn names(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let tbs = RawCertificate::from_der(der).ok()?.tbs;
    Some((tbs.subject.value().to_vec(), tbs.issuer.value().to_vec()))
}

fn signer_key(info: &PublicKeyInfo<'_>, uid: &str) -> Result<SignerKey> {
    if !is(info.algorithm.oid, rfc5912::ID_EC_PUBLIC_KEY) {
        return public_key(info, uid).map(SignerKey::Rsa);
    }
    let point = info.key.raw_bytes().to_vec();
    let curve = |oid| info.algorithm.parameters.is_some_and(|parameters| is(parameters, oid));
    // Uncompressed: one byte, then both coordinates.
    match point.len() {
        65 if curve(rfc5912::SECP_256_R_1) => Ok(SignerKey::P256(point)),
        97 if curve(rfc5912::SECP_384_R_1) => Ok(SignerKey::P384(point)),
        _ => {
            let detail = format!("the certificate of {uid} has an elliptic key that is not on P-256 or P-384");
            Err(Error::new(ErrorKind::KeyNotSupported, Stage::Card, detail))
        }
    }
}
