//! PINs: their status, wrong ones, and those that are not tried.

use ticketapi::cancel::CancelToken;
use ticketapi::card::PinTries;
use ticketapi::challenge::Digest;
use ticketapi::{ErrorKind, Stage};

use crate::support::*;

#[test]
fn the_right_pin_works_after_a_wrong_one() {
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
fn a_card_is_released_after_a_single_wrong_pin() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("")).unwrap();
    sign(&mut *card, "4321").unwrap_err();
    drop(card);
    assert_eq!(desk.calls().last().unwrap(), "C_Finalize");
    assert_eq!(desk.called("C_Login"), 1);
}

#[test]
fn a_wrong_pin_is_reported_with_the_tries_left() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("flag USER_PIN_FINAL_TRY C_Login 1")).unwrap();
    assert_eq!(card.pin_status().tries, PinTries::Unknown);
    let error = sign(&mut *card, "4321").unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PinIncorrect { tries_left: Some(1) });
    assert_eq!(card.pin_status().tries, PinTries::Last);
    sign(&mut *card, PIN).unwrap();
}

#[test]
fn a_wrong_pin_that_locks_the_card_is_reported_as_locked() {
    let desk = Desk::with_card();
    let error = sign(&mut *card(&desk.scripted("flag USER_PIN_LOCKED C_Login 1")).unwrap(), "4321").unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PinLocked);
    let error = log_in(&desk.scripted("fault C_Login 1 error 0xa4")).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PinLocked);
}

#[test]
fn a_low_count_of_tries_is_reported_before_the_prompt() {
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
fn the_last_try_is_not_used_without_the_users_consent() {
    let desk = Desk::with_card();
    // Another program uses up the tries while the user types.
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
fn a_pin_of_a_usual_length_is_tried_although_the_token_excludes_it() {
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
fn the_pin_is_entered_on_the_screen_if_the_reader_only_claims_to_have_a_pin_pad() {
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
fn the_pin_is_entered_on_the_readers_pin_pad() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("pin-pad 1234")).unwrap();
    assert!(card.pin_status().pin_pad);
    let signature = card.sign(None, Digest::Sha1, MESSAGE, &CancelToken::new()).unwrap();
    assert!(person().signed(Digest::Sha1, MESSAGE, &signature));
}

#[test]
fn entering_the_pin_can_be_cancelled_on_the_pin_pad() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("pin-pad 1234\nfault C_Login 1 error 0x50")).unwrap();
    let error = card.sign(None, Digest::Sha1, MESSAGE, &CancelToken::new()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Cancelled);
}

#[test]
fn without_a_pin_pad_no_login_is_tried_without_a_pin() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("")).unwrap();
    let error = card.sign(None, Digest::Sha1, MESSAGE, &CancelToken::new()).unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::Internal, Stage::Pin));
    assert_eq!(desk.called("C_Login"), 0);
}

#[test]
fn an_expired_pin_is_reported() {
    let desk = Desk::with_card();
    let error = log_in(&desk.scripted("fault C_Login 1 error 0xa3")).unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::CardFailed, Stage::Pin));
    assert!(error.detail().contains("expired"), "{error}");
}
