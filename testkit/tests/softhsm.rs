//! SoftHSM2 tokens as other programs see them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;

use common::output_of;
use openssl::hash::MessageDigest;
use openssl::sign::Verifier;
use ticketapi_testkit::{CardSpec, SoftHsm, TestCa, Token};

fn objects(hsm: &SoftHsm, token: &Token<'_>) -> String {
    let environment: [(&str, &Path); 1] = [("SOFTHSM2_CONF", &hsm.conf())];
    let module = ["--module", hsm.module().to_str().unwrap()];
    let slots = output_of("pkcs11-tool", &[&module[..], &["-L"]].concat(), &environment);
    assert!(slots.contains(token.serial()), "{slots}");
    let list = ["--slot", token.slot(), "--login", "--pin", token.pin(), "-O"];
    output_of("pkcs11-tool", &[&module[..], &list].concat(), &environment)
}

#[test]
fn a_token_with_a_card_signs() {
    let hsm = SoftHsm::new().unwrap();
    let card = TestCa::new().unwrap().issue(&CardSpec::default()).unwrap();
    hsm.add_card("Card", "1234", &card).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (message, signature) = (folder.path().join("message"), folder.path().join("signature"));
    std::fs::write(&message, "challenge").unwrap();
    let arguments = ["--module", hsm.module().to_str().unwrap(), "--login", "--pin", "1234", "--id", "01"];
    let sign = ["--sign", "-m", "SHA1-RSA-PKCS", "-i", message.to_str().unwrap(), "-o", signature.to_str().unwrap()];
    output_of("pkcs11-tool", &[&arguments[..], &sign].concat(), &[("SOFTHSM2_CONF", &hsm.conf())]);
    let mut verifier = Verifier::new(MessageDigest::sha1(), card.key()).unwrap();
    assert!(verifier.verify_oneshot(&std::fs::read(signature).unwrap(), b"challenge").unwrap());
}

#[test]
fn tokens_contain_only_what_was_added() {
    let hsm = SoftHsm::new().unwrap();
    let ca = TestCa::new().unwrap();
    let (card, other) =
        (ca.issue(&CardSpec::default()).unwrap(), ca.issue(&CardSpec::default().key_number(1).for_signing()).unwrap());
    let empty = hsm.add_token("Card", "1234").unwrap();
    let without_key = hsm.add_token("Card", "1234").unwrap();
    let both = hsm.add_token("Other", "1234").unwrap();
    without_key.add_certificate(&card, 1).unwrap();
    both.add_identity(&card, 1).unwrap();
    both.add_certificate(&other, 2).unwrap();
    both.add_always_authenticate_key(&other, 2).unwrap();

    let counts = |token: &Token<'_>| {
        let text = objects(&hsm, token);
        (text.matches("Certificate Object").count(), text.matches("Private Key Object").count())
    };
    assert_eq!(counts(&empty), (0, 0));
    assert_eq!(counts(&without_key), (1, 0));
    assert_eq!(counts(&both), (2, 2));
    assert!(objects(&hsm, &both).contains("always authenticate"));
}

#[test]
fn a_wrapped_program_uses_the_tokens() {
    let hsm = SoftHsm::new().unwrap();
    let wrapper = hsm.helper_wrapper(Path::new("/usr/bin/env")).unwrap();
    let output = output_of(wrapper.to_str().unwrap(), &["A=b c"], &[]);
    assert!(output.contains(&format!("SOFTHSM2_CONF={}\n", hsm.conf().display())));
    assert!(output.contains("A=b c\n"));
}

#[test]
fn the_folder_is_removed_with_its_owner() {
    let hsm = SoftHsm::new().unwrap();
    let conf = hsm.conf();
    assert!(conf.exists());
    drop(hsm);
    assert!(!conf.parent().unwrap().exists());
}
