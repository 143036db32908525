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
