//! Answers of a provider that are refused: within their deadline, with no session left at the provider, with the old
//! ticket still working, and with no secret in what is shown.

use std::time::{Duration, Instant};

use ticketapi::ErrorKind;
use ticketapi_testkit::oidc::{Endpoint, Misbehaviour};

use crate::house::House;
use crate::support::PATIENCE;

/// Has the provider misbehave in each way, and expects each login to fail with the kind: a first one, and one while
/// there is a session, which goes on.
fn refuses(house: &House, endpoint: Endpoint, cases: &[(&str, ErrorKind)]) {
    for (name, expected) in cases {
        house.provider.behave();
        house.browser.forget();
        let (first, second) = (house.engine(), house.engine());
        let ticket = second.get_ticket().unwrap();
        house.browser.forget();
        house.provider.misbehave(endpoint, Misbehaviour::from_name(name).unwrap());
        // The keys of the login before are good for the next.
        let again = if endpoint == Endpoint::Jwks { second.destroy_ticket().map(|()| None) } else { Ok(Some(second)) };
        let again = again.unwrap();
        let others = usize::from(again.is_some());
        for engine in [Some(first), again].into_iter().flatten() {
            let began = Instant::now();
            let error = match engine.log_in_again() {
                Err(error) => error,
                Ok(_) => panic!("{name} was accepted"),
            };
            assert_eq!(error.kind(), expected, "{name}: {error}");
            assert!(began.elapsed() < PATIENCE, "{name} took {:?}", began.elapsed());
            assert!(house.provider.wait_for_sessions(PATIENCE, others), "{name} leaves a session");
            if let Ok(kept) = engine.get_ticket_no_auth() {
                assert_eq!(kept, ticket, "{name}");
                house.provider.behave();
                engine.claims().unwrap();
                engine.destroy_ticket().unwrap();
                assert!(house.provider.wait_for_sessions(PATIENCE, 0), "{name} leaves a session");
            }
            let shown = [error.to_string(), format!("{error:?}"), error.remedy().to_owned()];
            house.assert_shows_no_secret(&[&shown[..], &house.browser.log().pages].concat());
        }
        assert_eq!((house.provider.open_sessions(), house.provider.codes_sent_twice()), (0, 0), "{name}");
    }
}

#[test]
fn metadata_that_cannot_be_used_is_refused() {
    let house = House::new().set("request_timeout", "2");
    refuses(
        &house,
        Endpoint::Discovery,
        &[
            ("with:issuer=https://elsewhere.invalid", ErrorKind::BadAnswer),
            ("without:issuer", ErrorKind::BadAnswer),
            ("without:token_endpoint", ErrorKind::BadAnswer),
            ("twice:token_endpoint", ErrorKind::BadAnswer),
            ("http-endpoints", ErrorKind::BadAnswer),
            ("padded", ErrorKind::BadAnswer),
            ("nested", ErrorKind::BadAnswer),
            ("html", ErrorKind::BadAnswer),
            ("empty-body", ErrorKind::BadAnswer),
            ("redirect", ErrorKind::BadAnswer),
            ("status:404", ErrorKind::BadAnswer),
            ("status:500", ErrorKind::ServerNotAvailable),
            ("reset", ErrorKind::ServerNotAvailable),
            ("no-answer", ErrorKind::ServerNotAvailable),
            ("truncated", ErrorKind::BadAnswer),
        ],
    );
    // The browser opened for the sessions that were there before alone.
    assert_eq!(house.browser.log().opened.len(), 15);
}

#[test]
fn id_tokens_that_are_not_right_are_refused() {
    let house = House::cis2(|provider| provider).set("role_selection", "service");
    refuses(
        &house,
        Endpoint::Token,
        &[
            ("wrong-iss", ErrorKind::BadAnswer),
            ("wrong-aud", ErrorKind::BadAnswer),
            ("wrong-azp", ErrorKind::BadAnswer),
            ("expired", ErrorKind::BadAnswer),
            ("future-iat", ErrorKind::BadAnswer),
            ("claim-in:iat=-300", ErrorKind::BadAnswer),
            ("wrong-nonce", ErrorKind::BadAnswer),
            ("without-claim:nonce", ErrorKind::BadAnswer),
            ("without-claim:exp", ErrorKind::BadAnswer),
            ("without-claim:iat", ErrorKind::BadAnswer),
            ("without-claim:sub", ErrorKind::BadAnswer),
            ("wrong-at-hash", ErrorKind::BadAnswer),
            ("wrong-acr", ErrorKind::Refused),
            ("without-claim:acr", ErrorKind::BadAnswer),
            ("old-auth-time", ErrorKind::Refused),
            ("without-claim:auth_time", ErrorKind::BadAnswer),
            ("alg-none", ErrorKind::BadAnswer),
            ("no-signature", ErrorKind::BadAnswer),
            ("hs256-secret", ErrorKind::BadAnswer),
            ("hs256-public-key", ErrorKind::BadAnswer),
            ("unknown-kid", ErrorKind::BadAnswer),
            ("wrong-key", ErrorKind::BadAnswer),
            ("bad-signature", ErrorKind::BadAnswer),
            ("embedded-key", ErrorKind::BadAnswer),
            ("critical", ErrorKind::BadAnswer),
            ("without:id_token", ErrorKind::BadAnswer),
            // The ID token is another user's than UserInfo's.
            ("other-sub", ErrorKind::BadAnswer),
        ],
    );
}

#[test]
fn answers_without_tokens_are_refused() {
    let house = House::new().set("request_timeout", "2");
    refuses(
        &house,
        Endpoint::Token,
        &[
            ("error:invalid_request", ErrorKind::Refused),
            ("error:invalid_grant", ErrorKind::Refused),
            ("error:invalid_client", ErrorKind::Configuration),
            ("error:unauthorized_client", ErrorKind::Configuration),
            ("error:unsupported_grant_type", ErrorKind::Refused),
            ("error:invalid_scope", ErrorKind::Configuration),
            ("status:401", ErrorKind::BadAnswer),
            ("status:500", ErrorKind::ServerNotAvailable),
            ("html", ErrorKind::BadAnswer),
            ("redirect", ErrorKind::BadAnswer),
            ("empty-body", ErrorKind::BadAnswer),
            ("nested", ErrorKind::BadAnswer),
            ("reset", ErrorKind::ServerNotAvailable),
            ("no-answer", ErrorKind::ServerNotAvailable),
            ("truncated", ErrorKind::BadAnswer),
        ],
    );
}

#[test]
fn other_kinds_of_tokens_are_refused() {
    let house = House::new();
    for name in ["mac-token", "without:access_token", "twice:access_token", "without:token_type"] {
        house.provider.misbehave(Endpoint::Token, Misbehaviour::from_name(name).unwrap());
        let error = house.engine().log_in().unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::BadAnswer, "{name}: {error}");
        house.assert_shows_no_secret(&[format!("{error} {error:?}")]);
        house.provider.behave();
        assert!(house.provider.wait_for_sessions(PATIENCE, 0), "{name} leaves a session");
    }
}

#[test]
fn keys_that_cannot_be_read_are_refused_and_a_thousand_are_not() {
    let house = House::new().set("request_timeout", "2");
    refuses(
        &house,
        Endpoint::Jwks,
        &[
            ("status:500", ErrorKind::ServerNotAvailable),
            ("no-answer", ErrorKind::ServerNotAvailable),
            ("html", ErrorKind::BadAnswer),
            ("with:keys=[]", ErrorKind::BadAnswer),
        ],
    );
    for name in ["keys", "no-key-ids"] {
        house.provider.misbehave(Endpoint::Jwks, Misbehaviour::from_name(name).unwrap());
        house.engine().log_in().unwrap();
    }
}

#[test]
fn user_info_that_is_not_right_is_refused() {
    for signed in [false, true] {
        let house = House::cis2(|provider| if signed { provider.signed_user_info() } else { provider });
        let mut cases = vec![
            ("with:sub=somebody-else", ErrorKind::BadAnswer),
            ("without:sub", ErrorKind::BadAnswer),
            ("error:invalid_token", ErrorKind::Refused),
            ("status:500", ErrorKind::ServerNotAvailable),
            ("html", ErrorKind::BadAnswer),
            ("redirect", ErrorKind::BadAnswer),
        ];
        if signed {
            cases.extend([("wrong-key", ErrorKind::BadAnswer), ("alg-none", ErrorKind::BadAnswer)]);
        }
        refuses(&house, Endpoint::UserInfo, &cases);
    }
}

#[test]
fn an_old_ticket_works_on_after_a_login_that_failed() {
    let house = House::new();
    let engine = house.engine();
    let ticket = engine.get_ticket().unwrap();
    for (endpoint, name) in [(Endpoint::Token, "wrong-nonce"), (Endpoint::Discovery, "status:500")] {
        house.provider.misbehave(endpoint, Misbehaviour::from_name(name).unwrap());
        engine.log_in_again().unwrap_err();
        house.provider.behave();
        assert_eq!(engine.get_ticket_no_auth().unwrap(), ticket);
        assert!(house.provider.wait_for_sessions(PATIENCE, 1));
    }
}

#[test]
fn a_provider_that_sends_slowly_or_without_end_is_given_up() {
    let house = House::new().set("request_timeout", "2");
    for endpoint in [Endpoint::Discovery, Endpoint::Token, Endpoint::Jwks, Endpoint::UserInfo] {
        for name in ["one-byte-a-second", "endless"] {
            house.provider.misbehave(endpoint, Misbehaviour::from_name(name).unwrap());
            let began = Instant::now();
            house.engine().log_in().unwrap_err();
            assert!(began.elapsed() < Duration::from_secs(20), "{endpoint:?} {name}: {:?}", began.elapsed());
            house.provider.behave();
        }
    }
    assert!(house.provider.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn an_end_of_session_that_fails_is_reported() {
    let house = House::with("oidc", |provider| provider.without(Endpoint::Revocation));
    let engine = house.engine();
    engine.log_in().unwrap();
    house.provider.misbehave(Endpoint::EndSession, Misbehaviour::Status(404));
    let error = engine.destroy_ticket().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::BadAnswer, "{error}");
    assert!(engine.get_ticket_no_auth().is_err());
    house.assert_shows_no_secret(&[format!("{error} {error:?}")]);
}

#[test]
fn endpoints_may_be_at_another_host_if_its_certificate_is_trusted() {
    let house = House::new();
    let other = house.provider.url().replace("127.0.0.1", "localhost");
    assert_ne!(other, house.provider.url());
    house.provider.misbehave(Endpoint::Discovery, Misbehaviour::EndpointsAt(other));
    house.engine().log_in().unwrap();
    assert_eq!(house.provider.client_connections(), 2);

    // One whose CA is another.
    let stranger = House::new();
    house.provider.misbehave(Endpoint::Discovery, Misbehaviour::EndpointsAt(stranger.provider.url()));
    // The browser would not trust it either: it comes back with a code all the same.
    let issuer = house.provider.address_of(Endpoint::Authorize);
    house.browser.acts(move |browser, address| {
        let (_, query) = address.split_once('?').unwrap();
        browser.follow(&format!("{issuer}?{query}"));
    });
    let error = house.engine().log_in().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Tls, "{error}");
    assert!(stranger.provider.log_of(Endpoint::Token).is_empty());
}

#[test]
fn a_code_is_not_sent_without_the_keys_to_check_what_it_brings() {
    let house = House::new();
    house.provider.misbehave(Endpoint::Jwks, Misbehaviour::Status(500));
    let error = house.engine().log_in().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::ServerNotAvailable, "{error}");
    assert!(house.provider.log_of(Endpoint::Token).is_empty());
}

#[test]
fn a_login_that_ends_without_a_code_leaves_no_connection() {
    let house = House::new().set("login_timeout", "1");
    house.provider.misbehave(Endpoint::Jwks, Misbehaviour::NoAnswer);
    house.provider.misbehave(Endpoint::Authorize, Misbehaviour::NoRedirect);
    let engine = house.engine();
    let began = Instant::now();
    engine.log_in().unwrap_err();
    assert!(house.provider.wait_for_connections(Duration::from_secs(5), 0));
    assert!(began.elapsed() < Duration::from_secs(8));
}
