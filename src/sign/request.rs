//! What is to be signed, and what was.

use std::collections::HashSet;
use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::format::invalid;
use super::{Algorithm, Format, xmldsig};
use crate::error::{Error, Result};
use crate::printable;

/// The most payloads of one request.
pub const MAX_PAYLOADS: usize = 250;

/// The most bytes that the payloads of one request may have together.
pub const MAX_BYTES: usize = 16 << 20;

/// The longest id of a payload, in bytes.
const LONGEST_ID: usize = 4096;

/// A request for signatures. See [`Engine::sign`](crate::Engine::sign).
///
/// ```
/// use ticketapi::sign::{Format, SignRequest};
///
/// let request = SignRequest::new().title("Prescription for A. Patient").format(Format::Cms).payload("1", "two tablets");
/// assert!(request.check().is_ok());
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SignRequest {
    /// What the user is told about it in the PIN prompt, with the number of payloads. Shown without control characters,
    /// and cut to 80 characters.
    pub title: Option<String>,
    /// How to sign.
    pub algorithm: Algorithm,
    /// What to return.
    pub format: Format,
    /// Which key to sign with.
    pub key: KeyUse,
    /// What to sign.
    pub payloads: Vec<Payload>,
}

/// Which of a card's keys signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyUse {
    /// The one for content commitment: its certificate has the key usage nonRepudiation, and is not for logging in.
    #[default]
    ContentCommitment,
    /// The one for logging in.
    Login,
}

/// One thing to sign.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Payload {
    /// The caller's name for it, which its signature or its failure comes back with.
    pub id: String,
    /// What it consists of.
    pub content: Content,
}

/// The content of a payload.
#[derive(Clone)]
#[non_exhaustive]
pub enum Content {
    /// The payload itself.
    Bytes(Vec<u8>),
    /// Only its hash: that of the request's algorithm. For [`Format::Raw`].
    Hash(Vec<u8>),
}

impl SignRequest {
    /// Creates a request without payloads: RS256, [`Format::Raw`], the key for content commitment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`SignRequest::title`].
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Sets [`SignRequest::algorithm`].
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Sets [`SignRequest::format`].
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Sets [`SignRequest::key`].
    pub fn key(mut self, key: KeyUse) -> Self {
        self.key = key;
        self
    }

    /// Adds a payload.
    pub fn payload(self, id: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.with(id, Content::Bytes(bytes.into()))
    }

    /// Adds the hash of a payload.
    pub fn hash(self, id: impl Into<String>, hash: impl Into<Vec<u8>>) -> Self {
        self.with(id, Content::Hash(hash.into()))
    }

    fn with(mut self, id: impl Into<String>, content: Content) -> Self {
        self.payloads.push(Payload { id: id.into(), content });
        self
    }

    /// Checks the request as a whole, before the user is asked for anything.
    ///
    /// # Errors
    ///
    /// [`InvalidParameter`](crate::ErrorKind::InvalidParameter): no payload or more than 250, more than 16 MiB together,
    /// an id that is empty, too long or there twice, a hash of another length than the algorithm's or where only
    /// payloads will do, an algorithm that the format does not have.
    pub fn check(&self) -> Result<()> {
        let Self { algorithm, format, payloads, .. } = self;
        format.check(*algorithm)?;
        if payloads.is_empty() {
            return Err(invalid("there is nothing to sign"));
        }
        if payloads.len() > MAX_PAYLOADS {
            let detail =
                format!("there are {} payloads to sign; one request has {MAX_PAYLOADS} at most", payloads.len());
            return Err(invalid(&detail));
        }
        let size: usize = payloads.iter().map(|payload| payload.content.bytes().len()).sum();
        if size > MAX_BYTES {
            return Err(invalid("the payloads to sign have more than 16 MiB together"));
        }
        let mut ids = HashSet::new();
        for Payload { id, content } in payloads {
            if id.is_empty() || id.len() > LONGEST_ID || id.chars().any(printable::is_unfit) {
                return Err(invalid("a payload's id is empty, longer than 4,096 bytes, or has control characters"));
            }
            if !ids.insert(id) {
                return Err(invalid(&format!("two payloads have the id {id}")));
            }
            if *format == Format::XmlDsig {
                xmldsig::check_payload(*algorithm, content.bytes())
                    .map_err(|error| invalid(&format!("the payload {id} cannot be signed: {}", error.detail())))?;
            }
            let Content::Hash(hash) = content else { continue };
            if *format != Format::Raw {
                return Err(invalid("a hash can only be signed without a container: give the payload itself"));
            }
            if hash.len() != algorithm.hash_len() {
                let (len, right) = (hash.len(), algorithm.hash_len());
                return Err(invalid(&format!("the hash of {id} has {len} bytes; those of {algorithm} have {right}")));
            }
        }
        Ok(())
    }

    /// Returns `true` if there are hashes whose signatures only the card's side can verify
    /// ([`SignerCard::verifies_hashes`](crate::card::SignerCard::verifies_hashes)).
    pub(crate) fn has_hashes_for_elliptic_keys(&self) -> bool {
        let is_hash = |payload: &Payload| matches!(payload.content, Content::Hash(_));
        self.algorithm.is_ecdsa() && self.payloads.iter().any(is_hash)
    }

    /// Says what the PIN is for, for the user.
    #[doc(hidden)]
    pub fn purpose(&self) -> String {
        const LONGEST_TITLE: usize = 80;
        let count = match self.payloads.len() {
            1 => "1 document".to_owned(),
            count => format!("{count} documents"),
        };
        let title = self.title.as_deref().map(|title| printable::clean(title, LONGEST_TITLE));
        match title.filter(|title| !title.is_empty()) {
            Some(title) => format!("sign {count}: {title}"),
            None => format!("sign {count}"),
        }
    }
}

impl Content {
    /// Returns the payload, or its hash.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) | Self::Hash(bytes) => bytes,
        }
    }
}

/// Shows how long it is: documents are confidential.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Bytes(_) => "Bytes",
            Self::Hash(_) => "Hash",
        };
        f.debug_tuple(name).field(&format_args!("{} bytes", self.bytes().len())).finish()
    }
}

/// What a request has given. Every payload is in `signatures` or in `failed`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Signatures {
    /// How they are signed.
    pub algorithm: Algorithm,
    /// The signer's certificate, in DER.
    pub certificate: Vec<u8>,
    /// The certificates of its issuers as far as the card has them, in DER, each before its own issuer's.
    pub chain: Vec<Vec<u8>>,
    /// When they were made, by this computer's clock.
    pub time: SystemTime,
    /// The signatures, in the order of the request.
    pub signatures: Vec<Signature>,
    /// What could not be signed, in the order of the request.
    pub failed: Vec<FailedSignature>,
}

/// The signature of a payload. It was verified with the certificate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Signature {
    /// The payload's id.
    pub id: String,
    /// The signature in the request's format.
    pub bytes: Vec<u8>,
}

/// A payload that could not be signed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailedSignature {
    /// The payload's id.
    pub id: String,
    /// The reason.
    pub error: Error,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn refused(request: &SignRequest) -> String {
        let error = request.check().unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::InvalidParameter);
        error.detail().to_owned()
    }

    #[test]
    fn a_request_that_cannot_be_right_is_refused_as_a_whole() {
        let many =
            |count: usize| (0..count).fold(SignRequest::new(), |request, id| request.payload(id.to_string(), "x"));
        many(250).check().unwrap();
        assert_eq!(refused(&many(0)), "there is nothing to sign");
        assert_eq!(refused(&many(251)), "there are 251 payloads to sign; one request has 250 at most");
        let half = vec![0; MAX_BYTES / 2];
        let whole = SignRequest::new().payload("1", half.clone()).payload("2", half);
        whole.check().unwrap();
        assert_eq!(refused(&whole.payload("3", "x")), "the payloads to sign have more than 16 MiB together");
        assert_eq!(refused(&many(2).payload("1", "y")), "two payloads have the id 1");
        for id in ["", "a\nb", &"x".repeat(4097)] {
            assert!(refused(&SignRequest::new().payload(id, "x")).starts_with("a payload's id is"));
        }
        SignRequest::new().hash("1", [0; 32]).check().unwrap();
        assert_eq!(
            refused(&SignRequest::new().hash("1", [0; 20])),
            "the hash of 1 has 20 bytes; those of RS256 have 32"
        );
        for format in [Format::Cms, Format::Jws] {
            let request = SignRequest::new().format(format).hash("1", [0; 32]);
            assert!(refused(&request).starts_with("a hash can only be signed without a container"));
        }
        for (algorithm, len) in [(Algorithm::Es256, 32), (Algorithm::Es384, 48)] {
            let request = |len| SignRequest::new().algorithm(algorithm).hash("1", vec![0; len]);
            request(len).check().unwrap();
            assert!(refused(&request(len - 1)).starts_with("the hash of 1 has"));
        }
        refused(&SignRequest::new().format(Format::Jws).algorithm(Algorithm::Rs1).payload("1", "x"));
    }

    #[test]
    fn a_request_is_printed_without_its_documents() {
        let request = SignRequest::new().payload("1", "two tablets").hash("2", [7; 32]);
        let printed = format!("{request:?}");
        assert!(printed.contains("Bytes(11 bytes)") && printed.contains("Hash(32 bytes)"), "{printed}");
        assert!(!printed.contains("116") && !printed.contains("7, 7") && !printed.contains("tablets"), "{printed}");
    }

    #[test]
    fn the_purpose_has_the_number_of_documents_and_the_title_without_what_could_mislead() {
        let request = SignRequest::new().payload("1", "x");
        assert_eq!(request.purpose(), "sign 1 document");
        let request = request.payload("2", "x").title("for \u{202e}A.\nPatient\u{1b}[2J");
        assert!(request.purpose().starts_with("sign 2 documents: for "), "{}", request.purpose());
        assert!(!request.purpose().chars().any(printable::is_unfit));
        assert!(request.title("x".repeat(1000)).purpose().chars().count() < 110);
    }
}
