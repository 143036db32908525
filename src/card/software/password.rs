//! The password of a PKCS#12 file, and the keys that are derived from it.

use ::pkcs12::kdf::{Pkcs12KeyType, derive_key};
use der::Sequence;
use der::asn1::OctetStringRef;
use der::oid::ObjectIdentifier;
use der::oid::db::{rfc5911, rfc5912, rfc6268};
use hmac::digest::KeyInit;
use hmac::{Mac, SimpleHmac};
use md5::Md5;
use pbkdf2::pbkdf2_hmac;
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use x509_cert::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::pkcs12::{OpenError, Result, damaged, unsupported};
use crate::secret::{SecretBytes, secret_buffer};

/// The maximum number of key derivation rounds for one file, a few seconds of work. Java's old form needs 300,000.
/// A fuzzer would only find the slowest file.
const MAX_ROUNDS: u32 = if cfg!(fuzzing) { 5_000 } else { 5_000_000 };

/// The longest derived key, in bytes: a block of SHA-512; longer HMAC keys only cost time.
const MAX_KEY: u16 = 128;

/// The password, and the number of rounds that are left.
pub(super) struct Password<'a> {
    text: &'a str,
    /// The password's encodings for the key derivation of PKCS#12: UTF-16, big-endian, with two zero bytes at the
    /// end (RFC 7292 §B.1), and those of older programs, if they differ.
    forms: Vec<SecretBytes>,
    rounds_left: u32,
}

impl<'a> Password<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut forms = vec![with_end(text.encode_utf16(), 2 * text.len())];
        if !text.is_ascii() {
            // OpenSSL before 1.1.0 treated each byte of UTF-8 as a character.
            forms.push(with_end(text.bytes().map(u16::from), 2 * text.len()));
        }
        if text.is_empty() {
            // Some programs omit the end, and so encode the empty password as nothing.
            forms.push(secret_buffer(0));
        }
        Self { text, forms, rounds_left: MAX_ROUNDS }
    }

    /// The number of encodings.
    pub(super) fn forms(&self) -> usize {
        self.forms.len()
    }

    /// Keeps only the encoding with this number, which the file is known to use.
    pub(super) fn keep(&mut self, form: usize) {
        self.forms.swap(0, form);
        self.forms.truncate(1);
    }

    /// The key derivation of PKCS#12 (RFC 7292 §B.2) from one encoding.
    pub(super) fn derive_pkcs12(
        &mut self,
        form: usize,
        hash: Hash,
        purpose: Pkcs12KeyType,
        parameters: &PbeParameters<'_>,
        size: usize,
    ) -> Result<SecretBytes> {
        let rounds = i32::try_from(self.spend(parameters.rounds)?).map_err(|_| damaged())?;
        let form = self.forms.get(form).ok_or_else(damaged)?;
        Ok(hash.derive_pkcs12(form, parameters.salt.as_bytes(), purpose, rounds, size))
    }

    /// The key derivation of PKCS#5 version 1.5: 16 bytes from MD5 or SHA-1.
    pub(super) fn derive_pkcs5(&mut self, hash: Hash, parameters: &PbeParameters<'_>) -> Result<SecretBytes> {
        let rounds = self.spend(parameters.rounds)?;
        let mut seed = secret_buffer(self.text.len() + parameters.salt.as_bytes().len());
        seed.extend_from_slice(self.text.as_bytes());
        seed.extend_from_slice(parameters.salt.as_bytes());
        let mut key = hash.digest(&seed);
        for _ in 1..rounds {
            key = hash.digest(&key);
        }
        key.truncate(16);
        Ok(key)
    }

    /// PBKDF2 with the parameters `kdf`. `size` is the length if they do not contain one.
    pub(super) fn derive_pbkdf2(&mut self, kdf: &AlgorithmIdentifierRef<'_>, size: Option<u16>) -> Result<SecretBytes> {
        if kdf.oid != rfc5911::ID_PBKDF_2 {
            return Err(unsupported("key derivation", kdf.oid));
        }
        let parameters: Pbkdf2Parameters<'_> = kdf.parameters.ok_or_else(damaged)?.decode_as()?;
        let hash = match parameters.prf {
            None => Hash::Sha1,
            Some(prf) => Hash::of_hmac(prf.oid).ok_or_else(|| unsupported("key derivation", prf.oid))?,
        };
        let size = parameters.key_length.or(size).filter(|size| (1..=MAX_KEY).contains(size)).ok_or_else(damaged)?;
        let rounds = self.spend(parameters.rounds)?;
        Ok(hash.derive_pbkdf2(self.text.as_bytes(), parameters.salt.as_bytes(), rounds, size.into()))
    }

    fn spend(&mut self, rounds: u32) -> Result<u32> {
        self.rounds_left = self
            .rounds_left
            .checked_sub(rounds)
            .ok_or_else(|| OpenError::Unusable(format!("asks for more than {MAX_ROUNDS} rounds of key derivation")))?;
        Ok(rounds)
    }
}

fn with_end(units: impl Iterator<Item = u16>, capacity: usize) -> SecretBytes {
    let mut form = secret_buffer(capacity + 2);
    for unit in units.chain([0]) {
        form.extend_from_slice(&unit.to_be_bytes());
    }
    form
}

/// The parameters of all encryption algorithms except PBES2.
#[derive(Sequence)]
pub(super) struct PbeParameters<'a> {
    pub(super) salt: OctetStringRef<'a>,
    pub(super) rounds: u32,
}

#[derive(Sequence)]
struct Pbkdf2Parameters<'a> {
    salt: OctetStringRef<'a>,
    rounds: u32,
    key_length: Option<u16>,
    prf: Option<AlgorithmIdentifierRef<'a>>,
}

/// The hash functions that protect files.
#[derive(Clone, Copy)]
pub(super) enum Hash {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
}

/// Calls a function of the hash's type.
macro_rules! with {
    ($hash:expr, |$type:ident| $call:expr) => {
        with!($hash, $type, $call, Md5 Sha1 Sha224 Sha256 Sha384 Sha512 Sha512_224 Sha512_256)
    };
    ($hash:expr, $type:ident, $call:expr, $($name:ident)*) => {
        match $hash {
            $(Hash::$name => {
                type $type = $name;
                $call
            })*
        }
    };
}

impl Hash {
    /// The hash with this OID.
    pub(super) fn of_digest(oid: ObjectIdentifier) -> Option<Self> {
        Some(match oid {
            rfc5912::ID_MD_5 => Self::Md5,
            rfc5912::ID_SHA_1 => Self::Sha1,
            rfc5912::ID_SHA_224 => Self::Sha224,
            rfc5912::ID_SHA_256 => Self::Sha256,
            rfc5912::ID_SHA_384 => Self::Sha384,
            rfc5912::ID_SHA_512 => Self::Sha512,
            ID_SHA_512_224 => Self::Sha512_224,
            ID_SHA_512_256 => Self::Sha512_256,
            _ => return None,
        })
    }

    /// The hash whose HMAC has this OID.
    pub(super) fn of_hmac(oid: ObjectIdentifier) -> Option<Self> {
        Some(match oid {
            ID_HMAC_WITH_MD_5 => Self::Md5,
            ID_HMAC_WITH_SHA_1 => Self::Sha1,
            rfc6268::ID_HMAC_WITH_SHA_224 => Self::Sha224,
            rfc6268::ID_HMAC_WITH_SHA_256 => Self::Sha256,
            rfc6268::ID_HMAC_WITH_SHA_384 => Self::Sha384,
            rfc6268::ID_HMAC_WITH_SHA_512 => Self::Sha512,
            ID_HMAC_WITH_SHA_512_224 => Self::Sha512_224,
            ID_HMAC_WITH_SHA_512_256 => Self::Sha512_256,
            _ => return None,
        })
    }

    /// The length of its values.
    pub(super) fn size(self) -> usize {
        with!(self, |D| <D as Digest>::output_size())
    }

    /// Returns `true` if `mac` is the HMAC of `data` with `key`.
    pub(super) fn verify(self, key: &[u8], data: &[u8], mac: &[u8]) -> bool {
        with!(self, |D| {
            <SimpleHmac<D> as KeyInit>::new_from_slice(key)
                .is_ok_and(|hmac| hmac.chain_update(data).verify_slice(mac).is_ok())
        })
    }

    fn digest(self, data: &[u8]) -> SecretBytes {
        with!(self, |D| Zeroizing::new(D::digest(data).to_vec()))
    }

    fn derive_pkcs12(self, password: &[u8], salt: &[u8], key: Pkcs12KeyType, rounds: i32, size: usize) -> SecretBytes {
        with!(self, |D| Zeroizing::new(derive_key::<D>(password, salt, key, rounds, size)))
    }

    fn derive_pbkdf2(self, password: &[u8], salt: &[u8], rounds: u32, size: usize) -> SecretBytes {
        let mut key = Zeroizing::new(vec![0; size]);
        with!(self, |D| pbkdf2_hmac::<D>(password, salt, rounds, &mut key));
        key
    }
}

const ID_SHA_512_224: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.5");
const ID_SHA_512_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.6");
const ID_HMAC_WITH_MD_5: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.6");
const ID_HMAC_WITH_SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.7");
const ID_HMAC_WITH_SHA_512_224: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.12");
const ID_HMAC_WITH_SHA_512_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.13");
