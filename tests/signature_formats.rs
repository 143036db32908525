//! What signatures come in: `openssl cms`, `xmlsec1` and a JWS library of another language verify it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use der::{Decode, Encode};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use openssl::x509::extension::{BasicConstraints, KeyUsage};
use openssl::x509::{X509, X509NameBuilder};
use proptest::prelude::*;
use tempfile::TempDir;
use ticketapi::ErrorKind;
use ticketapi::sign::{Algorithm, Format};

const PAYLOAD: &[u8] = b"two tablets\r\ntwice a day\0\xff";

/// A signer, the authority that has certified them, and a folder.
struct Desk {
    key: PKey<Private>,
    certificate: X509,
    authority: X509,
    folder: TempDir,
}

impl Desk {
    fn of(algorithm: Algorithm) -> Self {
        let elliptic =
            |curve| PKey::from_ec_key(EcKey::generate(&EcGroup::from_curve_name(curve).unwrap()).unwrap()).unwrap();
        let key = match algorithm {
            Algorithm::Es256 => elliptic(Nid::X9_62_PRIME256V1),
            Algorithm::Es384 => elliptic(Nid::SECP384R1),
            _ => PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
        };
        let authority_key = elliptic(Nid::X9_62_PRIME256V1);
        let authority = certificate("Authority", &authority_key, None);
        let certificate = certificate("Signer", &key, Some((&authority, &authority_key)));
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("authority.pem"), authority.to_pem().unwrap()).unwrap();
        Self { key, certificate, authority, folder }
    }

    fn chain(&self) -> [Vec<u8>; 2] {
        [self.certificate.to_der().unwrap(), self.authority.to_der().unwrap()]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// Signs as a card does.
    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        if algorithm.is_ecdsa() {
            let signature = EcdsaSig::sign(&algorithm.hash(message), &self.key.ec_key().unwrap()).unwrap();
            let len = algorithm.hash_len().try_into().unwrap();
            return [signature.r(), signature.s()].map(|number| number.to_vec_padded(len).unwrap()).concat();
        }
        let digest = match algorithm {
            Algorithm::Rs1 => MessageDigest::sha1(),
            Algorithm::Rs384 => MessageDigest::sha384(),
            Algorithm::Rs512 => MessageDigest::sha512(),
            _ => MessageDigest::sha256(),
        };
        let mut signer = Signer::new(digest, &self.key).unwrap();
        if algorithm == Algorithm::Ps256 {
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
        }
        signer.sign_oneshot_to_vec(message).unwrap()
    }

    fn signed(&self, format: Format, algorithm: Algorithm, payload: &[u8]) -> Vec<u8> {
        let draft = format.draft(algorithm, &self.chain(), payload, SystemTime::now()).unwrap();
        let signature = self.sign(algorithm, draft.to_sign());
        draft.signed(&signature).unwrap()
    }
}

fn certificate(name: &str, key: &PKey<Private>, issuer: Option<(&X509, &PKey<Private>)>) -> X509 {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(150, MsbOption::ONE, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(issuer.map_or(&*subject, |(issuer, _)| issuer.subject_name())).unwrap();
    // An hour ago, because the clock that signs is this one.
    let start = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() - 3600;
    builder.set_not_before(&Asn1Time::from_unix(start.try_into().unwrap()).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(30).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    let mut usage = KeyUsage::new();
    usage.critical();
    if issuer.is_none() {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        usage.key_cert_sign();
    } else {
        usage.non_repudiation();
    }
    builder.append_extension(usage.build().unwrap()).unwrap();
    builder.sign(issuer.map_or(key, |(_, key)| key), MessageDigest::sha256()).unwrap();
    builder.build()
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/install-deps installs it"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Has OpenSSL verify a CMS signature of `payload`, and that the signed attributes name the signer's certificate.
fn cms_verify(desk: &Desk, signature: &Path, payload: &Path) -> Output {
    run(Command::new("openssl")
        .args(["cms", "-verify", "-cades", "-binary", "-inform", "DER", "-purpose", "any", "-out"])
        .arg(desk.path("verified"))
        .arg("-in")
        .arg(signature)
        .arg("-content")
        .arg(payload)
        .arg("-CAfile")
        .arg(desk.path("authority.pem")))
}

#[test]
fn openssl_verifies_a_cms_signature_of_each_algorithm_and_refuses_it_for_another_payload() {
    for algorithm in Algorithm::ALL {
        let desk = Desk::of(algorithm);
        let signature = desk.write("signature", &desk.signed(Format::Cms, algorithm, PAYLOAD));
        let payload = desk.write("payload", PAYLOAD);
        let output = cms_verify(&desk, &signature, &payload);
        assert!(output.status.success(), "{algorithm}: {}", said(&output));
        assert_eq!(fs::read(desk.path("verified")).unwrap(), PAYLOAD);
        let other = desk.write("other", b"ten tablets");
        let output = cms_verify(&desk, &signature, &other);
        assert!(!output.status.success(), "{algorithm}: {}", said(&output));
    }
}

#[test]
fn a_cms_signature_is_detached_and_has_the_signing_time_and_the_certificates_of_the_card() {
    let desk = Desk::of(Algorithm::Rs256);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_000_000);
    let draft = Format::Cms.draft(Algorithm::Rs256, &desk.chain(), PAYLOAD, time).unwrap();
    let signature = desk.sign(Algorithm::Rs256, draft.to_sign());
    let message = ContentInfo::from_der(&draft.signed(&signature).unwrap()).unwrap();
    let data: SignedData = message.content.decode_as().unwrap();
    assert!(data.encap_content_info.econtent.is_none());
    let certificates = data.certificates.unwrap();
    let mut certificates: Vec<_> = certificates
        .0
        .iter()
        .map(|choice| match choice {
            CertificateChoices::Certificate(certificate) => certificate.to_der().unwrap(),
            CertificateChoices::Other(_) => panic!("it is no certificate"),
        })
        .collect();
    let mut chain = desk.chain();
    certificates.sort();
    chain.sort();
    assert_eq!(certificates, chain);
    let signer = data.signer_infos.0.get(0).unwrap();
    let attributes = signer.signed_attrs.as_ref().unwrap();
    assert_eq!(attributes.len(), 4);
    let signing_time = attributes.iter().find(|one| one.oid.to_string() == "1.2.840.113549.1.9.5").unwrap();
    let signing_time: der::asn1::UtcTime = signing_time.values.get(0).unwrap().decode_as().unwrap();
    assert_eq!(signing_time.to_system_time(), time);
    assert!(signer.unsigned_attrs.is_none());
}

#[test]
fn a_cms_signature_after_2049_has_a_generalized_time() {
    let desk = Desk::of(Algorithm::Es256);
    for (seconds, tag) in [(2_524_607_999, 0x17), (2_524_608_000, 0x18)] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let draft = Format::Cms.draft(Algorithm::Es256, &desk.chain(), PAYLOAD, time).unwrap();
        let oid = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x05, 0x31];
        let at = draft.to_sign().windows(oid.len()).position(|window| window == oid).unwrap();
        assert_eq!(draft.to_sign()[at + oid.len() + 1], tag);
    }
}

#[test]
fn a_certificate_with_a_serial_number_longer_than_the_standard_allows_is_copied_unchanged() {
    let desk = Desk::of(Algorithm::Es256);
    let mut builder = X509::builder().unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(300, MsbOption::ONE, false).unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(desk.certificate.subject_name()).unwrap();
    builder.set_issuer_name(desk.certificate.subject_name()).unwrap();
    builder.set_not_before(desk.certificate.not_before()).unwrap();
    builder.set_not_after(desk.certificate.not_after()).unwrap();
    builder.set_pubkey(&desk.key).unwrap();
    builder.sign(&desk.key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    // It is its own authority.
    fs::write(desk.path("authority.pem"), certificate.to_pem().unwrap()).unwrap();
    let der = certificate.to_der().unwrap();
    let draft = Format::Cms.draft(Algorithm::Es256, &[&der, &der], PAYLOAD, SystemTime::now()).unwrap();
    let signature = desk.sign(Algorithm::Es256, draft.to_sign());
    let signature = draft.signed(&signature).unwrap();
    assert_eq!(signature.windows(der.len()).filter(|window| *window == der).count(), 1);
    let output = cms_verify(&desk, &desk.write("signature", &signature), &desk.write("payload", PAYLOAD));
    assert!(output.status.success(), "{}", said(&output));
}

/// Verifies the JWS in the file argv[1] with the first certificate of its header, and writes its payload.
const VERIFY_JWS: &str = "
import base64, json, sys
from jwcrypto import jwk, jws
token = open(sys.argv[1]).read()
header = token.split('.')[0]
header = json.loads(base64.urlsafe_b64decode(header + '=' * (-len(header) % 4)))
pem = lambda der: '-----BEGIN CERTIFICATE-----\\n' + der + '\\n-----END CERTIFICATE-----\\n'
key = jwk.JWK.from_pem(pem(header['x5c'][0]).encode())
verified = jws.JWS()
verified.allowed_algs = [sys.argv[2]]
verified.deserialize(token, key)
sys.stdout.buffer.write(verified.payload)
sys.stderr.write(str(len(header['x5c'])))
";

fn jws_verify(token: &Path, algorithm: Algorithm) -> Output {
    // The one that has Debian's packages, whatever else is on the path.
    let system = Path::new("/usr/bin/python3");
    let python = if system.exists() { system } else { Path::new("python3") };
    run(Command::new(python).args(["-c", VERIFY_JWS]).arg(token).arg(algorithm.as_str()))
}

#[test]
fn a_python_library_verifies_a_jws_of_each_algorithm_and_refuses_another_payload() {
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::Rs1) {
        let desk = Desk::of(algorithm);
        let token = desk.signed(Format::Jws, algorithm, PAYLOAD);
        let output = jws_verify(&desk.write("token", &token), algorithm);
        assert!(output.status.success(), "{algorithm}: {}", said(&output));
        assert_eq!((&*output.stdout, &*output.stderr), (PAYLOAD, &b"2"[..]));
        let token = String::from_utf8(token).unwrap();
        let [header, _, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let other = desk.write("other", format!("{header}.dGVu.{signature}").as_bytes());
        assert!(!jws_verify(&other, algorithm).status.success());
    }
}

#[test]
fn a_jws_is_not_signed_with_rs1() {
    let desk = Desk::of(Algorithm::Rs1);
    let refused = Format::Jws.draft(Algorithm::Rs1, &desk.chain(), PAYLOAD, SystemTime::now());
    assert_eq!(*refused.err().unwrap().kind(), ErrorKind::InvalidParameter);
}

const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const INCLUSIVE: &str = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315";

fn method(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Rs1 => "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
        Algorithm::Rs256 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
        Algorithm::Rs384 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
        Algorithm::Rs512 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
        Algorithm::Ps256 => "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1",
        Algorithm::Es256 => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
        Algorithm::Es384 => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
        other => panic!("{other} is new"),
    }
}

const DOCUMENT: &str = "<Prescription><line>two tablets</line></Prescription>";

/// The `SignedInfo` of a signature inside of [`DOCUMENT`], in canonical form.
fn signed_info(prefix: &str, canonicalization: &str, algorithm: Algorithm) -> String {
    let colon = if prefix.is_empty() { String::new() } else { format!("{prefix}:") };
    let declaration = if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
    let digest = BASE64_STANDARD.encode(Algorithm::Rs256.hash(DOCUMENT.as_bytes()));
    let empty = |name: &str, value: &str| format!("<{colon}{name} Algorithm=\"{value}\"></{colon}{name}>");
    [
        format!("<{colon}SignedInfo {declaration}=\"http://www.w3.org/2000/09/xmldsig#\">"),
        empty("CanonicalizationMethod", canonicalization),
        empty("SignatureMethod", method(algorithm)),
        format!("<{colon}Reference URI=\"\"><{colon}Transforms>"),
        empty("Transform", "http://www.w3.org/2000/09/xmldsig#enveloped-signature"),
        empty("Transform", EXCLUSIVE),
        format!("</{colon}Transforms>"),
        empty("DigestMethod", "http://www.w3.org/2001/04/xmlenc#sha256"),
        format!("<{colon}DigestValue>{digest}</{colon}DigestValue></{colon}Reference></{colon}SignedInfo>"),
    ]
    .concat()
}

fn xml_verify(desk: &Desk, document: &Path) -> Output {
    let mut command = Command::new("xmlsec1");
    run(command.args(["--verify", "--trusted-pem"]).arg(desk.path("authority.pem")).arg(document))
}

#[test]
fn xmlsec_verifies_a_signature_element_with_the_given_signed_info_and_refuses_another_document() {
    // xmlsec1 knows PS256 only since version 1.3.
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::Ps256) {
        let desk = Desk::of(algorithm);
        for (prefix, canonicalization) in [("", EXCLUSIVE), ("ds", EXCLUSIVE), ("", INCLUSIVE), ("ds", INCLUSIVE)] {
            let signed_info = signed_info(prefix, canonicalization, algorithm);
            let signature = desk.signed(Format::XmlDsig, algorithm, signed_info.as_bytes());
            let signature = String::from_utf8(signature).unwrap();
            assert_eq!(signature.matches(&signed_info).count(), 1);
            assert_eq!(signature.matches("X509Certificate>").count(), 2);
            let document = DOCUMENT.replace("</P", &format!("{signature}</P"));
            let output = xml_verify(&desk, &desk.write("document.xml", document.as_bytes()));
            assert!(output.status.success(), "{algorithm} {prefix} {canonicalization}: {}", said(&output));
            let other = document.replace("two", "ten");
            let output = xml_verify(&desk, &desk.write("other.xml", other.as_bytes()));
            assert!(!output.status.success(), "{algorithm}: {}", said(&output));
        }
    }
}

fn xml_draft(payload: &[u8]) -> Result<Vec<u8>, String> {
    let draft = Format::XmlDsig.draft(Algorithm::Rs256, &[b"certificate"], payload, SystemTime::now());
    draft.map(|draft| draft.to_sign().to_vec()).map_err(|error| {
        assert_eq!(*error.kind(), ErrorKind::InvalidParameter);
        error.detail().to_owned()
    })
}

#[test]
fn a_signed_info_may_be_in_base64_and_have_white_space_around_it() {
    let signed_info = signed_info("", EXCLUSIVE, Algorithm::Rs256);
    let base64 = BASE64_STANDARD.encode(&signed_info);
    let lines = base64.as_bytes().chunks(76).map(|line| [line, b"\r\n"].concat()).collect::<Vec<_>>().concat();
    for given in [signed_info.as_bytes(), base64.as_bytes(), &lines, format!("\n{signed_info}\n").as_bytes()] {
        assert_eq!(xml_draft(given).unwrap(), signed_info.as_bytes());
    }
}

#[test]
fn what_is_no_canonical_signed_info_for_the_algorithm_is_refused_with_the_reason() {
    let good = signed_info("", EXCLUSIVE, Algorithm::Rs256);
    assert!(xml_draft(good.as_bytes()).is_ok());
    let another = signed_info("", EXCLUSIVE, Algorithm::Rs1);
    let method = "<SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\"></SignatureMethod>";
    let no_element = "the payload is not a SignedInfo element of XML-DSig";
    let not_canonical = "the SignedInfo is not in canonical form";
    for (given, reason) in [
        (String::new(), "the SignedInfo is neither XML nor base64"),
        ("?".to_owned(), "the SignedInfo is neither XML nor base64"),
        (format!("\u{feff}{good}"), "the SignedInfo is neither XML nor base64"),
        (BASE64_STANDARD.encode(b"\xff\xfe<\0"), "the SignedInfo is not UTF-8"),
        (format!("<!DOCTYPE x [<!ENTITY e \"e\">]>{good}"), "the SignedInfo has a DOCTYPE"),
        (BASE64_STANDARD.encode(format!("<!DOCTYPE x>{good}")), "the SignedInfo has a DOCTYPE"),
        (format!("<?xml version=\"1.0\"?>{good}"), not_canonical),
        (good.replace("<Reference", "<!-- --><Reference"), not_canonical),
        (good.replace("></DigestMethod>", "/>"), not_canonical),
        (good.replace("<Reference", "\r\n<Reference"), not_canonical),
        (format!("{good}x"), not_canonical),
        (format!("{good}{good}"), "the SignedInfo is not XML"),
        (good.replace("</Reference>", ""), "the SignedInfo is not XML"),
        (DOCUMENT.to_owned(), no_element),
        (good.replace("09/xmldsig#\">", "09/xmldsig\">"), no_element),
        (good.replace(" xmlns=\"http://www.w3.org/2000/09/xmldsig#\"", ""), no_element),
        (format!("<Signature xmlns=\"http://www.w3.org/2000/09/xmldsig#\">{good}</Signature>"), no_element),
        (another, "the SignedInfo's SignatureMethod is not that of RS256"),
        (good.replace(method, ""), "the SignedInfo has no SignatureMethod, or several"),
        (good.replace(method, &method.repeat(2)), "the SignedInfo has no SignatureMethod, or several"),
        (good.replace("CanonicalizationMethod", "Other"), "the SignedInfo has no CanonicalizationMethod"),
        (good.replace("Reference", "Other"), "the SignedInfo has no CanonicalizationMethod or no Reference"),
        (good.replace("</DigestValue>", &format!("{}</DigestValue>", "A".repeat(1 << 16))), "the SignedInfo has more"),
        ("A".repeat(1 << 18), "the SignedInfo has more than 65,536 bytes"),
    ] {
        let detail = xml_draft(given.as_bytes()).expect_err(&given);
        assert!(detail.starts_with(reason), "{detail}\n{given}");
    }
}

#[test]
fn a_prefix_that_contains_the_name_of_the_element_is_kept() {
    let signed_info = signed_info("SignedInfo", EXCLUSIVE, Algorithm::Rs256);
    let draft = Format::XmlDsig.draft(Algorithm::Rs256, &[b"certificate"], signed_info.as_bytes(), SystemTime::now());
    let signature = String::from_utf8(draft.unwrap().signed(b"signature").unwrap()).unwrap();
    assert!(signature.starts_with("<SignedInfo:Signature xmlns:SignedInfo="), "{signature}");
}

#[test]
fn a_raw_signature_is_of_the_payload_itself() {
    let draft = Format::Raw.draft(Algorithm::Es256, &[b"certificate"], PAYLOAD, SystemTime::now()).unwrap();
    assert_eq!(draft.to_sign(), PAYLOAD);
    assert_eq!(draft.signed(b"signature").unwrap(), b"signature");
}

proptest! {
    #[test]
    fn a_signed_info_takes_any_text_without_a_panic(
        start in "<?[a-zA-Z:]{0,12}", middle in any::<String>(), end in "(</[a-zA-Z:]{0,12}>)?",
    ) {
        let _ = Format::XmlDsig.draft(
            Algorithm::Rs256,
            &[b"certificate"],
            format!("{start}{middle}{end}").as_bytes(),
            SystemTime::now(),
        );
    }

    #[test]
    fn a_cms_signature_takes_any_certificate_and_signature_without_a_panic(
        certificate in proptest::collection::vec(any::<u8>(), 0..60),
        signature in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let draft = Format::Cms.draft(Algorithm::Es256, &[certificate], PAYLOAD, SystemTime::now()).unwrap();
        let _ = draft.signed(&signature);
    }
}
