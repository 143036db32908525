//! Logins and signatures with a provider that follows a script.

use std::sync::{Mutex, MutexGuard};

use openssl::ecdsa::EcdsaSig;
use openssl::md::Md;
use openssl::pkey::Id;
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use openssl::sign::RsaPssSaltlen;
use ticketapi::Pin;
use ticketapi::cancel::CancelToken;
use ticketapi::card::certificate::Signed;
use ticketapi::card::protocol::Reset;
use ticketapi::card::{AfterLogin, PinTries, SignerChoice, SmartCard};
use ticketapi::challenge::Digest;
use ticketapi::sign::{Algorithm, KeyUse};
use ticketapi_testkit::{CardIdentity, CardSpec, TestCa};

use super::signing::CngSigner;
use super::*;
use crate::cards::{DocumentCard, LoginCard};
use crate::hash_key::HashKey;

const SET_PIN: &str = "NCryptSetProperty";
const SIGN: &str = "NCryptSignHash";

/// A computer with cards, and what its calls return.
#[derive(Default)]
struct Script {
    /// Reader, counter, identifier of the card, its keys.
    cards: Vec<(&'static str, u16, &'static [u8], Vec<CardIdentity>)>,
    /// Codes of the next calls of this name, in their order; 0 is success.
    faults: Vec<(&'static str, u32)>,
    /// The PINs that were tried.
    pins: Vec<String>,
    signatures: usize,
    readers: Option<Readers>,
}

#[derive(Clone, Default)]
struct Computer(Arc<Mutex<Script>>);

impl Computer {
    fn with(cards: &[(&'static str, &'static [u8], &[&CardIdentity])]) -> Self {
        let computer = Self::default();
        computer.script().cards = cards
            .iter()
            .map(|(reader, id, keys)| (*reader, 7, *id, keys.iter().map(|&key| key.clone()).collect()))
            .collect();
        computer
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    fn faults(self, faults: &[(&'static str, u32)]) -> Self {
        self.script().faults = faults.to_vec();
        self
    }

    fn call(&self, call: &'static str) -> CallResult<()> {
        let faults = &mut self.script().faults;
        let Some(at) = faults.iter().position(|(name, _)| *name == call) else { return Ok(()) };
        match faults.remove(at) {
            (_, 0) => Ok(()),
            (_, code) => Err(CallError { call, code }),
        }
    }

    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(self.clone())
    }

    fn search(&self, settings: &CardSettings) -> Result<Search<CngCard>> {
        search(self.provider(), settings)
    }

    fn card(&self) -> CngCard {
        match self.search(&leave()).unwrap() {
            Search::Found(card) => card,
            Search::Absent(missing) => panic!("{}", missing.error),
        }
    }

    fn absent(&self, settings: &CardSettings) -> Missing {
        match self.search(settings).unwrap() {
            Search::Found(card) => panic!("{}", card.label()),
            Search::Absent(missing) => missing,
        }
    }

    fn error(&self, settings: &CardSettings) -> Error {
        self.search(settings).err().unwrap()
    }
}

impl Provider for Computer {
    fn readers(&self) -> Readers {
        let mut script = self.script();
        let cards: Vec<_> = script.cards.iter().map(|(reader, counter, ..)| (*reader, true, *counter)).collect();
        script.readers.take().unwrap_or_else(|| Readers::of(&cards))
    }

    fn keys(&self, reader: &str) -> CallResult<Vec<Box<dyn Key>>> {
        self.call("NCryptEnumKeys")?;
        let script = self.script();
        let Some((_, _, id, keys)) = script.cards.iter().find(|(name, ..)| *name == reader) else {
            return Err(CallError { call: "NCryptEnumKeys", code: 0x8010_000C });
        };
        let key = |key: &CardIdentity| -> Box<dyn Key> { Box::new(ScriptedKey(self.clone(), id, key.clone())) };
        Ok(keys.iter().map(key).collect())
    }
}

struct ScriptedKey(Computer, &'static [u8], CardIdentity);

impl Key for ScriptedKey {
    fn certificate(&self) -> CallResult<Vec<u8>> {
        self.0.call("NCryptGetProperty")?;
        Ok(self.2.certificate_der().unwrap())
    }

    fn card(&self) -> CallResult<Vec<u8>> {
        Ok(self.1.to_vec())
    }

    fn set_pin(&self, pin: &str) -> CallResult<()> {
        self.0.script().pins.push(pin.to_owned());
        self.0.call(SET_PIN)
    }

    fn sign(&self, algorithm: Algorithm, hash: &[u8]) -> CallResult<Vec<u8>> {
        self.0.call(SIGN)?;
        self.0.script().signatures += 1;
        let key = self.2.key();
        if key.id() == Id::EC {
            let signature = EcdsaSig::sign(hash, &key.ec_key().unwrap()).unwrap();
            let part = |number: &openssl::bn::BigNumRef| number.to_vec_padded(32).unwrap();
            return Ok([part(signature.r()), part(signature.s())].concat());
        }
        let mut context = PkeyCtx::new(key).unwrap();
        context.sign_init().unwrap();
        if algorithm == Algorithm::Ps256 {
            context.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            context.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
        } else {
            context.set_rsa_padding(Padding::PKCS1).unwrap();
        }
        context.set_signature_md(if hash.len() == 20 { Md::sha1() } else { Md::sha256() }).unwrap();
        let mut signature = Vec::new();
        context.sign_to_vec(hash, &mut signature).unwrap();
        Ok(signature)
    }
}

fn leave() -> CardSettings {
    CardSettings { after_login: AfterLogin::Leave, ..CardSettings::default() }
}

fn with_serial(serial: &str) -> CardSettings {
    CardSettings { token_serial: Some(serial.to_owned()), ..leave() }
}

fn issued(spec: &CardSpec) -> CardIdentity {
    TestCa::new().unwrap().issue(spec).unwrap()
}

fn nurse() -> CardIdentity {
    issued(&CardSpec::default())
}

fn pin(text: &str) -> Option<Pin> {
    Some(Pin::new(text.to_owned()))
}

fn sign(card: &mut CngCard, text: &str) -> Result<Vec<u8>> {
    card.sign(pin(text), Digest::Sha256, b"challenge", &CancelToken::new())
}

#[test]
fn the_certificate_is_visible_without_the_pin_and_the_key_signs_with_it() {
    let user = nurse();
    let computer = Computer::with(&[("Reader", b"\x01\xab", &[&user])]);
    for digest in [Digest::Sha1, Digest::Sha256] {
        let mut card = computer.card();
        assert_eq!((card.label(), LoginCard::reader(&card)), ("Reader", Some("Reader")));
        assert_eq!(card.presence().unwrap().counter, 7);
        let status = card.pin_status();
        assert_eq!((status.tries, status.min_len, status.max_len), (PinTries::Unknown, 1, 255));
        let signature = card.sign(pin("1234"), digest, b"challenge", &CancelToken::new()).unwrap();
        let certificate = card.certificate().unwrap();
        assert_eq!(certificate.uid(), user.uid());
        certificate.verify(digest, b"challenge", &signature).unwrap();
        assert_eq!(card.end(), Reset::Left);
    }
    assert_eq!(computer.script().pins, ["1234"; 2]);
}

#[test]
fn a_wrong_pin_is_tried_once_and_another_one_may_follow() {
    for call in [SET_PIN, SIGN] {
        let computer = Computer::with(&[("Reader", b"", &[&nurse()])]).faults(&[(call, 0x8010_006B)]);
        let mut card = computer.card();
        let error = sign(&mut card, "9999").unwrap_err();
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::PinIncorrect { tries_left: None }, Stage::Pin));
        let expected =
            format!("the PIN was wrong; Windows does not say how many tries are left ({call}: SCARD_W_WRONG_CHV)");
        assert_eq!(error.detail(), expected);
        assert!(card.may_sign_again(false, &error));
        sign(&mut card, "1234").unwrap();
        assert_eq!(computer.script().pins, ["9999", "1234"]);
    }
}

#[test]
fn each_code_of_a_failed_call_has_its_kind_and_its_words() {
    use ErrorKind::{Cancelled, CardBusy, CardFailed, PinIncorrect, PinLocked, ReaderNotAvailable};
    for (call, code, kind, says) in [
        (SET_PIN, 0x8010_006C, PinLocked, "the card's PIN is locked (NCryptSetProperty: SCARD_W_CHV_BLOCKED)"),
        (SET_PIN, 0x8010_002A, PinIncorrect { tries_left: None }, "the PIN was wrong"),
        (SET_PIN, 0x8010_006E, Cancelled, "entering the PIN was cancelled"),
        (SET_PIN, 0x8009_0022, CardFailed, "this card needs its maker's PKCS#11 module"),
        (SIGN, 0x8009_0022, CardFailed, "Windows would ask for the PIN itself"),
        (SIGN, 0x8010_0069, CardFailed, "the card was taken out (NCryptSignHash: SCARD_W_REMOVED_CARD)"),
        (SIGN, 0x8010_000C, CardFailed, "the card was taken out"),
        (SIGN, 0x8010_0068, CardFailed, "the card was taken out or reset by another program"),
        (SIGN, 0x8010_000B, CardBusy, "another program is using the card"),
        (SIGN, 0x8010_001D, ReaderNotAvailable, "Windows' smartcard service does not run"),
        (SIGN, 0x8010_002E, ReaderNotAvailable, "there is no card reader"),
        (SIGN, 0x8009_0016, CardFailed, "Windows' smartcard stack reports an error (NCryptSignHash: NTE_BAD_KEYSET)"),
        (SIGN, 0x8123_4567, CardFailed, "reports an error (NCryptSignHash: 0x81234567)"),
    ] {
        let computer = Computer::with(&[("Reader", b"", &[&nurse()])]).faults(&[(call, code)]);
        let mut card = computer.card();
        let error = sign(&mut card, "1234").unwrap_err();
        assert_eq!(*error.kind(), kind, "{error}");
        assert!(error.detail().contains(says), "{error}");
        assert_eq!(card.may_sign_again(false, &error), matches!(kind, PinIncorrect { .. }));
        let tries = if kind == PinLocked { PinTries::Locked } else { PinTries::Unknown };
        assert_eq!(card.pin_status().tries, tries);
        assert_eq!(computer.script().pins, ["1234"], "no PIN is tried twice");
    }
}

#[test]
fn a_pin_is_not_tried_with_a_card_that_has_come_meanwhile() {
    let computer = Computer::with(&[("Reader", b"", &[&nurse()])]);
    for readers in [&[("Reader", true, 9)][..], &[("Reader", false, 8)], &[]] {
        let mut card = computer.card();
        computer.script().readers = Some(Readers::of(readers));
        let error = sign(&mut card, "1234").unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::CardFailed);
        assert!(error.detail().contains("so the PIN was not tried"), "{error}");
    }
    assert!(computer.script().pins.is_empty());
}

#[test]
fn a_pin_that_no_card_has_is_not_tried() {
    let computer = Computer::with(&[("Reader", b"", &[&nurse()])]);
    let mut card = computer.card();
    for text in ["", "12\x0034", &"1".repeat(256)] {
        assert!(matches!(sign(&mut card, text).unwrap_err().kind(), ErrorKind::PinIncorrect { .. }));
    }
    let by_pin_pad = card.sign(None, Digest::Sha1, b"challenge", &CancelToken::new()).unwrap_err();
    assert_eq!(*by_pin_pad.kind(), ErrorKind::Internal);
    assert!(computer.script().pins.is_empty());
}

#[test]
fn a_card_is_reset_only_if_a_pin_was_tried_and_the_settings_say_so() {
    // There is no such reader.
    let computer = Computer::with(&[("No such reader", b"", &[&nurse()])]);
    let find = |settings: &CardSettings| match computer.search(settings).unwrap() {
        Search::Found(card) => card,
        Search::Absent(missing) => panic!("{}", missing.error),
    };
    let mut card = find(&CardSettings::default());
    assert_eq!(card.reset_afterwards().unwrap(), "No such reader");
    sign(&mut card, "1234").unwrap();
    assert_ne!(card.end(), Reset::Left);
    assert_eq!(find(&CardSettings::default()).end(), Reset::Left);
    let mut card = find(&leave());
    assert_eq!(card.reset_afterwards(), None);
    sign(&mut card, "1234").unwrap();
    assert_eq!(card.end(), Reset::Left);
}

#[test]
fn a_card_that_windows_does_not_know_is_reported_and_searched_for_again() {
    for code in [0x8010_000D, 0x8010_001C, 0x8009_0016] {
        let computer = Computer::with(&[("Reader", b"", &[&nurse()])]).faults(&[("NCryptEnumKeys", code)]);
        let missing = computer.absent(&leave());
        assert_eq!((missing.error.kind(), missing.watched), (&ErrorKind::CardNotSupported, false));
        let says = "the card in Reader (ATR 3B) is not known to Windows, which has no driver (minidriver) for it";
        assert!(missing.error.detail().starts_with(says), "{}", missing.error);
    }
    let missing = Computer::with(&[("Reader", b"", &[])]).absent(&leave());
    assert!(missing.error.detail().ends_with("has no certificate"), "{}", missing.error);
}

#[test]
fn without_a_card_or_a_reader_a_search_says_so() {
    let computer = Computer::default();
    assert_eq!(computer.absent(&leave()).absence, Absence::NoReader);
    let computer = Computer::with(&[("Reader", b"", &[&nurse()])]).faults(&[("NCryptEnumKeys", 0x8010_0069)]);
    let missing = computer.absent(&leave());
    assert_eq!((missing.absence, missing.watched), (Absence::NoCard, true), "it has just been taken out");
    let computer = Computer::with(&[("Reader", b"", &[&nurse()])]).faults(&[("NCryptEnumKeys", 0x8010_001D)]);
    assert_eq!(*computer.error(&leave()).kind(), ErrorKind::ReaderNotAvailable);
}

#[test]
fn the_serial_number_chooses_one_of_several_cards() {
    let (nurse, doctor) = (nurse(), issued(&CardSpec::new("555000000001").key_number(1)));
    let computer = Computer::with(&[("First", b"\x01\xab", &[&nurse]), ("Second", b"\x02\xcd", &[&doctor])]);
    let error = computer.error(&leave());
    assert_eq!(*error.kind(), ErrorKind::SeveralCards);
    assert!(error.detail().contains(r#""First" (serial number 01ab)"#), "{error}");
    for serial in ["02CD", "{02-cd}", " 02cd "] {
        let Search::Found(card) = computer.search(&with_serial(serial)).unwrap() else { panic!("{serial}") };
        assert_eq!((card.label(), card.certificate().unwrap().uid()), ("Second", "555000000001"));
    }
    let missing = computer.absent(&with_serial("03"));
    assert!(missing.error.detail().starts_with(r#"no card with serial number "03" is in a reader; there is "#));
    let error = computer.error(&CardSettings { token_label: Some("card".into()), ..leave() });
    assert_eq!(*error.kind(), ErrorKind::Configuration);
}

#[test]
fn the_certificate_to_log_in_with_is_chosen_as_on_other_cards() {
    let (login, documents) = (nurse(), issued(&CardSpec::default().for_signing().key_number(1)));
    let computer = Computer::with(&[("Reader", b"", &[&documents, &login])]);
    assert_eq!(computer.card().certificate().unwrap().der(), login.certificate_der().unwrap());
    let computer = Computer::with(&[("Reader", b"", &[&issued(&CardSpec::default().expired())])]);
    assert_eq!(*computer.error(&leave()).kind(), ErrorKind::CertificateNotValid);
    let expired = issued(&CardSpec::default().expired());
    let computer = Computer::with(&[("First", b"", &[&expired]), ("Second", b"", &[&expired])]);
    assert!(computer.error(&leave()).detail().starts_with("none of the cards can be used to log in"));
    // A key without a certificate does not matter.
    let computer =
        Computer::with(&[("Reader", b"", &[&documents, &login])]).faults(&[("NCryptGetProperty", 0x8009_0011)]);
    assert_eq!(computer.card().certificate().unwrap().der(), login.certificate_der().unwrap());
}

#[test]
fn diagnosis_shows_what_is_in_each_reader_and_tries_no_pin() {
    let user = nurse();
    let of = |keys: &[&CardIdentity], fault: u32| {
        let computer = Computer::with(&[("Reader", b"\x01", keys)]).faults(&[("NCryptEnumKeys", fault)]);
        let mut slots = slots(&computer, &[]);
        assert!(computer.script().pins.is_empty());
        assert_eq!((slots.len(), slots[0].description.as_str()), (1, "Reader"));
        slots.remove(0).holds
    };
    let SlotHolds::Token(token) = of(&[&user], 0) else { panic!() };
    assert_eq!((token.label.as_str(), token.serial.as_str()), ("Reader", "01"));
    assert_eq!(token.certificate.unwrap(), user.certificate_der().unwrap());
    assert!(matches!(of(&[], 0), SlotHolds::Empty));
    assert!(matches!(of(&[&user], 0x8010_0069), SlotHolds::Nothing));
    assert!(matches!(of(&[&user], 0x8010_000D), SlotHolds::Unknown));
    assert!(matches!(of(&[&user], 0x8009_0020), SlotHolds::Failed(_)));
}

fn signer(computer: &Computer, algorithm: Algorithm) -> CngSigner {
    let mut choice = SignerChoice::new(KeyUse::ContentCommitment, algorithm);
    // As the library has it: it verifies the signatures of RSA keys itself.
    choice.verify = algorithm.is_ecdsa();
    match search_signer(computer.provider(), &with_serial("other"), &choice).unwrap() {
        Search::Found(card) => card,
        Search::Absent(missing) => panic!("{}", missing.error),
    }
}

/// Signs hashes of these messages, after the login with the PIN 1234.
fn sign_documents(card: &mut CngSigner, algorithm: Algorithm, messages: &[&str]) -> Vec<Result<Vec<u8>>> {
    let mut signed = Vec::new();
    let mut serve = |key: &mut HashKey<'_>| {
        signed = messages.iter().map(|message| key.sign(&algorithm.hash(message.as_bytes()))).collect();
    };
    card.log_in(pin("1234"), &mut serve).unwrap();
    signed
}

#[test]
fn documents_are_signed_with_rsa_and_elliptic_keys() {
    let rsa = issued(&CardSpec::default().for_signing());
    let elliptic = issued(&CardSpec::default().for_signing().curve("prime256v1"));
    for (user, algorithm) in [(&rsa, Algorithm::Rs256), (&rsa, Algorithm::Ps256), (&elliptic, Algorithm::Es256)] {
        let computer = Computer::with(&[("Reader", b"", &[&nurse(), user])]);
        let mut card = signer(&computer, algorithm);
        assert_eq!((card.label(), card.reader()), ("Reader", Some("Reader")));
        assert_eq!(card.pin_status().tries, PinTries::Unknown);
        assert_eq!(card.reset_afterwards(), None);
        let signatures = sign_documents(&mut card, algorithm, &["one", "two"]);
        let signer = card.signer().unwrap();
        assert_eq!(signer.der(), user.certificate_der().unwrap());
        for (message, signature) in ["one", "two"].iter().zip(signatures) {
            signer.verify(algorithm, Signed::Message(message.as_bytes()), &signature.unwrap()).unwrap();
        }
        assert_eq!(computer.script().pins, ["1234"]);
        assert_eq!(card.end(), Reset::Left);
    }
}

#[test]
fn a_key_that_needs_the_pin_at_each_signature_gets_it_again() {
    let user = issued(&CardSpec::default().for_signing().curve("prime256v1"));
    let computer = Computer::with(&[("Reader", b"", &[&user])]).faults(&[(SIGN, 0), (SIGN, 0x8009_0022)]);
    let mut card = signer(&computer, Algorithm::Es256);
    assert!(sign_documents(&mut card, Algorithm::Es256, &["one", "two"]).iter().all(Result::is_ok));
    assert_eq!(computer.script().pins, ["1234", "1234"]);
}

#[test]
fn after_a_lost_card_or_a_refused_pin_nothing_more_is_signed() {
    let user = issued(&CardSpec::default().for_signing().curve("prime256v1"));
    for code in [0x8010_0069, 0x8010_006B, 0x8010_006C] {
        let computer = Computer::with(&[("Reader", b"", &[&user])]).faults(&[(SIGN, code)]);
        let mut card = signer(&computer, Algorithm::Es256);
        let signed = sign_documents(&mut card, Algorithm::Es256, &["one", "two"]);
        let [first, second] = &signed[..] else { panic!() };
        assert_eq!(first.as_ref().unwrap_err().detail(), second.as_ref().unwrap_err().detail());
        assert_eq!(computer.script().signatures, 0);
    }
    let computer = Computer::with(&[("Reader", b"", &[&user])]).faults(&[(SIGN, 0x8009_0020)]);
    let signed = sign_documents(&mut signer(&computer, Algorithm::Es256), Algorithm::Es256, &["one", "two"]);
    assert!(signed[0].is_err() && signed[1].is_ok(), "another fault concerns one hash");
}

#[test]
fn the_pin_of_a_signature_may_be_entered_again_if_it_was_wrong() {
    let user = issued(&CardSpec::default().for_signing().curve("prime256v1"));
    let computer = Computer::with(&[("Reader", b"", &[&user])]).faults(&[(SET_PIN, 0x8010_006B)]);
    let mut card = signer(&computer, Algorithm::Es256);
    let error = card.log_in(pin("9999"), &mut |_| panic!("the PIN was wrong")).unwrap_err();
    assert!(card.may_sign_again(false, &error));
    assert!(sign_documents(&mut card, Algorithm::Es256, &["one"])[0].is_ok());
}
