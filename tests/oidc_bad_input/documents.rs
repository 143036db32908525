//! Metadata, keys, the token endpoint's answers, UserInfo.

use ticketapi::ErrorKind;
use ticketapi_testkit::OidcProvider;
use ticketapi_testkit::oidc::{Endpoint, Misbehaviour, User};
use ticketapi_testkit::spine::ServerCertificate;

use crate::trial::{IMPATIENT, Trial, named};

#[test]
fn addresses_in_the_metadata_are_those_of_servers() {
    let trial = Trial::new();
    for name in [
        "with:token_endpoint=ftp://elsewhere.invalid",
        "with:token_endpoint=/relative",
        "with:token_endpoint=https://user:password@elsewhere.invalid/",
        "with:authorization_endpoint=javascript:alert(1)",
        "with:authorization_endpoint=file:///etc/passwd",
        "with:authorization_endpoint=\"https://elsewhere.invalid/\\n--help\"",
        "with:jwks_uri=7",
        "without:authorization_endpoint",
        "without:jwks_uri",
    ] {
        let opened = trial.person.addresses().len();
        trial.refuses(Endpoint::Discovery, name);
        assert_eq!(trial.person.addresses().len(), opened + 1, "{name}: opened for the good login alone");
    }
}

#[test]
fn endpoints_may_be_at_another_host_whose_certificate_is_verified() {
    let trial = Trial::new();
    let here = format!("https://localhost:{}", trial.provider().port());
    trial.provider().misbehave(Endpoint::Discovery, Misbehaviour::EndpointsAt(here));
    trial.engine.get_ticket().unwrap();
    trial.engine.destroy_ticket().unwrap();

    let other = OidcProvider::builder().server_certificate(ServerCertificate::OtherCa).start().unwrap();
    let there = format!("{}/token", other.url());
    trial.provider().misbehave(Endpoint::Discovery, Misbehaviour::With("token_endpoint".into(), there.into()));
    let error = trial.fails("another CA", || trial.engine.get_ticket().map(drop));
    assert_eq!(*error.kind(), ErrorKind::Tls, "{error}");
    assert_eq!(other.log_of(Endpoint::Token).len(), 0);
}

#[test]
fn a_key_is_found_without_a_name_by_its_signature() {
    let trial = Trial::new();
    trial.provider().rotate_keys().unwrap();
    trial.provider().misbehave(Endpoint::Jwks, named("no-key-ids"));
    trial.provider().misbehave(Endpoint::Token, named("no-kid"));
    trial.engine.get_ticket().unwrap();
}

#[test]
fn an_id_token_that_is_none_leaves_no_session() {
    let trial = Trial::new();
    for name in [
        "with:id_token=7",
        "with:id_token=",
        "with:id_token=a.b.c",
        "with:id_token=not-a-token",
        "with:access_token=",
        "with:access_token={\"a\":1}",
        "with:token_type=7",
        "twice:id_token",
    ] {
        let error = trial.refuses(Endpoint::Token, name);
        assert_eq!(*error.kind(), ErrorKind::BadAnswer, "{name}: {error}");
    }
    assert_eq!(trial.provider().codes_sent_twice(), 0);
}

#[test]
fn an_answer_that_is_too_large_or_breaks_off_leaves_no_session_if_a_token_in_it_can_end_that() {
    let trial = Trial::new();
    for name in ["padded:2000000", "cut-before:scope", "cut-before:refresh_token"] {
        let error = trial.refuses(Endpoint::Token, name);
        assert_eq!(*error.kind(), ErrorKind::BadAnswer, "{name}: {error}");
    }
    assert_eq!(trial.provider().codes_sent_twice(), 0);
    // An access token alone can only be revoked.
    let trial = Trial::with("oidc", &[], |provider| provider.without_refresh_tokens().without(Endpoint::EndSession));
    trial.refuses(Endpoint::Token, "cut-before:expires_in");
}

#[test]
fn an_answer_without_any_token_ends_nothing_and_costs_no_second_code() {
    let trial = Trial::with("oidc", &[IMPATIENT], |provider| provider);
    for name in ["html", "status:500", "reset", "empty-body", "one-byte-a-second"] {
        trial.provider().misbehave_times(Endpoint::Token, named(name), 1);
        trial.fails(name, || trial.engine.get_ticket().map(drop));
    }
    let sent = |endpoint| trial.provider().log_of(endpoint).len();
    assert_eq!([Endpoint::Token, Endpoint::EndSession, Endpoint::Revocation].map(sent), [5, 0, 0]);
    assert_eq!(trial.provider().codes_sent_twice(), 0);
}

#[test]
fn odd_lifetimes_do_no_harm() {
    for name in ["with:expires_in=-1", "with:expires_in=\"300\"", "without:expires_in", "with:expires_in=1e300"] {
        let trial = Trial::new();
        trial.provider().misbehave(Endpoint::Token, named(name));
        match trial.engine.get_ticket() {
            Ok(_) => trial.engine.destroy_ticket().unwrap(),
            Err(error) => assert_ne!(*error.kind(), ErrorKind::Internal, "{name}: {error}"),
        }
        trial.no_session_is_left(name);
    }
}

#[test]
fn user_info_about_somebody_else_is_refused_where_no_role_is_required_too() {
    let trial = Trial::new();
    for name in ["with:sub=another", "without:sub", "with:sub=7", "twice:sub", "with:sub="] {
        let error = trial.refuses(Endpoint::UserInfo, name);
        assert_eq!(*error.kind(), ErrorKind::BadAnswer, "{name}: {error}");
    }
    let trial = Trial::with("oidc", &[], |provider| provider.signed_user_info());
    for name in ["bad-signature", "hs256-public-key", "with:iss=https://elsewhere.invalid", "with:aud=another"] {
        let error = trial.refuses(Endpoint::UserInfo, name);
        assert_eq!(*error.kind(), ErrorKind::BadAnswer, "{name}: {error}");
    }
}

#[test]
fn ten_thousand_roles_are_read() {
    let last = ticketapi_testkit::oidc::nrbac_role(9_999)["person_roleid"].as_str().unwrap().to_owned();
    let trial = Trial::with("cis2", &[("role", &last)], |provider| {
        provider.user(User::new("555021935107").nrbac_roles(10_000).acr("AAL3_ANY"))
    });
    let session = trial.engine.log_in().unwrap();
    assert_eq!((session.roles().len(), &session.role().unwrap().id), (10_000, &last));
}

#[test]
fn a_provider_that_does_not_shake_hands_is_given_up() {
    let trial = Trial::with("oidc", &[IMPATIENT], |provider| provider);
    for how in [Misbehaviour::NoAnswer, Misbehaviour::Reset] {
        trial.provider().misbehave_on_connect(&how);
        let error = trial.fails("no TLS", || trial.engine.get_ticket().map(drop));
        assert_eq!(*error.kind(), ErrorKind::ServerNotAvailable, "{error}");
    }
}
