use ticketapi::ErrorKind;
use ticketapi_testkit::oidc::{Algorithm, Client, Endpoint};

use crate::clients::write;
use crate::trial::{Trial, named};

#[test]
fn an_id_token_with_a_claim_of_another_kind_is_refused() {
    let trial = Trial::new();
    for name in [
        "claim:iss=",
        "without-claim:iss",
        "claim:aud=[]",
        "claim:aud=[\"another\"]",
        "without-claim:aud",
        "claim:exp=\"tomorrow\"",
        "claim:exp=-1",
        "claim-in:nbf=4000",
        "claim:nonce=",
        "claim:nonce=[\"a\"]",
        "claim:sub=",
        "claim:sub=7",
    ] {
        let error = trial.refuses(Endpoint::Token, name);
        assert_eq!(*error.kind(), ErrorKind::BadAnswer, "{name}: {error}");
    }
}

#[test]
fn an_issuer_that_is_only_equivalent_is_another_one() {
    let trial = Trial::new();
    let issuer = trial.provider().issuer();
    for other in [format!("{issuer}/"), issuer.to_uppercase(), issuer.replace("127.0.0.1", "localhost")] {
        trial.refuses(Endpoint::Token, &format!("claim:iss={other}"));
        trial.refuses(Endpoint::Discovery, &format!("with:issuer={other}"));
    }
}

#[test]
fn times_within_a_minute_are_a_matter_of_clocks() {
    for seconds in [-40, 40] {
        let trial = Trial::with("oidc", &[], |provider| provider.clock_ahead(seconds));
        trial.engine.get_ticket().unwrap_or_else(|error| panic!("{seconds}: {error}"));
    }
    for seconds in [-600, 600] {
        let trial = Trial::with("oidc", &[], |provider| provider.clock_ahead(seconds));
        let error = trial.fails("clock", || trial.engine.get_ticket().map(drop));
        assert!(error.to_string().contains("clock"), "{seconds}: {error}");
    }
}

#[test]
fn several_audiences_are_good_when_the_token_was_issued_to_this_client() {
    let trial = Trial::new();
    trial.provider().misbehave(Endpoint::Token, named("claim:aud=[\"another\",\"test-client\"]"));
    trial.engine.get_ticket().unwrap();
}

#[test]
fn a_forged_id_token_is_refused_whatever_the_provider_signs_with() {
    for algorithm in [Algorithm::Ps256, Algorithm::Es256] {
        let trial = Trial::with("oidc", &[], |provider| provider.algorithm(algorithm));
        for name in ["alg-none", "hs256-public-key", "unknown-kid", "wrong-key", "bad-signature", "embedded-key"] {
            let error = trial.refuses(Endpoint::Token, name);
            assert_eq!(*error.kind(), ErrorKind::BadAnswer, "{algorithm:?} {name}: {error}");
        }
    }
}

#[test]
fn an_hmac_with_the_client_s_secret_is_no_signature() {
    let secret = "a secret that is as long as a key for HS256 has to be";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    write(&file, secret.as_bytes(), 0o600);
    let settings = [("client_auth", "client_secret"), ("client_secret_file", file.to_str().unwrap())];
    let trial = Trial::with("oidc", &settings, |provider| provider.client(Client::with_secret("x", secret)));
    let error = trial.refuses(Endpoint::Token, "hs256-secret");
    assert_eq!(*error.kind(), ErrorKind::BadAnswer, "{error}");
    // Good once more: nothing but the algorithm was wrong.
    trial.engine.get_ticket().unwrap();
}

#[test]
fn an_unknown_key_is_looked_for_once() {
    let trial = Trial::new();
    trial.engine.get_ticket().unwrap();
    trial.engine.destroy_ticket().unwrap();
    trial.provider().clear_log();
    trial.provider().misbehave(Endpoint::Token, named("unknown-kid"));
    trial.fails("unknown-kid", || trial.engine.get_ticket().map(drop));
    assert_eq!(trial.provider().log_of(Endpoint::Jwks).len(), 1);
    // And one that the provider has got meanwhile is found.
    trial.provider().behave();
    trial.provider().rotate_keys().unwrap();
    trial.engine.get_ticket().unwrap();
}

#[test]
fn the_strength_of_a_login_is_one_that_was_asked_for() {
    let trial = Trial::with("cis2", &[("acr_values", "AAL3_ANY AAL3_FIDO2")], |provider| provider);
    for name in ["claim:acr=AAL2_TOTP", "claim:acr=", "claim:acr=aal3_any"] {
        trial.refuses(Endpoint::Token, name);
    }
    let trial = Trial::with("cis2", &[], |provider| provider);
    for acr in ["AAL2_TOTP", "AAL3_CIS2_SMARTCARD", "AAL2_OR_AAL3_ANY"] {
        trial.provider().misbehave(Endpoint::Token, named(&format!("claim:acr={acr}")));
        trial.engine.get_ticket().unwrap_or_else(|error| panic!("{acr}: {error}"));
        trial.engine.destroy_ticket().unwrap();
    }
}
