//! Malformed responses, at each request of a login and at the logout.

use ticketapi::{ErrorKind, Stage};
use ticketapi_testkit::{Endpoint, Misbehaviour};

use crate::elsewhere::{Elsewhere, Fifo};
use crate::trial::Trial;

fn named(name: &str) -> Misbehaviour {
    Misbehaviour::from_name(name).unwrap()
}

fn body(text: &str) -> Misbehaviour {
    Misbehaviour::Body(text.into())
}

#[test]
fn a_redirect_is_not_followed() {
    let trial = Trial::new();
    for scheme in ["http", "https"] {
        let elsewhere = Elsewhere::listen();
        let redirect = Misbehaviour::Redirect(elsewhere.url(scheme));
        trial.fails_at_each_request(&redirect, &ErrorKind::BadAnswer, "redirect (HTTP status 302)");
        elsewhere.saw_nobody();
    }
}

#[test]
fn http_404_is_named() {
    Trial::new().fails_at_each_request(&Misbehaviour::Status(404), &ErrorKind::BadAnswer, "HTTP status 404");
}

#[test]
fn http_500_is_reported_as_an_unavailable_broker() {
    let not_available = ErrorKind::ServerNotAvailable;
    Trial::new().fails_at_each_request(&Misbehaviour::Status(500), &not_available, "HTTP status 500");
}

#[test]
fn an_empty_body_is_reported() {
    Trial::new().fails_at_each_request(&named("empty-body"), &ErrorKind::BadAnswer, "it is empty");
}

#[test]
fn an_html_page_is_not_a_response() {
    let trial = Trial::new();
    let well_formed = body("<!DOCTYPE html>\n<html><body><p>Please log in to the network</p></body></html>");
    for (page, says) in [(Misbehaviour::html(), "it is not XML"), (well_formed, "it is not a message of a broker")] {
        for endpoint in [Endpoint::Activate, Endpoint::SelectRole, Endpoint::Logout] {
            let error = trial.error_at(endpoint, &page);
            assert_eq!(error.kind(), &ErrorKind::BadAnswer, "{endpoint:?}: {error}");
            assert!(error.detail().contains(says), "{endpoint:?}: {error}");
            // A server that sent a challenge is a broker.
            assert_eq!(error.remedy().contains("base_url"), endpoint == Endpoint::Activate, "{endpoint:?}");
        }
    }
}

#[test]
fn a_page_in_response_to_the_signed_challenge_is_a_refusal_with_its_text() {
    let trial = Trial::new();
    for page in ["Failed To Validate", "<html><body><h1>Failed To<br>Validate</h1></body></html>"] {
        let error = trial.error_at(Endpoint::Validate, &body(page));
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::Refused, Stage::Authentication), "{error}");
        assert!(error.detail().contains("refused: it answers with a page: \"Failed To Validate\""), "{error}");
    }
}

#[test]
fn only_a_single_status_whose_whole_text_is_ok_counts_as_ok() {
    let trial = Trial::new();
    for (page, says) in [
        ("<HTML><STATUS>OK<!-- --> NOT</STATUS></HTML>", "its STATUS cannot be read"),
        ("<HTML><STATUS>OK</STATUS><STATUS>FAILED</STATUS></HTML>", "it has STATUS twice"),
    ] {
        for endpoint in [Endpoint::SelectRole, Endpoint::Logout] {
            let error = trial.error_at(endpoint, &body(page));
            assert_eq!(error.kind(), &ErrorKind::BadAnswer, "{endpoint:?}: {error}");
            assert!(error.detail().contains(says), "{endpoint:?}: {error}");
        }
    }
}

#[test]
fn a_truncated_body_is_reported() {
    Trial::new().fails_at_each_request(&Misbehaviour::Truncated, &ErrorKind::BadAnswer, "broke off within its answer");
}

#[test]
fn a_connection_reset_is_reported() {
    Trial::new().fails_at_each_request(&Misbehaviour::Reset, &ErrorKind::ServerNotAvailable, "reset");
}

#[test]
fn nested_entities_are_refused() {
    let refused = "it uses XML entities of its own";
    Trial::new().fails_at_each_request(&Misbehaviour::entity_bomb(), &ErrorKind::BadAnswer, refused);
}

#[test]
fn an_external_entity_is_neither_opened_nor_fetched() {
    let trial = Trial::new();
    let refused = "it uses XML entities of its own";
    let (elsewhere, fifo) = (Elsewhere::listen(), Fifo::make(&trial.desk.path("entity")));
    for url in [format!("file://{}", trial.desk.path("entity").display()), elsewhere.url("http")] {
        let parameter_entity =
            format!("<!DOCTYPE gpOBJECT [<!ENTITY % out SYSTEM \"{url}\">%out;]><gpOBJECT></gpOBJECT>");
        for answer in [Misbehaviour::external_entity(&url), body(&parameter_entity)] {
            trial.fails_at_each_request(&answer, &ErrorKind::BadAnswer, refused);
        }
    }
    elsewhere.saw_nobody();
    fifo.was_not_opened();
}

#[test]
fn a_dtd_is_not_fetched() {
    let trial = Trial::new();
    let (elsewhere, fifo) = (Elsewhere::listen(), Fifo::make(&trial.desk.path("dtd")));
    for url in [format!("file://{}", trial.desk.path("dtd").display()), elsewhere.url("http")] {
        let answer = body(&format!("<!DOCTYPE USER SYSTEM \"{url}\">\n<gpOBJECT></gpOBJECT>"));
        assert!(trial.error_at(Endpoint::Activate, &answer).detail().contains("it has no challenge"));
        assert!(trial.error_at(Endpoint::Validate, &answer).detail().contains("it has no sso_ticket"));
    }
    elsewhere.saw_nobody();
    fifo.was_not_opened();
    // The DTD that every correct response names is on the broker itself.
    assert!(!trial.desk.spine.log().iter().any(|entry| entry.path.contains("dtd")));
}

#[test]
fn elements_nested_200_000_deep_are_refused() {
    let trial = Trial::new();
    trial.fails_at_each_request(&Misbehaviour::nested(200_000), &ErrorKind::BadAnswer, "it is too large");
    trial.fails_at_each_request(&Misbehaviour::nested(10_000), &ErrorKind::BadAnswer, "nested too deep");
}

#[test]
fn nul_bytes_are_refused() {
    Trial::new().fails_at_each_request(&named("nul"), &ErrorKind::BadAnswer, "a NUL character");
}

#[test]
fn bytes_that_are_not_utf_8_are_refused() {
    Trial::new().fails_at_each_request(&named("invalid-utf8"), &ErrorKind::BadAnswer, "it is not UTF-8");
}
