//! Certificates on a card: which one is for authentication, and whose it is. Pure.

use std::time::SystemTime;

use der::asn1::{Any, AnyRef, BitStringRef, BmpString};
use der::oid::ObjectIdentifier;
use der::oid::db::{rfc4519, rfc5280, rfc5912};
use der::{DateTime, Decode, Sequence, Tag, Tagged};
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use x509_cert::time::Validity;

use crate::challenge::Digest;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::printable;

/// Microsoft's extended key usage for logging in with a smartcard.
const SMARTCARD_LOGON: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.2");

/// Sizes of RSA keys, in bits, that can be logged in with.
const KEY_BITS: std::ops::RangeInclusive<usize> = 1024..=4096;

/// A certificate, taken apart as far as a login needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    issuer: Any,
    serial: Any,
    issuer_common_name: Option<String>,
    uid: String,
    not_before: DateTime,
    not_after: DateTime,
    public_key: RsaPublicKey,
    for_login: bool,
    for_signatures_only: bool,
}

/// `Certificate` of RFC 5280. The x509-cert crate's own refuses serial numbers longer than the
/// standard allows, which old cards have.
#[derive(Sequence)]
struct RawCertificate<'a> {
    tbs: TbsCertificate<'a>,
    signature_algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

#[derive(Sequence)]
struct TbsCertificate<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    version: Option<u8>,
    serial: AnyRef<'a>,
    signature_algorithm: AlgorithmIdentifierRef<'a>,
    issuer: AnyRef<'a>,
    validity: Validity,
    subject: Name,
    public_key: SubjectPublicKeyInfoRef<'a>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    issuer_unique_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    subject_unique_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Extensions>,
}

impl Certificate {
    /// Reads a certificate from DER.
    ///
    /// # Errors
    ///
    /// [`NoCertificate`](ErrorKind::NoCertificate) where it cannot be read or its subject has not
    /// exactly one common name; [`CardNotSupported`](ErrorKind::CardNotSupported) where its key is
    /// not RSA of 1,024 to 4,096 bits.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let tbs = RawCertificate::from_der(der).map_err(unreadable)?.tbs;
        let issuer_common_name = common_name(&tbs.issuer.decode_as().map_err(unreadable)?);
        let uid = common_name(&tbs.subject)
            .ok_or_else(|| no_certificate("the certificate does not name its user by one common name".into()))?;
        let usages = extension::<KeyUsage>(&tbs, rfc5280::ID_CE_KEY_USAGE)?;
        let purposes = extension::<ExtendedKeyUsage>(&tbs, rfc5280::ID_CE_EXT_KEY_USAGE)?;
        Ok(Self {
            der: der.to_vec(),
            issuer: tbs.issuer.into(),
            serial: tbs.serial.into(),
            issuer_common_name,
            not_before: tbs.validity.not_before.to_date_time(),
            not_after: tbs.validity.not_after.to_date_time(),
            public_key: public_key(&tbs.public_key, &uid)?,
            for_login: purposes.is_some_and(|purposes| {
                purposes.0.iter().any(|purpose| [rfc5280::ID_KP_CLIENT_AUTH, SMARTCARD_LOGON].contains(purpose))
            }),
            for_signatures_only: usages.is_some_and(|KeyUsage(usages)| {
                usages.contains(KeyUsages::DigitalSignature) && !usages.contains(KeyUsages::NonRepudiation)
            }),
            uid,
        })
    }

    /// The certificate as DER, byte for byte as it is on the card.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The user's id: the common name of the subject.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The common name of its issuer, where there is exactly one.
    pub fn issuer_name(&self) -> Option<&str> {
        self.issuer_common_name.as_deref()
    }

    /// The last moment at which it is valid.
    pub fn valid_until(&self) -> SystemTime {
        self.not_after.to_system_time()
    }

    /// The size of its RSA key in bits.
    pub fn key_bits(&self) -> usize {
        self.public_key.n().bits()
    }

    /// Whether its key has this modulus (`CKA_MODULUS`).
    pub fn has_modulus(&self, modulus: &[u8]) -> bool {
        let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
        self.public_key.n().to_bytes_be() == modulus[zeros..]
    }

    /// How well its purposes suit a login; more is better.
    pub fn purpose(&self) -> impl Ord + Copy + use<> {
        (self.for_login, self.for_signatures_only)
    }

    /// Whether it says that it is for logging in.
    pub fn is_for_login(&self) -> bool {
        self.for_login
    }

    /// Verifies a signature over `message`: PKCS#1 v1.5 with this digest and the certificate's key.
    ///
    /// # Errors
    ///
    /// [`CardFailed`](ErrorKind::CardFailed) when it is not a signature by that key.
    pub fn verify(&self, digest: Digest, message: &[u8], signature: &[u8]) -> Result<()> {
        self.public_key.verify(Pkcs1v15Sign::new_unprefixed(), &digest.digest_info(message), signature).map_err(|_| {
            let detail = format!("the card's signature does not fit the certificate of {}", self.uid);
            Error::new(ErrorKind::CardFailed, Stage::Signing, detail)
        })
    }

    pub(crate) fn public_key(&self) -> &RsaPublicKey {
        &self.public_key
    }

    pub(crate) fn issuer(&self) -> AnyRef<'_> {
        AnyRef::from(&self.issuer)
    }

    pub(crate) fn serial(&self) -> AnyRef<'_> {
        AnyRef::from(&self.serial)
    }

    fn check_validity(&self, now: SystemTime) -> Result<()> {
        let detail = if now < self.not_before.to_system_time() {
            format!("the certificate of {} is not valid before {}", self.uid, date(self.not_before))
        } else if now > self.not_after.to_system_time() {
            format!("the certificate of {} expired on {}", self.uid, date(self.not_after))
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::CertificateNotValid, Stage::Card, detail))
    }

    fn is_issued_by(&self, issuers: &[String]) -> bool {
        issuers.is_empty() || self.issuer_common_name.as_ref().is_some_and(|name| issuers.contains(name))
    }
}

/// The issuer of any certificate, such as `O=nhs,CN=SubCA02`, and the last moment at which it is valid.
pub(crate) fn issuer_and_end(der: &[u8]) -> Option<(String, SystemTime)> {
    let tbs = RawCertificate::from_der(der).ok()?.tbs;
    let issuer: Name = tbs.issuer.decode_as().ok()?;
    Some((printable::name(&issuer.to_string()), tbs.validity.not_after.to_date_time().to_system_time()))
}

/// One certificate object of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The object's value (`CKA_VALUE`), in DER.
    pub der: Vec<u8>,
    /// Its private key.
    pub private_key: PrivateKey,
    /// That key has `CKA_DECRYPT`.
    pub key_can_decrypt: bool,
}

/// What can be seen of a certificate's private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrivateKey {
    /// The token does not have it.
    Absent,
    /// It cannot be seen, but may be seen after the login.
    Hidden,
    /// The token has it.
    There,
}

impl PrivateKey {
    /// What is known where all keys can be seen.
    pub fn known(there: bool) -> Self {
        if there { Self::There } else { Self::Absent }
    }
}

/// Which one to log in with: its index, and the certificate. Does not depend on their order.
///
/// Certificates without a private key, outside their time of validity, or (where `issuers` names
/// any) of an issuer with another common name are out. Of the others, extended key usage clientAuth
/// or smartcard logon comes first, then key usage digitalSignature without nonRepudiation, then a
/// key that can be seen, then one that can decrypt, then the newest. What cannot be read is skipped with a warning.
///
/// # Errors
///
/// At the stage [`Card`](Stage::Card): [`NoCertificate`](ErrorKind::NoCertificate),
/// [`NoKey`](ErrorKind::NoKey), [`CertificateNotValid`](ErrorKind::CertificateNotValid), and
/// [`CardNotSupported`](ErrorKind::CardNotSupported) when there are none but of other keys than
/// [`Certificate::from_der`] takes.
pub fn choose(candidates: &[Candidate], now: SystemTime, issuers: &[String]) -> Result<(usize, Certificate)> {
    let mut chosen: Vec<(usize, &Candidate, Certificate)> = Vec::new();
    let mut skipped = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        match Certificate::from_der(&candidate.der) {
            Ok(certificate) => chosen.push((index, candidate, certificate)),
            Err(error) => {
                tracing::warn!(%error, "a certificate on the card is skipped");
                skipped.push(error);
            }
        }
    }
    if chosen.is_empty() {
        let most_telling = skipped.into_iter().max_by_key(|error| {
            (*error.kind() == ErrorKind::CardNotSupported, std::cmp::Reverse(error.detail().to_owned()))
        });
        return Err(most_telling.unwrap_or_else(|| no_certificate("the card holds no certificate".into())));
    }

    chosen.retain(|(_, _, certificate)| certificate.is_issued_by(issuers));
    if chosen.is_empty() {
        return Err(no_certificate(format!("the card holds no certificate issued by {}", issuers.join(" or "))));
    }
    let (index, _, certificate) = chosen
        .into_iter()
        .filter(|(_, candidate, _)| candidate.private_key != PrivateKey::Absent)
        .max_by_key(|(_, candidate, certificate)| {
            (
                certificate.check_validity(now).is_ok(),
                certificate.purpose(),
                candidate.private_key,
                candidate.key_can_decrypt,
                certificate.not_before,
                // Only so that the choice between equals is always the same.
                certificate.der.clone(),
            )
        })
        .ok_or_else(|| {
            Error::new(ErrorKind::NoKey, Stage::Card, "the card holds no private key for its certificates")
        })?;
    certificate.check_validity(now)?;
    Ok((index, certificate))
}

fn public_key(info: &SubjectPublicKeyInfoRef<'_>, uid: &str) -> Result<RsaPublicKey> {
    let unsupported = |what: String| {
        let detail = format!("the certificate of {uid} has {what}");
        Error::new(ErrorKind::CardNotSupported, Stage::Card, detail)
    };
    if info.algorithm.oid != rfc5912::RSA_ENCRYPTION {
        return Err(unsupported("a key that is not RSA".into()));
    }
    let size = format!("an RSA key that is not one of {} to {} bits", KEY_BITS.start(), KEY_BITS.end());
    match RsaPublicKey::from_pkcs1_der(info.subject_public_key.raw_bytes()) {
        Ok(key) if KEY_BITS.contains(&key.n().bits()) => Ok(key),
        Ok(_) => Err(unsupported(size)),
        Err(error) => Err(unsupported(size).because(error.to_string())),
    }
}

fn extension<'a, T: Decode<'a>>(tbs: &'a TbsCertificate<'_>, oid: ObjectIdentifier) -> Result<Option<T>> {
    let extensions = tbs.extensions.as_deref().unwrap_or_default();
    let found = extensions.iter().find(|extension| extension.extn_id == oid);
    found.map(|extension| T::from_der(extension.extn_value.as_bytes())).transpose().map_err(unreadable)
}

/// The common name, where there is exactly one and it is fit to be shown and sent.
fn common_name(name: &Name) -> Option<String> {
    let mut values = name.0.iter().flat_map(|rdn| rdn.0.iter()).filter(|part| part.oid == rfc4519::CN);
    let value = &values.next()?.value;
    if values.next().is_some() {
        return None;
    }
    let text = match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString => {
            String::from_utf8(value.value().to_vec()).ok()?
        }
        Tag::BmpString => value.decode_as::<BmpString>().ok()?.to_string(),
        _ => return None,
    };
    // The last two have no form in the broker's messages.
    let is_unfit = |c: char| printable::is_unfit(c) || matches!(c, '\u{fffe}' | '\u{ffff}');
    let length = text.chars().count();
    ((1..=printable::LONGEST_NAME).contains(&length) && !text.contains(is_unfit)).then_some(text)
}

fn date(time: DateTime) -> String {
    format!("{}-{:02}-{:02}", time.year(), time.month(), time.day())
}

fn unreadable(error: der::Error) -> Error {
    no_certificate("the certificate cannot be read".into()).because(error.to_string())
}

fn no_certificate(detail: String) -> Error {
    Error::new(ErrorKind::NoCertificate, Stage::Card, detail)
}

#[cfg(test)]
mod tests;
