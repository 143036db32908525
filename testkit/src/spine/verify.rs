//! Verifies the signed challenge. Uses none of the code under test: the `asn1` crate checks the structure, OpenSSL
//! the signature and the chain.

#![expect(clippy::result_large_err, reason = "the derived readers pass on asn1's large error")]

use asn1::{ObjectIdentifier, oid};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::nid::Nid;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509PurposeId};

use super::form::Form;
use super::refusal::Refusal;
use crate::error::Result;

/// The digest that signatures must use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Digest {
    /// SHA-1, as the real broker requires.
    #[default]
    Sha1,
    /// SHA-256, in case the broker changes.
    Sha256,
}

const HEADERS: &str = "MIME-Version: 1.0\r\n\
    Content-Disposition: attachment; filename=\"smime.p7m\"\r\n\
    Content-Type: application/x-pkcs7-mime; name=\"smime.p7m\"\r\n\
    Content-Transfer-Encoding: base64\r\n\r\n";

const ID_DATA: ObjectIdentifier = oid!(1, 2, 840, 113549, 1, 7, 1);
const ID_SIGNED_DATA: ObjectIdentifier = oid!(1, 2, 840, 113549, 1, 7, 2);
const RSA_ENCRYPTION: ObjectIdentifier = oid!(1, 2, 840, 113549, 1, 1, 1);
const SHA1: ObjectIdentifier = oid!(1, 3, 14, 3, 2, 26);
const SHA256: ObjectIdentifier = oid!(2, 16, 840, 1, 101, 3, 4, 2, 1);

// RFC 5652, sections 3 and 5: the parts that the broker's messages use.
#[derive(asn1::Asn1Read)]
struct ContentInfo<'a> {
    content_type: ObjectIdentifier,
    #[explicit(0)]
    content: Option<SignedData<'a>>,
}

#[derive(asn1::Asn1Read)]
struct SignedData<'a> {
    version: u8,
    digest_algorithms: asn1::SetOf<'a, Algorithm<'a>>,
    content: EncapsulatedContent<'a>,
    #[implicit(0)]
    certificates: Option<asn1::SetOf<'a, asn1::Tlv<'a>>>,
    #[implicit(1)]
    revocation_lists: Option<asn1::SetOf<'a, asn1::Tlv<'a>>>,
    signers: asn1::SetOf<'a, Signer<'a>>,
}

#[derive(asn1::Asn1Read)]
struct EncapsulatedContent<'a> {
    content_type: ObjectIdentifier,
    #[explicit(0)]
    content: Option<&'a [u8]>,
}

#[derive(asn1::Asn1Read)]
struct Algorithm<'a> {
    algorithm: ObjectIdentifier,
    parameters: Option<asn1::Tlv<'a>>,
}

#[derive(asn1::Asn1Read)]
struct Signer<'a> {
    version: u8,
    _issuer_and_serial: asn1::Sequence<'a>,
    digest_algorithm: Algorithm<'a>,
    #[implicit(0)]
    signed_attributes: Option<asn1::SetOf<'a, asn1::Tlv<'a>>>,
    signature_algorithm: Algorithm<'a>,
    _signature: &'a [u8],
    #[implicit(1)]
    unsigned_attributes: Option<asn1::SetOf<'a, asn1::Tlv<'a>>>,
}

impl Algorithm<'_> {
    fn is(&self, algorithm: &ObjectIdentifier) -> bool {
        self.algorithm == *algorithm && self.parameters.as_ref().is_none_or(|parameters| parameters.full_data() == NULL)
    }
}

const NULL: [u8; 2] = [0x05, 0x00];

/// Verifies signed challenges against card CAs.
pub(crate) struct Verifier {
    store: X509Store,
    digest: ObjectIdentifier,
}

impl Verifier {
    /// `accept_expired` ignores the certificates' dates.
    pub(crate) fn new(card_cas: Vec<X509>, digest: Digest, accept_expired: bool) -> Result<Self> {
        let mut store = X509StoreBuilder::new()?;
        for ca in card_cas {
            store.add_cert(ca)?;
        }
        // Without this OpenSSL would require certificates for signing mail; the cards' are for logging in.
        store.set_purpose(X509PurposeId::ANY)?;
        if accept_expired {
            store.set_flags(X509VerifyFlags::NO_CHECK_TIME)?;
        }
        let digest = match digest {
            Digest::Sha1 => SHA1,
            Digest::Sha256 => SHA256,
        };
        Ok(Self { store: store.build(), digest })
    }

    /// Checks that `response` is `challenge` signed by the card of the user `uid`. Both are in base64, as in the
    /// messages.
    pub(crate) fn verify(
        &self,
        response: &str,
        challenge: &str,
        uid: &str,
        form: &mut Form,
    ) -> std::result::Result<(), Refusal> {
        let failed = |error: openssl::error::ErrorStack| Refusal::Signature(error.to_string());
        let cms = match read_entity(response) {
            Ok(cms) => cms,
            Err(refusal) => {
                form.differs(refusal.clone())?;
                read_any_entity(response).ok_or(refusal)?
            }
        };
        let (content, certificate) = self.check_structure(&cms)?;
        if STANDARD.decode(challenge).ok().as_deref() != Some(content) {
            return Err(Refusal::OtherContent);
        }
        let mut message = CmsContentInfo::from_der(&cms).map_err(failed)?;
        message.verify(None, Some(&self.store), None, None, CMSOptions::BINARY).map_err(failed)?;
        // OpenSSL has shown that the message's certificate is the signer's, because it is the only one.
        let certificate = X509::from_der(certificate).map_err(failed)?;
        match only(certificate.subject_name().entries_by_nid(Nid::COMMONNAME)) {
            Some(name) if name.data().to_string().is_ok_and(|name| name == uid) => Ok(()),
            _ => Err(Refusal::OtherUser),
        }
    }

    /// Returns content and certificate of a message with the required structure.
    fn check_structure<'a>(&self, cms: &'a [u8]) -> std::result::Result<(&'a [u8], &'a [u8]), Refusal> {
        let wrong = |problem: &str| Refusal::Structure(problem.into());
        let check = |holds: bool, problem: &str| if holds { Ok(()) } else { Err(wrong(problem)) };
        let info: ContentInfo<'_> =
            asn1::parse_single(cms).map_err(|error| Refusal::Structure(format!("it cannot be read: {error}")))?;
        let data = info.content.filter(|_| info.content_type == ID_SIGNED_DATA).ok_or(wrong("it is not SignedData"))?;
        check(data.version == 1, "SignedData is not of version 1")?;
        check(
            only(data.digest_algorithms).is_some_and(|digest| digest.is(&self.digest)),
            "it does not name exactly the required digest algorithm",
        )?;
        check(data.content.content_type == ID_DATA, "the content is not id-data")?;
        let content = data.content.content.ok_or(wrong("the content is missing"))?;
        let certificate =
            data.certificates.and_then(only).ok_or(wrong("it does not contain exactly one certificate"))?;
        check(data.revocation_lists.is_none(), "it contains revocation lists")?;
        let signer = only(data.signers).ok_or(wrong("it does not have exactly one signer"))?;
        check(signer.version == 1, "SignerInfo is not of version 1 (by issuer and serial number)")?;
        check(signer.digest_algorithm.is(&self.digest), "the signer uses another digest algorithm")?;
        check(signer.signed_attributes.is_none(), "it has signed attributes")?;
        check(signer.unsigned_attributes.is_none(), "it has unsigned attributes")?;
        // RFC 3370: digest algorithms have NULL or no parameters (sections 2.1, 2.2), rsaEncryption has NULL
        // (section 3.2).
        let rsa = signer.signature_algorithm.is(&RSA_ENCRYPTION) && signer.signature_algorithm.parameters.is_some();
        check(rsa, "the signature algorithm is not rsaEncryption with NULL parameters")?;
        Ok((content, certificate.full_data()))
    }
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    items.next().filter(|_| items.next().is_none())
}

/// Extracts the CMS message from the S/MIME entity. Real agents write exactly these headers.
fn read_entity(response: &str) -> std::result::Result<Vec<u8>, Refusal> {
    let wrong = |problem: &str| Refusal::Entity(problem.into());
    let entity = STANDARD.decode(response).map_err(|_| wrong("it is not base64"))?;
    let entity = String::from_utf8(entity).map_err(|_| wrong("it is not text"))?;
    let body = entity.strip_prefix(HEADERS).ok_or(wrong("its headers are not those of an Identity Agent"))?;
    let body = body.strip_suffix("\r\n").ok_or(wrong("its last line does not end with CR LF"))?;
    let lines: Vec<&str> = body.split("\r\n").collect();
    let width = lines[0].len();
    let (last, full) = lines.split_last().ok_or(wrong("it is empty"))?;
    if full.iter().any(|line| line.len() != width || !(64..=76).contains(&width)) || last.len() > width.min(76) {
        return Err(wrong("its base64 is not in lines of 64 to 76 characters"));
    }
    STANDARD.decode(lines.concat()).map_err(|_| wrong("its content is not base64"))
}

/// Accepts what working clients write: any line ends and indentation, the base64 in one line or many.
fn read_any_entity(response: &str) -> Option<Vec<u8>> {
    let decode = |text: String| STANDARD.decode(text.split_ascii_whitespace().collect::<String>()).ok();
    let entity = String::from_utf8(decode(response.into())?).ok()?;
    let mut lines = entity.lines().map(str::trim);
    // A header may continue on the next line.
    let headers = lines.by_ref().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let is_one = headers.contains("application/x-pkcs7-mime") && headers.contains("content-transfer-encoding: base64");
    decode(lines.collect()).filter(|_| is_one)
}
