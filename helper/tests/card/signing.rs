//! Signing: mechanisms, digests, and keys that need the PIN each time.

use ticketapi::cancel::CancelToken;
use ticketapi::card::SmartCard;
use ticketapi::card::pkcs11::AfterLogin;
use ticketapi::challenge::Digest;
use ticketapi::{ErrorKind, Pin, Stage};

use crate::support::*;

const WRONG: ErrorKind = ErrorKind::PinIncorrect { tries_left: None };

fn sign_with(card: &mut dyn SmartCard, digest: Digest) -> Vec<u8> {
    card.sign(Some(Pin::new(PIN.to_owned())), digest, MESSAGE, &CancelToken::new()).unwrap()
}

#[test]
fn a_card_signs_with_its_certificates_key() {
    let desk = Desk::with_card();
    let mut card = card(&desk.settings()).unwrap();
    assert_eq!(card.certificate().unwrap().der(), std::fs::read(person().path("certificate.der")).unwrap());
    let signature = sign_with(&mut *card, Digest::Sha1);
    assert!(person().signed(Digest::Sha1, MESSAGE, &signature));
    assert!(!person().signed(Digest::Sha1, b"another message", &signature));
}

#[test]
fn a_card_signs_with_sha_256() {
    let desk = Desk::with_card();
    let signature = sign_with(&mut *card(&desk.settings()).unwrap(), Digest::Sha256);
    assert!(person().signed(Digest::Sha256, MESSAGE, &signature));
}

#[test]
fn a_long_message_is_signed() {
    let desk = Desk::with_card();
    let message = vec![7; 1 << 20];
    let mut card = card(&desk.settings()).unwrap();
    let pin = Pin::new(PIN.to_owned());
    let signature = card.sign(Some(pin), Digest::Sha1, &message, &CancelToken::new()).unwrap();
    assert!(person().signed(Digest::Sha1, &message, &signature));
}

#[test]
fn a_module_that_does_not_hash_gets_a_digest_info() {
    let desk = Desk::with_card();
    for (digest, hidden) in [(Digest::Sha1, "0x6"), (Digest::Sha256, "0x40")] {
        let settings = desk.scripted(&format!("hide-mechanism {hidden}"));
        let signature = sign_with(&mut *card(&settings).unwrap(), digest);
        assert!(person().signed(digest, MESSAGE, &signature));
        assert_eq!(desk.called("C_SignInit"), 1);
    }
}

#[test]
fn a_module_that_refuses_a_mechanism_it_lists_gets_a_digest_info() {
    let desk = Desk::with_card();
    for code in ["0x5", "0x6", "0x7", "0x54", "0x63", "0x68", "0x70", "0x71"] {
        for call in ["C_SignInit", "C_Sign"] {
            assert_logs_in(&desk.scripted(&format!("fault {call} 1 error {code}")));
            assert_eq!((desk.called("C_SignInit"), desk.called("C_Login")), (2, 1), "{call} {code}");
        }
    }
}

#[test]
fn a_fault_of_the_card_does_not_count_as_a_refused_mechanism() {
    let desk = Desk::with_card();
    for code in ["0x30", "0x32", "0xe0", "0xb3", "0x101"] {
        for call in ["C_SignInit", "C_Sign"] {
            log_in(&desk.scripted(&format!("fault {call} 1 error {code}"))).unwrap_err();
            assert_eq!(desk.called("C_SignInit"), 1, "{call} {code}");
        }
    }
}

#[test]
fn a_key_that_needs_the_pin_each_time_gets_it_again() {
    let desk = Desk::empty();
    desk.add_token(LABEL, PIN);
    desk.add_careful_key(LABEL, PIN);
    desk.add_certificate(LABEL, PIN);
    assert_logs_in(&desk.scripted(""));
    assert_eq!(desk.called("C_Login"), 2);
    // CKM_RSA_PKCS signs in one part only.
    assert_logs_in(&desk.scripted("hide-mechanism 0x6"));
    assert_eq!((desk.called("C_Login"), desk.called("C_SignUpdate")), (2, 0));
}

#[test]
fn the_key_is_found_by_its_modulus() {
    for id in [None, Some("02")] {
        let desk = Desk::empty();
        desk.add_token(LABEL, PIN);
        desk.add_certificate(LABEL, PIN);
        desk.write(LABEL, PIN, "key.der", "privkey", &["--usage-sign"], id);
        assert_logs_in(&desk.settings());
    }
}

#[test]
fn of_two_keys_with_the_certificates_id_the_right_one_signs() {
    for others_first in [true, false] {
        let desk = Desk::empty();
        desk.add_token(LABEL, PIN);
        desk.add_certificate(LABEL, PIN);
        let other = || desk.write(LABEL, PIN, "other.der", "privkey", &["--usage-sign"], Some("01"));
        if others_first {
            other();
        }
        desk.write(LABEL, PIN, "key.der", "privkey", &["--usage-sign"], Some("01"));
        if !others_first {
            other();
        }
        assert_logs_in(&desk.settings());
    }
}

#[test]
fn a_login_leaves_nothing_open_in_the_module() {
    let desk = Desk::with_card();
    assert_logs_in(&desk.scripted(""));
    let calls = desk.calls();
    let expected = ["C_Logout", "C_CloseSession", "C_Finalize"];
    assert_eq!(calls[calls.len() - 3..], expected, "{calls:?}");
    assert_eq!((desk.called("C_OpenSession"), desk.called("C_Login"), desk.called("C_Sign")), (1, 1, 1));
}

#[test]
fn a_module_that_reports_an_existing_login_is_logged_out_first() {
    let desk = Desk::with_card();
    // CKR_USER_ALREADY_LOGGED_IN and CKR_USER_ANOTHER_ALREADY_LOGGED_IN: the card has not checked the PIN.
    for code in ["0x100", "0x104"] {
        let settings = desk.scripted(&format!("fault C_Login 1 error {code}"));
        assert_eq!(*sign(&mut *card(&settings).unwrap(), "4321").unwrap_err().kind(), WRONG);
        assert_logs_in(&desk.scripted(&format!("fault C_Login 1 error {code}")));
        assert_eq!((desk.called("C_Login"), desk.called("C_Logout")), (2, 2));
    }
}

#[test]
fn a_pin_that_the_module_never_checks_is_not_accepted() {
    let desk = Desk::with_card();
    let error = log_in(&desk.scripted("fault C_Login 1 error 0x100\nfault C_Login 2 error 0x100")).unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::CardFailed, Stage::Pin));
    assert!(error.detail().contains("another program is logged in"), "{error}");
    assert_eq!((desk.called("C_Login"), desk.called("C_SignInit")), (2, 0));
}

#[test]
fn a_card_that_signs_nothing_is_not_reset() {
    let desk = Desk::with_card();
    drop(card(&desk.scripted("")).unwrap());
    assert_eq!((desk.called("C_Login"), desk.called("C_Logout")), (0, 0));
}

#[test]
fn a_card_signs_only_once() {
    let desk = Desk::with_card();
    let mut card = card(&desk.settings()).unwrap();
    sign(&mut *card, PIN).unwrap();
    assert_eq!(*sign(&mut *card, PIN).unwrap_err().kind(), ErrorKind::CardFailed);
}

#[test]
fn a_card_removed_between_login_and_signature_causes_an_error() {
    let desk = Desk::with_card();
    let error = log_in(&desk.scripted("fault C_Sign 1 error 0x32")).unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::CardFailed, Stage::Signing));
    assert_eq!(error.detail(), "the card was taken out (C_Sign: CKR_DEVICE_REMOVED)");
}

#[test]
fn a_login_succeeds_although_the_card_cannot_be_reset() {
    let desk = Desk::with_card();
    let mut settings = desk.scripted("reader Some Reader 00 00");
    for after_login in [AfterLogin::Reset, AfterLogin::Leave] {
        settings.card.after_login = after_login;
        assert_logs_in(&settings);
    }
}
