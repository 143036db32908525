//! The provider's public keys (JWKS).

use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256};
use ring::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

use super::base64url::base64url;
use super::json::{self, BadJson};
use super::jws::Algorithm;

/// The keys that a provider signs with.
#[derive(Debug, Default)]
pub(crate) struct KeySet(Vec<Key>);

/// A public key for signatures.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    /// The only algorithm it is for, if it names one.
    algorithm: Option<String>,
    numbers: Numbers,
}

#[derive(Debug)]
enum Numbers {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
}

/// A key as the provider writes it (RFC 7517).
#[derive(Deserialize)]
struct Jwk {
    kty: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWKS document. Keys for encryption and of kinds that no ID token is signed with are left out.
    pub(super) fn read(document: &[u8]) -> Result<Self, BadJson> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Jwk>,
        }

        let document: Document = json::read(document)?;
        Ok(Self(document.keys.into_iter().filter_map(Jwk::for_signatures).collect()))
    }

    /// Returns the keys that may have made a signature with `algorithm`: the one with this id, or without an id
    /// each that fits.
    pub(super) fn candidates<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Key> + 'a {
        self.0
            .iter()
            .filter(move |key| key.fits(algorithm) && id.is_none_or(|id| key.id.as_deref().is_none_or(|key| key == id)))
    }
}

impl Jwk {
    fn for_signatures(self) -> Option<Key> {
        let is_for_signatures = self.usage.is_none_or(|usage| usage == "sig")
            && self.key_ops.is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        if !is_for_signatures {
            return None;
        }
        let number = |text: Option<String>| base64url(text?.as_bytes());
        let numbers = match self.kty?.as_str() {
            "RSA" => Numbers::Rsa { n: without_zeros(number(self.n)?), e: without_zeros(number(self.e)?) },
            "EC" if self.crv? == "P-256" => {
                let (x, y) = (number(self.x)?, number(self.y)?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                Numbers::P256([&[4], &x[..], &y].concat())
            }
            _ => return None,
        };
        Some(Key { id: self.kid, algorithm: self.alg, numbers })
    }
}

/// Some servers write numbers as signed ones.
fn without_zeros(number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number[zeros..].to_vec()
}

impl Key {
    fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = match (&self.numbers, algorithm) {
            (Numbers::Rsa { .. }, Algorithm::Rs256 | Algorithm::Ps256) => true,
            (Numbers::P256(_), Algorithm::Es256) => true,
            (Numbers::Rsa { .. } | Numbers::P256(_), _) => false,
        };
        kind && self.algorithm.as_deref().is_none_or(|only| only == algorithm.as_str())
    }

    /// Returns `true` if this key has made the signature. RSA keys shorter than 2,048 bits make none that counts.
    pub(super) fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (&self.numbers, algorithm) {
            (Numbers::Rsa { n, e }, Algorithm::Rs256) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            (Numbers::Rsa { n, e }, Algorithm::Ps256) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PSS_2048_8192_SHA256, message, signature).is_ok()
            }
            (Numbers::P256(point), Algorithm::Es256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            (Numbers::Rsa { .. } | Numbers::P256(_), _) => false,
        }
    }

    /// Returns `true` for an RSA key that is too short for a signature to count.
    pub(super) fn is_short(&self) -> bool {
        matches!(&self.numbers, Numbers::Rsa { n, .. } if n.len() < 256)
    }
}
