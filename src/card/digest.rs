//! The digest that a card signs.

use der::asn1::{AnyRef, OctetStringRef};
use der::oid::ObjectIdentifier;
use der::oid::db::rfc5912;
use der::{Encode, Sequence};
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use x509_cert::spki::AlgorithmIdentifierRef;

/// The digest to sign.
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
    /// The digest of `message`.
    pub fn hash(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(message).to_vec(),
            Self::Sha256 => Sha256::digest(message).to_vec(),
        }
    }

    /// The DER `DigestInfo` of `message`'s digest, which PKCS#1 v1.5 pads and signs (RFC 8017 §9.2), and the input
    /// of `CKM_RSA_PKCS`.
    pub fn digest_info(self, message: &[u8]) -> Vec<u8> {
        let hash = self.hash(message);
        #[expect(clippy::expect_used, reason = "a few dozen bytes are far below the limits of DER")]
        OctetStringRef::new(&hash)
            .and_then(|digest| DigestInfo { algorithm: self.algorithm(), digest }.to_der())
            .expect("a digest fits into DER")
    }

    pub(crate) fn algorithm(self) -> AlgorithmIdentifierRef<'static> {
        with_null(match self {
            Self::Sha1 => rfc5912::ID_SHA_1,
            Self::Sha256 => rfc5912::ID_SHA_256,
        })
    }
}

#[derive(Sequence)]
struct DigestInfo<'a> {
    algorithm: AlgorithmIdentifierRef<'a>,
    digest: OctetStringRef<'a>,
}

/// An algorithm with the parameters NULL.
pub(crate) fn with_null(oid: ObjectIdentifier) -> AlgorithmIdentifierRef<'static> {
    AlgorithmIdentifierRef { oid, parameters: Some(AnyRef::NULL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_info_is_the_one_of_rfc_8017() {
        let prefix = [0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14];
        assert_eq!(Digest::Sha1.digest_info(b"x"), [&prefix[..], &Digest::Sha1.hash(b"x")].concat());
        let prefix = [
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
            0x20,
        ];
        assert_eq!(Digest::Sha256.digest_info(b"x"), [&prefix[..], &Digest::Sha256.hash(b"x")].concat());
    }
}
