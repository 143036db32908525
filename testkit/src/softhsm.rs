//! SoftHSM2 tokens: PKCS#11 cards in a test's own folder.
//!
//! Needs `softhsm2-util` and `pkcs11-tool` (Debian packages `softhsm2` and `opensc`). They run in their own
//! processes, so that the test's process never loads the module.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::ca::{CardIdentity, TestCa};
use crate::error::{Context, Error, Result, write_file};
use crate::script::write_wrapper;

/// Where distributions install the module.
const MODULES: [&str; 7] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// The security officer's PIN of every token.
pub const SO_PIN: &str = "24681357";

/// A folder with tokens, and the configuration file that points to it. Dropping it removes the folder.
pub struct SoftHsm {
    folder: TempDir,
    module: PathBuf,
}

impl SoftHsm {
    /// Creates a folder without tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Program`] if SoftHSM2 is not installed.
    pub fn new() -> Result<Self> {
        let module = Self::find_module().ok_or_else(|| Error::Program {
            program: "libsofthsm2.so".into(),
            problem: "SoftHSM2 is not installed (Debian package softhsm2)".into(),
        })?;
        let folder = TempDir::with_prefix("ticketapi-softhsm-").context(|| "cannot make a folder for tokens".into())?;
        let tokens = folder.path().join("tokens");
        std::fs::create_dir(&tokens).context(|| format!("cannot make {}", tokens.display()))?;
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            tokens.display()
        );
        write_file(&folder.path().join("softhsm2.conf"), conf)?;
        Ok(Self { folder, module })
    }

    /// The path of the installed module, if there is one.
    pub fn find_module() -> Option<PathBuf> {
        MODULES.iter().map(PathBuf::from).find(|path| path.exists())
    }

    /// The path of the PKCS#11 module.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// The configuration file, for `SOFTHSM2_CONF`.
    pub fn conf(&self) -> PathBuf {
        self.folder.path().join("softhsm2.conf")
    }

    /// Creates an empty token. Several tokens may have the same label.
    pub fn add_token(&self, label: &str, pin: &str) -> Result<Token<'_>> {
        let before = self.serials()?;
        self.run("softhsm2-util", ["--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", SO_PIN])?;
        let (slot, serial) = self
            .serials()?
            .into_iter()
            .find(|token| !before.contains(token))
            .ok_or_else(|| Error::Program { program: "softhsm2-util".into(), problem: "it made no token".into() })?;
        Ok(Token { hsm: self, label: label.into(), slot, serial, pin: pin.into() })
    }

    /// Creates a token with one card's certificate and key.
    pub fn add_card(&self, label: &str, pin: &str, card: &CardIdentity) -> Result<Token<'_>> {
        let token = self.add_token(label, pin)?;
        token.add_identity(card, 1)?;
        Ok(token)
    }

    /// Writes a script that runs `program` with these tokens and with the script's arguments, for the setting
    /// `helper`.
    pub fn helper_wrapper(&self, program: &Path) -> Result<PathBuf> {
        write_wrapper(self.folder.path(), "SOFTHSM2_CONF", &self.conf(), program)
    }

    /// Returns slot and serial number of each token.
    fn serials(&self) -> Result<Vec<(String, String)>> {
        let listing = self.run("softhsm2-util", ["--show-slots"])?;
        let (mut slot, mut tokens) = (String::new(), Vec::new());
        for line in listing.lines() {
            if let Some(number) = line.strip_prefix("Slot ") {
                number.trim().clone_into(&mut slot);
            }
            if let Some(serial) = line.trim().strip_prefix("Serial number:").map(str::trim).filter(|s| !s.is_empty()) {
                tokens.push((slot.clone(), serial.into()));
            }
        }
        Ok(tokens)
    }

    fn run<A: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        run_with_input(Command::new(program).args(arguments).env("SOFTHSM2_CONF", self.conf()), &[])
    }
}

/// A token of a [`SoftHsm`].
pub struct Token<'a> {
    hsm: &'a SoftHsm,
    label: String,
    slot: String,
    serial: String,
    pin: String,
}

impl Token<'_> {
    /// The token's label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The serial number, as in PKCS#11.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The slot's number in decimal. It does not change while the token exists.
    pub fn slot(&self) -> &str {
        &self.slot
    }

    /// The user's PIN.
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// Adds certificate and private key with the same `CKA_ID`.
    pub fn add_identity(&self, identity: &CardIdentity, id: u8) -> Result<()> {
        self.add_certificate(identity, id)?;
        self.add_key(identity, id)
    }

    /// Adds only the certificate.
    pub fn add_certificate(&self, identity: &CardIdentity, id: u8) -> Result<()> {
        self.write_object("cert", &identity.certificate_der()?, identity.uid(), id, &[])
    }

    /// Adds the certificate of a CA.
    pub fn add_issuer(&self, ca: &TestCa, id: u8) -> Result<()> {
        self.write_object("cert", &ca.certificate().to_der()?, "issuer", id, &[])
    }

    /// Adds only the private key.
    pub fn add_key(&self, identity: &CardIdentity, id: u8) -> Result<()> {
        self.write_object("privkey", &identity.key().private_key_to_pkcs8()?, identity.uid(), id, &["--usage-sign"])
    }

    /// Adds a private key that needs the PIN for each signature (`CKA_ALWAYS_AUTHENTICATE`).
    pub fn add_always_authenticate_key(&self, identity: &CardIdentity, id: u8) -> Result<()> {
        let key = identity.key().private_key_to_pkcs8()?;
        self.write_object("privkey", &key, identity.uid(), id, &["--usage-sign", "--always-auth"])
    }

    fn write_object(&self, kind: &str, der: &[u8], label: &str, id: u8, options: &[&str]) -> Result<()> {
        let file = tempfile::NamedTempFile::new_in(self.hsm.folder.path())
            .context(|| "cannot make a file for an object".into())?;
        write_file(file.path(), der)?;
        let id = format!("{id:02x}");
        let mut arguments: Vec<OsString> = vec!["--module".into(), self.hsm.module().into()];
        arguments.extend(["--slot", &self.slot, "--login", "--pin", &self.pin, "--type", kind].map(OsString::from));
        arguments.extend(["--id", &id, "--label", label, "--write-object"].map(OsString::from));
        arguments.push(file.path().into());
        arguments.extend(options.iter().map(OsString::from));
        self.hsm.run("pkcs11-tool", arguments).map(drop)
    }
}

/// Runs a program and returns its output. If it fails, the error contains what it printed.
pub(crate) fn run_with_input(command: &mut Command, input: &[u8]) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |problem: String| Error::Program { program: program.clone(), problem };
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // If the program does not read its input, its exit status shows why.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(failed(format!("{}: {}{text}", output.status, String::from_utf8_lossy(&output.stderr))))
    }
}
