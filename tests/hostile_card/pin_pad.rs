//! A reader with a PIN pad: the PIN is entered there, and there is no PIN prompt.

use std::thread;
use std::time::{Duration, Instant};

use ticketapi::{ErrorKind, Stage};

use crate::support::{Asked, PATIENCE, PIN, UID, User, kind};
use crate::tokens::Tokens;

/// A reader on which the user enters `pin`. It accepts no PIN from a program.
fn reader(pin: &str, script: &str) -> Tokens {
    Tokens::with_card().scripted(&format!("pin-pad {pin}\n{script}"))
}

#[test]
fn there_is_no_pin_prompt_if_the_reader_has_a_pin_pad() {
    let tokens = reader(PIN, "");
    let user = User::new();
    tokens.engine(&user).get_ticket().unwrap();
    assert!(user.asked().contains(&Asked::OnReader));
    assert_eq!(user.pins_asked(), 0);
    assert_eq!(tokens.called("C_Login"), 1);
}

#[test]
fn there_is_a_pin_prompt_if_the_reader_only_claims_to_have_a_pin_pad() {
    let script = "flag PROTECTED_AUTHENTICATION_PATH C_Login 0\nfault C_Login 1 error 0x30";
    let tokens = Tokens::with_card().scripted(script);
    let user = User::new();
    tokens.engine(&user).get_ticket().unwrap();
    assert_eq!(user.asked()[..2], [Asked::OnReader, Asked::Pin(None)]);
    assert_eq!(tokens.called("C_Login"), 2);
}

#[test]
fn after_a_wrong_pin_on_the_reader_the_user_is_asked_to_enter_it_again() {
    let tokens = reader("0000", "");
    let user = User::new();
    let error = tokens.error(&user);
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::PinIncorrect { tries_left: None }, Stage::Pin), "{error}");
    assert_eq!(user.asked(), [Asked::OnReader]);
    assert_eq!(tokens.called("C_Login"), 1);
}

#[test]
fn cancelling_and_timeouts_on_the_reader_cancel_the_login() {
    for code in ["0x50", "0x200"] {
        let tokens = reader(PIN, &format!("fault C_Login 1 error {code}"));
        let error = tokens.error(&User::new());
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::Cancelled, Stage::Pin), "{error}");
        assert_eq!(tokens.called("C_Login"), 1);
    }
}

#[test]
fn the_last_try_on_the_reader_needs_an_explicit_yes() {
    let tokens = reader(PIN, "flag USER_PIN_FINAL_TRY C_Login 0");
    let user = User::new();
    assert_eq!(*tokens.error(&user).kind(), ErrorKind::Cancelled);
    assert_eq!(user.asked(), [Asked::LastTry]);
    assert_eq!(tokens.called("C_Login"), 0);

    let user = User::new().using_the_last_try();
    tokens.engine(&user).get_ticket().unwrap();
    assert_eq!(user.asked()[..2], [Asked::LastTry, Asked::OnReader]);
}

#[test]
fn a_wrong_pin_on_the_reader_that_locks_the_card_is_reported_as_locked() {
    let tokens = reader("0000", "flag USER_PIN_LOCKED C_Login 1");
    assert_eq!(*tokens.error(&User::new()).kind(), ErrorKind::PinLocked);
    assert_eq!(tokens.called("C_Login"), 1);
}

#[test]
fn a_notice_says_where_to_enter_the_pin_while_the_reader_waits() {
    let tokens = reader(PIN, "fault C_Login 1 hang");
    let user = User::new();
    let engine = tokens.engine(&user);
    thread::scope(|scope| {
        let login = scope.spawn(|| (kind(engine.get_ticket()), Instant::now()));
        let began = Instant::now();
        while tokens.called("C_Login") == 0 {
            assert!(began.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(
            user.told(),
            [format!("Enter your PIN on the card reader\nNHS Spine login: card of user {UID} (card)")]
        );
        assert_eq!(user.notices(), 1);
        let cancelled = Instant::now();
        engine.cancel_login();
        let (kind, ended) = login.join().unwrap();
        assert_eq!(kind, ErrorKind::Cancelled);
        assert!(ended - cancelled < Duration::from_millis(200), "{:?}", ended - cancelled);
    });
    assert_eq!((user.notices(), user.pins_asked()), (0, 0));
    assert_eq!(tokens.desk.spine.open_sessions(), 0);
}
