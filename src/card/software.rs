//! A card in a PKCS#12 file, for demonstrations and kiosks without hardware.
//!
//! The PIN is the file's password. The certificate is known only after the PIN was entered, because most files
//! encrypt it too. The key is in memory only while it signs.

mod encryption;
mod key;
mod password;
mod pkcs12;
#[cfg(feature = "sign")]
mod signer;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use self::pkcs12::{Contents, OpenError};
use super::certificate::{Candidate, PrivateKey, choose};
use super::{Absence, CardReader, Certificate, PinStatus, PinTries, SmartCard};
use crate::cancel::CancelToken;
use crate::card::Digest;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::fs::read_trusted;
use crate::printable;
use crate::secret::Pin;

/// The maximum size of a file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A "reader" whose card is a PKCS#12 file.
#[derive(Clone, Debug)]
pub struct SoftwareCardReader {
    path: PathBuf,
    issuers: Vec<String>,
}

impl SoftwareCardReader {
    /// Uses the card in the file at `path`, which is read at each login.
    pub fn new(path: PathBuf) -> Self {
        Self { path, issuers: Vec::new() }
    }

    /// Accepts only certificates of these issuers, given by their common names.
    pub fn issuers(mut self, issuers: Vec<String>) -> Self {
        self.issuers = issuers;
        self
    }
}

impl CardReader for SoftwareCardReader {
    /// Reads the file. Does not wait for it: a missing file is a configuration error.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) if it cannot be read or is longer than 1 MiB;
    /// [`SoftwareCard`](ErrorKind::SoftwareCard) if it is not a PKCS#12 file.
    fn wait_for_card(
        &self,
        _: Duration,
        _: &mut dyn FnMut(Absence),
        cancel: &CancelToken,
    ) -> Result<Box<dyn SmartCard>> {
        Ok(Box::new(self.card(cancel)?))
    }

    #[cfg(feature = "sign")]
    fn wait_for_signer(
        &self,
        choice: &super::SignerChoice,
        _: Duration,
        _: &mut dyn FnMut(Absence),
        cancel: &CancelToken,
    ) -> Result<Box<dyn super::SignerCard>> {
        Ok(Box::new(signer::SoftwareSigner::new(self.card(cancel)?, choice.clone())))
    }
}

impl SoftwareCardReader {
    fn card(&self, cancel: &CancelToken) -> Result<SoftwareCard> {
        cancel.check(Stage::Card)?;
        let file = read_trusted(&self.path, MAX_FILE)
            .map_err(|error| unusable(ErrorKind::Configuration, &self.path, &format!("cannot be read: {error}")))?;
        pkcs12::check(&file).map_err(|error| not_opened(&self.path, error))?;
        let label = printable::name(&self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy());
        Ok(SoftwareCard { settings: self.clone(), label, file, certificate: None })
    }
}

struct SoftwareCard {
    settings: SoftwareCardReader,
    label: String,
    file: Vec<u8>,
    certificate: Option<Certificate>,
}

impl SoftwareCard {
    fn open(&self, pin: Option<Pin>) -> Result<Contents> {
        let pin = pin.ok_or_else(|| Error::new(ErrorKind::Internal, Stage::Pin, "a software card needs a PIN"))?;
        pkcs12::open(&self.file, pin.expose()).map_err(|error| not_opened(&self.settings.path, error))
    }
}

impl SmartCard for SoftwareCard {
    fn label(&self) -> &str {
        &self.label
    }

    fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    fn pin_status(&self) -> PinStatus {
        PinStatus::new(PinTries::Unknown, 0, 255)
    }

    fn sign(&mut self, pin: Option<Pin>, digest: Digest, message: &[u8], cancel: &CancelToken) -> Result<Vec<u8>> {
        cancel.check(Stage::Signing)?;
        let contents = self.open(pin)?;
        let (signature, certificate) = sign(&contents, &self.settings.issuers, digest, message)?;
        self.certificate = Some(certificate);
        Ok(signature)
    }
}

fn sign(contents: &Contents, issuers: &[String], digest: Digest, message: &[u8]) -> Result<(Vec<u8>, Certificate)> {
    let key_of = |der: &[u8]| {
        let certificate = Certificate::from_der(der).ok()?;
        contents.keys.iter().find(|key| key.public() == *certificate.public_key())
    };
    let candidates: Vec<_> = contents
        .certificates
        .iter()
        .map(|der| Candidate {
            der: der.clone(),
            private_key: PrivateKey::known(key_of(der).is_some()),
            key_can_decrypt: true,
        })
        .collect();
    let (_, certificate) = choose(&candidates, SystemTime::now(), issuers)?;
    let key = key_of(certificate.der())
        .ok_or_else(|| Error::new(ErrorKind::Internal, Stage::Card, "the chosen certificate lost its key"))?;
    let signature = key.sign(&digest.digest_info(message)).map_err(|error| {
        Error::new(ErrorKind::CardFailed, Stage::Signing, "the software card's key cannot sign").because(error)
    })?;
    Ok((signature, certificate))
}

fn not_opened(path: &Path, error: OpenError) -> Error {
    match error {
        OpenError::Unusable(problem) => unusable(ErrorKind::SoftwareCard, path, &problem),
        OpenError::WrongPassword => Error::new(
            ErrorKind::PinIncorrect { tries_left: None },
            Stage::Pin,
            format!("the PIN does not open the software card {}", path.display()),
        ),
    }
}

fn unusable(kind: ErrorKind, path: &Path, problem: &str) -> Error {
    Error::new(kind, Stage::Card, format!("the software card {} {problem}", path.display()))
}
