//! The signed challenge as CMS, and its S/MIME coat. Pure: bytes in, bytes out.

use serde::{Deserialize, Serialize};

/// The digest that is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    /// SHA-1, which the broker expects today.
    #[default]
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Digest {
    /// The digest of a message.
    pub fn hash(self, message: &[u8]) -> Vec<u8> {
        use sha1::Digest as _;
        match self {
            Self::Sha1 => sha1::Sha1::digest(message).to_vec(),
            Self::Sha256 => sha2::Sha256::digest(message).to_vec(),
        }
    }

    /// The DER DigestInfo of a message.
    pub fn digest_info(self, message: &[u8]) -> Vec<u8> {
        let prefix: &[u8] = match self {
            Self::Sha1 => &[0x30, 0x21, 0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0, 4, 20],
            Self::Sha256 => &[0x30, 0x31, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 32],
        };
        [prefix, &self.hash(message)].concat()
    }
}
