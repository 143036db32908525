//! The card's signature is verified with its certificate before it is sent, because a wrong one would count as a
//! failed login at the broker.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use support::{Desk, UID, User};
use ticketapi::cancel::CancelToken;
use ticketapi::card::software::SoftwareCardReader;
use ticketapi::card::{Absence, CardReader, Certificate, PinStatus, SmartCard};
use ticketapi::challenge::Digest;
use ticketapi::{Engine, ErrorKind, Pin, Result, Stage};
use ticketapi_testkit::{CardSpec, Endpoint};

/// The fault of a signature.
#[derive(Clone, Debug)]
enum Wrong {
    Nothing,
    Bit(usize),
    Length(usize),
    Zeros,
    OtherMessage,
    OtherDigest,
    OtherKey(PathBuf),
    NoCertificate,
}

struct WrongReader {
    file: PathBuf,
    wrong: Wrong,
}

struct WrongCard {
    card: Box<dyn SmartCard>,
    wrong: Wrong,
}

fn insert(file: PathBuf) -> Result<Box<dyn SmartCard>> {
    SoftwareCardReader::new(file).wait_for_card(Duration::ZERO, &mut |_| {}, &CancelToken::new())
}

impl CardReader for WrongReader {
    fn wait_for_card(&self, _: Duration, _: &mut dyn FnMut(Absence), _: &CancelToken) -> Result<Box<dyn SmartCard>> {
        Ok(Box::new(WrongCard { card: insert(self.file.clone())?, wrong: self.wrong.clone() }))
    }
}

impl SmartCard for WrongCard {
    fn label(&self) -> &str {
        self.card.label()
    }

    fn certificate(&self) -> Option<&Certificate> {
        self.card.certificate().filter(|_| !matches!(self.wrong, Wrong::NoCertificate))
    }

    fn pin_status(&self) -> PinStatus {
        self.card.pin_status()
    }

    fn sign(&mut self, pin: Option<Pin>, digest: Digest, message: &[u8], cancel: &CancelToken) -> Result<Vec<u8>> {
        let pin_again = pin.as_ref().map(|pin| Pin::new(pin.expose().to_owned()));
        let mut signature = match &self.wrong {
            Wrong::OtherMessage => self.card.sign(pin, digest, b"another challenge", cancel)?,
            Wrong::OtherDigest => self.card.sign(pin, Digest::Sha256, message, cancel)?,
            _ => self.card.sign(pin, digest, message, cancel)?,
        };
        match &self.wrong {
            Wrong::Bit(bit) => signature[bit / 8] ^= 1 << (bit % 8),
            Wrong::Length(length) => signature.resize(*length, 0),
            Wrong::Zeros => signature.fill(0),
            Wrong::OtherKey(file) => signature = insert(file.clone())?.sign(pin_again, digest, message, cancel)?,
            Wrong::Nothing | Wrong::OtherMessage | Wrong::OtherDigest | Wrong::NoCertificate => {}
        }
        Ok(signature)
    }
}

/// Logs in with a card that makes 128-byte signatures with this fault.
fn log_in(desk: &Desk, wrong: Wrong) -> Result<()> {
    let reader = WrongReader { file: desk.config.software_card.clone().unwrap(), wrong };
    let engine = Engine::builder(desk.config.clone()).prompter(User::new()).card_reader(reader).build().unwrap();
    engine.log_in().map(drop)
}

fn desk() -> Desk {
    let mut desk = Desk::new();
    let other = desk.quick_card(&CardSpec::new(UID).key_number(1));
    std::fs::rename(other, desk.path("other.p12")).unwrap();
    desk.config.software_card = Some(desk.quick_card(&CardSpec::new(UID)));
    desk
}

fn was_sent(desk: &Desk) -> bool {
    desk.spine.log().iter().any(|entry| entry.endpoint == Some(Endpoint::Validate))
}

#[test]
fn a_wrong_signature_is_never_sent() {
    let desk = desk();
    let bits = (0..1024).step_by(93).chain([1023]).map(Wrong::Bit);
    let lengths = [0, 1, 127, 129, 256].map(Wrong::Length);
    let others = [Wrong::Zeros, Wrong::OtherMessage, Wrong::OtherDigest, Wrong::OtherKey(desk.path("other.p12"))];
    for wrong in bits.chain(lengths).chain(others) {
        let error = log_in(&desk, wrong.clone()).unwrap_err();
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::CardFailed, Stage::Signing), "{wrong:?}: {error}");
        assert!(error.detail().contains(UID), "{error}");
        assert!(!was_sent(&desk), "{wrong:?}");
    }
    // With the same parts a correct signature is sent.
    log_in(&desk, Wrong::Nothing).unwrap();
    assert!(was_sent(&desk));
}

#[test]
fn a_signature_that_cannot_be_verified_is_never_sent() {
    let desk = desk();
    assert_eq!(support::kind(log_in(&desk, Wrong::NoCertificate)), ErrorKind::Internal);
    assert!(!was_sent(&desk));
}
