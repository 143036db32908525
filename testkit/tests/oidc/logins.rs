use serde_json::json;
use ticketapi_testkit::OidcProvider;
use ticketapi_testkit::oidc::{Algorithm, Endpoint, Outcome, User, nrbac_role};

use crate::common::SOON;
use crate::party::{CHALLENGE, Party, REDIRECT, VERIFIER, parts, query_of, text, value, verifies};

#[test]
fn discovery_lists_the_endpoints_below_the_issuer() {
    for (provider, token) in [
        (OidcProvider::builder().start().unwrap(), "/realms/test/protocol/openid-connect/token"),
        (OidcProvider::builder().ehealth_dk().start().unwrap(), "/auth/realms/ehealth/protocol/openid-connect/token"),
        (
            OidcProvider::builder().cis2().start().unwrap(),
            "/openam/oauth2/realms/root/realms/NHSIdentity/realms/Healthcare/access_token",
        ),
    ] {
        let metadata = Party::new(&provider).get(Endpoint::Discovery).json();
        assert_eq!(metadata["issuer"], provider.issuer());
        assert_eq!(metadata["token_endpoint"], format!("{}{token}", provider.url()));
    }
}

#[test]
fn an_issuer_is_spelled_as_it_is_configured() {
    let provider = OidcProvider::builder().cis2().issuer("https://am.test:443/realm").start().unwrap();
    let party = Party::new(&provider);
    assert_eq!(provider.address_of(Endpoint::Token), "https://am.test:443/realm/access_token");
    assert_eq!(party.get(Endpoint::Discovery).json()["issuer"], "https://am.test:443/realm");
}

#[test]
fn a_login_gives_tokens_and_user_info() {
    let provider = OidcProvider::builder().user(User::new("42").name("Ana Æble").username("ana")).start().unwrap();
    let mut party = Party::new(&provider);
    let redirect = party.redirect(&[]);
    assert_eq!(value(&redirect, "state"), Some("a state & more"));
    assert_eq!(value(&redirect, "iss"), Some(provider.issuer().as_str()));
    assert_eq!(provider.open_sessions(), 0, "nobody has tokens yet");

    let answer = party.exchange(value(&redirect, "code").unwrap()).json();
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(300)));
    assert_eq!(provider.open_sessions(), 1);
    let (header, claims) = parts(text(&answer, "id_token"));
    assert!(verifies(text(&answer, "id_token"), &party.get(Endpoint::Jwks).json()));
    assert_eq!(header["alg"], "RS256");
    assert_eq!(claims["iss"], provider.issuer());
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("42"), &json!("test-client")));
    assert_eq!(claims["nonce"], "a nonce");
    let digest = openssl::sha::sha256(text(&answer, "access_token").as_bytes());
    use base64::Engine;
    assert_eq!(claims["at_hash"], base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&digest[..16]));

    let user_info = party.user_info(text(&answer, "access_token"));
    assert_eq!(user_info.json()["sub"], "42");
    assert_eq!(user_info.json()["name"], "Ana Æble");
    assert_eq!(party.user_info("x").status, 401);
    assert_eq!(provider.codes_sent_twice(), 0);
}

#[test]
fn its_tokens_have_the_algorithm_that_was_asked_for() {
    for algorithm in Algorithm::ALL {
        let provider = OidcProvider::builder().algorithm(algorithm).start().unwrap();
        let answer = Party::new(&provider).log_in();
        assert_eq!(parts(text(&answer, "id_token")).0["alg"], algorithm.name());
    }
}

#[test]
fn a_code_is_good_once_and_takes_the_tokens_along() {
    let provider = OidcProvider::builder().start().unwrap();
    let mut party = Party::new(&provider);
    let code = party.code();
    let answer = party.exchange(&code).json();
    assert_eq!(party.exchange(&code).json()["error"], "invalid_grant");
    assert_eq!(party.user_info(text(&answer, "access_token")).status, 401);
    assert_eq!((provider.open_sessions(), provider.codes_sent_twice()), (0, 1));
}

#[test]
fn a_code_needs_its_verifier_its_redirect_and_its_client() {
    let provider = OidcProvider::builder().start().unwrap();
    let mut party = Party::new(&provider);
    for (name, wrong) in [
        ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXX"),
        ("redirect_uri", "http://127.0.0.1:50124/callback"),
        ("code", "another"),
        ("client_id", "another"),
    ] {
        let code = party.code();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ];
        form.retain(|pair| pair.0 != name);
        form.push((name, wrong));
        let answer = party.token(&form);
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
    }
    assert_eq!(provider.open_sessions(), 0);
}

#[test]
fn a_request_that_is_not_in_order_comes_back_as_an_error_or_a_page() {
    let provider = OidcProvider::builder().start().unwrap();
    let mut party = Party::new(&provider);
    for (more, error) in [
        (&[("code_challenge", ""), ("code_challenge_method", "")][..], "invalid_request"),
        (&[("code_challenge_method", "plain")], "invalid_request"),
        (&[("code_challenge", "short")], "invalid_request"),
        (&[("response_type", "token")], "unsupported_response_type"),
        (&[("response_mode", "fragment")], "invalid_request"),
        (&[("prompt", "none")], "login_required"),
        (&[("scope", "openid selectedrole")], "invalid_request"),
    ] {
        let redirect = party.redirect(more);
        assert_eq!(value(&redirect, "error"), Some(error), "{more:?}");
        assert_eq!(value(&redirect, "state"), Some("a state & more"), "{more:?}");
        assert_eq!(value(&redirect, "code"), None, "{more:?}");
    }
    for more in [("client_id", "another"), ("redirect_uri", "http://elsewhere.invalid/callback")] {
        let page = party.browser.open(&party.address(&[more])).unwrap();
        assert_eq!(page.status, 400, "{more:?}");
    }
}

#[test]
fn a_user_has_the_roles_that_they_were_given() {
    for count in [0, 1, 10_000] {
        let provider = OidcProvider::builder().cis2().user(User::new("1").nrbac_roles(count)).start().unwrap();
        let mut party = Party::new(&provider);
        party.scope = "openid nationalrbacaccess";
        let answer = party.log_in();
        let user_info = party.user_info(text(&answer, "access_token")).json();
        assert_eq!(user_info["nhsid_nrbac_roles"].as_array().unwrap().len(), count);
    }
    let user = User::new("1").single_nrbac_role(nrbac_role(7));
    let provider = OidcProvider::builder().cis2().user(user).start().unwrap();
    let mut party = Party::new(&provider);
    party.scope = "openid nationalrbacaccess";
    let answer = party.log_in();
    let user_info = party.user_info(text(&answer, "access_token")).json();
    assert_eq!(user_info["nhsid_nrbac_roles"], nrbac_role(7));
}

#[test]
fn user_info_may_be_a_signed_token() {
    let provider = OidcProvider::builder().signed_user_info().start().unwrap();
    let mut party = Party::new(&provider);
    let answer = party.log_in();
    let user_info = party.user_info(text(&answer, "access_token"));
    assert_eq!(user_info.header("Content-Type"), Some("application/jwt"));
    assert!(verifies(&user_info.text(), &party.get(Endpoint::Jwks).json()));
    assert_eq!(parts(&user_info.text()).1["aud"], "test-client");
}

#[test]
fn a_new_login_of_the_same_user_keeps_the_session_and_of_another_does_not() {
    let provider = OidcProvider::builder().user(User::new("anna")).start().unwrap();
    let mut party = Party::new(&provider);
    let claims = |redirect, party: &Party<'_>| {
        let answer = party.exchange(value(&redirect, "code").unwrap()).json();
        parts(text(&answer, "id_token")).1
    };
    let redirect = party.redirect(&[]);
    let first = claims(redirect, &party);
    let redirect = party.redirect(&[("prompt", "none")]);
    assert_eq!(claims(redirect, &party)["auth_time"], first["auth_time"]);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let redirect = party.redirect(&[("prompt", "login")]);
    let again = claims(redirect, &party);
    assert_eq!(again["sid"], first["sid"]);
    assert!(again["auth_time"].as_i64() > first["auth_time"].as_i64());

    provider.set_user(User::new("bent"));
    let redirect = party.redirect(&[("max_age", "3600")]);
    assert_eq!(claims(redirect, &party)["sub"], "anna", "not asked to log in");
    let redirect = party.redirect(&[("prompt", "login")]);
    let other = claims(redirect, &party);
    assert_eq!(other["sub"], "bent");
    assert_ne!(other["sid"], first["sid"]);
}

#[test]
fn a_person_logs_in_and_chooses_a_role_on_pages() {
    let user = User::new("555").username("test").nrbac_roles(6);
    let provider = OidcProvider::builder().cis2().user(user).pages().start().unwrap();
    let mut party = Party::new(&provider);
    party.scope = "openid nationalrbacaccess selectedrole";
    let address = party.address(&[("prompt", "login")]);
    let page = party.browser.open(&address).unwrap();
    assert!(page.has("username") && page.has("kc-login"));
    let page = party.browser.submit(&page, &[("username", "test"), ("password", "wrong")]).unwrap();
    assert!(page.has("problem"));
    let page = party.browser.submit(&page, &[("username", "test"), ("password", "pw-test")]).unwrap();
    assert!(page.has("cis2-roles") && page.has("cis2-search"), "{}", page.text);
    let page = party.browser.submit(&page, &[("roleid", "of somebody else")]).unwrap();
    assert!(page.has("problem"));
    let role = nrbac_role(4)["person_roleid"].as_str().unwrap().to_owned();
    // Nobody listens there.
    party.browser.submit(&page, &[("roleid", &role)]).unwrap_err();
    assert!(provider.wait_for(SOON, |log| log.iter().any(|entry| entry.answer == Outcome::Code)));
    let codes = provider.secrets();
    let answer = party.exchange(codes.last().unwrap()).json();
    let user_info = party.user_info(text(&answer, "access_token")).json();
    assert_eq!(user_info["selected_roleid"], role.as_str());

    let address = party.address(&[("scope", "openid changedrole"), ("prompt", "login")]);
    let page = party.browser.open(&address).unwrap();
    assert!(page.has("reset-login") && !page.has("username"), "{}", page.text);
    let page = party.browser.submit(&page, &[("password", "pw-test")]).unwrap();
    assert!(page.has("cis2-roles"));
    let error = party.browser.submit(&page, &[("cancel", "1")]).unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:50123"), "{error}");
}

#[test]
fn roles_are_chosen_by_the_test_where_there_are_no_pages() {
    let provider = OidcProvider::builder().cis2().start().unwrap();
    let mut party = Party::new(&provider);
    let [first, second] = [0, 1].map(|number| nrbac_role(number)["person_roleid"].clone());
    let mut selected = |scope: &str, prompt| {
        let redirect = party.redirect(&[("scope", scope), ("prompt", prompt)]);
        let answer = party.exchange(value(&redirect, "code").unwrap()).json();
        party.user_info(text(&answer, "access_token")).json()["selected_roleid"].clone()
    };
    assert_eq!(selected("openid", ""), json!(null));
    assert_eq!(selected("openid selectedrole", "login"), first);
    provider.choose_role(second.as_str().unwrap());
    assert_eq!(selected("openid selectedrole", "login"), first, "chosen before");
    assert_eq!(selected("openid changedrole", "login"), second);
}

#[test]
fn the_log_and_the_list_of_secrets_go_together() {
    let provider = OidcProvider::builder().start().unwrap();
    let answer = Party::new(&provider).log_in();
    let log = provider.log().iter().map(|entry| format!("{entry}\n{entry:?}\n")).collect::<String>();
    assert!(log.contains(CHALLENGE), "{log}");
    let secrets = provider.secrets();
    for name in ["access_token", "refresh_token", "id_token"] {
        assert!(secrets.contains(&text(&answer, name).to_owned()), "{name}");
    }
    assert!(secrets.contains(&VERIFIER.to_owned()));
    for secret in secrets {
        assert!(!log.contains(&secret), "{log}");
    }
    assert_eq!((provider.connections(), provider.client_connections()), (2, 1));
    assert!(query_of("x?a=b%20c").contains(&("a".into(), "b c".into())));
}
