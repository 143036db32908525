//! The choice of module, slot and certificate, and the error if there is none.

use std::path::PathBuf;
use std::time::Duration;

use ticketapi::cancel::CancelToken;
use ticketapi::card::helper::{HelperReader, HelperSettings};
use ticketapi::card::{Absence, CardReader};
use ticketapi::challenge::Digest;
use ticketapi::{Error, ErrorKind, Stage};

use crate::support::*;

fn refusal(settings: &HelperSettings) -> Error {
    card(settings).err().expect("no card is to be found")
}

#[test]
fn a_missing_module_is_named() {
    let error = refusal(&Desk::empty().settings_for("/nowhere/libcard.so".into()));
    assert_eq!(*error.kind(), ErrorKind::NotInstalled);
    assert_eq!(error.detail(), "/nowhere/libcard.so does not exist");
}

#[test]
fn a_module_file_that_is_not_a_library_is_named_with_the_reason() {
    let desk = Desk::empty();
    std::fs::write(desk.path("module.so"), "no library").unwrap();
    let error = refusal(&desk.settings_for(desk.path("module.so")));
    assert_eq!(*error.kind(), ErrorKind::NotInstalled);
    assert!(error.detail().contains("module.so cannot be loaded"), "{error}");
}

#[test]
fn a_library_that_is_not_a_module_is_named() {
    let desk = Desk::empty();
    let library = PathBuf::from("/usr/lib/x86_64-linux-gnu/libm.so.6");
    let error = refusal(&desk.settings_for(library));
    assert_eq!(*error.kind(), ErrorKind::NotInstalled);
    assert!(error.detail().contains("libm.so.6 is not a PKCS#11 module"), "{error}");
}

#[test]
fn a_module_that_cannot_be_initialized_is_named_with_the_call() {
    let desk = Desk::with_card();
    let error = refusal(&desk.scripted("fault C_Initialize 1 error 0x6"));
    assert_eq!(*error.kind(), ErrorKind::NotInstalled);
    assert!(error.detail().contains("C_Initialize: CKR_FUNCTION_FAILED"), "{error}");
}

#[test]
fn of_several_modules_the_first_with_a_card_is_used() {
    let desk = Desk::with_card();
    let mut settings = desk.scripted("fault C_GetSlotList 1 error 0x6");
    settings.card.modules.insert(0, "/nowhere/libcard.so".into());
    assert!(refusal(&settings).detail().contains("C_GetSlotList: CKR_FUNCTION_FAILED"));
    settings.card.modules.push(MODULE.into());
    assert_logs_in(&settings);
    settings.card.modules = vec!["/nowhere/libcard.so".into(), "/nowhere/libother.so".into()];
    assert_eq!(refusal(&settings).detail(), "/nowhere/libcard.so does not exist; /nowhere/libother.so does not exist");
}

#[test]
fn a_module_without_slots_and_a_missing_service_are_reported() {
    let desk = Desk::with_card();
    let error = refusal(&desk.scripted("no-slots"));
    assert_eq!(*error.kind(), ErrorKind::ReaderNotAvailable);
    assert!(error.detail().contains("PC/SC service"), "{error}");
}

#[test]
fn a_card_that_the_module_does_not_recognize_is_reported() {
    let desk = Desk::with_card();
    let error = refusal(&desk.scripted("fault C_GetTokenInfo 1 error 0xe1\nfault C_GetTokenInfo 2 error 0xe1"));
    assert_eq!(*error.kind(), ErrorKind::CardNotSupported);
    assert!(error.detail().contains("scripted.so"), "{error}");
}

#[test]
fn an_uninitialized_token_is_not_used() {
    let error = refusal(&Desk::empty().settings());
    assert_eq!(*error.kind(), ErrorKind::NoCertificate);
    assert!(error.detail().contains("not been initialized"), "{error}");
}

#[test]
fn an_empty_token_has_no_certificate() {
    let desk = Desk::empty();
    desk.add_token(LABEL, PIN);
    // It may show one after the login.
    assert!(card(&desk.settings()).unwrap().certificate().is_none());
    let error = log_in(&desk.settings()).unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::NoCertificate, Stage::Signing));
}

#[test]
fn a_certificate_that_is_visible_only_after_the_login_is_used() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("private-certificates")).unwrap();
    assert!(card.certificate().is_none());
    let signature = sign(&mut *card, PIN).unwrap();
    assert!(person().signed(Digest::Sha1, MESSAGE, &signature));
    assert_eq!(card.certificate().unwrap().der(), std::fs::read(person().path("certificate.der")).unwrap());
}

#[test]
fn a_card_with_a_visible_certificate_is_preferred() {
    let desk = Desk::with_card();
    desk.add_token("Empty", PIN);
    assert!(card(&desk.settings()).unwrap().certificate().is_some());
}

#[test]
fn the_certificate_for_logging_in_is_preferred_to_one_with_a_visible_key() {
    let desk = Desk::empty();
    desk.add_token(LABEL, PIN);
    desk.write(LABEL, PIN, "document.der", "cert", &[], Some("02"));
    desk.write(LABEL, PIN, "public.pem", "pubkey", &[], Some("02"));
    desk.add_certificate(LABEL, PIN);
    desk.write(LABEL, PIN, "key.der", "privkey", &["--usage-sign"], Some("01"));
    assert_logs_in(&desk.settings());
}

#[test]
fn of_two_tokens_of_one_card_the_one_for_logging_in_is_used() {
    let desk = Desk::with_card();
    desk.add_token("Documents", PIN);
    desk.write("Documents", PIN, "document.der", "cert", &[], Some("01"));
    assert_logs_in(&desk.settings());
}

#[test]
fn a_card_is_used_although_another_slot_fails() {
    let desk = Desk::with_card();
    for code in ["0x5", "0x6", "0x30", "0x31", "0x54"] {
        assert_logs_in(&desk.scripted(&format!("bad-slot {code}")));
    }
}

#[test]
fn a_certificate_that_cannot_be_read_is_skipped() {
    for code in ["0x5", "0x6", "0x30", "0x82"] {
        let desk = Desk::with_card();
        desk.write(LABEL, PIN, "document.der", "cert", &[], Some("02"));
        // Each certificate is read with two calls.
        for call in [1, 2, 3, 4] {
            let found = card(&desk.scripted(&format!("fault C_GetAttributeValue {call} error {code}"))).unwrap();
            assert!(found.certificate().is_some(), "{call} {code}");
        }
    }
}

#[test]
fn a_token_without_its_flags_is_used() {
    let desk = Desk::with_card();
    for flag in ["TOKEN_INITIALIZED", "LOGIN_REQUIRED"] {
        assert_logs_in(&desk.scripted(&format!("clear-flag {flag}")));
    }
}

#[test]
fn a_module_that_cannot_lock_or_takes_no_arguments_is_initialized() {
    let desk = Desk::with_card();
    assert_logs_in(&desk.scripted("fault C_Initialize 1 error 0xa"));
    assert_logs_in(&desk.scripted("fault C_Initialize 1 error 0x7\nfault C_Initialize 2 error 0x7"));
    assert_eq!(desk.called("C_Initialize"), 3);
}

#[test]
fn the_search_waits_for_a_module_that_starts_only_with_a_reader() {
    let desk = Desk::with_card();
    let reader = HelperReader::new(desk.scripted("fault C_Initialize 1 error 0x30"));
    let mut told = Vec::new();
    let mut absent = |absence| {
        told.push(absence);
        desk.scripted("");
    };
    let mut card = reader.wait_for_card(Duration::MAX, &mut absent, &CancelToken::new()).unwrap();
    sign(&mut *card, PIN).unwrap();
    assert_eq!(told, [Absence::NoService]);
}

#[test]
fn a_module_that_fails_without_the_service_is_reported_as_a_missing_service() {
    let desk = Desk::with_card();
    for code in ["0x5", "0x6", "0x30", "0xe0"] {
        let error = refusal(&desk.scripted(&format!("fault C_GetSlotList 1 error {code}")));
        assert_eq!(*error.kind(), ErrorKind::ReaderNotAvailable, "{error}");
        assert!(error.detail().contains("PC/SC service") && error.detail().contains("C_GetSlotList"), "{error}");
    }
}

#[test]
fn a_certificate_without_its_key_cannot_sign() {
    let desk = Desk::empty();
    desk.add_token(LABEL, PIN);
    desk.add_certificate(LABEL, PIN);
    // Private keys are not visible before the login.
    assert_eq!(*log_in(&desk.settings()).unwrap_err().kind(), ErrorKind::NoKey);
}

#[test]
fn two_cards_are_listed() {
    let desk = Desk::with_card();
    desk.add_card("Second card", PIN);
    let error = refusal(&desk.settings());
    assert_eq!(*error.kind(), ErrorKind::SeveralCards);
    for label in [LABEL, "Second card"] {
        assert!(error.detail().contains(&format!("\"{label}\" (serial number {})", desk.serial(label))), "{error}");
    }
}

#[test]
fn of_two_cards_the_settings_name_one() {
    let desk = Desk::with_card();
    desk.add_card("Second card", PIN);
    let mut settings = desk.settings();
    settings.card.token_label = Some("Second card".into());
    assert_logs_in(&settings);
    settings.card.token_label = None;
    settings.card.token_serial = Some(desk.serial(LABEL));
    assert_logs_in(&settings);
}

#[test]
fn of_two_tokens_the_one_with_a_certificate_is_used() {
    let desk = Desk::with_card();
    desk.add_token("Empty token", PIN);
    assert_logs_in(&desk.settings());
}

#[test]
fn when_no_token_can_be_used_each_is_listed_with_the_reason() {
    let desk = Desk::empty();
    desk.add_token("One", PIN);
    desk.add_token("Other", PIN);
    let error = refusal(&desk.settings());
    assert_eq!(*error.kind(), ErrorKind::NoCertificate);
    assert!(error.detail().contains("\"One\"") && error.detail().contains("\"Other\""), "{error}");
}

#[test]
fn a_card_other_than_the_one_named_is_not_used() {
    let desk = Desk::with_card();
    let mut settings = desk.settings();
    settings.card.token_label = Some("My card".into());
    let error = refusal(&settings);
    assert_eq!(*error.kind(), ErrorKind::NoCard);
    assert!(error.detail().contains("\"My card\"") && error.detail().contains("\"Test card\""), "{error}");
}

#[test]
fn a_card_that_is_inserted_while_waiting_is_found() {
    let desk = Desk::with_card();
    // The card has just been removed when the search begins.
    let settings = desk.scripted("fault C_GetTokenInfo 1 error 0xe0\nfault C_GetTokenInfo 2 error 0xe0");
    let mut told = 0;
    let reader = HelperReader::new(settings);
    let mut absent = |_| {
        told += 1;
        desk.scripted("");
    };
    let mut card = reader.wait_for_card(Duration::MAX, &mut absent, &CancelToken::new()).unwrap();
    sign(&mut *card, PIN).unwrap();
    assert_eq!(told, 1);
}

#[test]
fn waiting_for_a_card_ends() {
    let desk = Desk::with_card();
    let mut settings = desk.settings();
    settings.card.token_label = Some("My card".into());
    let (mut told, reader) = (0, HelperReader::new(settings));
    let error = reader.wait_for_card(Duration::from_secs(1), &mut |_| told += 1, &CancelToken::new()).err().unwrap();
    assert_eq!((error.kind(), told), (&ErrorKind::NoCard, 1));
}
