//! Documents signed with a software card: the right key, the user who is asked, and what cannot be signed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use openssl::hash::MessageDigest;
use openssl::sign::Verifier;
use openssl::x509::X509;
use support::{Desk, PIN, UID, User};
use ticketapi::sign::{Algorithm, Format, KeyUse, SignRequest, Signatures};
use ticketapi::{Engine, ErrorKind, Result};
use ticketapi_testkit::CardSpec;

const PAYLOAD: &[u8] = b"two tablets";

fn spec() -> CardSpec {
    CardSpec::new(UID).for_signing()
}

/// A desk whose card is this one.
fn desk(spec: &CardSpec) -> Desk {
    let mut desk = Desk::new();
    let file = desk.quick_card(spec);
    desk.config.software_card = Some(file);
    desk
}

fn sign(spec: &CardSpec, request: &SignRequest) -> Result<Signatures> {
    desk(spec).engine(&User::typing(&[PIN])).sign(request)
}

fn verify(digest: MessageDigest, signatures: &Signatures, payload: &[u8], index: usize) -> bool {
    let key = X509::from_der(&signatures.certificate).unwrap().public_key().unwrap();
    let mut verifier = Verifier::new(digest, &key).unwrap();
    verifier.verify_oneshot(&signatures.signatures[index].bytes, payload).unwrap()
}

#[test]
fn every_rsa_algorithm_signs_payloads_and_hashes() {
    for (algorithm, digest) in [
        (Algorithm::Rs256, MessageDigest::sha256()),
        (Algorithm::Rs384, MessageDigest::sha384()),
        (Algorithm::Rs512, MessageDigest::sha512()),
        (Algorithm::Rs1, MessageDigest::sha1()),
    ] {
        let request = SignRequest::new().algorithm(algorithm).payload("a", PAYLOAD).hash("b", algorithm.hash(b"other"));
        let signatures = sign(&spec(), &request).unwrap();
        assert!(signatures.failed.is_empty());
        assert_eq!(signatures.signatures.iter().map(|one| &*one.id).collect::<Vec<_>>(), ["a", "b"]);
        assert!(verify(digest, &signatures, PAYLOAD, 0) && verify(digest, &signatures, b"other", 1), "{algorithm}");
    }
    // The engine verifies it.
    let request = SignRequest::new().algorithm(Algorithm::Ps256).format(Format::Jws).payload("a", PAYLOAD);
    assert_eq!(sign(&spec(), &request).unwrap().signatures.len(), 1);
}

#[test]
fn the_pin_is_asked_for_at_every_request_and_the_user_sees_what_for() {
    let desk = desk(&spec());
    let user = User::typing(&[PIN, PIN]);
    let engine = desk.engine(&user);
    let request = SignRequest::new().title("for A.\nPatient").payload("1", "x").payload("2", "y");
    for count in 1..=2 {
        assert_eq!(engine.sign(&request).unwrap().signatures.len(), 2);
        let asked: Vec<_> =
            user.told().into_iter().filter(|line| line.contains("sign 2 documents: for A. Patient")).collect();
        assert_eq!(asked.len(), count, "{:?}", user.told());
    }
    assert!(engine.session().is_none());
}

#[test]
fn a_session_of_the_same_user_goes_on_and_another_users_card_is_refused() {
    let mut desk = Desk::new();
    let login_card = desk.config.software_card.clone();
    let signing = desk.quick_card(&spec());
    let place = desk.path("card-in-use.p12");
    std::fs::copy(login_card.unwrap(), &place).unwrap();
    desk.config.software_card = Some(place.clone());
    let engine = desk.engine(&User::typing(&[PIN, PIN, PIN]));
    let ticket = engine.get_ticket().unwrap();
    std::fs::copy(&signing, &place).unwrap();
    let request = SignRequest::new().payload("1", PAYLOAD);
    assert_eq!(engine.sign(&request).unwrap().signatures.len(), 1);
    assert_eq!(engine.get_ticket_no_auth().unwrap().expose(), ticket.expose());
    let other = desk.quick_card(&CardSpec::new("999999999999").for_signing());
    std::fs::copy(&other, &place).unwrap();
    let error = engine.sign(&request).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UserNotValid, "{error}");
    assert_eq!(engine.get_ticket_no_auth().unwrap().expose(), ticket.expose());
}

#[test]
fn a_card_without_a_certificate_for_signatures_is_refused_unless_the_other_key_is_asked_for() {
    let request = SignRequest::new().payload("1", PAYLOAD);
    let login = CardSpec::new(UID);
    let error = sign(&login, &request).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoCertificate, "{error}");
    assert_eq!(sign(&login, &request.key(KeyUse::Login)).unwrap().signatures.len(), 1);
}

#[test]
fn a_certificate_that_is_not_valid_now_has_an_error_of_its_own() {
    for (spec, words) in [(spec().expired(), "expired on"), (spec().not_yet_valid(), "is not valid before")] {
        let error = sign(&spec, &SignRequest::new().payload("1", PAYLOAD)).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::CertificateNotValid);
        assert!(error.detail().contains(words), "{error}");
    }
}

#[test]
fn a_key_that_does_not_suit_the_algorithm_is_named() {
    let error = sign(&spec(), &SignRequest::new().algorithm(Algorithm::Es256).payload("1", PAYLOAD)).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::KeyNotSupported, "{error}");
    assert!(error.detail().contains("an RSA key, which cannot sign with ES256"), "{error}");
}

#[test]
fn only_issuers_of_the_setting_sign() {
    let desk = desk(&spec()).set("signing_issuers", "Nobody");
    let error = desk.engine(&User::typing(&[PIN])).sign(&SignRequest::new().payload("1", PAYLOAD)).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoCertificate);
    assert!(error.detail().ends_with("issued by Nobody"), "{error}");
}

#[test]
fn a_wrong_request_asks_for_no_pin() {
    let desk = desk(&spec());
    let user = User::typing(&[PIN]);
    let engine: Engine = desk.engine(&user);
    for request in [
        SignRequest::new(),
        SignRequest::new().payload("1", "x").payload("1", "y"),
        SignRequest::new().format(Format::XmlDsig).payload("1", "<SignedInfo/>"),
    ] {
        assert_eq!(*engine.sign(&request).unwrap_err().kind(), ErrorKind::InvalidParameter);
    }
    assert!(user.told().is_empty(), "{:?}", user.told());
}
