//! The checks of logins in the browser, at an employer's Nuts node.

use ticketapi_testkit::Nuts;
use ticketapi_testkit::nuts::{Endpoint, Misbehaviour, Version};

use crate::Visit;
use crate::support::{Desk, script};

/// A desk whose logins are at a node, in a browser that nobody starts.
fn desk() -> (Desk, Nuts) {
    let nuts = Nuts::builder().version(Version::V6).start().unwrap();
    let desk = Desk::new().without("base_url").without("software_card").without("role");
    script(&desk.path("browser"), "touch $0.started\n");
    let browser = desk.text("browser");
    let desk = desk
        .set("service", "nuts")
        .set("nuts_node", &nuts.url())
        .set("allow_http", "true")
        .set("employer", nuts.employer())
        .set("bind_card", "false")
        .set("browser", &browser);
    (desk, nuts)
}

#[test]
fn a_node_that_draws_up_contracts_passes_and_nobody_is_asked() {
    let (desk, nuts) = desk();
    let visit = Visit::to(&desk);
    assert_eq!((visit.failed(), visit.code), (vec![], 0), "{}", visit.answer);
    let told = visit.told("node").sentence;
    assert!(told.contains("act on behalf of CareBears located in CareTown"), "{told}");
    assert_eq!(visit.told("employee").sentence, "the settings name no employee: the program has to");
    assert!(!visit.states().iter().any(|(name, _)| name == "provider" || name == "certificate"));
    assert!(!desk.path("browser.started").exists());
    assert_eq!(nuts.open_sessions(), 0);
}

#[test]
fn an_employer_that_the_node_does_not_know_and_a_bad_node_are_reported() {
    let (desk, nuts) = desk();
    let desk = desk.set("employer", "did:nuts:unknown");
    let visit = Visit::to(&desk);
    assert_eq!((visit.failed(), visit.code), (vec!["node".to_owned()], 5), "{}", visit.answer);
    assert!(visit.told("node").sentence.contains("no valid organization credential"), "{:?}", visit.told("node"));
    let desk = desk.set("employer", nuts.employer());
    nuts.misbehave(Endpoint::DrawUp, Misbehaviour::Status(401));
    assert!(Visit::to(&desk).told("node").sentence.contains("nuts_token_key"));
    nuts.misbehave(Endpoint::DrawUp, Misbehaviour::Html);
    assert!(Visit::to(&desk).told("node").sentence.contains("no Nuts node answers there"));
}
