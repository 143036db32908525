//! Cards that fail between two signatures of one request: what was signed is kept, and no PIN is tried twice.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Padding;
use support::{Desk, UID, User};
use ticketapi::cancel::CancelToken;
use ticketapi::card::{Absence, CardReader, PinStatus, PinTries, Signer, SignerCard, SignerChoice, SmartCard};
use ticketapi::sign::{Algorithm, SignRequest, Signatures};
use ticketapi::{Engine, Error, ErrorKind, Pin, Result, Stage};
use ticketapi_testkit::CardSpec;

type Fault = fn(usize) -> Option<Behaviour>;

/// What a card does instead of signing.
enum Behaviour {
    Fails(ErrorKind),
    Leaves,
    SignsSomethingElse,
}

/// A reader whose card signs with this key, except where `fault` has something for the number of the signature.
struct FaultyReader {
    key: PKey<Private>,
    certificate: Vec<u8>,
    fault: Fault,
    /// How many hashes the card was to sign.
    tried: Arc<Mutex<usize>>,
}

impl CardReader for FaultyReader {
    fn wait_for_card(&self, _: Duration, _: &mut dyn FnMut(Absence), _: &CancelToken) -> Result<Box<dyn SmartCard>> {
        unreachable!("nobody logs in")
    }

    fn wait_for_signer(
        &self,
        _: &SignerChoice,
        _: Duration,
        _: &mut dyn FnMut(Absence),
        _: &CancelToken,
    ) -> Result<Box<dyn SignerCard>> {
        Ok(Box::new(FaultyCard {
            key: self.key.clone(),
            signer: Signer::from_der(&self.certificate)?,
            fault: self.fault,
            tried: Arc::clone(&self.tried),
            lost: false,
        }))
    }
}

struct FaultyCard {
    key: PKey<Private>,
    signer: Signer,
    fault: Fault,
    tried: Arc<Mutex<usize>>,
    lost: bool,
}

impl SignerCard for FaultyCard {
    fn label(&self) -> &str {
        "signature"
    }

    fn signer(&self) -> Option<&Signer> {
        Some(&self.signer)
    }

    fn pin_status(&self) -> PinStatus {
        PinStatus::new(PinTries::Unknown, 4, 8)
    }

    fn log_in(&mut self, _: Option<Pin>, _: &CancelToken) -> Result<(Signer, Vec<Vec<u8>>)> {
        Ok((self.signer.clone(), Vec::new()))
    }

    fn sign(&mut self, hash: &[u8], _: &CancelToken) -> Result<Vec<u8>> {
        let mut tried = self.tried.lock().unwrap();
        *tried += 1;
        let fails = |kind| Err(Error::new(kind, Stage::Signing, "the card fails"));
        let mut info = Algorithm::Rs256.digest_info(hash);
        match (self.fault)(*tried) {
            Some(Behaviour::Fails(kind)) => return fails(kind),
            Some(Behaviour::Leaves) => {
                self.lost = true;
                return fails(ErrorKind::CardFailed);
            }
            Some(Behaviour::SignsSomethingElse) => info = Algorithm::Rs256.digest_info(&Algorithm::Rs256.hash(b"?")),
            None => {}
        }
        let key = self.key.rsa().unwrap();
        let mut signature = vec![0; key.size() as usize];
        key.private_encrypt(&info, &mut signature, Padding::PKCS1).unwrap();
        Ok(signature)
    }

    fn is_lost(&self) -> bool {
        self.lost
    }
}

/// Has four payloads signed. Returns also how many the card was asked for.
fn sign(fault: Fault) -> (Result<Signatures>, usize) {
    let desk = Desk::new();
    let identity = desk.ca.issue(&CardSpec::new(UID).for_signing()).unwrap();
    let tried = Arc::default();
    let reader = FaultyReader {
        key: identity.key().clone(),
        certificate: identity.certificate_der().unwrap(),
        fault,
        tried: Arc::clone(&tried),
    };
    let user = User::typing(&["123456"]);
    let engine = Engine::builder(desk.config.clone()).prompter(user).card_reader(reader).build().unwrap();
    let request = ["1", "2", "3", "4"].iter().fold(SignRequest::new(), |request, id| request.payload(*id, *id));
    let signed = engine.sign(&request);
    if let Ok(signed) = &signed {
        for signature in &signed.signatures {
            let key = identity.certificate().public_key().unwrap();
            let mut verifier = openssl::sign::Verifier::new(MessageDigest::sha256(), &key).unwrap();
            assert!(verifier.verify_oneshot(&signature.bytes, signature.id.as_bytes()).unwrap());
        }
        assert_eq!(signed.signatures.len() + signed.failed.len(), 4);
    }
    let tried = *tried.lock().unwrap();
    (signed, tried)
}

fn ids(signed: &Signatures) -> (Vec<&str>, Vec<&str>) {
    let good = signed.signatures.iter().map(|one| &*one.id).collect();
    (good, signed.failed.iter().map(|one| &*one.id).collect())
}

#[test]
fn a_pin_that_a_key_refuses_at_one_signature_is_not_tried_at_the_next() {
    for fault in [
        (|number| (number == 2).then_some(Behaviour::Fails(ErrorKind::PinIncorrect { tries_left: None }))) as Fault,
        |number| (number == 2).then_some(Behaviour::Fails(ErrorKind::PinLocked)),
    ] {
        let (signed, tried) = sign(fault);
        let signed = signed.unwrap();
        assert_eq!(ids(&signed), (vec!["1"], vec!["2", "3", "4"]));
        assert_eq!(tried, 2);
    }
}

#[test]
fn a_card_that_leaves_keeps_what_it_has_signed_and_is_asked_for_nothing_more() {
    let (signed, tried) = sign(|number| (number == 3).then_some(Behaviour::Leaves));
    let signed = signed.unwrap();
    assert_eq!(ids(&signed), (vec!["1", "2"], vec!["3", "4"]));
    assert!(signed.failed.iter().all(|failed| *failed.error.kind() == ErrorKind::CardFailed));
    assert_eq!(tried, 3);
}

#[test]
fn a_signature_of_something_else_is_not_handed_out() {
    let (signed, tried) = sign(|number| (number == 2).then_some(Behaviour::SignsSomethingElse));
    let signed = signed.unwrap();
    assert_eq!(ids(&signed), (vec!["1", "3", "4"], vec!["2"]));
    assert!(signed.failed[0].error.detail().contains("does not match the certificate"), "{:?}", signed.failed);
    assert_eq!(tried, 4);
}

#[test]
fn a_request_that_is_cancelled_keeps_what_was_signed_and_one_without_signatures_fails_as_a_whole() {
    let (signed, tried) = sign(|number| (number == 3).then_some(Behaviour::Fails(ErrorKind::Cancelled)));
    assert_eq!(ids(&signed.unwrap()), (vec!["1", "2"], vec!["3", "4"]));
    assert_eq!(tried, 3);
    let (signed, tried) = sign(|_| Some(Behaviour::Fails(ErrorKind::Cancelled)));
    assert_eq!(*signed.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(tried, 1);
}
