//! A software card's private key.

use num_bigint_dig::BigInt;
use rand::rngs::OsRng;
use rsa::hazmat::rsa_decrypt_and_check;
use rsa::pkcs8::{DecodePrivateKey, PrivateKeyInfo};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BigUint, CrtValue, Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use zeroize::Zeroizing;

use crate::card::certificate::{KEY_BITS, MAX_EXPONENT_BITS};

pub(super) enum Key {
    Usual(RsaPrivateKey),
    LongExponent(LongExponentKey),
}

/// A key whose public exponent is longer than the 33 bits that [`RsaPrivateKey`] supports.
pub(super) struct LongExponentKey {
    modulus: BigUint,
    public_exponent: BigUint,
    private_exponent: Zeroizing<BigUint>,
}

impl Key {
    /// Parses a key in PKCS#8 DER.
    pub(super) fn from_pkcs8(der: &[u8]) -> rsa::pkcs8::Result<Self> {
        match RsaPrivateKey::from_pkcs8_der(der) {
            Ok(key) => Ok(Self::Usual(key)),
            Err(error) => LongExponentKey::from_pkcs8(der).map(Self::LongExponent).ok_or(error),
        }
    }

    pub(super) fn public(&self) -> RsaPublicKey {
        match self {
            Self::Usual(key) => key.to_public_key(),
            Self::LongExponent(key) => RsaPublicKey::new_unchecked(key.n().clone(), key.e().clone()),
        }
    }

    /// Signs with PKCS#1 v1.5, blinded.
    pub(super) fn sign(&self, digest_info: &[u8]) -> rsa::Result<Vec<u8>> {
        match self {
            Self::Usual(key) => key.sign_with_rng(&mut OsRng, Pkcs1v15Sign::new_unprefixed(), digest_info),
            Self::LongExponent(key) => key.sign(digest_info),
        }
    }
}

#[cfg(feature = "sign")]
impl Key {
    /// Signs a SHA-256 hash with PSS, blinded. `None` for a key whose public exponent is long.
    pub(super) fn sign_pss(&self, hash: &[u8]) -> Option<rsa::Result<Vec<u8>>> {
        match self {
            Self::Usual(key) => Some(key.sign_with_rng(&mut OsRng, rsa::Pss::new_blinded::<sha2::Sha256>(), hash)),
            Self::LongExponent(_) => None,
        }
    }
}

impl LongExponentKey {
    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let info = PrivateKeyInfo::try_from(der).ok()?;
        info.algorithm.assert_algorithm_oid(rsa::pkcs1::ALGORITHM_OID).ok()?;
        let key = rsa::pkcs1::RsaPrivateKey::try_from(info.private_key).ok()?;
        let number = |number: rsa::pkcs1::UintRef<'_>| BigUint::from_bytes_be(number.as_bytes());
        let key = Self {
            modulus: number(key.modulus),
            public_exponent: number(key.public_exponent),
            private_exponent: Zeroizing::new(number(key.private_exponent)),
        };
        let usable =
            KEY_BITS.contains(&key.modulus.bits()) && (34..=MAX_EXPONENT_BITS).contains(&key.public_exponent.bits());
        usable.then_some(key)
    }

    fn sign(&self, digest_info: &[u8]) -> rsa::Result<Vec<u8>> {
        let padding = self.size().checked_sub(digest_info.len() + 3).ok_or(rsa::Error::MessageTooLong)?;
        let padded = [&[0, 1][..], &vec![0xff; padding], &[0], digest_info].concat();
        let signature = rsa_decrypt_and_check(self, Some(&mut OsRng), &BigUint::from_bytes_be(&padded))?.to_bytes_be();
        Ok([vec![0; self.size() - signature.len()], signature].concat())
    }
}

impl PublicKeyParts for LongExponentKey {
    fn n(&self) -> &BigUint {
        &self.modulus
    }

    fn e(&self) -> &BigUint {
        &self.public_exponent
    }
}

/// Without the primes: such keys are rare, and signing takes four times as long.
impl PrivateKeyParts for LongExponentKey {
    fn d(&self) -> &BigUint {
        &self.private_exponent
    }

    fn primes(&self) -> &[BigUint] {
        &[]
    }

    fn dp(&self) -> Option<&BigUint> {
        None
    }

    fn dq(&self) -> Option<&BigUint> {
        None
    }

    fn qinv(&self) -> Option<&BigInt> {
        None
    }

    fn crt_values(&self) -> Option<&[CrtValue]> {
        None
    }
}
