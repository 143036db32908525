//! What a signature comes in: alone, or in a container.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Algorithm, cms, jws, xmldsig};
use crate::error::{Error, ErrorKind, Result, Stage};

/// The form in which signatures are returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// The signature alone. Those of elliptic keys are the numbers r and s, one after the other.
    #[default]
    Raw,
    /// CMS `SignedData` without the payload (RFC 5652), in DER, with the signing time and the certificates.
    Cms,
    /// A JWS in its compact form, which contains the payload and the certificates (RFC 7515).
    Jws,
    /// An XML-DSig `Signature` element around the payload, a canonical `SignedInfo` element, which may be in base64.
    XmlDsig,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Cms, Self::Jws, Self::XmlDsig];

    /// Returns the name, such as `cms`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Cms => "cms",
            Self::Jws => "jws",
            Self::XmlDsig => "xmldsig",
        }
    }

    /// Checks that the format has this algorithm.
    ///
    /// # Errors
    ///
    /// [`InvalidParameter`](ErrorKind::InvalidParameter): RS1 for a JWS.
    pub fn check(self, algorithm: Algorithm) -> Result<()> {
        if (self, algorithm) == (Self::Jws, Algorithm::Rs1) {
            return Err(invalid("a JWS cannot be signed with RS1: RFC 7518 has no such algorithm"));
        }
        Ok(())
    }

    /// Begins a container for `payload`: makes what the signer signs instead of it.
    ///
    /// `certificates` are in DER, the signer's first.
    ///
    /// # Errors
    ///
    /// [`InvalidParameter`](ErrorKind::InvalidParameter) if the payload does not suit the format, or see
    /// [`Format::check`]; [`Internal`](ErrorKind::Internal) if there is no certificate, or it cannot be read.
    #[doc(hidden)]
    pub fn draft(
        self,
        algorithm: Algorithm,
        certificates: &[impl AsRef<[u8]>],
        payload: &[u8],
        time: SystemTime,
    ) -> Result<Draft> {
        self.check(algorithm)?;
        let certificates: Vec<_> = certificates.iter().map(AsRef::as_ref).collect();
        Ok(Draft(match self {
            Self::Raw => Inner::Raw(payload.to_vec()),
            Self::Cms => Inner::Cms(cms::Draft::new(algorithm, &certificates, payload, time)?),
            Self::Jws => Inner::Jws(jws::Draft::new(algorithm, &certificates, payload)),
            Self::XmlDsig => Inner::XmlDsig(xmldsig::Draft::new(algorithm, &certificates, payload)?),
        }))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|format| format.as_str() == name);
        found.ok_or_else(|| invalid("the signatures' format is not one of raw, cms, jws and xmldsig"))
    }
}

/// A container that lacks its signature.
#[doc(hidden)]
pub struct Draft(Inner);

enum Inner {
    Raw(Vec<u8>),
    Cms(cms::Draft),
    Jws(jws::Draft),
    XmlDsig(xmldsig::Draft),
}

impl Draft {
    /// Returns the bytes to hash and to sign.
    pub fn to_sign(&self) -> &[u8] {
        match &self.0 {
            Inner::Raw(payload) => payload,
            Inner::Cms(draft) => draft.to_sign(),
            Inner::Jws(draft) => draft.to_sign(),
            Inner::XmlDsig(draft) => draft.to_sign(),
        }
    }

    /// Returns the container with this raw signature, which is not verified here.
    ///
    /// # Errors
    ///
    /// [`Internal`](ErrorKind::Internal) if it cannot be encoded.
    pub fn signed(self, signature: &[u8]) -> Result<Vec<u8>> {
        match self.0 {
            Inner::Raw(_) => Ok(signature.to_vec()),
            Inner::Cms(draft) => draft.signed(signature),
            Inner::Jws(draft) => Ok(draft.signed(signature)),
            Inner::XmlDsig(draft) => Ok(draft.signed(signature)),
        }
    }
}

pub(super) fn invalid(detail: &str) -> Error {
    Error::new(ErrorKind::InvalidParameter, Stage::Signing, detail)
}
