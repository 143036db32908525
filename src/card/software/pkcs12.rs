//! Opens PKCS#12 files (RFC 7292) and leaves no copy of the password or of a key in memory, as the
//! crates for whole files do. Integrity by password only, and DER only.

use ::pkcs12::kdf::{Pkcs12KeyType, derive_key};
use ::pkcs12::{
    PKCS_12_CERT_BAG_OID, PKCS_12_KEY_BAG_OID, PKCS_12_PBE_WITH_SHAAND3_KEY_TRIPLE_DES_CBC,
    PKCS_12_PBE_WITH_SHAAND128_BIT_RC2_CBC, PKCS_12_PBEWITH_SHAAND40_BIT_RC2_CBC, PKCS_12_PKCS8_KEY_BAG_OID,
    PKCS_12_X509_CERT_OID,
};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipher, BlockDecryptMut, KeyInit, KeyIvInit};
use der::asn1::{AnyRef, OctetStringRef};
use der::oid::ObjectIdentifier;
use der::oid::db::{rfc5911, rfc5912};
use der::{Decode, Sequence};
use hmac::digest::core_api::BlockSizeUser;
use hmac::digest::{FixedOutputReset, OutputSizeUser};
use hmac::{Mac, SimpleHmac};
use pkcs5::pbes2;
use rsa::RsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};
use x509_cert::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use crate::secret::{SecretBytes, secret_buffer};

/// Rounds of key derivation for one file, a few seconds of work. Java's old form needs 300,000.
/// A fuzzer would find the slowest file, and do nothing else.
const MAX_ROUNDS: u32 = if cfg!(fuzzing) { 5_000 } else { 5_000_000 };

/// What a file holds.
pub(super) struct Contents {
    pub(super) keys: Vec<RsaPrivateKey>,
    pub(super) certificates: Vec<Vec<u8>>,
}

/// Why a file cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The MAC is another: by the password, or because the file was damaged.
    WrongPassword,
    /// What is wrong with the file, as the end of a sentence that begins with its name.
    Unusable(String),
}

type Result<T> = std::result::Result<T, OpenError>;

impl From<der::Error> for OpenError {
    fn from(error: der::Error) -> Self {
        Self::Unusable(format!("is not a PKCS#12 file in DER, or is damaged ({error})"))
    }
}

#[derive(Sequence)]
struct Pfx<'a> {
    version: u8,
    auth_safe: ContentInfo<'a>,
    mac: Option<MacData<'a>>,
}

#[derive(Sequence)]
struct ContentInfo<'a> {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: AnyRef<'a>,
}

#[derive(Sequence)]
struct MacData<'a> {
    mac: DigestInfo<'a>,
    salt: OctetStringRef<'a>,
    #[asn1(default = "one")]
    rounds: u32,
}

fn one() -> u32 {
    1
}

#[derive(Sequence)]
struct DigestInfo<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    digest: OctetStringRef<'a>,
}

#[derive(Sequence)]
struct EncryptedData<'a> {
    version: u8,
    content: EncryptedContent<'a>,
}

#[derive(Sequence)]
struct EncryptedContent<'a> {
    content_type: ObjectIdentifier,
    algorithm: AlgorithmIdentifierRef<'a>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    content: OctetStringRef<'a>,
}

#[derive(Sequence)]
struct SafeBag<'a> {
    id: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    value: AnyRef<'a>,
    attributes: Option<AnyRef<'a>>,
}

#[derive(Sequence)]
struct CertBag<'a> {
    id: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    value: OctetStringRef<'a>,
}

#[derive(Sequence)]
struct EncryptedKey<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    data: OctetStringRef<'a>,
}

#[derive(Sequence)]
struct PbeParameters<'a> {
    salt: OctetStringRef<'a>,
    rounds: u32,
}

/// Whether `file` has the outer form of one that [`open`] opens.
pub(super) fn check(file: &[u8]) -> Result<()> {
    parse(file).map(drop)
}

/// Opens `file` with `password`. Keys that are not RSA are left out.
pub(super) fn open(file: &[u8], password: &str) -> Result<Contents> {
    let (safe, mac) = parse(file)?;
    let mut opening = Opening::new(password);
    opening.verify(&mac, safe)?;
    for content in Vec::<ContentInfo<'_>>::from_der(safe)? {
        match content.content_type {
            rfc5911::ID_DATA => opening.read_bags(content.content.decode_as::<OctetStringRef<'_>>()?.as_bytes())?,
            rfc5911::ID_ENCRYPTED_DATA => {
                let encrypted = content.content.decode_as::<EncryptedData<'_>>()?.content;
                let bags = opening.decrypt(&encrypted.algorithm, encrypted.content.as_bytes())?;
                opening.read_bags(&bags)?;
            }
            other => return Err(unsupported("content type", other)),
        }
    }
    Ok(opening.contents)
}

fn parse(file: &[u8]) -> Result<(&[u8], MacData<'_>)> {
    let pfx = Pfx::from_der(file)?;
    if pfx.version != 3 {
        return Err(OpenError::Unusable(format!("is PKCS#12 of version {}, not 3", pfx.version)));
    }
    if pfx.auth_safe.content_type != rfc5911::ID_DATA {
        return Err(unsupported("integrity", pfx.auth_safe.content_type));
    }
    let mac = pfx.mac.ok_or_else(|| OpenError::Unusable("has no MAC, so its contents cannot be trusted".into()))?;
    Ok((pfx.auth_safe.content.decode_as::<OctetStringRef<'_>>()?.as_bytes(), mac))
}

struct Opening<'a> {
    password: &'a str,
    /// As RFC 7292 §B.1 wants it: UTF-16, big-endian, and two zero bytes at the end.
    utf16: SecretBytes,
    rounds_left: u32,
    contents: Contents,
}

impl<'a> Opening<'a> {
    fn new(password: &'a str) -> Self {
        let mut utf16 = secret_buffer(2 * password.len() + 2);
        for unit in password.encode_utf16().chain([0]) {
            utf16.extend_from_slice(&unit.to_be_bytes());
        }
        let contents = Contents { keys: Vec::new(), certificates: Vec::new() };
        Self { password, utf16, rounds_left: MAX_ROUNDS, contents }
    }

    fn verify(&mut self, mac: &MacData<'_>, safe: &[u8]) -> Result<()> {
        match mac.mac.algorithm.oid {
            rfc5912::ID_SHA_1 => self.verify_with::<Sha1>(mac, safe),
            rfc5912::ID_SHA_256 => self.verify_with::<Sha256>(mac, safe),
            rfc5912::ID_SHA_384 => self.verify_with::<Sha384>(mac, safe),
            rfc5912::ID_SHA_512 => self.verify_with::<Sha512>(mac, safe),
            other => Err(unsupported("MAC", other)),
        }
    }

    fn verify_with<D: Digest + FixedOutputReset + BlockSizeUser>(
        &mut self,
        mac: &MacData<'_>,
        safe: &[u8],
    ) -> Result<()> {
        let size = <D as OutputSizeUser>::output_size();
        let key = self.derive::<D>(Pkcs12KeyType::Mac, mac.salt, mac.rounds, size)?;
        <SimpleHmac<D> as KeyInit>::new_from_slice(&key)
            .map_err(|_| damaged())?
            .chain_update(safe)
            .verify_slice(mac.mac.digest.as_bytes())
            .map_err(|_| OpenError::WrongPassword)
    }

    fn read_bags(&mut self, bags: &[u8]) -> Result<()> {
        for bag in Vec::<SafeBag<'_>>::from_der(bags)? {
            match bag.id {
                PKCS_12_CERT_BAG_OID => {
                    let certificate = bag.value.decode_as::<CertBag<'_>>()?;
                    if certificate.id == PKCS_12_X509_CERT_OID {
                        self.contents.certificates.push(certificate.value.as_bytes().to_vec());
                    }
                }
                PKCS_12_PKCS8_KEY_BAG_OID => {
                    let key = bag.value.decode_as::<EncryptedKey<'_>>()?;
                    let key = self.decrypt(&key.algorithm, key.data.as_bytes())?;
                    self.read_key(&key);
                }
                PKCS_12_KEY_BAG_OID => self.read_key(&Zeroizing::new(der::Encode::to_der(&bag.value)?)),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_key(&mut self, pkcs8: &[u8]) {
        match RsaPrivateKey::from_pkcs8_der(pkcs8) {
            Ok(key) => self.contents.keys.push(key),
            Err(error) => tracing::warn!(%error, "a key in the PKCS#12 file is skipped"),
        }
    }

    fn decrypt(&mut self, algorithm: &AlgorithmIdentifierRef<'_>, data: &[u8]) -> Result<SecretBytes> {
        let parameters = algorithm.parameters.ok_or_else(damaged)?;
        match algorithm.oid {
            pbes2::PBES2_OID => {
                let parameters = pbes2::Parameters::try_from(parameters)?;
                let kdf = parameters.kdf.pbkdf2().ok_or_else(|| unsupported("key derivation", parameters.kdf.oid()))?;
                self.spend(kdf.iteration_count)?;
                parameters.decrypt(self.password, data).map(Zeroizing::new).map_err(|_| damaged())
            }
            PKCS_12_PBE_WITH_SHAAND3_KEY_TRIPLE_DES_CBC => self.decrypt_cbc::<des::TdesEde3>(24, parameters, data),
            PKCS_12_PBE_WITH_SHAAND128_BIT_RC2_CBC => self.decrypt_cbc::<rc2::Rc2>(16, parameters, data),
            PKCS_12_PBEWITH_SHAAND40_BIT_RC2_CBC => self.decrypt_cbc::<rc2::Rc2>(5, parameters, data),
            other => Err(unsupported("encryption", other)),
        }
    }

    fn decrypt_cbc<C: BlockCipher + BlockDecryptMut + KeyInit>(
        &mut self,
        key_size: usize,
        parameters: AnyRef<'_>,
        data: &[u8],
    ) -> Result<SecretBytes> {
        let PbeParameters { salt, rounds } = parameters.decode_as()?;
        let key = self.derive::<Sha1>(Pkcs12KeyType::EncryptionKey, salt, rounds, key_size)?;
        let iv = self.derive::<Sha1>(Pkcs12KeyType::Iv, salt, rounds, 8)?;
        let mut buffer = Zeroizing::new(data.to_vec());
        let length = cbc::Decryptor::<C>::new_from_slices(&key, &iv)
            .map_err(|_| damaged())?
            .decrypt_padded_mut::<Pkcs7>(&mut buffer)
            .map_err(|_| damaged())?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }

    fn derive<D: Digest + FixedOutputReset + BlockSizeUser>(
        &mut self,
        purpose: Pkcs12KeyType,
        salt: OctetStringRef<'_>,
        rounds: u32,
        size: usize,
    ) -> Result<SecretBytes> {
        self.spend(rounds)?;
        let rounds = i32::try_from(rounds).map_err(|_| damaged())?;
        Ok(Zeroizing::new(derive_key::<D>(&self.utf16, salt.as_bytes(), purpose, rounds, size)))
    }

    fn spend(&mut self, rounds: u32) -> Result<()> {
        self.rounds_left = self
            .rounds_left
            .checked_sub(rounds)
            .ok_or_else(|| OpenError::Unusable(format!("asks for more than {MAX_ROUNDS} rounds of key derivation")))?;
        Ok(())
    }
}

fn damaged() -> OpenError {
    OpenError::Unusable("is damaged".into())
}

fn unsupported(what: &str, oid: ObjectIdentifier) -> OpenError {
    let name = der::oid::db::DB.by_oid(&oid).map_or_else(|| oid.to_string(), |name| format!("{name} ({oid})"));
    OpenError::Unusable(format!("uses an unsupported {what}: {name}"))
}
