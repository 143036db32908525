//! Chains that a server sends, for the fuzz target.

use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, UnixTime, alg_id};

use super::*;

/// Takes every signature, so that a changed certificate is not the end of the check.
#[derive(Debug)]
struct AnySignature(AlgorithmIdentifier, AlgorithmIdentifier);

impl SignatureVerificationAlgorithm for AnySignature {
    fn verify_signature(&self, _: &[u8], _: &[u8], _: &[u8]) -> std::result::Result<(), InvalidSignature> {
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.0
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.1
    }
}

const RSA: AnySignature = AnySignature(alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA256);
const P256: AnySignature = AnySignature(alg_id::ECDSA_P256, alg_id::ECDSA_SHA256);

/// Validates the last certificate, with the first one as an anchor and the others as issuers.
pub(crate) fn read<'a>(certificates: impl Iterator<Item = &'a [u8]>) {
    let certificates: Vec<_> = certificates.map(CertificateDer::from).collect();
    let [anchor, issuers @ .., server] = &certificates[..] else { return };
    let _ = unusable_key(server);
    let mut roots = RootCertStore::empty();
    let _ = roots.add(anchor.clone().into_owned());
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let trust = |anchors| Trust { anchors, algorithms: &[&RSA, &P256], now };
    let _ = validate(server, issuers, &trust(&roots.roots));
    // Without an anchor none is valid.
    assert!(validate(server, issuers, &trust(&[])).is_err());
}
