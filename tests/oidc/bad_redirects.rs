//! What can go wrong in the browser, and on the way back.

use std::time::{Duration, Instant};

use ticketapi::{Engine, ErrorKind, Stage};
use ticketapi_testkit::oidc::{Endpoint, Misbehaviour};

use crate::house::{House, NoBrowser, parameter};
use crate::support::{PATIENCE, User, kind};

/// Replaces the value of a parameter in an address.
fn with_parameter(address: &str, name: &str, value: &str) -> String {
    let old = format!("{name}={}", parameter(address, name).unwrap());
    address.replace(&old, &format!("{name}={value}"))
}

/// Logs in while the browser comes back with a changed address, and expects a refusal.
fn refused_with(change: impl Fn(&str) -> String + Send + Sync + 'static) -> ErrorKind {
    let house = House::new();
    house.browser.acts(move |browser, address| {
        let redirect = browser.redirect_of(address).unwrap();
        browser.end(&change(&redirect));
    });
    let error = house.engine().log_in().unwrap_err();
    assert!(house.provider.log_of(Endpoint::Token).is_empty(), "the code was sent");
    assert_eq!(house.provider.open_sessions(), 0);
    let page = house.browser.pages(1).remove(0);
    assert!(!page.contains("<script"), "{page}");
    house.assert_shows_no_secret(&[format!("{error} {error:?}"), page]);
    error.kind().clone()
}

#[test]
fn a_redirect_of_another_issuer_or_without_one_sends_no_code() {
    let wrong = |address: &str| with_parameter(address, "iss", "https%3A%2F%2Fevil.example");
    assert_eq!(refused_with(wrong), ErrorKind::BadAnswer);
    let without = |address: &str| {
        let iss = format!("iss={}", parameter(address, "iss").unwrap());
        address.replace(&format!("&{iss}"), "").replace(&format!("{iss}&"), "")
    };
    assert_eq!(refused_with(without), ErrorKind::BadAnswer);
}

#[test]
fn a_redirect_of_another_login_or_page_does_not_end_the_login() {
    let house = House::new();
    house.browser.acts(|browser, address| {
        let redirect = browser.redirect_of(address).unwrap();
        let wrong = with_parameter(&redirect, "state", "another");
        browser.end(&wrong);
        let (base, _) = redirect.split_once('?').unwrap();
        browser.end(base);
        browser.end(&format!("{base}?error=access_denied"));
        browser.end(&redirect);
        // One is enough.
        browser.end(&redirect);
    });
    house.engine().log_in().unwrap();
    let pages = house.browser.pages(5);
    for page in &pages[..3] {
        assert!(page.starts_with("HTTP/1.1 400"), "{page}");
    }
    assert!(pages[3].contains("close this window"), "{}", pages[3]);
    assert!(pages[4].is_empty(), "{}", pages[4]);
    assert_eq!((house.provider.open_sessions(), house.provider.codes_sent_twice()), (1, 0));
}

#[test]
fn each_refusal_of_the_provider_ends_the_login_at_once() {
    let house = House::new().set("login_timeout", "60");
    for (error, expected) in [
        ("access_denied", ErrorKind::Refused),
        ("login_required", ErrorKind::Refused),
        ("invalid_request", ErrorKind::Refused),
        ("invalid_scope", ErrorKind::Configuration),
        ("server_error", ErrorKind::ServerNotAvailable),
        ("temporarily_unavailable", ErrorKind::ServerNotAvailable),
    ] {
        house.provider.misbehave_times(Endpoint::Authorize, Misbehaviour::Error(error.into()), 1);
        let began = Instant::now();
        let refused = house.engine().log_in().unwrap_err();
        assert_eq!(*refused.kind(), expected, "{refused}");
        assert!(refused.detail().contains(error), "{refused}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(house.provider.open_sessions(), 0);
}

#[test]
fn a_browser_that_never_comes_back_is_waited_for_until_the_time_is_over() {
    let house = House::new().set("login_timeout", "1");
    house.provider.misbehave(Endpoint::Authorize, Misbehaviour::NoRedirect);
    let error = house.engine().log_in().unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::Cancelled, Stage::Browser));
    assert!(error.detail().contains("login_timeout"), "{error}");
}

#[test]
fn a_login_can_be_cancelled_while_the_browser_is_waited_for() {
    let house = House::new();
    house.provider.misbehave(Endpoint::Authorize, Misbehaviour::NoRedirect);
    let engine = house.engine();
    std::thread::scope(|scope| {
        let login = scope.spawn(|| engine.log_in());
        assert!(
            house
                .provider
                .wait_for(PATIENCE, |log| { log.iter().any(|entry| entry.endpoint == Some(Endpoint::Authorize)) })
        );
        engine.cancel_login();
        assert_eq!(kind(login.join().unwrap()), ErrorKind::Cancelled);
    });
}

#[test]
fn tokens_that_come_after_the_login_was_cancelled_are_ended() {
    let house = House::new();
    let engine = house.engine();
    let held = house.provider.hold(Endpoint::Token);
    std::thread::scope(|scope| {
        let login = scope.spawn(|| engine.log_in());
        assert!(house.provider.wait_for_sessions(PATIENCE, 1));
        engine.cancel_login();
        assert_eq!(kind(login.join().unwrap()), ErrorKind::Cancelled);
    });
    drop(held);
    assert!(house.provider.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn a_browser_that_cannot_be_started_and_a_port_that_is_taken_are_named() {
    let house = House::new();
    let engine = Engine::builder(house.config.clone()).prompter(User::new()).browser(NoBrowser).build().unwrap();
    let error = engine.log_in().unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::NoPrompter, Stage::Browser));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let house = house.set("redirect_uri", &format!("http://127.0.0.1:{port}/callback"));
    let error = house.engine().log_in().unwrap_err();
    assert!(error.detail().contains(&port.to_string()), "{error}");
    assert!(house.browser.log().opened.is_empty());
}
