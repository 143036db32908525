//! A smartcard in a virtual reader.

use ticketapi::ErrorKind;
use ticketapi::sign::{Algorithm, KeyUse};
use ticketapi_testkit::artifacts::{helper_program, opensc_module};
use ticketapi_testkit::piv::{DEFAULT_PIN, Fault};
use ticketapi_testkit::{CardSpec, Pcscd, PivCard};

use super::support::{self, Desk, UID, User};
use super::{IDS, PAYLOADS, assert_signed, is_complete, outcomes, three};

/// A card in a virtual reader of the PC/SC service, with one PIN for both of its keys.
struct Reader {
    // First, so that the card is removed before the service ends.
    card: PivCard,
    _pcscd: Pcscd,
    desk: Desk,
}

impl Reader {
    fn new() -> Self {
        let mut desk = Desk::new().set("pkcs11_module", opensc_module());
        let identity = desk.ca.issue(&CardSpec::new(UID)).unwrap();
        let signer = desk.ca.issue(&CardSpec::new(UID).for_signing().key_number(1)).unwrap();
        let pcscd = Pcscd::start().unwrap();
        desk.config.helper = Some(pcscd.helper_wrapper(&helper_program()).unwrap());
        desk.config.software_card = None;
        let card = PivCard::with_signature(&identity, Some(&signer)).unwrap();
        card.insert(pcscd.port()).unwrap();
        assert!(card.wait_until_seen(support::PATIENCE));
        Self { card, _pcscd: pcscd, desk }
    }
}

#[test]
fn a_smartcard_signs_documents_of_a_session_which_goes_on() {
    let reader = Reader::new();
    let user = User::typing(&[DEFAULT_PIN; 2]);
    let engine = reader.desk.engine(&user);
    let ticket = engine.get_ticket().unwrap();
    let signed = engine.sign(&three()).unwrap();
    assert!(is_complete(&signed), "{signed:?}");
    for (outcome, payload) in outcomes(&signed, &IDS).iter().zip(PAYLOADS) {
        let signature = outcome.as_ref().unwrap();
        assert_signed(&signed.certificate, Algorithm::Rs256, payload.as_bytes(), signature);
    }
    assert_eq!(user.pins_asked(), 2);
    assert!(!reader.card.is_verified(), "the card was reset");
    assert_eq!(engine.get_ticket_no_auth().unwrap().expose(), ticket.expose());
}

#[test]
fn a_smartcard_sees_no_more_pins_than_the_user_has_entered() {
    let reader = Reader::new();
    let user = User::typing(&["999999", DEFAULT_PIN]);
    // This key does not need the PIN for each signature, as that for signatures does.
    let signed = reader.desk.engine(&user).sign(&three().key(KeyUse::Login)).unwrap();
    assert!(is_complete(&signed), "{signed:?}");
    assert_eq!((user.pins_asked(), reader.card.counts().verify), (2, 2));
}

#[test]
fn a_smartcard_sees_a_wrong_pin_once() {
    let reader = Reader::new();
    let user = User::typing(&["999999"]);
    let error = reader.desk.engine(&user).sign(&three()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::PinIncorrect { tries_left: Some(2) | None }), "{error}");
    assert_eq!((reader.card.counts().verify, reader.card.tries_left()), (1, 2));
    assert_eq!(reader.card.counts().sign, 0);
}

#[test]
fn a_smartcard_that_is_taken_out_between_two_signatures_has_made_the_first() {
    let reader = Reader::new();
    let user = User::typing(&[DEFAULT_PIN]);
    // Signing once more would be the second.
    let engine = reader.desk.engine(&user);
    reader.card.set_fault(Some(Fault::RemovedAtSignature(2)));
    let signed = engine.sign(&three()).unwrap();
    let made: Vec<_> = outcomes(&signed, &IDS).iter().map(std::result::Result::is_ok).collect();
    assert_eq!(made, [true, false, false], "{signed:?}");
    assert!(reader.card.counts().verify <= 3);
}
