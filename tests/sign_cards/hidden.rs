//! Cards that show their certificates only after the PIN was entered.

use ticketapi::ErrorKind;
use ticketapi::sign::Algorithm;
use ticketapi_testkit::{CardSpec, SoftHsm};

use super::support::{Asked, Desk, PIN, User};
use super::{Cards, IDS, PAYLOADS, SIGNING_PIN, UID, assert_signed, is_complete, outcomes, three};

/// The module's script that hides certificates until the login.
const HIDES: &str = "private-certificates";

/// A card with one token, which shows no certificate before the login.
fn hidden(spec: &CardSpec) -> Cards {
    Cards::with_token(|token, _, desk| token.add_identity(&desk.ca.issue(spec).unwrap(), 1).unwrap())
}

fn signer() -> CardSpec {
    CardSpec::new(UID).for_signing().key_number(1)
}

#[test]
fn a_certificate_that_is_visible_only_after_the_login_signs() {
    let cards = hidden(&signer()).scripted(HIDES);
    let user = User::typing(&[SIGNING_PIN]);
    let signed = cards.desk.engine(&user).sign(&three()).unwrap();
    assert!(is_complete(&signed), "{signed:?}");
    for (outcome, payload) in outcomes(&signed, &IDS).iter().zip(PAYLOADS) {
        assert_signed(&signed.certificate, Algorithm::Rs256, payload.as_bytes(), outcome.as_ref().unwrap());
    }
    assert_eq!((user.asked(), cards.calls("C_Login")), (vec![Asked::Pin(None)], 1));
}

#[test]
fn a_wrong_pin_of_a_hidden_certificate_is_tried_once_and_a_locked_one_never() {
    let cards = hidden(&signer()).scripted(HIDES);
    let user = User::typing(&["111111", SIGNING_PIN]);
    assert!(is_complete(&cards.desk.engine(&user).sign(&three()).unwrap()));
    assert_eq!((user.asked().len(), cards.calls("C_Login")), (2, 2));

    let cards = hidden(&signer()).scripted(&format!("{HIDES}\nflag USER_PIN_LOCKED C_Login 0"));
    let user = User::typing(&[SIGNING_PIN]);
    let error = cards.desk.engine(&user).sign(&three()).unwrap_err();
    assert_eq!((error.kind(), cards.calls("C_Login")), (&ErrorKind::PinLocked, 0));
}

#[test]
fn what_is_wrong_with_a_hidden_certificate_is_named_and_its_pin_is_not_tried_again() {
    for (spec, kind) in [
        (signer().expired(), ErrorKind::CertificateNotValid),
        (CardSpec::new(UID), ErrorKind::NoCertificate),
        (signer().curve("prime256v1"), ErrorKind::KeyNotSupported),
    ] {
        let cards = hidden(&spec).scripted(HIDES);
        let user = User::typing(&[SIGNING_PIN; 3]);
        let error = cards.desk.engine(&user).sign(&three()).unwrap_err();
        assert_eq!(*error.kind(), kind, "{error}");
        assert_eq!((user.pins_asked(), cards.calls("C_Login"), cards.calls("C_Sign")), (1, 1, 0), "{error}");
    }
}

#[test]
fn a_hidden_certificate_of_another_user_than_the_sessions_signs_nothing() {
    let desk = Desk::new();
    let hsm = SoftHsm::new().unwrap();
    hsm.add_card("login", PIN, &desk.ca.issue(&CardSpec::new(UID)).unwrap()).unwrap();
    let token = hsm.add_token("signature", SIGNING_PIN).unwrap();
    let other = CardSpec::new("999000000001").for_signing().key_number(1);
    token.add_identity(&desk.ca.issue(&other).unwrap(), 1).unwrap();
    let cards = Cards::use_hsm(desk, hsm).scripted(HIDES);
    let user = User::typing(&[PIN, SIGNING_PIN]);
    let engine = cards.desk.engine(&user);
    engine.get_ticket().unwrap();
    let before = cards.calls("C_Sign") + cards.calls("C_SignFinal");
    let error = engine.sign(&three()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UserNotValid, "{error}");
    assert_eq!(cards.calls("C_Sign") + cards.calls("C_SignFinal"), before);
    engine.get_ticket_no_auth().unwrap();
}

/// No PIN is tried with the wrong one of them.
#[test]
fn of_several_tokens_that_show_nothing_the_one_to_log_in_with_is_not_taken() {
    let make = |others: &[&str]| {
        let desk = Desk::new();
        let hsm = SoftHsm::new().unwrap();
        let login = hsm.add_token("login", PIN).unwrap();
        login.add_identity(&desk.ca.issue(&CardSpec::new(UID)).unwrap(), 1).unwrap();
        for label in others {
            let token = hsm.add_token(label, SIGNING_PIN).unwrap();
            token.add_identity(&desk.ca.issue(&signer()).unwrap(), 1).unwrap();
        }
        Cards::use_hsm(desk, hsm).scripted(HIDES)
    };
    assert!(is_complete(&make(&["signature"]).sign(&three()).unwrap()));
    let cards = make(&["one", "two"]);
    let user = User::typing(&[SIGNING_PIN]);
    let error = cards.desk.engine(&user).sign(&three()).unwrap_err();
    assert_eq!((error.kind(), user.asked()), (&ErrorKind::SeveralCards, vec![]));
    assert!(error.detail().contains("\"one\"") && error.detail().contains("\"two\""), "{error}");
}
