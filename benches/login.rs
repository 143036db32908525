//! A whole login, and the card helper's part in it, each against its floor.
//!
//! The floor makes the same PKCS#11 calls in a bare C program that is started as the helper is, and sends the same
//! requests over one TLS connection, from prepared messages.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "login/bare.rs"]
mod bare;
#[path = "support/card.rs"]
mod card;
#[path = "support/bare.rs"]
mod requests;
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ticketapi::cancel::CancelToken;
use ticketapi::card::helper::{DEADLINE, HelperReader, HelperSettings};
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::{CardReader, Certificate};
use ticketapi::challenge::Digest;
use ticketapi::{Config, Engine, Pin};
use ticketapi_testkit::artifacts::helper_program;
use ticketapi_testkit::{CardSpec, Spine, TestCa};

use bare::{BareLogin, BareProgram};
use card::{PIN, User};
use requests::settle;
use support::{Comparisons, time};

const UID: &str = "123456789012";

/// The number of the captured user's roles.
const ROLES: usize = 40;

fn main() -> ExitCode {
    card::with_tokens(compare)
}

fn compare(folder: &Path) -> ExitCode {
    let ca = TestCa::new().unwrap();
    let card = ca.issue(&CardSpec::new(UID)).unwrap();
    let tokens = card::token(folder, &card);
    let signer = Signer {
        certificate: Certificate::from_der(&card.certificate_der().unwrap()).unwrap(),
        helper: helper_program(),
        bare: BareProgram::compile(folder),
    };
    let ours = |module: &Path| {
        signer.sign_by_helper(module);
    };
    let floor = |module: &Path| {
        signer.sign_bare(module);
    };
    card::check_calls(folder, tokens.module(), ours, floor);

    let mut comparisons = Comparisons::new();
    compare_logins(&mut comparisons, &ca, &signer, tokens.module());
    comparisons.compare(
        "starting the helper, signing and ending it, to the bare C program",
        1.5,
        15,
        || signer.sign_by_helper(tokens.module()),
        || signer.sign_bare(tokens.module()),
    );
    comparisons.finish()
}

fn compare_logins(comparisons: &mut Comparisons, ca: &TestCa, signer: &Signer, module: &Path) {
    let spine = Spine::builder().strict().card_ca(ca).roles(ROLES).start().unwrap();
    let mut config = Config::default();
    config.set("base_url", &spine.url()).unwrap();
    config.ca_file = Some(spine.ca_file().to_owned());
    config.pkcs11_module = Some(module.to_owned());
    config.helper = Some(signer.helper.clone());
    let engine = Engine::builder(config).prompter(User).build().unwrap();
    let login = || {
        settle();
        let took = time(|| engine.log_in().unwrap());
        assert_eq!(engine.session().unwrap().roles().len(), ROLES);
        engine.destroy_ticket().unwrap();
        took
    };
    let floor = BareLogin::new(&spine, &signer.bare, module, &signer.certificate);
    let bare = || {
        settle();
        let took = time(|| floor.log_in());
        assert_eq!(spine.open_sessions(), 1);
        spine.end_all_sessions();
        took
    };
    comparisons.compare("a login with SoftHSM2, to the bare calls and requests", 1.25, 20, login, bare);
}

/// A signature by the helper and one by the bare program.
struct Signer {
    certificate: Certificate,
    helper: PathBuf,
    bare: BareProgram,
}

const CHALLENGE: [u8; 48] = [7; 48];

impl Signer {
    fn sign_by_helper(&self, module: &Path) -> Duration {
        let card = CardSettings { modules: vec![module.to_owned()], ..CardSettings::default() };
        let reader = HelperReader::new(HelperSettings { program: self.helper.clone(), card, deadline: DEADLINE });
        let cancel = CancelToken::new();
        let mut signature = Vec::new();
        let took = time(|| {
            let mut card = reader.wait_for_card(Duration::ZERO, &mut |_| {}, &cancel).unwrap();
            signature = card.sign(Some(Pin::new(PIN.into())), Digest::Sha1, &CHALLENGE, &cancel).unwrap();
        });
        self.certificate.verify(Digest::Sha1, &CHALLENGE, &signature).unwrap();
        took
    }

    fn sign_bare(&self, module: &Path) -> Duration {
        let mut signature = Vec::new();
        let took = time(|| {
            let mut card = self.bare.start(module);
            signature = card.sign(&CHALLENGE);
            card.end();
        });
        self.certificate.verify(Digest::Sha1, &CHALLENGE, &signature).unwrap();
        took
    }
}
