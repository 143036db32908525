//! A detached CMS signature (RFC 5652): `SignedData` without its content. Pure.
//!
//! The crate `cms` decodes such messages in the tests, but does not build this one: it refuses serial numbers that old
//! cards have, sorts the names of issuers anew, and signs with keys that it holds itself. As in a signed challenge,
//! the certificates are copied byte for byte.

use std::time::SystemTime;

use der::asn1::{Any, AnyRef, OctetString, OctetStringRef, SetOfVec, UintRef};
use der::oid::ObjectIdentifier;
use der::oid::db::{rfc5911, rfc5912};
use der::{DateTime, Decode, Encode, EncodeValue, Sequence, SliceReader, Tag, TagNumber, Tagged, ValueOrd};
use sha2::{Digest as _, Sha256};
use x509_cert::attr::Attribute;
use x509_cert::spki::AlgorithmIdentifier;
use x509_cert::time::Time;

use super::Algorithm;
use crate::error::{Error, ErrorKind, Result, Stage};

/// A CMS signature that lacks the signature itself.
pub(super) struct Draft {
    algorithm: Algorithm,
    certificates: Vec<Vec<u8>>,
    attributes: SetOfVec<Attribute>,
    to_sign: Vec<u8>,
}

impl Draft {
    /// Begins a signature of `payload`. The first certificate is the signer's.
    pub(super) fn new(algorithm: Algorithm, certificates: &[&[u8]], payload: &[u8], time: SystemTime) -> Result<Self> {
        let signer = certificates.first().ok_or_else(|| internal("there is no certificate of the signer"))?;
        let attributes = attributes(&algorithm.hash(payload), signer, time).map_err(not_encoded)?;
        // With the tag SET OF instead of the one in the message (RFC 5652, 5.4).
        let to_sign = attributes.to_der().map_err(not_encoded)?;
        let certificates = certificates.iter().map(|der| der.to_vec()).collect();
        Ok(Self { algorithm, certificates, attributes, to_sign })
    }

    pub(super) fn to_sign(&self) -> &[u8] {
        &self.to_sign
    }

    pub(super) fn signed(self, signature: &[u8]) -> Result<Vec<u8>> {
        self.encode(signature).map_err(not_encoded)
    }

    fn encode(self, signature: &[u8]) -> der::Result<Vec<u8>> {
        let signature = if self.algorithm.is_ecdsa() { ecdsa_signature(signature)? } else { signature.to_vec() };
        let mut certificates = Vec::with_capacity(self.certificates.len());
        for der in &self.certificates {
            let certificate = AnyRef::from_der(der)?;
            // A set: the signer's own certificate may be among those of its issuers, too.
            if !certificates.contains(&certificate) {
                certificates.push(certificate);
            }
        }
        let digest_algorithm = digest_algorithm(self.algorithm);
        let signer = SignerInfo {
            version: 1,
            // `new` has made sure that there is one.
            signer: issuer_and_serial(self.certificates.first().map_or(&[], Vec::as_slice))?,
            digest_algorithm: digest_algorithm.clone(),
            attributes: self.attributes,
            signature_algorithm: signature_algorithm(self.algorithm)?,
            signature: OctetString::new(signature)?,
        };
        ContentInfo {
            content_type: rfc5911::ID_SIGNED_DATA,
            content: SignedData {
                version: 1,
                digest_algorithms: [digest_algorithm].try_into()?,
                content: DetachedContent { content_type: rfc5911::ID_DATA },
                certificates: certificates.try_into()?,
                signers: [signer].try_into()?,
            },
        }
        .to_der()
    }
}

#[derive(Sequence)]
struct ContentInfo<'a> {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: SignedData<'a>,
}

#[derive(Sequence)]
struct SignedData<'a> {
    version: u8,
    digest_algorithms: SetOfVec<AlgorithmIdentifier<Any>>,
    content: DetachedContent,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    certificates: SetOfVec<AnyRef<'a>>,
    signers: SetOfVec<SignerInfo<'a>>,
}

#[derive(Sequence)]
struct DetachedContent {
    content_type: ObjectIdentifier,
}

#[derive(Clone, Sequence, ValueOrd)]
struct SignerInfo<'a> {
    version: u8,
    signer: IssuerAndSerial<'a>,
    digest_algorithm: AlgorithmIdentifier<Any>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    attributes: SetOfVec<Attribute>,
    signature_algorithm: AlgorithmIdentifier<Any>,
    signature: OctetString,
}

// Not decoded further, so that string types and unusual serial numbers stay unchanged.
#[derive(Clone, Sequence, ValueOrd)]
struct IssuerAndSerial<'a> {
    issuer: AnyRef<'a>,
    serial: AnyRef<'a>,
}

/// `SigningCertificateV2` of RFC 5035, with SHA-256, its default.
#[derive(Sequence)]
struct SigningCertificate<'a> {
    certificates: [CertificateId<'a>; 1],
}

#[derive(Sequence)]
struct CertificateId<'a> {
    hash: OctetStringRef<'a>,
}

/// `RSASSA-PSS-params` of RFC 4055.
#[derive(Sequence)]
struct PssParameters {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    hash: AlgorithmIdentifier<Any>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT")]
    mask: AlgorithmIdentifier<Any>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    salt_len: u8,
}

#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// The signed attributes: content type, message digest, signing time, and the signer's certificate.
fn attributes(digest: &[u8], signer: &[u8], time: SystemTime) -> der::Result<SetOfVec<Attribute>> {
    let hash = Sha256::digest(signer);
    let certificate = SigningCertificate { certificates: [CertificateId { hash: OctetStringRef::new(&hash)? }] };
    [
        attribute(rfc5911::ID_CONTENT_TYPE, &rfc5911::ID_DATA)?,
        attribute(rfc5911::ID_SIGNING_TIME, &signing_time(time)?)?,
        attribute(rfc5911::ID_MESSAGE_DIGEST, &OctetStringRef::new(digest)?)?,
        attribute(rfc5911::ID_AA_SIGNING_CERTIFICATE_V_2, &certificate)?,
    ]
    .try_into()
}

fn attribute(oid: ObjectIdentifier, value: &(impl EncodeValue + Tagged)) -> der::Result<Attribute> {
    Ok(Attribute { oid, values: [Any::encode_from(value)?].try_into()? })
}

/// `UTCTime` as long as it can be, as RFC 5652, 11.3 asks.
fn signing_time(time: SystemTime) -> der::Result<Time> {
    let time = DateTime::from_system_time(time)?;
    // Without fractions of a second, which DER would have to write.
    Ok(match der::asn1::UtcTime::from_date_time(time) {
        Ok(time) => Time::UtcTime(time),
        Err(_) => Time::GeneralTime(der::asn1::GeneralizedTime::from_date_time(time)),
    })
}

/// Without parameters for the SHA-2 family (RFC 5754, 2).
fn digest_algorithm(algorithm: Algorithm) -> AlgorithmIdentifier<Any> {
    let oid = match algorithm {
        Algorithm::Rs1 => rfc5912::ID_SHA_1,
        Algorithm::Rs256 | Algorithm::Ps256 | Algorithm::Es256 => rfc5912::ID_SHA_256,
        Algorithm::Rs384 | Algorithm::Es384 => rfc5912::ID_SHA_384,
        Algorithm::Rs512 => rfc5912::ID_SHA_512,
    };
    AlgorithmIdentifier { oid, parameters: None }
}

fn signature_algorithm(algorithm: Algorithm) -> der::Result<AlgorithmIdentifier<Any>> {
    let (oid, parameters) = match algorithm {
        Algorithm::Rs1 | Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => {
            (rfc5912::RSA_ENCRYPTION, Some(Any::null()))
        }
        Algorithm::Ps256 => {
            let hash = digest_algorithm(algorithm);
            let mask = AlgorithmIdentifier { oid: rfc5912::ID_MGF_1, parameters: Some(Any::encode_from(&hash)?) };
            let salt_len = 32;
            (rfc5912::ID_RSASSA_PSS, Some(Any::encode_from(&PssParameters { hash, mask, salt_len })?))
        }
        Algorithm::Es256 => (rfc5912::ECDSA_WITH_SHA_256, None),
        Algorithm::Es384 => (rfc5912::ECDSA_WITH_SHA_384, None),
    };
    Ok(AlgorithmIdentifier { oid, parameters })
}

/// Encodes r and s as CMS has them (RFC 5753, 7.2).
fn ecdsa_signature(raw: &[u8]) -> der::Result<Vec<u8>> {
    let (r, s) = raw.split_at(raw.len() / 2);
    EcdsaSignature { r: UintRef::new(r)?, s: UintRef::new(s)? }.to_der()
}

/// Returns the issuer and the serial number of a certificate, in their original encoding.
fn issuer_and_serial(certificate: &[u8]) -> der::Result<IssuerAndSerial<'_>> {
    let mut certificate = SliceReader::new(AnyRef::from_der(certificate)?.value())?;
    let mut fields = SliceReader::new(AnyRef::decode(&mut certificate)?.value())?;
    let mut serial = AnyRef::decode(&mut fields)?;
    let version = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
    if serial.tag() == version {
        serial = AnyRef::decode(&mut fields)?;
    }
    let _algorithm = AnyRef::decode(&mut fields)?;
    Ok(IssuerAndSerial { issuer: AnyRef::decode(&mut fields)?, serial })
}

fn not_encoded(error: der::Error) -> Error {
    internal("the CMS signature cannot be encoded").because(error.to_string())
}

fn internal(detail: &str) -> Error {
    Error::new(ErrorKind::Internal, Stage::Signing, detail)
}
