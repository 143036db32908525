//! The Nuts simulator as a bad node, with a login of programs, with API version 2, and as a program.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
mod nuts_client;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nuts_client::{Answer, Client};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use ticketapi_testkit::Nuts;
use ticketapi_testkit::nuts::{Endpoint, Misbehaviour, Version, visit};

fn login(nuts: &Nuts, client: &Client) -> Answer {
    let contract = json!({"type": "PractitionerLogin", "language": "EN", "legalEntity": nuts.employer()});
    let contract = client.put("/internal/auth/v1/contract/drawup", &contract).json();
    let employee = json!({"identifier": "481", "initials": "J", "familyName": "van Dijk"});
    let params = json!({"employer": nuts.employer(), "employee": employee});
    let body = json!({"means": "employeeid", "params": params, "payload": contract["message"]});
    let session = client.post("/internal/auth/v1/signature/session", &body).json();
    visit(session["sessionPtr"]["url"].as_str().unwrap()).unwrap().press(true).unwrap();
    client.get(&format!("/internal/auth/v1/signature/session/{}", session["sessionID"].as_str().unwrap()))
}

fn is_valid(client: &Client, presentation: &Value) -> bool {
    let body = json!({"verifiablePresentation": presentation});
    client.put("/internal/auth/v1/signature/verify", &body).json()["validity"] == true
}

#[test]
fn presentations_of_others_are_well_signed() {
    let nuts = Nuts::builder().start().unwrap();
    let client = Client::new(&nuts.url());
    let presentation = |misbehaviour| {
        nuts.misbehave_times(Endpoint::Poll, misbehaviour, 1);
        login(&nuts, &client).json()["verifiablePresentation"].take()
    };
    let other = presentation(Misbehaviour::from_name("other-employee").unwrap());
    assert_eq!(other["verifiableCredential"]["credentialSubject"]["member"]["identifier"], "999");
    assert!(is_valid(&client, &other));
    let lists = presentation(Misbehaviour::Lists);
    assert!(lists["proof"].is_array() && is_valid(&client, &lists));
    let employer = presentation(Misbehaviour::OtherEmployer);
    assert_ne!(employer["verifiableCredential"]["issuer"], nuts.employer());
    for misbehaviour in [Misbehaviour::Tampered, Misbehaviour::from_name("other-time").unwrap()] {
        assert!(!is_valid(&client, &presentation(misbehaviour)));
    }
}

#[test]
fn a_presentation_that_is_lost_on_its_way_does_not_come_again() {
    let nuts = Nuts::builder().start().unwrap();
    let client = Client::new(&nuts.url());
    nuts.misbehave_times(Endpoint::Poll, Misbehaviour::Lost, 1);
    assert_eq!(login(&nuts, &client).status, 0);
    let path = nuts.log().iter().rev().find(|entry| entry.endpoint == Some(Endpoint::Poll)).unwrap().path.clone();
    assert_eq!(client.get(&path).json(), json!({"status": "vp-requested"}));
    assert_eq!(client.get(&path).status, 404);
    assert_eq!(nuts.open_sessions(), 0);
}

#[test]
fn answers_are_changed_refused_or_withheld() {
    let nuts = Nuts::builder().start().unwrap();
    let client = Client::new(&nuts.url());
    let draw_up = |misbehaviour: &str| {
        nuts.misbehave(Endpoint::DrawUp, Misbehaviour::from_name(misbehaviour).unwrap());
        let body = json!({"type": "PractitionerLogin", "language": "EN", "legalEntity": nuts.employer()});
        client.put("/internal/auth/v1/contract/drawup", &body)
    };
    assert_eq!(draw_up("with:message=other").json()["message"], "other");
    assert_eq!(draw_up("without:message").json().get("message"), None);
    assert_eq!((draw_up("status:429").status, draw_up("status:401").body.as_str()), (429, "Unauthorized"));
    assert_eq!((draw_up("closed").status, draw_up("html").header("Content-Type")), (0, "text/html; charset=UTF-8"));
    assert_eq!(draw_up("nested").body.len(), 20_006);
    nuts.behave();
    assert_eq!(nuts.log().len(), 7);
}

#[test]
fn programs_log_in_at_the_api_with_an_authorized_key() {
    let key = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
    let public = PKey::from_ec_key(key.clone()).unwrap().public_key_to_pem().unwrap();
    let nuts = Nuts::builder().api_login(&public, "clinic", "node.example").start().unwrap();
    let client = Client::new(&nuts.url());

    let mut context = openssl::bn::BigNumContext::new().unwrap();
    let form = openssl::ec::PointConversionForm::UNCOMPRESSED;
    let point = key.public_key().to_bytes(key.group(), form, &mut context).unwrap();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = json!({"crv": "P-256", "kty": "EC", "x": text(&point[1..33]), "y": text(&point[33..])});
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let jwt = |change: &dyn Fn(&mut Value)| {
        let header = json!({"alg": "ES256", "kid": text(&sha256(jwk.to_string().as_bytes()))});
        let mut claims = json!({
            "iss": "clinic", "sub": "clinic", "aud": "node.example", "jti": "6e5c4d2c-1f6a-4b0e-9f0a-2b8f2f3a4c5d",
            "iat": now - 5, "nbf": now - 5, "exp": now + 60,
        });
        change(&mut claims);
        let input = format!("{}.{}", text(header.to_string().as_bytes()), text(claims.to_string().as_bytes()));
        let signature = EcdsaSig::sign(&sha256(input.as_bytes()), &key).unwrap();
        let half = |number: &openssl::bn::BigNumRef| number.to_vec_padded(32).unwrap();
        format!("Bearer {input}.{}", text(&[half(signature.r()), half(signature.s())].concat()))
    };
    let status = |authorization: &str| {
        let headers = [("Authorization", authorization)];
        client.send("GET", "/internal/auth/v1/signature/session/none", &headers, "").status
    };
    assert_eq!(status(&jwt(&|_| {})), 404);
    assert_eq!(status("Bearer x"), 401);
    for (name, value) in [
        ("iss", json!("other")),
        ("aud", json!("other")),
        ("jti", json!("1")),
        ("iat", json!(now + 30)),
        ("exp", json!(now - 1)),
        ("exp", json!(now + 25 * 3600)),
        ("nbf", Value::Null),
    ] {
        assert_eq!(status(&jwt(&|claims| claims[name] = value.clone())), 401, "{name} {value}");
    }
}

#[test]
fn api_version_2_gives_an_access_token_once_the_browser_has_come_back() {
    let nuts = Nuts::builder().version(Version::V6).start().unwrap();
    let client = Client::new(&nuts.url());
    let body = json!({
        "authorization_server": "https://other.example/oauth2/clinic", "scope": "test", "token_type": "Bearer",
        "preauthorized_user": {"id": "481", "name": "J. van Dijk", "role": "nurse"}, "redirect_uri": "http://127.0.0.1:9/done",
    });
    let path = "/internal/auth/v2/CareBears/request-user-access-token";
    assert_eq!(client.post(path, &json!({"authorization_server": "https://x"})).status, 400);
    let begun = client.post(path, &body).json();
    let poll = || client.get(&format!("/internal/auth/v2/accesstoken/{}", begun["session_id"].as_str().unwrap()));
    assert_eq!(poll().json(), json!({"access_token": "", "token_type": ""}));
    let mut url = begun["redirect_uri"].as_str().unwrap().to_owned();
    while url.starts_with(&nuts.public_url()) {
        url = visit(&url).unwrap().location;
    }
    assert_eq!(url, "http://127.0.0.1:9/done");
    assert_eq!(poll().json()["expires_in"], 900);
    assert_eq!(poll().status, 404);
}

#[test]
fn the_program_prints_settings_to_paste_and_shows_requests() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_nuts-simulator"))
        .args(["--node", "6", "--auto", "accept", "--misbehave", "verify=status:500"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.next().unwrap().strip_prefix("url=").unwrap().to_owned();
    let wanted = format!("export TICKETAPI_NUTS_NODE='{url}'");
    assert!(lines.any(|line| line == wanted));
    assert!(lines.any(|line| line.starts_with("# Requests")));
    assert_eq!(Client::new(&url).put("/internal/auth/v1/signature/verify", &json!({})).status, 500);
    assert!(lines.next().unwrap().contains("PUT /internal/auth/v1/signature/verify"));
    kill_process(Pid::from_child(&program), Signal::TERM).unwrap();
    assert!(program.wait().unwrap().success());
}
