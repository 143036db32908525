//! Only PINs that the user entered are tried.

use ticketapi::prompt::PinProblem;
use ticketapi::{ErrorKind, Stage};

use crate::support::{Asked, PIN, User};
use crate::tokens::Tokens;

const LAST_TRY: &str = "flag USER_PIN_FINAL_TRY C_Login";
const LOCKED: &str = "flag USER_PIN_LOCKED C_Login";

#[test]
fn a_wrong_pin_is_tried_once_and_the_user_is_asked_again() {
    let tokens = Tokens::with_card().scripted("");
    let user = User::typing(&["0000"]);
    let error = tokens.error(&user);
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::PinIncorrect { tries_left: None }, Stage::Pin), "{error}");
    assert!(matches!(user.asked()[..], [Asked::Pin(None), Asked::Pin(Some(PinProblem::Incorrect { .. }))]));
    assert_eq!(tokens.called("C_Login"), 1);
}

#[test]
fn a_right_pin_after_a_wrong_one_logs_in() {
    let tokens = Tokens::with_card().scripted("");
    tokens.engine(&User::typing(&["0000", PIN])).get_ticket().unwrap();
    assert_eq!(tokens.called("C_Login"), 2);
}

#[test]
fn a_prompter_that_repeats_a_wrong_pin_does_not_lock_the_card() {
    let tokens = Tokens::with_card().scripted("");
    let error = tokens.error(&User::typing(&["0000"; 10]));
    assert!(matches!(error.kind(), ErrorKind::PinIncorrect { .. }), "{error}");
    assert_eq!(tokens.called("C_Login"), 3);
}

#[test]
fn a_pin_of_an_impossible_length_is_not_tried() {
    let tokens = Tokens::with_card().scripted("");
    let user = User::typing(&["1", "12"]);
    tokens.error(&user);
    assert_eq!(user.asked()[1], Asked::Pin(Some(PinProblem::WrongLength)));
    assert_eq!(tokens.called("C_Login"), 0);
}

#[test]
fn a_pin_of_a_length_that_only_the_module_excludes_is_tried_when_entered_again() {
    let tokens = Tokens::with_card().scripted("pin-lengths 6 8");
    let user = User::typing(&[PIN, PIN]);
    tokens.engine(&user).get_ticket().unwrap();
    assert_eq!(user.asked()[..2], [Asked::Pin(None), Asked::Pin(Some(PinProblem::WrongLength))]);
    assert_eq!(tokens.called("C_Login"), 1);

    let tokens = Tokens::with_card().scripted("pin-lengths 6 8");
    tokens.error(&User::typing(&["123", PIN]));
    assert_eq!(tokens.called("C_Login"), 0, "it was entered once");
}

#[test]
fn the_last_try_needs_an_explicit_yes() {
    let tokens = Tokens::with_card().scripted(&format!("{LAST_TRY} 0"));
    let user = User::new();
    let error = tokens.error(&user);
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::Cancelled, Stage::Pin), "{error}");
    assert_eq!(user.asked(), [Asked::LastTry]);
    assert_eq!(tokens.called("C_Login"), 0);

    let user = User::new().using_the_last_try();
    tokens.engine(&user).get_ticket().unwrap();
    assert_eq!(user.asked()[..2], [Asked::LastTry, Asked::Pin(None)]);
    assert_eq!(tokens.called("C_Login"), 1);
}

#[test]
fn after_a_wrong_pin_that_leaves_one_try_the_next_needs_an_explicit_yes() {
    let tokens = Tokens::with_card().scripted(&format!("{LAST_TRY} 1"));
    let user = User::typing(&["0000", PIN]);
    let error = tokens.error(&user);
    assert_eq!(*error.kind(), ErrorKind::PinIncorrect { tries_left: Some(1) }, "{error}");
    assert_eq!(user.asked(), [Asked::Pin(None), Asked::LastTry]);
    assert_eq!(tokens.called("C_Login"), 1);
}

#[test]
fn a_locked_card_is_never_tried() {
    let tokens = Tokens::with_card().scripted(&format!("{LOCKED} 0"));
    let user = User::new().using_the_last_try();
    let error = tokens.error(&user);
    assert_eq!((error.kind(), error.stage(), error.tries_left()), (&ErrorKind::PinLocked, Stage::Pin, Some(0)));
    assert!(error.detail().contains("card"), "{error}");
    assert_eq!(user.asked(), []);
    assert_eq!(tokens.called("C_Login"), 0);
}

#[test]
fn a_card_that_was_locked_by_a_wrong_pin_is_not_tried_again() {
    let tokens = Tokens::with_card().scripted(&format!("{LOCKED} 1"));
    let user = User::typing(&["0000", PIN]).using_the_last_try();
    let error = tokens.error(&user);
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::PinLocked, Stage::Pin), "{error}");
    assert_eq!(user.asked(), [Asked::Pin(None)]);
    assert_eq!(tokens.called("C_Login"), 1);
}
