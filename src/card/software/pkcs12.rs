//! Opens PKCS#12 files (RFC 7292) in DER or BER that are protected by a password. Unlike existing crates, it
//! leaves no copy of the password or a key in memory.

use std::borrow::Cow;

use ::pkcs12::kdf::Pkcs12KeyType;
use ::pkcs12::{PKCS_12_CERT_BAG_OID, PKCS_12_KEY_BAG_OID, PKCS_12_PKCS8_KEY_BAG_OID, PKCS_12_X509_CERT_OID};
use der::asn1::{AnyRef, OctetStringRef};
use der::oid::ObjectIdentifier;
use der::oid::db::rfc5911;
use der::{Decode, Encode, Reader, Sequence, SliceReader, Tag, Tagged};
use x509_cert::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::encryption;
use super::key::Key;
use super::password::{Hash, Password, PbeParameters};
use crate::card::ber;
use crate::secret::SecretBytes;

/// A file's contents.
pub(super) struct Contents {
    pub(super) keys: Vec<Key>,
    pub(super) certificates: Vec<Vec<u8>>,
}

/// Why a file cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The MAC does not match, because of the password or a damaged file.
    WrongPassword,
    /// The problem, as the end of a sentence that begins with the file's name.
    Unusable(String),
}

pub(super) type Result<T> = std::result::Result<T, OpenError>;

impl From<der::Error> for OpenError {
    fn from(error: der::Error) -> Self {
        Self::Unusable(format!("is not a PKCS#12 file, or is damaged ({error})"))
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
    /// An OCTET STRING with the tag `[0]`, which may be in pieces in BER.
    content: AnyRef<'a>,
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
struct Pbmac1Parameters<'a> {
    kdf: AlgorithmIdentifierRef<'a>,
    hmac: AlgorithmIdentifierRef<'a>,
}

/// RFC 9879.
const PBMAC1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.14");

/// Checks that `file` has the outer form that [`open`] supports.
pub(super) fn check(file: &[u8]) -> Result<()> {
    parse(&canonical(file)?).map(drop)
}

/// Opens `file` with `password`. Skips keys that are not RSA, and bytes after the file.
pub(super) fn open(file: &[u8], password: &str) -> Result<Contents> {
    let file = canonical(file)?;
    let (safe, mac) = parse(&file)?;
    let contents = Contents { keys: Vec::new(), certificates: Vec::new() };
    let mut opening = Opening { password: Password::new(password), proven: false, contents };
    if let Some(mac) = mac {
        opening.verify(&mac, safe)?;
    }
    for content in Vec::<ContentInfo<'_>>::from_der(&canonical(safe)?)? {
        match content.content_type {
            rfc5911::ID_DATA => {
                let bags = content.content.decode_as::<OctetStringRef<'_>>()?;
                opening.read_bags(&canonical(bags.as_bytes())?)?;
            }
            rfc5911::ID_ENCRYPTED_DATA => {
                let encrypted = content.content.decode_as::<EncryptedData<'_>>()?.content;
                let bags = opening.decrypt(&encrypted.algorithm, &joined(encrypted.content)?)?;
                opening.read_bags(&bags)?;
            }
            other => return Err(unsupported("content type", other)),
        }
    }
    if !opening.proven {
        return Err(OpenError::Unusable("is not protected by a password, so any PIN would open it".into()));
    }
    Ok(opening.contents)
}

fn canonical(bytes: &[u8]) -> Result<SecretBytes> {
    let (der, _) = ber::to_der(bytes).ok_or_else(|| der::ErrorKind::Failed.at(der::Length::ZERO))?;
    Ok(der)
}

/// The contents of an OCTET STRING with an implicit tag.
fn joined(value: AnyRef<'_>) -> Result<Cow<'_, [u8]>> {
    match value.tag() {
        Tag::ContextSpecific { constructed: false, .. } => Ok(Cow::Borrowed(value.value())),
        Tag::ContextSpecific { constructed: true, .. } => {
            let mut reader = SliceReader::new(value.value())?;
            let mut bytes = Vec::new();
            while !reader.is_finished() {
                bytes.extend_from_slice(OctetStringRef::decode(&mut reader)?.as_bytes());
            }
            Ok(Cow::Owned(bytes))
        }
        _ => Err(damaged()),
    }
}

fn parse(file: &[u8]) -> Result<(&[u8], Option<MacData<'_>>)> {
    let pfx = Pfx::from_der(file)?;
    if pfx.version != 3 {
        return Err(OpenError::Unusable(format!("is PKCS#12 of version {}, not 3", pfx.version)));
    }
    if pfx.auth_safe.content_type != rfc5911::ID_DATA {
        return Err(unsupported("integrity", pfx.auth_safe.content_type));
    }
    Ok((pfx.auth_safe.content.decode_as::<OctetStringRef<'_>>()?.as_bytes(), pfx.mac))
}

struct Opening<'a> {
    password: Password<'a>,
    /// The password is proven right: the MAC matches, or a part without one was decrypted.
    proven: bool,
    contents: Contents,
}

impl Opening<'_> {
    fn verify(&mut self, mac: &MacData<'_>, safe: &[u8]) -> Result<()> {
        let MacData { mac: DigestInfo { algorithm, digest }, salt, rounds } = mac;
        let is_right = |hash: Hash, key: &[u8]| hash.verify(key, safe, digest.as_bytes());
        if algorithm.oid == PBMAC1 {
            let parameters: Pbmac1Parameters<'_> = algorithm.parameters.ok_or_else(damaged)?.decode_as()?;
            let hmac = parameters.hmac.oid;
            let hash = Hash::of_hmac(hmac).ok_or_else(|| unsupported("MAC", hmac))?;
            self.proven = is_right(hash, &self.password.derive_pbkdf2(&parameters.kdf, None)?);
        } else {
            let hash = Hash::of_digest(algorithm.oid).ok_or_else(|| unsupported("MAC", algorithm.oid))?;
            let parameters = PbeParameters { salt: *salt, rounds: *rounds };
            for form in 0..self.password.forms() {
                let key = self.password.derive_pkcs12(form, hash, Pkcs12KeyType::Mac, &parameters, hash.size())?;
                if is_right(hash, &key) {
                    self.password.keep(form);
                    self.proven = true;
                    break;
                }
            }
        }
        if self.proven { Ok(()) } else { Err(OpenError::WrongPassword) }
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
                PKCS_12_KEY_BAG_OID => self.read_key(&Zeroizing::new(bag.value.to_der()?)),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_key(&mut self, pkcs8: &[u8]) {
        match Key::from_pkcs8(pkcs8) {
            Ok(key) => self.contents.keys.push(key),
            Err(error) => tracing::warn!(%error, "a key in the PKCS#12 file is skipped"),
        }
    }

    /// Decrypts an ASN.1 value and converts it to DER.
    fn decrypt(&mut self, algorithm: &AlgorithmIdentifierRef<'_>, data: &[u8]) -> Result<SecretBytes> {
        for form in 0..self.password.forms() {
            let Some(plain) = encryption::decrypt(algorithm, data, &mut self.password, form)? else { continue };
            // Padding is right by chance once in 256 times, and RC4 has none.
            if let Some((der, _)) = ber::to_der(&plain)
                && AnyRef::from_der(&der).is_ok_and(|value| value.tag() == Tag::Sequence)
            {
                self.password.keep(form);
                self.proven = true;
                return Ok(der);
            }
        }
        Err(if self.proven { damaged() } else { OpenError::WrongPassword })
    }
}

pub(super) fn damaged() -> OpenError {
    OpenError::Unusable("is damaged".into())
}

pub(super) fn unsupported(what: &str, oid: ObjectIdentifier) -> OpenError {
    let name = der::oid::db::DB.by_oid(&oid).map_or_else(|| oid.to_string(), |name| format!("{name} ({oid})"));
    OpenError::Unusable(format!("uses an unsupported {what}: {name}"))
}
