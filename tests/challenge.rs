//! Compares the signed challenge with the capture of a genuine Identity Agent, and with OpenSSL.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ticketapi::cancel::CancelToken;
use ticketapi::card::software::SoftwareCardReader;
use ticketapi::card::{CardReader, Certificate};
use ticketapi::challenge::{self, Digest, SignedChallenge};
use ticketapi::{ErrorKind, Pin};

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Reads every capture: a JSON file with the parts of a message, and the message that it names.
fn captures() -> Vec<(SignedChallenge, Vec<u8>)> {
    let mut captures = Vec::new();
    for entry in fs::read_dir(data("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let parts: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let Some(expected) = parts["expected_file"].as_str() else { continue };
        let der = BASE64.decode(parts["certificate_der_base64"].as_str().unwrap()).unwrap();
        let parts = SignedChallenge {
            challenge: unhex(parts["content_hex"].as_str().unwrap()),
            certificate: Certificate::from_der(&der).unwrap(),
            digest: serde_json::from_value(parts["digest"].clone()).unwrap(),
            signature: unhex(parts["signature_hex"].as_str().unwrap()),
        };
        captures.push((parts, fs::read(data(expected)).unwrap()));
    }
    assert!(!captures.is_empty());
    captures
}

fn encode(parts: &SignedChallenge) -> Vec<u8> {
    challenge::encode(&parts.challenge, &parts.certificate, parts.digest, &parts.signature).unwrap()
}

#[test]
fn the_parts_of_a_capture_are_encoded_to_its_bytes() {
    for (parts, message) in captures() {
        assert_eq!(encode(&parts), message);
    }
}

#[test]
fn a_capture_is_parsed_into_its_parts() {
    for (parts, message) in captures() {
        assert_eq!(challenge::decode(&message).unwrap(), parts);
    }
}

#[test]
fn the_signature_of_a_capture_is_verified_with_its_certificate() {
    for (parts, _) in captures() {
        let SignedChallenge { challenge, certificate, digest, mut signature } = parts;
        certificate.verify(digest, &challenge, &signature).unwrap();
        assert_eq!(certificate.verify(digest, b"other", &signature).unwrap_err().kind(), &ErrorKind::CardFailed);
        assert_eq!(
            certificate.verify(Digest::Sha256, &challenge, &signature).unwrap_err().kind(),
            &ErrorKind::CardFailed
        );
        signature[5] ^= 1;
        assert_eq!(certificate.verify(digest, &challenge, &signature).unwrap_err().kind(), &ErrorKind::CardFailed);
    }
}

fn signed(file: &str, digest: Digest, challenge: &[u8]) -> SignedChallenge {
    let cancel = CancelToken::new();
    let reader = SoftwareCardReader::new(data("pkcs12").join(file));
    let mut card = reader.wait_for_card(Duration::ZERO, &mut |_| (), &cancel).unwrap();
    let signature = card.sign(Some(Pin::new("password".into())), digest, challenge, &cancel).unwrap();
    let certificate = card.certificate().unwrap().clone();
    SignedChallenge { challenge: challenge.to_vec(), certificate, digest, signature }
}

/// The signed content, if `openssl cms -verify` accepts the signature.
fn openssl_verified(message: &[u8], form: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("message");
    fs::write(&file, message).unwrap();
    // -noverify omits only the check of the issuers, which these certificates do not have.
    let output = Command::new("openssl")
        .args(["cms", "-verify", "-noverify", "-binary", "-inform", form, "-in"])
        .arg(&file)
        .output()
        .unwrap();
    output.status.success().then_some(output.stdout)
}

#[test]
fn openssl_accepts_each_key_size_with_each_digest() {
    let content: Vec<u8> = (0..48).map(|i| i * 5).collect();
    for (file, bits) in
        [("openssl-legacy.p12", 1024), ("openssl3.p12", 2048), ("keytool.p12", 3072), ("keytool-legacy.p12", 4096)]
    {
        for digest in [Digest::Sha1, Digest::Sha256] {
            let mut parts = signed(file, digest, &content);
            assert_eq!(parts.certificate.key_bits(), bits);
            parts.certificate.verify(digest, &content, &parts.signature).unwrap();
            let cms = encode(&parts);
            assert_eq!(openssl_verified(&cms, "DER").as_ref(), Some(&content));
            assert_eq!(openssl_verified(challenge::to_smime(&cms).as_bytes(), "SMIME").as_ref(), Some(&content));

            parts.signature[9] ^= 1;
            assert_eq!(openssl_verified(&encode(&parts), "DER"), None);
        }
    }
}

#[test]
fn another_cms_implementation_parses_the_same_parts() {
    use cms::cert::CertificateChoices;
    use cms::content_info::{CmsVersion, ContentInfo};
    use cms::signed_data::{SignedData, SignerIdentifier};
    use der::{Decode, Encode};

    for (parts, _) in captures() {
        let message = ContentInfo::from_der(&encode(&parts)).unwrap();
        let data: SignedData = message.content.decode_as().unwrap();
        let [certificate] = data.certificates.as_ref().unwrap().0.as_slice() else { panic!() };
        let [signer] = data.signer_infos.0.as_slice() else { panic!() };
        let CertificateChoices::Certificate(certificate) = certificate else { panic!() };
        let SignerIdentifier::IssuerAndSerialNumber(signer_id) = &signer.sid else { panic!() };

        assert_eq!((data.version, signer.version), (CmsVersion::V1, CmsVersion::V1));
        assert_eq!(data.encap_content_info.econtent.unwrap().value(), parts.challenge);
        assert_eq!(certificate.to_der().unwrap(), parts.certificate.der());
        assert_eq!(signer_id.issuer, certificate.tbs_certificate.issuer);
        assert_eq!(signer_id.serial_number, certificate.tbs_certificate.serial_number);
        assert_eq!(signer.signature.as_bytes(), parts.signature);
        assert!(signer.signed_attrs.is_none() && signer.unsigned_attrs.is_none() && data.crls.is_none());
    }
}

#[test]
fn the_response_is_base64_of_an_smime_entity_in_short_lines_that_end_with_cr_lf() {
    for (parts, message) in captures() {
        let response =
            challenge::response(&parts.challenge, &parts.certificate, parts.digest, &parts.signature).unwrap();
        let entity = String::from_utf8(BASE64.decode(&response).unwrap()).unwrap();
        let (header, body) = entity.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            header.split("\r\n").collect::<Vec<_>>(),
            [
                "MIME-Version: 1.0",
                "Content-Disposition: attachment; filename=\"smime.p7m\"",
                "Content-Type: application/x-pkcs7-mime; name=\"smime.p7m\"",
                "Content-Transfer-Encoding: base64",
            ]
        );
        let lines: Vec<_> = body.strip_suffix("\r\n").unwrap().split("\r\n").collect();
        assert!(lines[..lines.len() - 1].iter().all(|line| (64..=76).contains(&line.len())));
        assert_eq!(BASE64.decode(lines.concat()).unwrap(), message);
        assert_eq!(challenge::from_response(&response).unwrap(), parts);
    }
}
