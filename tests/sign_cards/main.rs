//! Documents signed with cards in the card helper: SoftHSM2's tokens, and a smartcard with OpenSC.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod hashes;
mod hidden;
mod smartcard;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Verifier};
use openssl::x509::X509;
use support::{Asked, Desk, PIN, UID, User, kind};
use ticketapi::cancel::CancelToken;
use ticketapi::prompt::{PinRequest, Prompter};
use ticketapi::session::Role;
use ticketapi::sign::{Algorithm, FailedSignature, KeyUse, SignRequest, Signatures};
use ticketapi::{Engine, Error, ErrorKind, Pin, Result};
use ticketapi_testkit::artifacts::{helper_program, scripted_module};
use ticketapi_testkit::{CardIdentity, CardSpec, SoftHsm, Token};

/// The PIN of the content-commitment key, on a token of its own.
const SIGNING_PIN: &str = "735519";

/// A card that appears as two tokens: one to log in with, one to sign documents with.
struct Cards {
    desk: Desk,
    hsm: SoftHsm,
}

impl Cards {
    fn new() -> Self {
        Self::with(&[CardSpec::new(UID).for_signing().key_number(1)])
    }

    fn with(signers: &[CardSpec]) -> Self {
        let desk = Desk::new();
        let hsm = SoftHsm::new().unwrap();
        hsm.add_card("login", PIN, &desk.ca.issue(&CardSpec::new(UID)).unwrap()).unwrap();
        if !signers.is_empty() {
            let token = hsm.add_token("signature", SIGNING_PIN).unwrap();
            for (id, spec) in (1..).zip(signers) {
                token.add_identity(&desk.ca.issue(spec).unwrap(), id).unwrap();
            }
        }
        Self::use_hsm(desk, hsm)
    }

    /// A card with one token, on which `put` puts the signer's certificate and key.
    fn with_token(put: impl FnOnce(&Token<'_>, &CardIdentity, &Desk)) -> Self {
        let desk = Desk::new();
        let hsm = SoftHsm::new().unwrap();
        let token = hsm.add_token("signature", SIGNING_PIN).unwrap();
        put(&token, &desk.ca.issue(&CardSpec::new(UID).for_signing()).unwrap(), &desk);
        Self::use_hsm(desk, hsm)
    }

    /// A card whose key needs the PIN for each signature.
    fn always_authenticating() -> Self {
        Self::with_token(|token, signer, _| {
            token.add_certificate(signer, 1).unwrap();
            token.add_always_authenticate_key(signer, 1).unwrap();
        })
    }

    fn use_hsm(mut desk: Desk, hsm: SoftHsm) -> Self {
        desk.config.software_card = None;
        desk.config.pkcs11_module = Some(hsm.module().to_owned());
        desk.config.helper = Some(hsm.helper_wrapper(&helper_program()).unwrap());
        desk.config.token_label = Some("login".to_owned());
        Self { desk, hsm }
    }

    /// Has calls of the module fail as `fault` says, in the words of the scripted module.
    fn scripted(mut self, fault: &str) -> Self {
        let module = self.desk.path("scripted.so");
        fs::copy(scripted_module(), &module).unwrap();
        let (real, conf, calls) = (self.hsm.module().display(), self.hsm.conf(), self.desk.path("calls"));
        let script = format!("module {real}\nenv SOFTHSM2_CONF {}\nlog {}\n{fault}\n", conf.display(), calls.display());
        fs::write(self.desk.path("scripted.so.script"), script).unwrap();
        self.desk.config.pkcs11_module = Some(module);
        self.desk.config.card_timeout = Duration::from_secs(2);
        self
    }

    /// How often the module's function `of` was called.
    fn calls(&self, of: &str) -> usize {
        fs::read_to_string(self.desk.path("calls")).unwrap().lines().filter(|call| *call == of).count()
    }

    fn sign(&self, request: &SignRequest) -> Result<Signatures> {
        self.desk.engine(&User::typing(&[SIGNING_PIN])).sign(request)
    }
}

const IDS: [&str; 3] = ["a", "b", "c"];
const PAYLOADS: [&str; 3] = ["one", "two", "three"];

fn three() -> SignRequest {
    SignRequest::new().title("repeat prescriptions").payload("a", "one").payload("b", "two").payload("c", "three")
}

/// Asserts that OpenSSL accepts the signature.
fn assert_signed(certificate: &[u8], algorithm: Algorithm, payload: &[u8], signature: &[u8]) {
    let key = X509::from_der(certificate).unwrap().public_key().unwrap();
    let digest = match algorithm.hash_len() {
        20 => MessageDigest::sha1(),
        32 => MessageDigest::sha256(),
        48 => MessageDigest::sha384(),
        _ => MessageDigest::sha512(),
    };
    let mut verifier = Verifier::new(digest, &key).unwrap();
    let signature = if algorithm.is_ecdsa() {
        let half = signature.len() / 2;
        let [r, s] = [&signature[..half], &signature[half..]].map(|number| BigNum::from_slice(number).unwrap());
        EcdsaSig::from_private_components(r, s).unwrap().to_der().unwrap()
    } else {
        signature.to_vec()
    };
    if algorithm == Algorithm::Ps256 {
        verifier.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
        verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
    }
    assert!(verifier.verify_oneshot(&signature, payload).unwrap(), "{algorithm}");
}

/// The signatures, in the order of the payloads, or why there is none.
fn outcomes(signed: &Signatures, ids: &[&str]) -> Vec<std::result::Result<Vec<u8>, Error>> {
    let of = |id: &&str| match signed.signatures.iter().find(|signature| signature.id == *id) {
        Some(signature) => Ok(signature.bytes.clone()),
        None => Err(signed.failed.iter().find(|failed| failed.id == *id).expect("an outcome").error.clone()),
    };
    assert_eq!(signed.signatures.len() + signed.failed.len(), ids.len());
    ids.iter().map(of).collect()
}

fn is_complete(signed: &Signatures) -> bool {
    signed.failed.is_empty() && !signed.signatures.is_empty()
}

fn uid_of(certificate: &[u8]) -> String {
    let certificate = X509::from_der(certificate).unwrap();
    let name = certificate.subject_name().entries_by_nid(openssl::nid::Nid::COMMONNAME).next().unwrap();
    name.data().to_string().unwrap()
}

#[test]
fn the_content_commitment_key_signs_every_payload() {
    let cards = Cards::new();
    let user = User::typing(&[SIGNING_PIN]);
    let signed = cards.desk.engine(&user).sign(&three()).unwrap();
    assert!(is_complete(&signed));
    assert_eq!(uid_of(&signed.certificate), UID);
    for (outcome, payload) in outcomes(&signed, &IDS).iter().zip(PAYLOADS) {
        let signature = outcome.as_ref().unwrap();
        assert_signed(&signed.certificate, Algorithm::Rs256, payload.as_bytes(), signature);
    }
    assert_eq!(user.asked(), [Asked::Pin(None)]);
}

#[test]
fn each_algorithm_makes_signatures_that_openssl_accepts() {
    let signer = CardSpec::new(UID).for_signing();
    let cards = Cards::with(&[
        signer.clone().key_number(1),
        signer.clone().curve("prime256v1"),
        signer.clone().curve("secp384r1"),
    ]);
    for algorithm in Algorithm::ALL {
        let request = SignRequest::new().algorithm(algorithm).payload("1", "text");
        let signed = cards.sign(&request.hash("2", algorithm.hash(b"more"))).unwrap();
        for (payload, outcome) in [&b"text"[..], b"more"].into_iter().zip(outcomes(&signed, &["1", "2"])) {
            assert_signed(&signed.certificate, algorithm, payload, &outcome.unwrap());
        }
    }
}

#[test]
fn keys_of_2048_and_4096_bits_sign() {
    for bits in [2048, 4096] {
        let cards = Cards::with(&[CardSpec::new(UID).for_signing().key_bits(bits)]);
        let signed = cards.sign(&three()).unwrap();
        assert_eq!(signed.signatures[0].bytes.len() * 8, bits as usize);
    }
}

#[test]
fn certificates_of_issuers_on_the_card_come_with_it() {
    let cards = Cards::with_token(|token, signer, desk| {
        token.add_identity(signer, 1).unwrap();
        token.add_issuer(&desk.ca, 2).unwrap();
    });
    let issuer = cards.desk.ca.certificate().to_der().unwrap();
    assert_eq!(cards.sign(&three()).unwrap().chain, [issuer]);
}

#[test]
fn a_key_that_refuses_the_pin_at_one_signature_is_not_tried_again() {
    // The first is that of the request, the others are those of the signatures.
    let cards = Cards::always_authenticating().scripted("fault C_Login 3 error 0xa0");
    let signed = cards.desk.engine(&User::typing(&[SIGNING_PIN])).sign(&three()).unwrap();
    assert_eq!((signed.signatures.len(), signed.failed.len()), (1, 2));
    let refused = |failed: &FailedSignature| matches!(failed.error.kind(), ErrorKind::PinIncorrect { .. });
    assert!(signed.failed.iter().all(refused), "{:?}", signed.failed);
    assert_eq!(cards.calls("C_Login"), 3);
}

#[test]
fn a_key_that_always_authenticates_signs_every_payload_with_one_pin() {
    let cards = Cards::always_authenticating().scripted("");
    let user = User::typing(&[SIGNING_PIN]);
    assert!(is_complete(&cards.desk.engine(&user).sign(&three()).unwrap()));
    assert_eq!(user.asked().len(), 1);
    assert_eq!(cards.calls("C_Sign"), 3);
}

#[test]
fn a_login_key_signs_only_if_the_program_names_it() {
    let cards = Cards::with(&[]);
    let error = cards.sign(&three()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoCertificate, "{error}");
    let user = User::typing(&[PIN]);
    let signed = cards.desk.engine(&user).sign(&three().key(KeyUse::Login)).unwrap();
    assert!(is_complete(&signed));
}

#[test]
fn the_newest_valid_certificate_signs() {
    let signer = CardSpec::new(UID).for_signing();
    let cards = Cards::with(&[
        signer.clone().valid_days(-100, 100),
        signer.clone().valid_days(-10, 100).key_number(1),
        signer.clone().valid_days(-5, -1).key_number(2),
        signer.clone().valid_days(1, 100).key_number(3),
    ]);
    let signed = cards.sign(&three()).unwrap();
    let certificate = X509::from_der(&signed.certificate).unwrap();
    let age = certificate.not_before().diff(&openssl::asn1::Asn1Time::days_from_now(0).unwrap()).unwrap();
    assert_eq!(age.days, 10);
}

#[test]
fn a_certificate_out_of_its_validity_is_named() {
    for (spec, words) in [
        (CardSpec::new(UID).for_signing().expired(), "expired on"),
        (CardSpec::new(UID).for_signing().not_yet_valid(), "is not valid before"),
    ] {
        let error = Cards::with(&[spec]).sign(&three()).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::CertificateNotValid);
        assert!(error.detail().contains(words), "{error}");
    }
}

#[test]
fn only_issuers_of_the_settings_sign() {
    let mut cards = Cards::new();
    cards.desk.config.signing_issuers = vec!["SubCA02".to_owned()];
    cards.sign(&three()).unwrap();
    cards.desk.config.signing_issuers = vec!["Another CA".to_owned()];
    let error = cards.sign(&three()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoCertificate);
    assert!(error.detail().contains("Another CA"), "{error}");
}

#[test]
fn a_card_without_the_key_of_its_certificate_is_named() {
    let cards = Cards::with_token(|token, signer, _| token.add_certificate(signer, 1).unwrap());
    let error = cards.sign(&three()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoKey, "{error}");
}

#[test]
fn an_algorithm_for_another_type_of_key_is_refused_before_the_pin() {
    let cards = Cards::new();
    let user = User::typing(&[SIGNING_PIN]);
    let error = cards.desk.engine(&user).sign(&three().algorithm(Algorithm::Es256)).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::KeyNotSupported, "{error}");
    assert_eq!(user.asked(), []);
}

#[test]
fn a_live_session_goes_on_and_refuses_the_card_of_another_user() {
    let cards = Cards::new();
    let user = User::typing(&[PIN, SIGNING_PIN]);
    let engine = cards.desk.engine(&user);
    let ticket = engine.get_ticket().unwrap();
    assert!(is_complete(&engine.sign(&three()).unwrap()));
    assert_eq!(engine.get_ticket_no_auth().unwrap().expose(), ticket.expose());

    let other = Cards::with(&[CardSpec::new("999000000001").for_signing().key_number(1)]);
    let user = User::typing(&[PIN, SIGNING_PIN]);
    let engine = other.desk.engine(&user);
    engine.get_ticket().unwrap();
    let error = engine.sign(&three()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UserNotValid);
    assert!(error.detail().contains("999000000001") && error.detail().contains(UID), "{error}");
    assert_eq!(user.asked().iter().filter(|asked| matches!(asked, Asked::Pin(_))).count(), 1);
    engine.get_ticket_no_auth().unwrap();
}

#[test]
fn a_wrong_pin_is_tried_once_and_asked_for_again() {
    let cards = Cards::new().scripted("");
    let user = User::typing(&["111111", SIGNING_PIN]);
    assert!(is_complete(&cards.desk.engine(&user).sign(&three()).unwrap()));
    assert_eq!(user.asked().len(), 2);
    assert_eq!(cards.calls("C_Login"), 2);

    let cards = Cards::new().scripted("");
    let user = User::typing(&["111111"]);
    let error = cards.desk.engine(&user).sign(&three()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::PinIncorrect { .. }), "{error}");
    assert_eq!((cards.calls("C_Login"), cards.calls("C_Sign")), (1, 0));
}

#[test]
fn the_last_try_is_used_only_with_a_clear_yes() {
    let cards = Cards::new().scripted("flag USER_PIN_FINAL_TRY C_Login 0");
    let user = User::typing(&[SIGNING_PIN]);
    let error = cards.desk.engine(&user).sign(&three()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Cancelled);
    assert_eq!((user.asked(), cards.calls("C_Login")), (vec![Asked::LastTry], 0));
    let user = User::typing(&[SIGNING_PIN]).using_the_last_try();
    assert!(is_complete(&cards.desk.engine(&user).sign(&three()).unwrap()));
}

#[test]
fn a_locked_pin_is_not_tried() {
    let cards = Cards::new().scripted("flag USER_PIN_LOCKED C_Login 0");
    let user = User::typing(&[SIGNING_PIN]);
    let error = cards.desk.engine(&user).sign(&three()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PinLocked);
    assert_eq!((user.asked(), cards.calls("C_Login")), (vec![], 0));
}

#[test]
fn the_readers_pin_pad_is_used() {
    let cards = Cards::new().scripted(&format!("pin-pad {SIGNING_PIN}"));
    let user = User::typing(&[]);
    assert!(is_complete(&cards.desk.engine(&user).sign(&three()).unwrap()));
    assert_eq!(user.asked(), [Asked::OnReader]);
}

/// What was signed is kept, and the rest failed.
#[test]
fn a_module_that_fails_at_one_signature_loses_no_other_one() {
    for (fault, lost, words) in [
        ("fault C_Sign 2 error 0x30", 1..2, "CKR_DEVICE_ERROR"),
        ("fault C_Sign 2 error 0x32", 1..3, "the card was taken out"),
        ("fault C_Sign 2 crash", 1..3, "crashed"),
        ("fault C_Sign 2 hang", 1..3, "did not answer in time"),
        ("fault C_Sign 3 exit", 2..3, "crashed"),
        ("fault C_Sign 2 wrong", 1..2, "does not match the certificate"),
    ] {
        let cards = Cards::new().scripted(fault);
        let began = Instant::now();
        let signed = cards.sign(&three()).unwrap_or_else(|error| panic!("{fault}: {error}"));
        assert!(began.elapsed() < support::PATIENCE, "{fault}");
        assert!(!is_complete(&signed), "{fault}");
        for (index, (outcome, payload)) in outcomes(&signed, &IDS).iter().zip(PAYLOADS).enumerate() {
            match outcome {
                Ok(signature) => {
                    assert!(!lost.contains(&index), "{fault}: {index}");
                    assert_signed(&signed.certificate, Algorithm::Rs256, payload.as_bytes(), signature);
                }
                Err(error) => {
                    assert!(lost.contains(&index), "{fault}: {index}: {error}");
                    assert_eq!(*error.kind(), ErrorKind::CardFailed, "{fault}: {error}");
                    assert!(error.detail().contains(words), "{fault}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_module_that_fails_before_the_first_signature_signs_nothing() {
    for fault in
        ["fault C_Login 1 crash", "fault C_Login 1 hang", "fault C_Login 1 error 0x30", "fault C_FindObjects 1 crash"]
    {
        let error = Cards::new().scripted(fault).sign(&three()).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::CardFailed, "{fault}: {error}");
    }
}

#[test]
fn without_a_card_the_user_is_asked_for_one() {
    let cards = Cards::new().scripted("no-slots");
    let user = User::typing(&[SIGNING_PIN]);
    let error = cards.desk.engine(&user).sign(&three()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoCard | ErrorKind::ReaderNotAvailable), "{error}");
}

#[test]
fn nobody_is_asked_about_a_request_that_cannot_be_right() {
    let cards = Cards::new();
    let user = User::typing(&[SIGNING_PIN]);
    let engine = cards.desk.engine(&user);
    let many = (0..251).fold(SignRequest::new(), |request, id| request.payload(id.to_string(), "x"));
    let large = SignRequest::new().payload("1", vec![0; 17 << 20]);
    let twice = SignRequest::new().payload("1", "x").payload("1", "y");
    let short = SignRequest::new().hash("1", [0; 31]);
    for request in [SignRequest::new(), many, large, twice, short] {
        assert_eq!(kind(engine.sign(&request)), ErrorKind::InvalidParameter);
    }
    assert_eq!(user.asked(), []);
}

/// Remembers what the user reads at the PIN prompt, and cancels.
#[derive(Clone, Default)]
struct Reading(Arc<Mutex<Vec<String>>>);

impl Prompter for Reading {
    fn pin(&self, request: &PinRequest<'_>, _: &CancelToken) -> Result<Pin> {
        self.0.lock().unwrap().push(ticketapi::prompt::text::enter_pin(request));
        Err(Error::cancelled(ticketapi::Stage::Pin))
    }

    fn use_last_try(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<bool> {
        Ok(false)
    }

    fn role(&self, _: &[Role], _: &CancelToken) -> Result<usize> {
        Ok(0)
    }
}

#[test]
fn the_user_reads_what_is_signed_and_for_which_program() {
    let cards = Cards::new();
    let reading = Reading::default();
    let engine = Engine::builder(cards.desk.config.clone()).prompter(reading.clone()).build().unwrap();
    let error = engine.sign(&three().title("a\nb\u{7}c")).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Cancelled);
    let [text] = &reading.0.lock().unwrap()[..] else { panic!("one prompt") };
    let program = std::env::current_exe().unwrap();
    let program = program.file_name().unwrap().to_str().unwrap();
    let expected = format!("Enter your PIN to sign 3 documents: a b c (for {program}");
    assert!(text.starts_with(&expected), "{text:?}");
    assert!(text.contains(&format!("card of user {UID} (signature)")), "{text:?}");
}

#[test]
fn cancelling_ends_a_request_and_another_may_follow() {
    let cards = Cards::new();
    let user = User::typing(&[SIGNING_PIN; 3]);
    let engine = Arc::new(cards.desk.engine(&user.clone().asked_for_pin({
        let mut first = true;
        move |cancel| {
            if std::mem::take(&mut first) {
                cancel.wait(support::PATIENCE);
                return Err(Error::cancelled(ticketapi::Stage::Pin));
            }
            Ok(Pin::new(SIGNING_PIN.to_owned()))
        }
    })));
    let signing = std::thread::spawn({
        let engine = Arc::clone(&engine);
        move || kind(engine.sign(&three()))
    });
    while user.asked().is_empty() {
        std::thread::yield_now();
    }
    // One request at a time.
    assert_eq!(kind(engine.sign(&three())), ErrorKind::CardBusy);
    engine.cancel_login();
    assert_eq!(signing.join().unwrap(), ErrorKind::Cancelled);
    assert!(is_complete(&engine.sign(&three()).unwrap()));
}
