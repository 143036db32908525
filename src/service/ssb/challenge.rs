//! The signed challenge as CMS in an S/MIME entity. Pure: bytes in, bytes out.
//!
//! The form is that of a capture of a genuine Identity Agent: `SignedData` (RFC 5652) version 1 with the challenge
//! inside, only the card's certificate, and one signer without signed attributes. The certificate's fields are
//! copied in their original encoding.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use der::asn1::{AnyRef, OctetStringRef, SetOf};
use der::oid::ObjectIdentifier;
use der::oid::db::{rfc5911, rfc5912};
use der::{Decode, Encode, Sequence, ValueOrd};
use x509_cert::spki::AlgorithmIdentifierRef;

use crate::card::Certificate;
pub use crate::card::Digest;
use crate::card::digest::with_null;
use crate::error::{Error, ErrorKind, Result, Stage};

/// The parts of a signed challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedChallenge {
    /// The bytes that were signed.
    pub challenge: Vec<u8>,
    /// The signer's certificate.
    pub certificate: Certificate,
    /// The digest of the signature.
    pub digest: Digest,
    /// The signature: PKCS#1 v1.5. Parsing the message does not verify it.
    pub signature: Vec<u8>,
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
    digest_algorithms: SetOf<AlgorithmIdentifierRef<'a>, 1>,
    content: EncapsulatedContent<'a>,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    certificates: SetOf<AnyRef<'a>, 1>,
    signers: SetOf<SignerInfo<'a>, 1>,
}

#[derive(Sequence)]
struct EncapsulatedContent<'a> {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: OctetStringRef<'a>,
}

#[derive(Clone, Sequence, ValueOrd)]
struct SignerInfo<'a> {
    version: u8,
    signer: IssuerAndSerial<'a>,
    digest_algorithm: AlgorithmIdentifierRef<'a>,
    signature_algorithm: AlgorithmIdentifierRef<'a>,
    signature: OctetStringRef<'a>,
}

// Not decoded further, so that string types and unusual serial numbers stay unchanged.
#[derive(Clone, PartialEq, Sequence, ValueOrd)]
struct IssuerAndSerial<'a> {
    issuer: AnyRef<'a>,
    serial: AnyRef<'a>,
}

/// The value of the broker's `response` parameter: base64 of the S/MIME entity.
///
/// # Errors
///
/// Those of [`encode`].
pub fn response(challenge: &[u8], certificate: &Certificate, digest: Digest, signature: &[u8]) -> Result<String> {
    Ok(BASE64.encode(to_smime(&encode(challenge, certificate, digest, signature)?)))
}

/// Parses a `response`.
///
/// # Errors
///
/// [`BadAnswer`](ErrorKind::BadAnswer) for anything that [`response`] does not produce. Does not verify the
/// signature.
pub fn from_response(response: &str) -> Result<SignedChallenge> {
    let entity = BASE64.decode(response).map_err(|error| malformed("the response is not base64").because(error))?;
    let entity = String::from_utf8(entity).map_err(|_| malformed("the response is not text"))?;
    decode(&from_smime(&entity)?)
}

/// Encodes the signed challenge as CMS, in DER. Does not verify the signature.
///
/// # Errors
///
/// [`Internal`](ErrorKind::Internal) if the parts are longer than DER allows (256 MiB).
pub fn encode(challenge: &[u8], certificate: &Certificate, digest: Digest, signature: &[u8]) -> Result<Vec<u8>> {
    encode_der(challenge, certificate, digest, signature).map_err(|error| {
        Error::new(ErrorKind::Internal, Stage::Signing, "the signed challenge cannot be encoded")
            .because(error.to_string())
    })
}

fn encode_der(challenge: &[u8], certificate: &Certificate, digest: Digest, signature: &[u8]) -> der::Result<Vec<u8>> {
    let signer = SignerInfo {
        version: 1,
        signer: IssuerAndSerial { issuer: certificate.issuer(), serial: certificate.serial() },
        digest_algorithm: digest.algorithm(),
        signature_algorithm: with_null(rfc5912::RSA_ENCRYPTION),
        signature: OctetStringRef::new(signature)?,
    };
    ContentInfo {
        content_type: rfc5911::ID_SIGNED_DATA,
        content: SignedData {
            version: 1,
            digest_algorithms: [digest.algorithm()].try_into()?,
            content: EncapsulatedContent { content_type: rfc5911::ID_DATA, content: OctetStringRef::new(challenge)? },
            certificates: [AnyRef::from_der(certificate.der())?].try_into()?,
            signers: [signer].try_into()?,
        },
    }
    .to_der()
}

/// Parses the CMS of a signed challenge.
///
/// # Errors
///
/// [`BadAnswer`](ErrorKind::BadAnswer) for anything that [`encode`] does not produce. Does not verify the
/// signature.
pub fn decode(cms: &[u8]) -> Result<SignedChallenge> {
    let message = ContentInfo::from_der(cms)
        .map_err(|error| malformed("the CMS is not a signed challenge").because(error.to_string()))?;
    let data = message.content;
    if (message.content_type, data.content.content_type) != (rfc5911::ID_SIGNED_DATA, rfc5911::ID_DATA) {
        return Err(malformed("the CMS is not signed data"));
    }
    let (Some(algorithm), Some(certificate), Some(signer)) =
        (data.digest_algorithms.get(0), data.certificates.get(0), data.signers.get(0))
    else {
        return Err(malformed("the CMS has no digest algorithm, no certificate or no signer"));
    };
    if (data.version, signer.version) != (1, 1) {
        return Err(malformed("the CMS does not have version 1"));
    }
    let Some(digest) = [Digest::Sha1, Digest::Sha256].into_iter().find(|digest| digest.algorithm() == *algorithm)
    else {
        return Err(malformed("the CMS uses another digest than SHA-1 or SHA-256"));
    };
    if signer.digest_algorithm != *algorithm || signer.signature_algorithm != with_null(rfc5912::RSA_ENCRYPTION) {
        return Err(malformed("the CMS uses another signature algorithm"));
    }
    let certificate = certificate
        .to_der()
        .map_err(|error| malformed("the certificate cannot be read").because(error.to_string()))
        .and_then(|der| Certificate::from_der(&der))?;
    if signer.signer != (IssuerAndSerial { issuer: certificate.issuer(), serial: certificate.serial() }) {
        return Err(malformed("the CMS has another certificate than the signer's"));
    }
    Ok(SignedChallenge {
        challenge: data.content.content.as_bytes().to_vec(),
        certificate,
        digest,
        signature: signer.signature.as_bytes().to_vec(),
    })
}

const SMIME_HEADER: &str = "MIME-Version: 1.0\r\n\
    Content-Disposition: attachment; filename=\"smime.p7m\"\r\n\
    Content-Type: application/x-pkcs7-mime; name=\"smime.p7m\"\r\n\
    Content-Transfer-Encoding: base64\r\n\
    \r\n";

/// Characters in a line of the inner base64.
const LINE: usize = 64;

/// Puts `cms` into an S/MIME entity: header, and base64 in lines that end with CR LF.
pub fn to_smime(cms: &[u8]) -> String {
    let base64 = BASE64.encode(cms);
    let mut entity = String::with_capacity(SMIME_HEADER.len() + base64.len() + 2 * base64.len().div_ceil(LINE));
    entity.push_str(SMIME_HEADER);
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        entity.push_str(line);
        entity.push_str("\r\n");
        rest = after;
    }
    entity
}

/// Extracts the CMS from an S/MIME entity, whose lines may have 64 to 76 characters.
///
/// # Errors
///
/// [`BadAnswer`](ErrorKind::BadAnswer) if the header or the lines differ from this form.
pub fn from_smime(entity: &str) -> Result<Vec<u8>> {
    let body = entity.strip_prefix(SMIME_HEADER).ok_or_else(|| malformed("the S/MIME header is another"))?;
    let body = body.strip_suffix("\r\n").ok_or_else(|| malformed("the S/MIME text does not end with CR LF"))?;
    let mut base64 = String::with_capacity(body.len());
    let mut lines = body.split("\r\n").peekable();
    while let Some(line) = lines.next() {
        let shortest = if lines.peek().is_some() { LINE } else { 1 };
        if !(shortest..=76).contains(&line.len()) {
            return Err(malformed("the S/MIME text has lines that are too short or too long"));
        }
        base64.push_str(line);
    }
    BASE64.decode(base64).map_err(|error| malformed("the S/MIME text is not base64").because(error))
}

fn malformed(detail: &str) -> Error {
    Error::new(ErrorKind::BadAnswer, Stage::Authentication, detail)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const CAPTURE: &[u8] = include_bytes!("../../../tests/data/identity-agent-response.p7.der");

    fn detail(result: Result<SignedChallenge>) -> String {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::BadAnswer, Stage::Authentication));
        error.detail().to_owned()
    }

    /// The capture, with its only (or `nth`) occurrence of `old` replaced by bytes of the same length.
    fn with(nth: usize, old: &[u8], new: &[u8]) -> Vec<u8> {
        assert_eq!(old.len(), new.len());
        let at = (0..CAPTURE.len() - old.len()).filter(|&at| CAPTURE[at..].starts_with(old)).nth(nth).unwrap();
        [&CAPTURE[..at], new, &CAPTURE[at + old.len()..]].concat()
    }

    #[test]
    fn a_message_that_differs_from_a_signed_challenge_is_refused_with_the_reason() {
        let pkcs7 = |last: u8| [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, last];
        let sha1_oid = [0x2b, 0x0e, 0x03, 0x02, 0x1a];
        let rsa_oid = |last: u8| [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last, 0x05];
        for (message, reason) in [
            (with(0, &pkcs7(2), &pkcs7(3)), "the CMS is not signed data"),
            (with(0, &pkcs7(1), &pkcs7(5)), "the CMS is not signed data"),
            (with(0, &[2, 1, 1, 0x31], &[2, 1, 3, 0x31]), "the CMS does not have version 1"),
            (with(0, &[2, 1, 1, 0x30], &[2, 1, 3, 0x30]), "the CMS does not have version 1"),
            (with(0, &sha1_oid, &[0x2b, 0x0e, 0x03, 0x02, 0x1b]), "the CMS uses another digest than SHA-1 or SHA-256"),
            (with(1, &sha1_oid, &[0x2b, 0x0e, 0x03, 0x02, 0x1b]), "the CMS uses another signature algorithm"),
            // The first one is the certificate's public key.
            (with(1, &rsa_oid(1), &rsa_oid(5)), "the CMS uses another signature algorithm"),
            // The first two are in the certificate.
            (with(2, b"SubCA02", b"SubCA03"), "the CMS has another certificate than the signer's"),
        ] {
            assert_eq!(detail(decode(&message)), reason);
        }
        assert_eq!(detail(decode(&[CAPTURE, b"\0"].concat())), "the CMS is not a signed challenge");
    }

    #[test]
    fn an_smime_entity_that_differs_is_refused() {
        let entity = to_smime(CAPTURE);
        assert_eq!(from_smime(&entity).unwrap(), CAPTURE);
        for other in [
            entity.replace("MIME-Version: 1.0\r\n", ""),
            entity.replace("\r\n", "\n"),
            entity.trim_end().to_owned(),
            format!("{entity}\r\n"),
            entity.replacen("base64\r\n\r\nM", "base64\r\n\r\n?", 1),
            format!("{SMIME_HEADER}{}\r\n", BASE64.encode(CAPTURE)),
        ] {
            assert_eq!(*from_smime(&other).unwrap_err().kind(), ErrorKind::BadAnswer);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_encoded_is_decoded_to_the_same(
            challenge in vec(any::<u8>(), 0..2000),
            signature in vec(any::<u8>(), 0..600),
            digest in prop_oneof![Just(Digest::Sha1), Just(Digest::Sha256)],
        ) {
            let certificate = decode(CAPTURE).unwrap().certificate;
            let response = response(&challenge, &certificate, digest, &signature).unwrap();
            prop_assert_eq!(
                from_response(&response).unwrap(),
                SignedChallenge { challenge, certificate, digest, signature }
            );
        }

        #[test]
        fn decoding_takes_any_bytes_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = from_response(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn what_is_decoded_after_a_change_still_encodes_to_the_same_bytes(
            at in 0..CAPTURE.len(),
            value in any::<u8>(),
            length in 0..=CAPTURE.len(),
        ) {
            let mut message = CAPTURE.to_vec();
            message[at] = value;
            if let Ok(parts) = decode(&message) {
                let again = encode(&parts.challenge, &parts.certificate, parts.digest, &parts.signature);
                prop_assert_eq!(again.unwrap(), message);
            }
            prop_assert_eq!(decode(&CAPTURE[..length]).is_ok(), length == CAPTURE.len());
        }
    }
}
