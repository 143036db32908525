//! The checks of logins in the browser, at an OpenID provider.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use ticketapi_testkit::oidc::{Client, Endpoint, Misbehaviour, OidcBuilder, OidcProvider};

use crate::Visit;
use crate::support::{Desk, script};

/// A desk whose logins are at this provider, in a browser that nobody starts.
fn desk(set_up: impl FnOnce(OidcBuilder) -> OidcBuilder) -> (Desk, OidcProvider) {
    let provider = set_up(OidcProvider::builder()).start().unwrap();
    let desk = Desk::new().without("base_url").without("software_card").without("role");
    script(&desk.path("browser"), "touch $0.started\n");
    fs::copy(provider.ca_file(), desk.path("provider.pem")).unwrap();
    let (browser, ca_file) = (desk.text("browser"), desk.text("provider.pem"));
    let desk = desk
        .set("service", "oidc")
        .set("issuer", &provider.issuer())
        .set("client_id", &provider.client_id())
        .set("ca_file", &ca_file)
        .set("bind_card", "false")
        .set("browser", &browser);
    (desk, provider)
}

#[test]
fn a_provider_that_answers_passes_every_check_and_logs_nobody_in() {
    let (desk, provider) = desk(|provider| provider);
    let server = format!("127.0.0.1:{}", provider.port());
    let visit = Visit::to(&desk);
    assert_eq!((visit.failed(), visit.code), (vec![], 0), "{}", visit.answer);
    let names: Vec<_> = visit.states().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "configuration",
            "prompt",
            "browser",
            "helper",
            "service",
            "reader",
            "card",
            "name",
            "connection",
            "tls",
            "clock",
            "provider",
            "client",
            "agent",
            "ticket"
        ]
    );
    assert_eq!(visit.told("browser").sentence, format!("{} opens the login page", desk.text("browser")));
    assert_eq!(visit.told("provider").sentence, format!("{} answers as an OpenID provider", provider.issuer()));
    assert_eq!(visit.told("client").sentence, format!("{server} accepts the client {}", provider.client_id()));
    assert_eq!(visit.told("card").sentence, "not needed: bind_card is false");
    assert!(visit.told("ticket").sentence.starts_with("nobody is logged in; "), "{:?}", visit.told("ticket"));
    assert!(!desk.path("browser.started").exists());
    assert_eq!((provider.open_sessions(), provider.log_of(Endpoint::Authorize).len()), (0, 0));
    assert_eq!(provider.log_of(Endpoint::Token).len(), 1);
}

#[test]
fn settings_without_which_no_login_works_are_named() {
    let (desk, _provider) = desk(|provider| provider);
    let visit = Visit::to(&desk.without("client_id"));
    let sentence = "client_id is not set: service = oidc needs the id that the provider has given this program";
    visit.assert_only_failure("configuration", 5, sentence);
    visit.assert_skipped(&["browser", "provider", "client", "ticket"], "configuration");
}

#[test]
fn a_client_that_the_provider_does_not_know_is_reported() {
    let (desk, provider) = desk(|provider| provider);
    let visit = Visit::to(&desk.set("client_id", "other"));
    let told = visit.told("client");
    let expected = format!("127.0.0.1:{} does not accept this program: ", provider.port());
    assert!(told.sentence.starts_with(&expected) && told.sentence.contains("invalid_client"), "{told:?}");
    assert_eq!((visit.failed(), visit.code), (vec!["client".to_owned()], 5));
}

#[test]
fn a_secret_is_tried_and_its_file_must_be_the_users_alone() {
    let client = Client::with_secret("secretive", "s3cret-of-the-client");
    let (desk, provider) = desk(|provider| provider.client(client));
    let file = desk.path("secret");
    fs::write(&file, "s3cret-of-the-client\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let name = desk.text("secret");
    let desk = desk.set("client_auth", "client_secret").set("client_secret_file", &name);
    let visit = Visit::to(&desk);
    assert_eq!((visit.failed(), visit.code), (vec![], 0), "{}", visit.answer);

    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let visit = Visit::to(&desk);
    let told = visit.told("client");
    assert!(told.sentence.starts_with(&format!("client_secret_file {name}: it cannot be read: ")), "{told:?}");
    assert_eq!((visit.failed(), visit.code), (vec!["client".to_owned()], 5));

    fs::write(&file, "another\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let visit = Visit::to(&desk);
    let told = visit.told("client");
    assert!(told.sentence.contains("does not accept this program"), "{told:?}");
    assert!(!visit.answer.to_string().contains("another"), "{}", visit.answer);
    assert_eq!(provider.open_sessions(), 0);
}

#[test]
fn a_provider_that_is_none_is_reported() {
    let (desk, provider) = desk(|provider| provider);
    provider.misbehave(Endpoint::Discovery, Misbehaviour::Status(404));
    let visit = Visit::to(&desk);
    let told = visit.told("provider");
    assert_eq!((told.state.as_str(), visit.failed()), ("failed", vec!["provider".to_owned()]), "{told:?}");
    assert!(told.sentence.contains("HTTP status 404"), "{told:?}");
    visit.assert_skipped(&["client"], "provider");
}

#[test]
fn a_browser_that_is_not_there_is_reported() {
    let (desk, _provider) = desk(|provider| provider);
    let visit = Visit::to(&desk.set("browser", "/no/such/browser"));
    let told = visit.told("browser");
    assert!(told.sentence.starts_with("/no/such/browser cannot be used: "), "{told:?}");
    assert_eq!((visit.failed(), visit.code), (vec!["browser".to_owned()], 5));
}

#[test]
fn without_a_card_the_session_is_bound_to_none_and_that_is_no_failure() {
    let (desk, _provider) = desk(|provider| provider);
    let visit = Visit::to(&desk.set("bind_card", "true").set("helper", "/no/such/helper"));
    let told = visit.told("helper");
    assert_eq!((told.state.as_str(), visit.code), ("warning", 0), "{told:?}");
    assert!(told.sentence.ends_with("; a session is bound to no card then"), "{told:?}");
    visit.assert_skipped(&["service", "reader", "card"], "card helper");
}

#[test]
fn a_clock_that_no_id_token_would_stand_is_reported() {
    let (desk, _provider) = desk(|provider| provider.clock_ahead(-90));
    Visit::to(&desk).assert_only_failure("clock", 5, "this computer's clock is 90 seconds ahead of the server's");
}
