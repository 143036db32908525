//! A desk whose cards are SoftHSM2 tokens, used through the helper.

use std::fs;
use std::path::PathBuf;

use ticketapi::{Engine, Error, Stage};
use ticketapi_testkit::artifacts::{helper_program, scripted_module};
use ticketapi_testkit::{CardSpec, Endpoint, SoftHsm};

use crate::support::{Desk, PIN, UID, User, times_called};

pub struct Tokens {
    pub desk: Desk,
    pub hsm: SoftHsm,
}

impl Tokens {
    /// A desk without tokens.
    pub fn none() -> Self {
        let (mut desk, hsm) = (Desk::new(), SoftHsm::new().unwrap());
        desk.config.software_card = None;
        desk.config.pkcs11_module = Some(hsm.module().to_owned());
        desk.config.helper = Some(hsm.helper_wrapper(&helper_program()).unwrap());
        Self { desk, hsm }
    }

    /// A desk with one card, as `spec` describes.
    pub fn with(spec: &CardSpec) -> Self {
        let tokens = Self::none();
        tokens.add("card", spec);
        tokens
    }

    /// A desk with one valid card.
    pub fn with_card() -> Self {
        Self::with(&CardSpec::new(UID))
    }

    pub fn add(&self, label: &str, spec: &CardSpec) -> String {
        let card = self.desk.ca.issue(spec).unwrap();
        self.hsm.add_card(label, PIN, &card).unwrap().serial().to_owned()
    }

    /// Makes the module follow `script`.
    pub fn scripted(mut self, script: &str) -> Self {
        let module = self.desk.path("scripted.so");
        fs::copy(scripted_module(), &module).unwrap();
        let lines = format!(
            "module {}\nenv SOFTHSM2_CONF {}\nenv PCSCLITE_CSOCK_NAME /nowhere\nlog {}\n{script}",
            self.hsm.module().display(),
            self.hsm.conf().display(),
            self.calls().display()
        );
        fs::write(self.desk.path("scripted.so.script"), lines).unwrap();
        self.desk.config.pkcs11_module = Some(module);
        self
    }

    fn calls(&self) -> PathBuf {
        self.desk.path("calls")
    }

    /// Counts the calls of this function of the scripted module.
    pub fn called(&self, function: &str) -> usize {
        times_called(&self.calls(), function)
    }

    pub fn engine(&self, user: &User) -> Engine {
        self.desk.engine(user)
    }

    /// The error of a login that fails without a signature for the broker.
    pub fn error(&self, user: &User) -> Error {
        let error = self.engine(user).get_ticket().expect_err("it succeeded");
        let log = self.desk.spine.log();
        assert!(!log.iter().any(|entry| entry.endpoint == Some(Endpoint::Validate)), "{error}");
        assert_eq!(self.desk.spine.open_sessions(), 0, "{error}");
        // If no card can be used, there is no connection to the broker.
        assert_eq!(self.desk.spine.connections(), u64::from(error.stage() != Stage::Card), "{error}");
        error
    }

    pub fn logs_in(&self) {
        let engine = self.engine(&User::new());
        engine.get_ticket().unwrap();
        engine.destroy_ticket().unwrap();
        assert_eq!(self.desk.spine.open_sessions(), 0);
    }
}
