//! Signature algorithms, by their names in JOSE (RFC 7518, RFC 8812).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};
use sha2::{Sha256, Sha384, Sha512};

use crate::error::{Error, ErrorKind, Result, Stage};

/// How payloads are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[default]
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PKCS1-v1_5 with SHA-1, for services that accept nothing else. SHA-1 is broken.
    Rs1,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256, and a salt of 32 bytes.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 7] =
        [Self::Rs256, Self::Rs384, Self::Rs512, Self::Rs1, Self::Ps256, Self::Es256, Self::Es384];

    /// Returns the name, such as `RS256`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Rs1 => "RS1",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }

    /// Returns the hash of `payload` that is signed.
    pub fn hash(self, payload: &[u8]) -> Vec<u8> {
        match self {
            Self::Rs1 => Sha1::digest(payload).to_vec(),
            Self::Rs256 | Self::Ps256 | Self::Es256 => Sha256::digest(payload).to_vec(),
            Self::Rs384 | Self::Es384 => Sha384::digest(payload).to_vec(),
            Self::Rs512 => Sha512::digest(payload).to_vec(),
        }
    }

    /// Returns the length of that hash, in bytes.
    pub fn hash_len(self) -> usize {
        match self {
            Self::Rs1 => 20,
            Self::Rs256 | Self::Ps256 | Self::Es256 => 32,
            Self::Rs384 | Self::Es384 => 48,
            Self::Rs512 => 64,
        }
    }

    /// Returns the DER `DigestInfo` of a hash, which PKCS#1 v1.5 pads and signs.
    #[doc(hidden)]
    pub fn digest_info(self, hash: &[u8]) -> Vec<u8> {
        // RFC 8017, 9.2, note 1.
        let sha2 = |number, len| {
            [0x30, 0x11 + len, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, number, 5, 0, 4, len]
        };
        let prefix = match self {
            Self::Rs1 => vec![0x30, 0x21, 0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0, 4, 20],
            Self::Rs256 | Self::Ps256 | Self::Es256 => sha2(1, 32).to_vec(),
            Self::Rs384 | Self::Es384 => sha2(2, 48).to_vec(),
            Self::Rs512 => sha2(3, 64).to_vec(),
        };
        [&prefix, hash].concat()
    }

    /// Returns `true` for elliptic keys. Their raw signatures are the numbers r and s, one after the other, each as
    /// long as the curve's numbers.
    pub fn is_ecdsa(self) -> bool {
        matches!(self, Self::Es256 | Self::Es384)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name).ok_or_else(|| {
            let detail = "the signature algorithm is not one of RS256, RS384, RS512, RS1, PS256, ES256 and ES384";
            Error::new(ErrorKind::InvalidParameter, Stage::Signing, detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Digest;

    #[test]
    fn each_algorithm_is_found_by_its_name_and_hashes_to_its_length() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse::<Algorithm>().unwrap(), algorithm);
            assert_eq!(algorithm.hash(b"payload").len(), algorithm.hash_len());
        }
        assert_eq!(Algorithm::Rs256.digest_info(&Algorithm::Rs256.hash(b"x")), Digest::Sha256.digest_info(b"x"));
        assert_eq!(Algorithm::Rs1.digest_info(&Algorithm::Rs1.hash(b"x")), Digest::Sha1.digest_info(b"x"));
        for other in ["", "rs256", "RS256 ", "none", "HS256"] {
            assert_eq!(*other.parse::<Algorithm>().unwrap_err().kind(), ErrorKind::InvalidParameter);
        }
    }
}
