//! PINs: how it stands with them, wrong ones, and those that are not tried.

use ticketapi::cancel::CancelToken;
use ticketapi::card::PinTries;
use ticketapi::challenge::Digest;
use ticketapi::{ErrorKind, Stage};

use crate::support::*;

#[test]
fn a_wrong_pin_may_be_followed_by_the_right_one() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("")).unwrap();
    let error = sign(&mut *card, "4321").unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::PinIncorrect { tries_left: None }, Stage::Pin));
    assert!(error.detail().contains("C_Login: CKR_PIN_INCORRECT"), "{error}");
    let signature = sign(&mut *card, PIN).unwrap();
    assert!(person().signed(Digest::Sha1, MESSAGE, &signature));
    assert_eq!(desk.called("C_Login"), 2);
}

#[test]
fn a_card_is_let_go_of_after_a_wrong_pin_alone() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("")).unwrap();
    sign(&mut *card, "4321").unwrap_err();
    drop(card);
    assert_eq!(desk.calls().last().unwrap(), "C_Finalize");
    assert_eq!(desk.called("C_Login"), 1);
}

#[test]
fn a_wrong_pin_is_told_with_the_tries_left() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("flag USER_PIN_FINAL_TRY C_Login 1")).unwrap();
    assert_eq!(card.pin_status().tries, PinTries::Unknown);
    let error = sign(&mut *card, "4321").unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PinIncorrect { tries_left: Some(1) });
    assert_eq!(card.pin_status().tries, PinTries::Last);
    sign(&mut *card, PIN).unwrap();
}

#[test]
fn a_wrong_pin_that_locks_the_card_is_told_as_locked() {
    let desk = Desk::with_card();
    let error = sign(&mut *card(&desk.scripted("flag USER_PIN_LOCKED C_Login 1")).unwrap(), "4321").unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PinLocked);
    let error = log_in(&desk.scripted("fault C_Login 1 error 0xa4")).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PinLocked);
}

#[test]
fn a_low_count_is_told_before_the_pin_is_asked_for() {
    let desk = Desk::with_card();
    let tries = |flag| card(&desk.scripted(&format!("flag {flag} C_Login 0"))).unwrap().pin_status().tries;
    assert_eq!(tries("USER_PIN_COUNT_LOW"), PinTries::Low);
    assert_eq!(tries("USER_PIN_FINAL_TRY"), PinTries::Last);
    assert_eq!(tries("USER_PIN_LOCKED"), PinTries::Locked);
}

#[test]
fn a_locked_card_is_never_tried() {
    let desk = Desk::with_card();
    let error = log_in(&desk.scripted("flag USER_PIN_LOCKED C_Login 0")).unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::PinLocked, Stage::Pin));
    assert_eq!(desk.called("C_Login"), 0);
}

#[test]
fn a_last_try_that_the_user_does_not_know_of_is_not_used() {
    let desk = Desk::with_card();
    // Another program uses the tries up while the user types.
    let mut card = card(&desk.scripted("flag USER_PIN_FINAL_TRY C_GetTokenInfo 3")).unwrap();
    let error = sign(&mut *card, PIN).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PinIncorrect { tries_left: Some(1) });
    assert_eq!(desk.called("C_Login"), 0);
    assert_eq!(card.pin_status().tries, PinTries::Last);
    sign(&mut *card, PIN).unwrap();
}

#[test]
fn a_pin_of_the_wrong_length_is_not_tried() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("")).unwrap();
    for pin in ["", "123", &"1".repeat(256)] {
        let error = sign(&mut *card, pin).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::PinIncorrect { tries_left: None });
        assert!(error.detail().contains("4 to 255 bytes"), "{error}");
    }
    assert_eq!(desk.called("C_Login"), 0);
    sign(&mut *card, PIN).unwrap();
}

#[test]
fn a_pin_that_these_cards_have_is_tried_though_the_token_excludes_it() {
    let desk = Desk::with_card();
    for lengths in ["6 8", "2 3"] {
        let settings = desk.scripted(&format!("pin-lengths {lengths}"));
        assert!(!card(&settings).unwrap().pin_status().allows(PIN.len()));
        assert_logs_in(&settings);
    }
}

#[test]
fn the_length_of_a_pin_is_counted_in_bytes() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("pin-lengths 4 8")).unwrap();
    // Three characters in 5 bytes, and five in 11.
    assert_eq!(*sign(&mut *card, "\u{20ac}12").unwrap_err().kind(), ErrorKind::PinIncorrect { tries_left: None });
    sign(&mut *card, "\u{20ac}\u{20ac}\u{20ac}12").unwrap_err();
    assert_eq!(desk.called("C_Login"), 1);
}

#[test]
fn a_reader_without_the_keys_that_it_claims_leaves_the_pin_to_the_screen() {
    let desk = Desk::with_card();
    for code in ["0x5", "0x7", "0x30", "0x54"] {
        let script = format!("flag PROTECTED_AUTHENTICATION_PATH C_Login 0\nfault C_Login 1 error {code}");
        let mut card = card(&desk.scripted(&script)).unwrap();
        assert!(card.pin_status().pin_pad);
        let error = card.sign(None, Digest::Sha1, MESSAGE, &CancelToken::new()).unwrap_err();
        assert_eq!((error.kind(), card.pin_status().pin_pad), (&ErrorKind::CardFailed, false));
        let signature = sign(&mut *card, PIN).unwrap();
        assert!(person().signed(Digest::Sha1, MESSAGE, &signature));
        assert_eq!(desk.called("C_Login"), 2);
    }
}

#[test]
fn a_reader_with_a_pin_pad_takes_the_pin_itself() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("pin-pad 1234")).unwrap();
    assert!(card.pin_status().pin_pad);
    let signature = card.sign(None, Digest::Sha1, MESSAGE, &CancelToken::new()).unwrap();
    assert!(person().signed(Digest::Sha1, MESSAGE, &signature));
}

#[test]
fn entering_the_pin_on_the_reader_can_be_cancelled_there() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("pin-pad 1234\nfault C_Login 1 error 0x50")).unwrap();
    let error = card.sign(None, Digest::Sha1, MESSAGE, &CancelToken::new()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Cancelled);
}

#[test]
fn without_keys_on_the_reader_no_login_is_tried_without_a_pin() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("")).unwrap();
    let error = card.sign(None, Digest::Sha1, MESSAGE, &CancelToken::new()).unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::Internal, Stage::Pin));
    assert_eq!(desk.called("C_Login"), 0);
}

#[test]
fn a_pin_that_has_expired_is_told_as_that() {
    let desk = Desk::with_card();
    let error = log_in(&desk.scripted("fault C_Login 1 error 0xa3")).unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::CardFailed, Stage::Pin));
    assert!(error.detail().contains("expired"), "{error}");
}
