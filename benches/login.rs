//! A whole login, and the card helper's part in it, each against its floor.
//!
//! The floor makes the same PKCS#11 calls in a bare C program that is started as the helper is, and sends the same
//! requests over one TLS connection, from prepared messages.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "login/bare.rs"]
mod bare;
mod support;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use ticketapi::cancel::CancelToken;
use ticketapi::card::helper::{DEADLINE, HelperReader, HelperSettings};
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::{CardReader, Certificate};
use ticketapi::challenge::Digest;
use ticketapi::prompt::{PinRequest, Prompter};
use ticketapi::ssb::Role;
use ticketapi::{Config, Engine, Pin};
use ticketapi_testkit::artifacts::{helper_program, scripted_module};
use ticketapi_testkit::{CardSpec, SoftHsm, Spine, TestCa};

use bare::{BareLogin, BareProgram};
use support::{Comparisons, time};

const PIN: &str = "4821";
const UID: &str = "123456789012";

/// The number of the captured user's roles.
const ROLES: usize = 40;

/// Answers at once, and chooses the first role.
struct User;

impl Prompter for User {
    fn pin(&self, _: &PinRequest<'_>, _: &CancelToken) -> ticketapi::Result<Pin> {
        Ok(Pin::new(PIN.into()))
    }

    fn use_last_try(&self, _: &PinRequest<'_>, _: &CancelToken) -> ticketapi::Result<bool> {
        Ok(false)
    }

    fn role(&self, _: &[Role], _: &CancelToken) -> ticketapi::Result<usize> {
        Ok(0)
    }
}

/// Passes this run's folder to the process that measures.
const FOLDER: &str = "TICKETAPI_BENCH_FOLDER";

fn main() -> ExitCode {
    match env::var_os(FOLDER) {
        Some(folder) => compare(Path::new(&folder)),
        None => run_again(),
    }
}

/// Runs this program again with the environment in which the helper and the floor find the tokens. A wrapper
/// script would be measured too.
fn run_again() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(env::current_exe().unwrap())
        .args(env::args_os().skip(1))
        .env(FOLDER, folder.path())
        .env("SOFTHSM2_CONF", folder.path().join("softhsm2.conf"))
        .status()
        .unwrap();
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn compare(folder: &Path) -> ExitCode {
    let ca = TestCa::new().unwrap();
    let card = ca.issue(&CardSpec::new(UID)).unwrap();
    let tokens = SoftHsm::new().unwrap();
    tokens.add_card("NHS card", PIN, &card).unwrap();
    std::fs::copy(tokens.conf(), folder.join("softhsm2.conf")).unwrap();
    let signer = Signer {
        certificate: Certificate::from_der(&card.certificate_der().unwrap()).unwrap(),
        helper: helper_program(),
        bare: BareProgram::compile(folder),
    };
    signer.check_calls(folder, tokens.module());

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
        let took = time(|| engine.log_in().unwrap());
        assert_eq!(engine.session().unwrap().roles().len(), ROLES);
        engine.destroy_ticket().unwrap();
        took
    };
    let floor = BareLogin::new(&spine, &signer.bare, module, &signer.certificate);
    let bare = || {
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

    /// Checks that both make the same calls; otherwise they cannot be compared.
    fn check_calls(&self, folder: &Path, module: &Path) {
        let (logging, log) = (folder.join("logging.so"), folder.join("calls"));
        std::fs::copy(scripted_module(), &logging).unwrap();
        let script = format!("module {}\nlog {}\n", module.display(), log.display());
        std::fs::write(folder.join("logging.so.script"), script).unwrap();
        let calls_of = |sign: fn(&Self, &Path) -> Duration| {
            sign(self, &logging);
            let calls = std::fs::read_to_string(&log).unwrap();
            std::fs::remove_file(&log).unwrap();
            calls
        };
        let calls = calls_of(Self::sign_by_helper);
        assert!(calls.contains("C_Login") && calls.ends_with("C_Finalize\n"), "{calls}");
        assert_eq!(calls, calls_of(Self::sign_bare));
    }
}
