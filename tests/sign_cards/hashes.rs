//! Hashes instead of payloads: who verifies their signatures.

use ticketapi::sign::{Algorithm, SignRequest};
use ticketapi::{ErrorKind, Result};
use ticketapi_testkit::CardSpec;

use super::support::{Desk, PIN, User};
use super::{Cards, UID, assert_signed, outcomes};

const CURVES: [(Algorithm, &str); 2] = [(Algorithm::Es256, "prime256v1"), (Algorithm::Es384, "secp384r1")];

/// Asks for the signatures of three hashes.
fn three(algorithm: Algorithm) -> SignRequest {
    let request = SignRequest::new().algorithm(algorithm);
    ["a", "b", "c"].iter().fold(request, |request, id| request.hash(*id, algorithm.hash(id.as_bytes())))
}

#[test]
fn a_wrong_signature_of_a_hash_is_not_handed_out() {
    let signer = CardSpec::new(UID).for_signing();
    for (algorithm, spec) in CURVES
        .map(|(algorithm, curve)| (algorithm, signer.clone().curve(curve)))
        .into_iter()
        .chain([(Algorithm::Rs256, signer.clone().key_number(1))])
    {
        let signed = Cards::with(&[spec]).scripted("fault C_Sign 2 wrong").sign(&three(algorithm)).unwrap();
        let [first, second, third] = outcomes(&signed, &["a", "b", "c"]).try_into().unwrap();
        assert_signed(&signed.certificate, algorithm, b"a", &first.unwrap());
        assert_signed(&signed.certificate, algorithm, b"c", &third.unwrap());
        let error = second.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::CardFailed, "{algorithm}: {error}");
        assert!(error.detail().contains("does not match the certificate"), "{algorithm}: {error}");
    }
}

#[test]
fn a_software_card_says_that_it_signs_no_hashes_with_elliptic_keys_and_asks_for_no_pin() {
    let desk = Desk::new();
    let user = User::typing(&[PIN]);
    for (algorithm, _) in CURVES {
        let signed: Result<_> = desk.engine(&user).sign(&three(algorithm));
        let error = signed.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::InvalidParameter);
        assert!(error.detail().contains("hashes by elliptic keys cannot be verified"), "{error}");
    }
    assert_eq!(user.asked(), []);
}
