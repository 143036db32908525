//! Certificates on a card: which one is for authentication, and its user. Pure.

#[cfg(feature = "sign")]
mod signer;

use std::time::SystemTime;

use der::asn1::{Any, AnyRef, BitStringRef, OctetStringRef};
use der::oid::ObjectIdentifier;
use der::oid::db::{rfc4519, rfc5280, rfc5912};
use der::{DateTime, Decode, Sequence, Tag, Tagged};
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, Pkcs1v15Sign, RsaPublicKey};
use x509_cert::ext::pkix::{KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::time::Validity;

use super::{Digest, ber};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::printable;
use crate::secret::SecretBytes;

#[cfg(feature = "sign")]
pub use signer::{Signed, Signer, SignerChoice, chain, choose_signer};

/// Microsoft's extended key usage for smartcard logon.
const SMARTCARD_LOGON: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.2");

/// Supported sizes of RSA keys, in bits.
pub(super) const KEY_BITS: std::ops::RangeInclusive<usize> = 1024..=4096;

/// The longest public exponent, in bits, as in FIPS 186. A longer one only makes verifying slow.
pub(super) const MAX_EXPONENT_BITS: usize = 256;

/// A certificate, parsed as far as a login needs it.
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

/// `Certificate` of RFC 5280. The x509-cert crate's own type refuses serial numbers longer than the standard
/// allows, which old cards have, and certificates with an OID such as 2.25.UUID or with a UniversalString. So
/// fields that are only compared or ignored are not decoded here.
#[derive(Sequence)]
struct RawCertificate<'a> {
    tbs: TbsCertificate<'a>,
    signature_algorithm: AnyRef<'a>,
    signature: BitStringRef<'a>,
}

#[derive(Sequence)]
struct TbsCertificate<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    version: Option<u8>,
    serial: AnyRef<'a>,
    signature_algorithm: AnyRef<'a>,
    issuer: AnyRef<'a>,
    validity: Validity,
    subject: AnyRef<'a>,
    public_key: PublicKeyInfo<'a>,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    issuer_unique_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    subject_unique_id: Option<BitStringRef<'a>>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension<'a>>>,
}

#[derive(Sequence)]
struct PublicKeyInfo<'a> {
    algorithm: KeyAlgorithm<'a>,
    key: BitStringRef<'a>,
}

#[derive(Sequence)]
struct KeyAlgorithm<'a> {
    oid: AnyRef<'a>,
    parameters: Option<AnyRef<'a>>,
}

#[derive(Sequence)]
struct Extension<'a> {
    oid: AnyRef<'a>,
    #[asn1(default = "Default::default")]
    critical: bool,
    value: OctetStringRef<'a>,
}

impl Certificate {
    /// Parses a certificate in DER, or in BER, which some issuers write.
    ///
    /// # Errors
    ///
    /// [`NoCertificate`](ErrorKind::NoCertificate) if it cannot be parsed or its subject does not have exactly one
    /// common name; [`KeyNotSupported`](ErrorKind::KeyNotSupported) if its key is not RSA of 1,024 to 4,096 bits.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        read(der, |der, uid, usages, tbs| {
            Ok(Self {
                der,
                issuer_common_name: common_name(tbs.issuer),
                issuer: tbs.issuer.into(),
                serial: tbs.serial.into(),
                not_before: tbs.validity.not_before.to_date_time(),
                not_after: tbs.validity.not_after.to_date_time(),
                public_key: public_key(&tbs.public_key, &uid)?,
                for_login: is_for_login(tbs)?,
                for_signatures_only: usages.is_some_and(|KeyUsage(usages)| {
                    usages.contains(KeyUsages::DigitalSignature) && !usages.contains(KeyUsages::NonRepudiation)
                }),
                uid,
            })
        })
    }

    /// The certificate, byte for byte as on the card; converted to DER if its outermost length is not in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The user's id: the common name of the subject.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The issuer's common name, if there is exactly one.
    pub fn issuer_name(&self) -> Option<&str> {
        self.issuer_common_name.as_deref()
    }

    /// The last moment of its validity.
    pub fn valid_until(&self) -> SystemTime {
        self.not_after.to_system_time()
    }

    /// The size of its RSA key, in bits.
    pub fn key_bits(&self) -> usize {
        self.public_key.n().bits()
    }

    /// Returns `true` if its key has this modulus (`CKA_MODULUS`).
    #[doc(hidden)]
    pub fn has_modulus(&self, modulus: &[u8]) -> bool {
        has_modulus(&self.public_key, modulus)
    }

    /// How well its purposes suit a login; more is better.
    #[doc(hidden)]
    pub fn purpose(&self) -> impl Ord + Copy + use<> {
        (self.for_login, self.for_signatures_only)
    }

    /// Returns `true` if it is marked for logging in.
    pub fn is_for_login(&self) -> bool {
        self.for_login
    }

    /// Verifies a signature over `message`: PKCS#1 v1.5 with this digest and the certificate's key.
    ///
    /// # Errors
    ///
    /// [`CardFailed`](ErrorKind::CardFailed) if it is not a signature by that key.
    pub fn verify(&self, digest: Digest, message: &[u8], signature: &[u8]) -> Result<()> {
        self.public_key.verify(Pkcs1v15Sign::new_unprefixed(), &digest.digest_info(message), signature).map_err(|_| {
            let detail = format!("the card's signature does not match the certificate of {}", self.uid);
            Error::new(ErrorKind::CardFailed, Stage::Signing, detail)
        })
    }

    #[cfg(feature = "software-card")]
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
        check_validity(&self.uid, self.not_before, self.not_after, now)
    }

    fn is_issued_by(&self, issuers: &[String]) -> bool {
        issuers.is_empty() || self.issuer_common_name.as_ref().is_some_and(|name| issuers.contains(name))
    }
}

/// Returns the issuer of any certificate, such as `O=nhs,CN=SubCA02`, and the last moment of its validity.
pub(crate) fn issuer_and_end(der: &[u8]) -> Option<(String, SystemTime)> {
    let canonical = canonical(der).ok()?;
    let tbs = RawCertificate::from_der(&canonical).ok()?.tbs;
    let issuer: Name = tbs.issuer.decode_as().ok()?;
    Some((printable::name(&issuer.to_string()), tbs.validity.not_after.to_date_time().to_system_time()))
}

/// A certificate object of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The object's value (`CKA_VALUE`), in DER.
    pub der: Vec<u8>,
    /// Its private key.
    pub private_key: PrivateKey,
    /// Whether that key has `CKA_DECRYPT`.
    pub key_can_decrypt: bool,
}

/// What is visible of a certificate's private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrivateKey {
    /// The token does not have it.
    Absent,
    /// It is not visible, but may be after the login.
    Hidden,
    /// The token has it.
    There,
}

impl PrivateKey {
    /// For tokens whose keys are all visible.
    pub fn known(there: bool) -> Self {
        if there { Self::There } else { Self::Absent }
    }
}

/// Chooses the certificate to log in with. Returns its index and the certificate. The order of the candidates does
/// not matter.
///
/// Excludes certificates without a private key, outside their validity, or, if `issuers` is not empty, of an
/// issuer with another common name. Prefers, in this order: extended key usage clientAuth or smartcard logon; key
/// usage digitalSignature without nonRepudiation; a visible key; a key that can decrypt; the newest. Skips
/// certificates that cannot be parsed, with a warning.
///
/// # Errors
///
/// At the stage [`Card`](Stage::Card): [`NoCertificate`](ErrorKind::NoCertificate), [`NoKey`](ErrorKind::NoKey),
/// [`CertificateNotValid`](ErrorKind::CertificateNotValid), and [`KeyNotSupported`](ErrorKind::KeyNotSupported) if
/// all have keys that [`Certificate::from_der`] refuses.
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
            (*error.kind() == ErrorKind::KeyNotSupported, std::cmp::Reverse(error.detail().to_owned()))
        });
        return Err(most_telling.unwrap_or_else(|| no_certificate("the card contains no certificate".into())));
    }

    chosen.retain(|(_, _, certificate)| certificate.is_issued_by(issuers));
    if chosen.is_empty() {
        return Err(no_certificate(format!("the card contains no certificate issued by {}", issuers.join(" or "))));
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
                // Makes the choice between equals independent of their order.
                certificate.der.clone(),
            )
        })
        .ok_or_else(|| {
            Error::new(ErrorKind::NoKey, Stage::Card, "the card contains no private key for its certificates")
        })?;
    certificate.check_validity(now)?;
    Ok((index, certificate))
}

/// Converts `der` to DER, if it is BER.
fn canonical(der: &[u8]) -> Result<SecretBytes> {
    let canonical = ber::to_der(der).filter(|(_, rest)| rest.is_empty()).map(|(canonical, _)| canonical);
    canonical.ok_or_else(|| no_certificate("the certificate cannot be read".into()))
}

fn is(value: AnyRef<'_>, oid: ObjectIdentifier) -> bool {
    value.tag() == Tag::ObjectIdentifier && value.value() == oid.as_bytes()
}

fn public_key(info: &PublicKeyInfo<'_>, uid: &str) -> Result<RsaPublicKey> {
    let unsupported = |what: &str| {
        let detail = format!("the certificate of {uid} has {what}");
        Error::new(ErrorKind::KeyNotSupported, Stage::Card, detail)
    };
    let algorithm = info.algorithm.oid;
    if is(algorithm, rfc5912::ID_RSASSA_PSS) {
        return Err(unsupported("an RSA key for PSS signatures only (RSASSA-PSS), which the broker does not accept"));
    }
    if is(algorithm, rfc5912::ID_RSAES_OAEP) {
        return Err(unsupported("an RSA key for encryption only (RSAES-OAEP)"));
    }
    if !is(algorithm, rfc5912::RSA_ENCRYPTION) {
        return Err(unsupported("a key that is not RSA"));
    }
    let size = format!("an RSA key that is not one of {} to {} bits", KEY_BITS.start(), KEY_BITS.end());
    let key = rsa::pkcs1::RsaPublicKey::from_der(info.key.raw_bytes())
        .map_err(|error| unsupported(&size).because(error.to_string()))?;
    let [modulus, exponent] =
        [key.modulus, key.public_exponent].map(|number| BigUint::from_bytes_be(number.as_bytes()));
    if !KEY_BITS.contains(&modulus.bits()) {
        return Err(unsupported(&size));
    }
    let odd = [key.modulus, key.public_exponent].iter().all(|n| n.as_bytes().last().is_some_and(|byte| byte & 1 == 1));
    if !odd || !(2..=MAX_EXPONENT_BITS).contains(&exponent.bits()) {
        return Err(unsupported("an RSA key that is damaged, or has a public exponent that is too long"));
    }
    // Not `new`, which accepts exponents of at most 33 bits.
    Ok(RsaPublicKey::new_unchecked(modulus, exponent))
}

fn extension(tbs: &TbsCertificate<'_>, oid: ObjectIdentifier) -> Result<Option<SecretBytes>> {
    let extensions = tbs.extensions.as_deref().unwrap_or_default();
    let found = extensions.iter().find(|extension| is(extension.oid, oid));
    found.map(|extension| canonical(extension.value.as_bytes())).transpose()
}

/// Returns the common name, if there is exactly one and it can be shown and sent.
fn common_name(name: AnyRef<'_>) -> Option<String> {
    let mut found = None;
    for rdn in ber::values(name.value())? {
        for attribute in ber::values(rdn.contents)? {
            let [oid, value] = ber::values(attribute.contents)?.try_into().ok()?;
            if oid.contents == rfc4519::CN.as_bytes() && found.replace(value).is_some() {
                return None;
            }
        }
    }
    let text = text(found?)?;
    // The last two cannot be written in the broker's messages.
    let is_unfit = |c: char| printable::is_unfit(c) || matches!(c, '\u{fffe}' | '\u{ffff}');
    let length = text.chars().count();
    ((1..=printable::LONGEST_NAME).contains(&length) && !text.contains(is_unfit)).then_some(text)
}

/// Decodes a character string.
fn text(ber::Value { tag, contents }: ber::Value<'_>) -> Option<String> {
    match tag {
        // UTF8String.
        0x0c => String::from_utf8(contents.to_vec()).ok(),
        // NumericString, PrintableString, TeletexString, IA5String and VisibleString. Characters beyond ASCII are
        // almost always ISO 8859-1, whatever the standards say, or else UTF-8.
        0x12 | 0x13 | 0x14 | 0x16 | 0x1a => Some(match str::from_utf8(contents) {
            Ok(text) => text.to_owned(),
            Err(_) => contents.iter().copied().map(char::from).collect(),
        }),
        // UniversalString.
        0x1c => {
            let (characters, rest) = contents.as_chunks::<4>();
            let text = characters.iter().map(|bytes| char::from_u32(u32::from_be_bytes(*bytes))).collect();
            if rest.is_empty() { text } else { None }
        }
        // BMPString; some contain surrogates.
        0x1e => {
            let (units, rest) = contents.as_chunks::<2>();
            let text = char::decode_utf16(units.iter().map(|bytes| u16::from_be_bytes(*bytes)));
            if rest.is_empty() { text.collect::<std::result::Result<_, _>>().ok() } else { None }
        }
        _ => None,
    }
}

/// Reads a certificate in DER or BER, and passes it to `build` with the user's id and the key usage.
fn read<T>(
    der: &[u8],
    build: impl FnOnce(Vec<u8>, String, Option<KeyUsage>, &TbsCertificate<'_>) -> Result<T>,
) -> Result<T> {
    // DER is used unchanged as far as it is read, because the issuer goes into messages.
    let canonical = if RawCertificate::from_der(der).is_ok() { None } else { Some(canonical(der)?) };
    let encoded = canonical.as_ref().map_or(der, |canonical| canonical.as_slice());
    let tbs = RawCertificate::from_der(encoded).map_err(unreadable)?.tbs;
    let uid = common_name(tbs.subject)
        .ok_or_else(|| no_certificate("the certificate's subject does not have exactly one common name".into()))?;
    let usages = extension(&tbs, rfc5280::ID_CE_KEY_USAGE)?;
    let usages = usages.map(|der| KeyUsage::from_der(&der)).transpose().map_err(unreadable)?;
    // Signatures by the issuer are over these bytes. A certificate that is not DER as a whole cannot be part of
    // messages.
    let der = if AnyRef::from_der(der).is_ok() { der } else { encoded }.to_vec();
    build(der, uid, usages, &tbs)
}

/// Returns `true` if `key` has this modulus (`CKA_MODULUS`).
fn has_modulus(key: &RsaPublicKey, modulus: &[u8]) -> bool {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    key.n().to_bytes_be() == modulus[zeros..]
}

fn check_validity(uid: &str, not_before: DateTime, not_after: DateTime, now: SystemTime) -> Result<()> {
    let detail = if now < not_before.to_system_time() {
        format!("the certificate of {uid} is not valid before {}", date(not_before))
    } else if now > not_after.to_system_time() {
        format!("the certificate of {uid} expired on {}", date(not_after))
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::CertificateNotValid, Stage::Card, detail))
}

/// Returns `true` if the extended key usages are those of a login.
fn is_for_login(tbs: &TbsCertificate<'_>) -> Result<bool> {
    let purposes = extension(tbs, rfc5280::ID_CE_EXT_KEY_USAGE)?;
    let purposes = purposes.as_deref().map(|der| Vec::<AnyRef<'_>>::from_der(der)).transpose().map_err(unreadable)?;
    Ok(purposes.is_some_and(|purposes| {
        purposes.iter().any(|purpose| is(*purpose, rfc5280::ID_KP_CLIENT_AUTH) || is(*purpose, SMARTCARD_LOGON))
    }))
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
