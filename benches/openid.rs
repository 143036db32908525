//! A login at an OpenID provider, and what such providers send: an ID token checked, and roles read, each against its
//! floor.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "support/bare.rs"]
mod bare;
#[path = "openid/login.rs"]
mod login;
mod support;

use std::process::ExitCode;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde_json::{Value, json};
use ticketapi::oidc::{IdTokenCheck, roles_of};
use ticketapi_testkit::oidc::nrbac_role;

use support::{Comparisons, time};

const SUBJECT: &str = "555021935107";

fn main() -> ExitCode {
    let mut comparisons = Comparisons::new();
    login::compare(&mut comparisons);
    check_id_token(&mut comparisons);
    read_roles(&mut comparisons);
    comparisons.finish()
}

fn check_id_token(comparisons: &mut Comparisons) {
    const ISSUER: &str = "https://am.example:443/openam/oauth2/realms/root/realms/NHSIdentity/realms/Healthcare";
    const NOW: i64 = 1_800_000_000;
    let key = Rsa::generate(2048).unwrap();
    let (n, e) = (key.n().to_vec(), key.e().to_vec());
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    // Those of a token of CIS2.
    let claims = json!({
        "at_hash": "77QmUPtjPfzWtF2AnpK9RQ", "sub": SUBJECT, "auditTrackingId": "9d2efc91-45b1-4e01-264a-cab230f2009", "iss": ISSUER,
        "tokenName": "id_token", "aud": "128936811467.apps.supplier", "c_hash": "x1zC8yHTm9hq2vHkd1Fvyg", "acr": "AAL3_ANY",
        "org.forgerock.openidconnect.ops": "HXqB3XJSBQZ8zgYVHSQ1vHnaoF8", "s_hash": "bOhtX8F73IMjSPeVAqxyTQ", "azp": "128936811467.apps.supplier",
        "auth_time": NOW, "realm": "/NHSIdentity/Healthcare", "exp": NOW + 3600, "tokenType": "JWTToken", "iat": NOW, "nonce": "bench-nonce-0123456789",
        "selected_roleid": "555254242102", "amr": ["N3_SMARTCARD"], "id_assurance_level": "3", "authentication_assurance_level": "3",
    });
    let message = format!(
        "{}.{}",
        encode(br#"{"typ":"JWT","kid":"b/O6OvVv1+y+WgrH5Ui9WTioLt0=","alg":"RS256"}"#),
        encode(claims.to_string().as_bytes())
    );
    let private = PKey::from_rsa(key).unwrap();
    let signature =
        Signer::new(MessageDigest::sha256(), &private).unwrap().sign_oneshot_to_vec(message.as_bytes()).unwrap();
    let jwk = |id: &str, usage: &str| json!({"kty": "RSA", "kid": id, "use": usage, "alg": "RS256", "n": encode(&n), "e": encode(&e)});
    let keys = json!({"keys": [jwk("other", "enc"), jwk("b/O6OvVv1+y+WgrH5Ui9WTioLt0=", "sig")]}).to_string();

    let check = IdTokenCheck::new(&format!("{message}.{}", encode(&signature)), keys.as_bytes()).unwrap();
    let work = || check.subject(ISSUER, "128936811467.apps.supplier", "bench-nonce-0123456789", NOW);
    assert_eq!(work().as_deref(), Some(SUBJECT));
    let floor = || {
        RsaPublicKeyComponents { n: &n, e: &e }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature)
            .unwrap()
    };
    comparisons.compare(
        "checking an ID token (RS256, 2048 bits), to its signature's verification alone",
        1.2,
        5,
        || time(work),
        || time(floor),
    );
}

fn read_roles(comparisons: &mut Comparisons) {
    let roles: Vec<_> = (0..400).map(nrbac_role).collect();
    let user_info =
        json!({"sub": SUBJECT, "name": "TEST USER", "nhsid_useruid": SUBJECT, "nhsid_nrbac_roles": roles}).to_string();
    assert_eq!(roles_of(user_info.as_bytes(), SUBJECT), Some(400));
    comparisons.compare(
        "reading 400 roles of UserInfo, to serde_json alone",
        2.0,
        5,
        || time(|| roles_of(user_info.as_bytes(), SUBJECT).unwrap()),
        || time(|| serde_json::from_str::<Value>(&user_info).unwrap()),
    );
}
