//! No module, no slot, no card, or the wrong card.

use std::fs;

use ticketapi::{ErrorKind, Stage};
use ticketapi_testkit::CardSpec;
use ticketapi_testkit::artifacts::scripted_module;

use crate::support::{Asked, PIN, UID, User};
use crate::tokens::Tokens;

/// Logs in with another module, and checks that there is no prompt.
fn error_with_module(tokens: Tokens, module: &str) -> ticketapi::Error {
    let user = User::new();
    let error = Tokens { desk: tokens.desk.set("pkcs11_module", module), ..tokens }.error(&user);
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::NotInstalled, Stage::Card), "{error}");
    assert_eq!(user.asked(), []);
    error
}

#[test]
fn a_missing_module_is_named() {
    let error = error_with_module(Tokens::none(), "/nowhere/libcard.so");
    assert_eq!(error.detail(), "/nowhere/libcard.so does not exist");
}

#[test]
fn a_file_that_is_not_a_module_is_named() {
    let tokens = Tokens::none();
    let text = tokens.desk.path("text.so");
    fs::write(&text, "not a library").unwrap();
    let error = error_with_module(tokens, text.to_str().unwrap());
    assert!(error.detail().contains(&format!("{} cannot be loaded", text.display())), "{error}");
}

#[test]
fn a_module_without_functions_is_named() {
    let tokens = Tokens::none();
    let module = tokens.desk.path("module.so");
    // It has no script.
    fs::copy(scripted_module(), &module).unwrap();
    let error = error_with_module(tokens, module.to_str().unwrap());
    assert!(error.detail().contains(&format!("{} cannot be loaded", module.display())), "{error}");
}

#[test]
fn a_missing_helper_is_named() {
    let tokens = Tokens::with_card();
    let user = User::new();
    let error = Tokens { desk: tokens.desk.set("helper", "/nowhere/ticketapi-card"), ..tokens }.error(&user);
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::NotInstalled, Stage::Card), "{error}");
    assert!(error.detail().contains("/nowhere/ticketapi-card"), "{error}");
}

#[test]
fn a_module_without_slots_is_reported_with_the_missing_service() {
    let error = Tokens::with_card().scripted("no-slots").error(&User::new());
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::ReaderNotAvailable, Stage::Card), "{error}");
    assert!(error.detail().contains("PC/SC"), "{error}");
}

#[test]
fn two_tokens_are_listed_until_the_settings_name_one() {
    let tokens = Tokens::none();
    let serials = ["card one", "card two"].map(|label| (label, tokens.add(label, &CardSpec::new(UID))));
    let user = User::new();
    let error = tokens.error(&user);
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::SeveralCards, Stage::Card), "{error}");
    for (label, serial) in &serials {
        assert!(error.detail().contains(&format!("\"{label}\" (serial number {serial})")), "{error}");
    }
    assert_eq!(user.asked(), []);
    let tokens = Tokens { desk: tokens.desk.set("token_label", "card two"), ..tokens };
    tokens.logs_in();
}

#[test]
fn a_cards_label_cannot_add_lines_to_prompts_and_errors() {
    let label = "NHS\u{9b}2J\nWrong.\u{2028}PIN:\u{202e}\x1b[A";
    let shown = "NHS 2J Wrong. PIN: [A";
    let tokens = Tokens::none();
    tokens.add(label, &CardSpec::new(UID));
    tokens.add(label, &CardSpec::new(UID));
    let error = tokens.error(&User::new());
    assert!(error.detail().contains(&format!("\"{shown}\"")), "{error}");
    assert!(!error.to_string().contains(char::is_control), "{error}");
    let tokens = Tokens::none();
    tokens.add(label, &CardSpec::new(UID));
    let user = User::new();
    tokens.engine(&user).log_in().unwrap();
    let prompt = &user.told()[0];
    assert!(prompt.contains(shown) && prompt.lines().count() == 2, "{prompt:?}");
}

#[test]
fn a_token_other_than_the_one_named_is_not_used() {
    let tokens = Tokens::with_card();
    let error = Tokens { desk: tokens.desk.set("token_label", "mine"), ..tokens }.error(&User::new());
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::NoCard, Stage::Card), "{error}");
    assert!(error.detail().contains("\"mine\"") && error.detail().contains("\"card\""), "{error}");
}

#[test]
fn an_empty_token_has_no_certificate() {
    let tokens = Tokens::none();
    tokens.hsm.add_token("empty", PIN).unwrap();
    // Certificates may be visible only after the login.
    let error = tokens.error(&User::new());
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::NoCertificate, Stage::Signing), "{error}");
}

#[test]
fn a_certificate_without_key_cannot_sign() {
    let tokens = Tokens::none();
    let card = tokens.desk.ca.issue(&CardSpec::new(UID)).unwrap();
    tokens.hsm.add_token("card", PIN).unwrap().add_certificate(&card, 1).unwrap();
    let user = User::new();
    let error = tokens.error(&user);
    // Private keys are visible only after the login.
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::NoKey, Stage::Signing), "{error}");
    assert_eq!(user.asked(), [Asked::Pin(None)]);
}

#[test]
fn an_expired_or_future_certificate_is_refused_before_the_pin() {
    for spec in [CardSpec::new(UID).expired(), CardSpec::new(UID).not_yet_valid()] {
        let user = User::new();
        let error = Tokens::with(&spec).error(&user);
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::CertificateNotValid, Stage::Card), "{error}");
        assert!(error.detail().contains(UID), "{error}");
        assert_eq!(user.asked(), []);
    }
}
