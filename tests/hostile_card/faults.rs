//! Cards that are removed and modules that fail during the login.

use std::fs;
use std::time::{Duration, Instant};

use ticketapi::{ErrorKind, Pin, Stage};
use ticketapi_testkit::CardSpec;

use crate::support::{PIN, UID, User};
use crate::tokens::Tokens;

#[test]
fn a_token_removed_between_login_and_signature_fails_the_login() {
    for call in ["C_FindObjectsInit 4", "C_SignInit 1", "C_Sign 1"] {
        for code in ["0x32", "0xe0", "0x30", "0xb3"] {
            let tokens = Tokens::with_card().scripted(&format!("fault {call} error {code}"));
            let user = User::new();
            let error = tokens.error(&user);
            assert_eq!((error.kind(), error.stage()), (&ErrorKind::CardFailed, Stage::Signing), "{call}: {error}");
            assert!(error.detail().contains("card") && error.detail().contains("CKR_"), "{call}: {error}");
            assert_eq!((user.pins_asked(), tokens.called("C_Login")), (1, 1), "{call}");
            tokens.scripted("").logs_in();
        }
    }
}

#[test]
fn a_token_removed_during_pin_entry_fails_the_login() {
    let tokens = Tokens::with_card();
    let folder = tokens.hsm.conf().with_file_name("tokens");
    let user = User::new().asked_for_pin(move |_| {
        fs::remove_dir_all(&folder).unwrap();
        Ok(Pin::new(PIN.into()))
    });
    let error = tokens.error(&user);
    assert_eq!(*error.kind(), ErrorKind::CardFailed, "{error}");
    assert_eq!(user.pins_asked(), 1);
}

#[test]
fn a_module_that_crashes_or_hangs_fails_the_login_and_not_the_host() {
    for (fault, says) in [("crash", "crashed"), ("exit", "crashed"), ("hang", "in time")] {
        let mut tokens = Tokens::with_card().scripted(&format!("fault C_Sign 1 {fault}"));
        tokens.desk.config.card_timeout = Duration::from_secs(1);
        let began = Instant::now();
        let error = tokens.error(&User::new());
        assert!(began.elapsed() < tokens.desk.config.card_timeout + Duration::from_secs(5), "{fault}");
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::CardFailed, Stage::Signing), "{error}");
        assert!(error.detail().contains(says), "{error}");
        tokens.desk.config.card_timeout = Duration::from_secs(20);
        tokens.scripted("").logs_in();
    }
}

#[test]
fn a_key_that_does_not_match_the_certificate_does_not_sign() {
    let tokens = Tokens::none();
    let spec = CardSpec::new(UID);
    let (card, other) = (tokens.desk.ca.issue(&spec).unwrap(), tokens.desk.ca.issue(&spec.key_number(1)).unwrap());
    let token = tokens.hsm.add_token("card", PIN).unwrap();
    token.add_certificate(&card, 1).unwrap();
    token.add_key(&other, 1).unwrap();
    let error = tokens.error(&User::new());
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::NoKey, Stage::Signing), "{error}");
}
