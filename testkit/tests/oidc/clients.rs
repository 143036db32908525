use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};
use ticketapi_testkit::OidcProvider;
use ticketapi_testkit::oidc::{Algorithm, Client, Endpoint, Key};

use crate::common::Response;
use crate::party::{Party, REDIRECT, VERIFIER, encode, text};

fn grant(code: &str) -> [(&str, &str); 4] {
    [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT), ("code_verifier", VERIFIER)]
}

#[test]
fn a_secret_is_taken_in_the_form_or_by_basic_and_has_to_be_right() {
    let provider = OidcProvider::builder().client(Client::with_secret("a:b", "s&cret%")).start().unwrap();
    let mut party = Party::new(&provider);
    let code = party.code();
    assert_eq!(party.token(&grant(&code)).status, 401);
    let wrong = [&grant(&code)[..], &[("client_secret", "wrong")]].concat();
    assert_eq!(party.token(&wrong).json()["error"], "invalid_client");
    let right = [&grant(&code)[..], &[("client_secret", "s&cret%")]].concat();
    assert_eq!(party.token(&right).status, 200);

    let code = party.code();
    let basic = format!("Basic {}", STANDARD.encode("a%3Ab:s%26cret%25"));
    let answer = party.request("POST", Endpoint::Token, &[("Authorization", &basic)], &encode(&grant(&code)));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let both = [&grant(&code)[..], &[("client_secret", "s&cret%")]].concat();
    let answer = party.request("POST", Endpoint::Token, &[("Authorization", &basic)], &encode(&both));
    assert_eq!(answer.json()["error"], "invalid_request");
}

#[test]
fn a_method_that_is_not_listed_is_not_taken() {
    let client = Client::with_secret("x", "secret");
    let provider =
        OidcProvider::builder().client(client).authentication_methods(&["client_secret_basic"]).start().unwrap();
    let mut party = Party::new(&provider);
    let metadata = party.get(Endpoint::Discovery).json();
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], json!(["client_secret_basic"]));
    let code = party.code();
    let form = [&grant(&code)[..], &[("client_secret", "secret")]].concat();
    assert_eq!(party.token(&form).json()["error"], "invalid_client");
}

/// Signs by OpenSSL with a key out of a file, as a client does.
fn sign(pem: &[u8], header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", encode(header), encode(claims));
    let key = PKey::private_key_from_pem(pem).unwrap();
    let mut signer = Signer::new(MessageDigest::sha512(), &key).unwrap();
    let signature = signer.sign_oneshot_to_vec(input.as_bytes()).unwrap();
    format!("{input}.{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn an_assertion_is_checked_strictly() {
    let key = Key::new(Algorithm::Rs512, 7).unwrap().key_id("test-client-1");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.pem");
    key.write_pkcs8(&file).unwrap();
    let pem = std::fs::read(&file).unwrap();
    let provider = OidcProvider::builder().cis2().client(Client::with_key("cis2", &key).unwrap()).start().unwrap();
    let mut party = Party::new(&provider);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let audience = provider.address_of(Endpoint::Token);
    let mut number = 0;
    let mut send = |header: Value, changes: Value| -> Response {
        number += 1;
        let mut claims = json!({ "iss": "cis2", "sub": "cis2", "aud": audience, "jti": number.to_string(),
                                 "iat": now, "exp": now + 300 });
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        let code = party.code();
        let assertion = sign(&pem, &header, &claims);
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        party.token(&[&grant(&code)[..], &[("client_assertion_type", kind), ("client_assertion", &assertion)]].concat())
    };
    let good = json!({ "alg": "RS512", "kid": "test-client-1", "typ": "JWT" });
    let answer = send(good.clone(), json!({}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    for (header, changes, problem) in [
        (json!({ "alg": "RS256", "kid": "test-client-1" }), json!({}), "another alg"),
        (json!({ "alg": "RS512", "kid": "other" }), json!({}), "unknown kid"),
        (json!({ "alg": "RS512" }), json!({}), "unknown kid"),
        (good.clone(), json!({ "iss": "x" }), "iss and sub"),
        (good.clone(), json!({ "aud": provider.issuer() }), "aud"),
        (good.clone(), json!({ "aud": [audience, "x"] }), "aud"),
        (good.clone(), json!({ "exp": now - 1 }), "expired"),
        (good.clone(), json!({ "exp": now + 400 }), "five minutes"),
        (good.clone(), json!({ "exp": null }), "no exp"),
        (good.clone(), json!({ "jti": null }), "no jti"),
        (good.clone(), json!({ "jti": "1" }), "used before"),
    ] {
        let answer = send(header, changes.clone());
        assert_eq!((answer.status, text(&answer.json(), "error")), (400, "invalid_client"), "{changes}");
        assert!(text(&answer.json(), "error_description").contains(problem), "{changes}: {}", answer.text());
    }
    assert_eq!(send(good, json!({ "aud": [audience] })).status, 200);
}

#[test]
fn keys_are_written_in_each_form() {
    let folder = tempfile::tempdir().unwrap();
    for (algorithm, first_line) in
        [(Algorithm::Rs512, "-----BEGIN RSA PRIVATE KEY-----"), (Algorithm::Es256, "-----BEGIN EC PRIVATE KEY-----")]
    {
        let key = Key::new(algorithm, 7).unwrap();
        let [pkcs8, traditional, jwk] = ["a", "b", "c"].map(|name| folder.path().join(name));
        key.write_pkcs8(&pkcs8).unwrap();
        key.write_traditional(&traditional).unwrap();
        key.write_jwk(&jwk).unwrap();
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert!(read(&pkcs8).starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(read(&traditional).starts_with(first_line), "{algorithm:?}");
        let jwk: Value = serde_json::from_str(&read(&jwk)).unwrap();
        assert!(jwk["d"].is_string() && jwk["kid"] == key.id(), "{algorithm:?}");
    }
}
