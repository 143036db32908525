//! Tokens for one test, and logins with them.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use ticketapi::cancel::CancelToken;
use ticketapi::card::helper::{DEADLINE, HelperReader, HelperSettings};
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::{CardReader, SmartCard};
use ticketapi::challenge::Digest;
use ticketapi::{Pin, Result};
use ticketapi_testkit::artifacts::{helper_program, scripted_module};
use ticketapi_testkit::write_script;

pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub const LABEL: &str = "Test card";
pub const PIN: &str = "1234";
pub const MESSAGE: &[u8] = b"a challenge";

/// Multiplies repetitions: 1 in `make check`, more for a soak test.
pub fn rounds() -> usize {
    std::env::var("TICKETAPI_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// A desk with tokens, and a helper that sees only these.
pub struct Desk(TempDir);

impl Desk {
    /// A desk without cards.
    pub fn empty() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        fs::create_dir(desk.path("tokens")).unwrap();
        let configuration = format!("directories.tokendir = {}\nlog.level = ERROR\n", desk.path("tokens").display());
        fs::write(desk.path("softhsm2.conf"), configuration).unwrap();
        // Through a wrapper, because all tests share one environment. In its own folder, because a module with a
        // corrupted heap may write files of any name.
        let wrapper = format!(
            "cd '{}' || exit\nexport SOFTHSM2_CONF='{}' PCSCLITE_CSOCK_NAME=/nowhere\nexec '{}' \"$@\"\n",
            desk.0.path().display(),
            desk.path("softhsm2.conf").display(),
            helper_program().display()
        );
        write_script(&desk.path("helper"), &wrapper).unwrap();
        desk
    }

    /// A desk with a card [`LABEL`] that has a key and a certificate.
    pub fn with_card() -> Self {
        static TEMPLATE: Mutex<Option<HashMap<PathBuf, Vec<u8>>>> = Mutex::new(None);
        let desk = Self::empty();
        let mut template = TEMPLATE.lock().unwrap();
        let files = template.get_or_insert_with(|| {
            let maker = Self::empty();
            maker.add_card(LABEL, PIN);
            files_below(&maker.path("tokens"))
        });
        for (file, content) in files {
            let path = desk.path("tokens").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn add_token(&self, label: &str, pin: &str) {
        let arguments = ["--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "12345678"];
        self.run("softhsm2-util", &arguments);
    }

    pub fn add_card(&self, label: &str, pin: &str) {
        self.add_token(label, pin);
        self.add_key(label, pin);
        self.add_certificate(label, pin);
    }

    pub fn add_key(&self, label: &str, pin: &str) {
        let key = person().path("key.p8");
        let arguments =
            ["--import", key.to_str().unwrap(), "--id", "01", "--label", "key", "--pin", pin, "--token", label];
        self.run("softhsm2-util", &arguments);
    }

    /// Adds a key that needs the PIN at each use.
    pub fn add_careful_key(&self, label: &str, pin: &str) {
        self.write(label, pin, "key.der", "privkey", &["--always-auth", "--usage-sign"], Some("01"));
    }

    pub fn add_certificate(&self, label: &str, pin: &str) {
        self.write(label, pin, "certificate.der", "cert", &[], Some("01"));
    }

    /// Writes an object with this `CKA_ID` from one of the person's files.
    pub fn write(&self, label: &str, pin: &str, file: &str, kind: &str, more: &[&str], id: Option<&str>) {
        let file = person().path(file);
        let arguments = ["--module", MODULE, "--token-label", label, "--login", "--pin", pin];
        let id = id.map_or_else(Vec::new, |id| vec!["--id", id]);
        let object = ["--write-object", file.to_str().unwrap(), "--type", kind];
        self.run("pkcs11-tool", &[&arguments[..], &id, &object, more].concat());
    }

    pub fn serial(&self, label: &str) -> String {
        let output = self.run("softhsm2-util", &["--show-slots"]);
        let slots = output.split("Slot ").find(|slot| slot.contains(label)).unwrap();
        let line = slots.lines().find(|line| line.contains("Serial number")).unwrap();
        line.split_whitespace().last().unwrap().to_owned()
    }

    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).env("SOFTHSM2_CONF", self.path("softhsm2.conf")).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Settings for SoftHSM itself.
    pub fn settings(&self) -> HelperSettings {
        self.settings_for(MODULE.into())
    }

    pub fn settings_for(&self, module: PathBuf) -> HelperSettings {
        let card = CardSettings { modules: vec![module], ..CardSettings::default() };
        HelperSettings { program: self.path("helper"), card, deadline: DEADLINE }
    }

    /// Settings for SoftHSM behind a script.
    pub fn scripted(&self, script: &str) -> HelperSettings {
        let module = self.path("scripted.so");
        if !module.exists() {
            fs::copy(scripted_module(), &module).unwrap();
        }
        // Removes the log of the previous script.
        let _ = fs::remove_file(self.path("calls"));
        let script = format!(
            "module {MODULE}\nenv SOFTHSM2_CONF {}\nlog {}\n{script}",
            self.path("softhsm2.conf").display(),
            self.path("calls").display()
        );
        fs::write(self.path("scripted.so.script"), script).unwrap();
        self.settings_for(module)
    }

    /// The functions that were called since the last script.
    pub fn calls(&self) -> Vec<String> {
        fs::read_to_string(self.path("calls")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    pub fn called(&self, function: &str) -> usize {
        self.calls().iter().filter(|call| *call == function).count()
    }
}

fn files_below(root: &Path) -> HashMap<PathBuf, Vec<u8>> {
    let mut files = HashMap::new();
    for token in fs::read_dir(root).unwrap() {
        for file in fs::read_dir(token.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            files.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
    files
}

/// A person's key and certificate, made once and kept in the build folder.
pub struct Person(PathBuf);

pub fn person() -> &'static Person {
    static PERSON: OnceLock<Person> = OnceLock::new();
    PERSON.get_or_init(|| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("person-2");
        if !kept.exists() {
            let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let script = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -days 3650 \
                    -subj /O=nhs/OU=people/CN=555025331107 -addext keyUsage=digitalSignature \
                    -addext extendedKeyUsage=clientAuth
                openssl x509 -in certificate.pem -outform DER -out certificate.der
                openssl x509 -in certificate.pem -noout -pubkey -out public.pem
                openssl rsa -in key.pem -traditional -outform DER -out key.der
                openssl genrsa -traditional 2048 | openssl rsa -traditional -outform DER -out other.der
                openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -outform DER -out document.der \
                    -days 3650 -subj /O=nhs/OU=people/CN=555025331107 -addext keyUsage=nonRepudiation
                openssl pkcs8 -topk8 -nocrypt -in key.pem -out key.p8";
            let output = Command::new("sh").args(["-ec", script]).current_dir(made.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            // Another test program may have made it first.
            let _ = fs::rename(made.path(), &kept);
        }
        Person(kept)
    })
}

impl Person {
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Returns `true` if `signature` is this person's, according to the openssl program.
    pub fn signed(&self, digest: Digest, message: &[u8], signature: &[u8]) -> bool {
        let directory = tempfile::tempdir().unwrap();
        let (message_file, signature_file) = (directory.path().join("message"), directory.path().join("signature"));
        fs::write(&message_file, message).unwrap();
        fs::write(&signature_file, signature).unwrap();
        let digest = if digest == Digest::Sha1 { "-sha1" } else { "-sha256" };
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", digest, "-verify"]).arg(self.path("public.pem")).arg("-signature").arg(signature_file);
        openssl.arg(message_file).output().unwrap().status.success()
    }
}

pub fn card(settings: &HelperSettings) -> Result<Box<dyn SmartCard>> {
    HelperReader::new(settings.clone()).wait_for_card(Duration::ZERO, &mut |_| {}, &CancelToken::new())
}

pub fn sign(card: &mut dyn SmartCard, pin: &str) -> Result<Vec<u8>> {
    card.sign(Some(Pin::new(pin.to_owned())), Digest::Sha1, MESSAGE, &CancelToken::new())
}

/// A whole login, until the helper has ended.
pub fn log_in(settings: &HelperSettings) -> Result<Vec<u8>> {
    sign(&mut *card(settings)?, PIN)
}

pub fn assert_logs_in(settings: &HelperSettings) {
    let signature = log_in(settings).unwrap();
    assert!(person().signed(Digest::Sha1, MESSAGE, &signature));
}

/// Returns the result of `work` and how long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = work();
    (result, started.elapsed())
}
