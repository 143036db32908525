use std::time::Duration;

use serde_json::json;
use ticketapi_testkit::OidcProvider;
use ticketapi_testkit::oidc::{Endpoint, Outcome, User};

use crate::common::SOON;
use crate::party::{Party, encode, parts, text, verifies};

#[test]
fn a_refresh_token_is_good_once_and_a_second_time_ends_the_session() {
    let provider = OidcProvider::builder().start().unwrap();
    let mut party = Party::new(&provider);
    let first = party.log_in();
    let second = party.refresh(text(&first, "refresh_token"), &[]).json();
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    let claims = parts(text(&second, "id_token")).1;
    assert_eq!((&claims["sub"], claims.get("nonce")), (&json!("test-user"), None));
    assert_eq!(provider.refresh_tokens_sent_twice(), 0);

    let stale = party.refresh(text(&first, "refresh_token"), &[]);
    assert_eq!((stale.status, text(&stale.json(), "error_description")), (400, "Stale token"));
    assert_eq!((provider.refresh_tokens_sent_twice(), provider.open_sessions()), (1, 0));
    assert_eq!(party.refresh(text(&second, "refresh_token"), &[]).status, 400);
}

#[test]
fn refresh_tokens_can_be_reusable_or_missing() {
    let provider = OidcProvider::builder().reusable_refresh_tokens().start().unwrap();
    let mut party = Party::new(&provider);
    let first = party.log_in();
    for _ in 0..2 {
        assert_eq!(party.refresh(text(&first, "refresh_token"), &[]).status, 200);
    }
    let provider = OidcProvider::builder().without_refresh_tokens().start().unwrap();
    assert_eq!(Party::new(&provider).log_in().get("refresh_token"), None);
}

#[test]
fn sessions_end_by_request_in_each_way() {
    let provider = OidcProvider::builder().start().unwrap();
    let mut party = Party::new(&provider);
    let client_id = provider.client_id();

    let tokens = party.log_in();
    let page = party.get(Endpoint::EndSession);
    assert_eq!((page.status, provider.open_sessions()), (200, 1), "without a hint the user is asked");
    let hint = encode(&[("id_token_hint", text(&tokens, "id_token"))]);
    assert_eq!(party.request("GET", Endpoint::EndSession, &[], &hint).status, 200);
    assert_eq!(provider.open_sessions(), 0);

    party.browser = ticketapi_testkit::Browser::new(provider.ca_file());
    let tokens = party.log_in();
    let hint = encode(&[
        ("id_token_hint", text(&tokens, "id_token")),
        ("post_logout_redirect_uri", "http://127.0.0.1:1/done"),
        ("state", "s"),
    ]);
    let answer = party.request("GET", Endpoint::EndSession, &[], &hint);
    assert_eq!(answer.header("Location"), Some("http://127.0.0.1:1/done?state=s"));

    let tokens = party.log_in();
    let form = encode(&[("client_id", &client_id), ("refresh_token", text(&tokens, "refresh_token"))]);
    assert_eq!(party.request("POST", Endpoint::EndSession, &[], &form).status, 204);
    assert_eq!(provider.open_sessions(), 0);
    assert_eq!(party.request("POST", Endpoint::EndSession, &[], &form).json()["error"], "invalid_grant");

    let tokens = party.log_in();
    let form = encode(&[("client_id", &client_id), ("token", text(&tokens, "access_token"))]);
    assert_eq!(party.request("POST", Endpoint::Revocation, &[], &form).status, 200);
    assert_eq!(party.user_info(text(&tokens, "access_token")).status, 401);
    assert_eq!(provider.open_sessions(), 1, "an access token alone does not end a session that has another");
    let form = encode(&[("client_id", &client_id), ("token", text(&tokens, "refresh_token"))]);
    assert_eq!(party.request("POST", Endpoint::Revocation, &[], &form).status, 200);
    assert_eq!(provider.open_sessions(), 0);
    assert_eq!(provider.log_of(Endpoint::Revocation).last().unwrap().answer, Outcome::Ended);
}

#[test]
fn sessions_and_tokens_end_with_time() {
    let provider = OidcProvider::builder().session_lifetime(SOON, Duration::from_secs(5)).start().unwrap();
    let mut party = Party::new(&provider);
    let tokens = party.log_in();
    assert_eq!(provider.open_sessions(), 1);
    assert!(tokens["refresh_expires_in"].as_u64().unwrap() <= 5);
    provider.set_session_lifetime(SOON, Duration::ZERO);
    assert_eq!(provider.open_sessions(), 0);
    let refused = party.refresh(text(&tokens, "refresh_token"), &[]).json();
    assert_eq!(text(&refused, "error_description"), "Session not active");

    provider.set_session_lifetime(SOON, SOON);
    provider.set_token_lifetime(Duration::from_secs(12));
    let tokens = party.log_in();
    assert_eq!(tokens["expires_in"], 12);
    assert_eq!(party.user_info(text(&tokens, "access_token")).status, 200);
    provider.expire_access_tokens();
    assert_eq!(party.user_info(text(&tokens, "access_token")).status, 401);
    assert_eq!(party.refresh(text(&tokens, "refresh_token"), &[]).status, 200);
}

#[test]
fn a_disabled_user_can_do_nothing_more() {
    let provider = OidcProvider::builder().start().unwrap();
    let mut party = Party::new(&provider);
    let tokens = party.log_in();
    provider.set_disabled("test-user", true);
    let refused = party.refresh(text(&tokens, "refresh_token"), &[]).json();
    assert_eq!(text(&refused, "error_description"), "User disabled");
    assert_eq!(party.user_info(text(&tokens, "access_token")).status, 401);
    assert_eq!(party.browser.open(&party.address(&[("prompt", "login")])).unwrap().status, 400);
}

#[test]
fn keys_rotate_and_the_old_ones_go_when_they_are_dropped() {
    let provider = OidcProvider::builder().start().unwrap();
    let mut party = Party::new(&provider);
    let before = party.log_in();
    let old_keys = party.get(Endpoint::Jwks).json();
    provider.rotate_keys().unwrap();
    let after = party.log_in();
    assert!(!verifies(text(&after, "id_token"), &old_keys));
    let both = party.get(Endpoint::Jwks).json();
    assert!(verifies(text(&before, "id_token"), &both) && verifies(text(&after, "id_token"), &both));
    provider.drop_old_keys();
    let new_keys = party.get(Endpoint::Jwks).json();
    assert!(!verifies(text(&before, "id_token"), &new_keys) && verifies(text(&after, "id_token"), &new_keys));
    assert_eq!(new_keys["keys"][0]["use"], "enc");
}

#[test]
fn a_context_is_switched_by_a_refresh_and_refused_without_a_loss() {
    let provider = OidcProvider::builder().ehealth_dk().start().unwrap();
    let mut party = Party::new(&provider);
    let fhir = |path: &str| format!("https://organization.test.example/fhir/{path}");
    let tokens = party.log_in();
    let roles = |tokens: &serde_json::Value, party: &Party<'_>| {
        party.user_info(text(tokens, "access_token")).json()["roles"].clone()
    };
    assert_eq!(roles(&tokens, &party), json!(["Citizen Enroller", "Clinical Viewer", "Monitoring Adjuster"]));
    let bearer = format!("Bearer {}", text(&tokens, "access_token"));
    let contexts = party.request("GET", Endpoint::Contexts, &[("Authorization", &bearer)], "").json();
    assert_eq!(contexts["care_teams"][1]["id"], fhir("CareTeam/2"));
    assert_eq!(contexts["organizations"][0]["name"], "Org 10");

    let token = text(&tokens, "refresh_token");
    for (name, id, problem) in [
        ("care_team_id", fhir("CareTeam/9"), "Not a member of Care team"),
        ("organization_id", fhir("Organization/9"), "Invalid context"),
        ("patient_id", fhir("Patient/1"), "Invalid context"),
    ] {
        let refused = party.refresh(token, &[(name, &id)]).json();
        assert_eq!(text(&refused, "error_description"), problem);
    }
    let switched = party.refresh(token, &[("care_team_id", &fhir("CareTeam/1"))]).json();
    assert_eq!(roles(&switched, &party), json!(["Clinical Viewer", "Monitoring Adjuster"]));
    assert_eq!(provider.refresh_tokens_sent_twice(), 0);
    let context = parts(text(&switched, "access_token")).1["context"].clone();
    assert_eq!(context["organization_id"], fhir("Organization/10"));
    let renewed = party.refresh(text(&switched, "refresh_token"), &[]).json();
    assert_eq!(roles(&renewed, &party).as_array().unwrap().len(), 3, "a context lasts for one token");
}

#[test]
fn roles_and_users_can_be_changed_while_sessions_are_open() {
    let provider = OidcProvider::builder().user(User::new("1").role_names(&["A"])).start().unwrap();
    let mut party = Party::new(&provider);
    let tokens = party.log_in();
    provider.set_user(User::new("1").role_names(&["B"]));
    assert_eq!(party.user_info(text(&tokens, "access_token")).json()["roles"], json!(["B"]));
    provider.end_all_sessions();
    assert_eq!(party.user_info(text(&tokens, "access_token")).status, 401);
    assert!(provider.wait_for_sessions(SOON, 0));
}
