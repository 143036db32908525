use serde_json::{Value, json};
use ticketapi_testkit::OidcProvider;
use ticketapi_testkit::oidc::{Endpoint, Misbehaviour, Outcome};

use crate::party::{Party, parts, text, value, verifies};

type Check<'a> = &'a dyn Fn(&Value) -> bool;

fn named(name: &str) -> Misbehaviour {
    Misbehaviour::from_name(name).unwrap()
}

#[test]
fn the_id_token_is_wrong_in_the_way_that_was_asked_for() {
    let provider = OidcProvider::builder().start().unwrap();
    let mut party = Party::new(&provider);
    let good = parts(text(&party.log_in(), "id_token")).1;
    let now = good["iat"].as_i64().unwrap();
    let is_far = |claims: &Value, name: &str, ahead: i64| (claims[name].as_i64().unwrap() - now - ahead).abs() < 30;
    let checks: [(&str, Check<'_>); 10] = [
        ("wrong-iss", &|claims| claims["iss"] == "https://elsewhere.invalid"),
        ("wrong-aud", &|claims| claims["aud"] == "another-client"),
        ("wrong-azp", &|claims| claims["azp"] == "another-client" && claims["aud"][0] == "test-client"),
        ("expired", &|claims| is_far(claims, "exp", -120)),
        ("future-iat", &|claims| is_far(claims, "iat", 3_600)),
        ("wrong-nonce", &|claims| claims["nonce"] != good["nonce"]),
        ("wrong-at-hash", &|claims| claims["at_hash"] == "AAAAAAAAAAAAAAAAAAAAAA"),
        ("wrong-acr", &|claims| claims["acr"] == "AAL1_USERPASS"),
        ("old-auth-time", &|claims| is_far(claims, "auth_time", -3_600)),
        ("without-claim:nonce", &|claims| claims.get("nonce").is_none()),
    ];
    for (name, holds) in checks {
        provider.misbehave_times(Endpoint::Token, named(name), 1);
        let answer = party.log_in();
        let token = text(&answer, "id_token");
        assert!(verifies(token, &party.get(Endpoint::Jwks).json()), "{name}: signed all the same");
        assert!(holds(&parts(token).1), "{name}: {}", parts(token).1);
    }
    assert_eq!(provider.open_sessions(), 1, "the sessions go on, for the client to end");
}

#[test]
fn forged_tokens_do_not_verify() {
    let provider = OidcProvider::builder().start().unwrap();
    let mut party = Party::new(&provider);
    let jwks = party.get(Endpoint::Jwks).json();
    for (name, algorithm) in [
        ("alg-none", "none"),
        ("no-signature", "RS256"),
        ("hs256-secret", "HS256"),
        ("hs256-public-key", "HS256"),
        ("unknown-kid", "RS256"),
        ("wrong-key", "RS256"),
        ("bad-signature", "RS256"),
        ("embedded-key", "RS256"),
    ] {
        provider.misbehave_times(Endpoint::Token, named(name), 1);
        let answer = party.log_in();
        let token = text(&answer, "id_token");
        assert_eq!(parts(token).0["alg"], algorithm, "{name}");
        assert!(!verifies(token, &jwks), "{name}");
    }
    let provider = OidcProvider::builder().signed_user_info().start().unwrap();
    let mut party = Party::new(&provider);
    provider.misbehave(Endpoint::UserInfo, named("wrong-key"));
    let answer = party.log_in();
    let user_info = party.user_info(text(&answer, "access_token")).text();
    assert!(!verifies(&user_info, &party.get(Endpoint::Jwks).json()));
}

#[test]
fn redirects_are_wrong_in_the_way_that_was_asked_for() {
    let provider = OidcProvider::builder().start().unwrap();
    let mut party = Party::new(&provider);
    for (name, parameter, expected) in [
        ("with:state=other", "state", Some("other")),
        ("with:iss=https://elsewhere.invalid", "iss", Some("https://elsewhere.invalid")),
        ("without:code", "code", None),
        ("without:state", "state", None),
        ("error:access_denied", "error", Some("access_denied")),
        ("error:server_error", "error", Some("server_error")),
    ] {
        provider.misbehave_times(Endpoint::Authorize, named(name), 1);
        assert_eq!(value(&party.redirect(&[]), parameter), expected, "{name}");
    }
    provider.misbehave_times(Endpoint::Authorize, named("twice:state"), 1);
    assert_eq!(party.redirect(&[]).iter().filter(|pair| pair.0 == "state").count(), 2);
    provider.misbehave(Endpoint::Authorize, named("no-redirect"));
    let page = party.browser.open(&party.address(&[])).unwrap();
    assert_eq!((page.status, page.redirect()), (200, None));
    provider.behave();
    assert!(value(&party.redirect(&[]), "code").is_some());
}

#[test]
fn documents_are_wrong_in_the_way_that_was_asked_for() {
    let provider = OidcProvider::builder().start().unwrap();
    let party = Party::new(&provider);
    let once = |endpoint, name| {
        provider.misbehave_times(endpoint, named(name), 1);
        party.get(endpoint)
    };
    assert_eq!(once(Endpoint::Discovery, "with:issuer=https://x.test").json()["issuer"], "https://x.test");
    let http = once(Endpoint::Discovery, "http-endpoints").json();
    assert_eq!(http["token_endpoint"], "http://elsewhere.invalid/realms/test/protocol/openid-connect/token");
    assert_eq!(http["issuer"], provider.issuer());
    assert!(once(Endpoint::Discovery, "padded").body.len() > 1 << 20);
    assert_eq!(once(Endpoint::Discovery, "without:jwks_uri").json().get("jwks_uri"), None);
    assert_eq!(once(Endpoint::Discovery, "twice:issuer").text().matches("\"issuer\":").count(), 2);
    assert_eq!(once(Endpoint::Jwks, "keys").json()["keys"].as_array().unwrap().len(), 1_002);
    assert!(once(Endpoint::Jwks, "no-key-ids").json()["keys"][1].get("kid").is_none());
    assert_eq!(once(Endpoint::Jwks, "status:500").status, 500);
    assert!(once(Endpoint::Discovery, "html").text().contains("<html>"));
    assert_eq!(once(Endpoint::Discovery, "empty-body").body.len(), 0);
    assert_eq!(once(Endpoint::Discovery, "redirect").header("Location"), Some("https://elsewhere.invalid/"));
    provider.misbehave_times(Endpoint::Discovery, named("truncated"), 1);
    assert!(party.try_request("GET", Endpoint::Discovery, &[], "").is_err());
    provider.misbehave_times(Endpoint::Discovery, named("reset"), 1);
    assert!(party.try_request("GET", Endpoint::Discovery, &[], "").is_err());
    assert!(matches!(provider.log().last().unwrap().answer, Outcome::Misbehaved(_)));
}

#[test]
fn an_answer_that_never_reaches_the_client_leaves_no_session_behind() {
    let provider = OidcProvider::builder().start().unwrap();
    let mut party = Party::new(&provider);
    for name in ["status:500", "html", "error:invalid_grant", "error:invalid_client", "redirect", "empty-body"] {
        provider.misbehave_times(Endpoint::Token, named(name), 1);
        let code = party.code();
        party.exchange(&code);
        assert_eq!(provider.open_sessions(), 0, "{name}");
        assert_eq!(provider.codes_sent_twice(), 0, "{name}");
    }
    let code = party.code();
    provider.misbehave_times(Endpoint::Token, named("status:500"), 1);
    party.exchange(&code);
    party.exchange(&code);
    assert_eq!(provider.codes_sent_twice(), 1, "it may have been used");
}

#[test]
fn answers_of_the_token_endpoint_are_spoilt_and_the_session_stays_for_the_client_to_end() {
    let provider = OidcProvider::builder().start().unwrap();
    let mut party = Party::new(&provider);
    for (name, member, expected) in [
        ("mac-token", "token_type", json!("MAC")),
        ("without:id_token", "id_token", json!(null)),
        ("with:id_token=x", "id_token", json!("x")),
        ("with:expires_in=-1", "expires_in", json!(-1)),
        ("without:expires_in", "expires_in", json!(null)),
    ] {
        provider.misbehave_times(Endpoint::Token, named(name), 1);
        assert_eq!(party.log_in()[member], expected, "{name}");
        assert_eq!(provider.open_sessions(), 1, "{name}");
    }
}

#[test]
fn renewals_misbehave_apart_from_logins() {
    let provider = OidcProvider::builder().start().unwrap();
    let mut party = Party::new(&provider);
    provider.misbehave(Endpoint::Refresh, named("other-sub"));
    let tokens = party.log_in();
    assert_eq!(parts(text(&tokens, "id_token")).1["sub"], "test-user");
    let renewed = party.refresh(text(&tokens, "refresh_token"), &[]).json();
    assert_eq!(parts(text(&renewed, "id_token")).1["sub"], "somebody-else");
    provider.misbehave(Endpoint::Refresh, named("without:refresh_token"));
    let renewed = party.refresh(text(&renewed, "refresh_token"), &[]).json();
    assert_eq!(renewed.get("refresh_token"), None);
    provider.misbehave(Endpoint::Refresh, named("error:invalid_grant"));
    assert_eq!(party.refresh("x", &[]).json()["error"], "invalid_grant");
    provider.misbehave(Endpoint::UserInfo, named("with:sub=another"));
    assert_eq!(party.user_info(text(&renewed, "access_token")).json()["sub"], "another");
    provider.misbehave(Endpoint::UserInfo, named("error:invalid_token"));
    assert_eq!(party.user_info(text(&renewed, "access_token")).status, 401);
    provider.misbehave(Endpoint::EndSession, named("status:404"));
    assert_eq!(party.get(Endpoint::EndSession).status, 404);
}
