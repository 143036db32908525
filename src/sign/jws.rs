//! A JWS in its compact form, with the certificates (RFC 7515, 4.1.6). Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use zeroize::Zeroizing;

use super::Algorithm;
use crate::service::base64url::{signed, to_sign_bytes};

/// A JWS that lacks its signature.
pub(super) struct Draft(Zeroizing<String>);

impl Draft {
    /// Begins a JWS of `payload`. The first certificate is the signer's.
    pub(super) fn new(algorithm: Algorithm, certificates: &[&[u8]], payload: &[u8]) -> Self {
        #[derive(Serialize)]
        struct Header {
            alg: &'static str,
            x5c: Vec<String>,
        }

        // Base64, not base64url.
        let x5c = certificates.iter().map(|der| BASE64_STANDARD.encode(der)).collect();
        Self(to_sign_bytes(&Header { alg: algorithm.as_str(), x5c }, payload))
    }

    pub(super) fn to_sign(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(super) fn signed(self, signature: &[u8]) -> Vec<u8> {
        signed(&self.0, signature).as_bytes().to_vec()
    }
}
