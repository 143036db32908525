//! PINs and tickets are in nothing that a login emits, whatever is logged and however it ends, and the PIN is not
//! in the host's memory afterwards.
//!
//! The host is a copy of this test program that gets the PIN only from a pinentry. The tests collect everything
//! that it and its child processes have or write, and search it.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod desk;
mod host;
mod output;
mod search;
#[path = "../support/mod.rs"]
mod support;

use desk::{Desk, Pinentry};
use ticketapi_testkit::{Endpoint, Misbehaviour};

/// Long, because the allocator overwrites the beginning of freed blocks, and with special characters, because
/// escaping does not change letters.
const PIN: &str = "q7<Kp&x\"2M%>t'v9&R+<wB/>nH\"y6:jD";
const WRONG_PIN: &str = "W5'rT&g<8:Xk\"L3%mQ+f>Jz/1=Gc;u9Y";

/// The ticket that the broker issues if a test asks it to; otherwise it makes a new one each time.
const TICKET: &str = "AQIC5wM2LY4SfcwrRGMHiyxMR3suYWqcF+B1j56GJ4xGut4=@AAJTSQACMDE=#";

/// The ticket as in the URL of a request.
const TICKET_IN_URL: &str = "AQIC5wM2LY4SfcwrRGMHiyxMR3suYWqcF%2BB1j56GJ4xGut4%3D%40AAJTSQACMDE%3D%23";

const WRONG_THEN_RIGHT: Pinentry = Pinentry(&[Some(WRONG_PIN), Some(PIN)]);
const RIGHT: Pinentry = Pinentry(&[Some(PIN)]);

#[test]
fn a_login_with_a_software_card_shows_no_secret() {
    let emitted = Desk::with_software_card(WRONG_THEN_RIGHT).host("engine", "a session");
    emitted.by_way_of(&["pinentry", "chooser"]).shows_no_secret();
}

#[test]
fn a_login_through_the_helper_shows_no_secret() {
    let emitted = Desk::with_token("", WRONG_THEN_RIGHT).host("engine", "a session");
    emitted.by_way_of(&["pinentry", "chooser", "helper", "module-at"]).shows_no_secret();
}

#[test]
fn a_login_step_by_step_shows_no_secret() {
    Desk::with_software_card(RIGHT).host("steps", "a session").shows_no_secret();
}

#[test]
fn a_login_that_fails_at_the_card_or_the_pin_shows_no_secret() {
    let broken = Desk::with_software_card(RIGHT);
    std::fs::write(broken.path("card.p12"), "no card").unwrap();
    broken.host("engine", "SoftwareCard at Card").shows_no_secret();

    Desk::with_software_card(Pinentry(&[Some(WRONG_PIN), None]))
        .host("engine", "PinIncorrect { tries_left: None } at Pin")
        .shows_no_secret();
    Desk::with_token("", Pinentry(&[Some(WRONG_PIN), None]))
        .host("engine", "PinIncorrect { tries_left: None } at Pin")
        .shows_no_secret();
    Desk::with_token("flag USER_PIN_LOCKED C_Login 1", WRONG_THEN_RIGHT)
        .host("engine", "PinLocked at Pin")
        .shows_no_secret();
}

#[test]
fn a_login_whose_card_fails_with_the_pin_in_hand_shows_no_secret() {
    for fault in ["C_Login 1 error 0x30", "C_Login 1 crash", "C_Sign 1 error 0x30", "C_Sign 1 crash", "C_Sign 1 hang"] {
        let stage = if fault.ends_with("0x30") && fault.starts_with("C_Login") { "Pin" } else { "Signing" };
        Desk::with_token(&format!("fault {fault}"), RIGHT)
            .host("engine", &format!("CardFailed at {stage}"))
            .shows_no_secret();
    }
}

#[test]
fn a_login_that_the_broker_spoils_shows_no_secret() {
    use Endpoint::{Activate, Logout, SelectRole, Validate};
    let with = |name: &str, value: String| Misbehaviour::With(name.into(), value);
    let status = |text: &str| Misbehaviour::Body(format!("<HTML><STATUS>{text}</STATUS></HTML>").into_bytes());
    let garbled = [b"<gpOBJECT><gpPARAM name='sso_ticket'>\xff", TICKET.as_bytes()].concat();
    for (endpoint, misbehaviour, outcome) in [
        (Activate, Misbehaviour::Refuse("no".into()), "Refused at Activation"),
        (Activate, Misbehaviour::Truncated, "BadAnswer at Activation"),
        (Validate, Misbehaviour::Refuse("no".into()), "Refused at Authentication"),
        (Validate, Misbehaviour::Reset, "ServerNotAvailable at Authentication"),
        (Validate, Misbehaviour::Twice("sso_ticket".into()), "BadAnswer at Authentication"),
        (Validate, with("sso_ticket", format!("{TICKET}\u{1}")), "BadAnswer at Authentication"),
        (Validate, with("sso_ticket", format!("{TICKET} {TICKET}")), "BadAnswer at Authentication"),
        (Validate, Misbehaviour::Body(garbled), "BadAnswer at Authentication"),
        (SelectRole, Misbehaviour::Refuse("no".into()), "Refused at RoleSelection"),
        (SelectRole, status(&format!("no session {TICKET}")), "Refused at RoleSelection"),
        (SelectRole, status(&format!("bad request ?token={TICKET_IN_URL}")), "Refused at RoleSelection"),
        (SelectRole, status(&format!("{:270}{TICKET}", "no session")), "Refused at RoleSelection"),
        (Logout, status(&format!("no session {}", &TICKET[..20])), "Refused at Session"),
    ] {
        let desk = Desk::with_software_card(RIGHT);
        if endpoint == SelectRole || endpoint == Logout {
            desk.spine.misbehave(Validate, with("sso_ticket", TICKET.into()));
            desk.spine.misbehave(SelectRole, status("OK"));
        }
        desk.spine.misbehave(endpoint, misbehaviour);
        desk.host("engine", outcome).shows_no_secret();
    }
}

#[test]
fn a_login_whose_role_is_not_chosen_shows_no_secret() {
    for (answer, outcome) in [
        ("exit 1", "Cancelled at RoleSelection"),
        ("exit 127", "NoPrompter at RoleSelection"),
        ("echo 'none of them'", "NoPrompter at RoleSelection"),
    ] {
        let mut desk = Desk::with_software_card(RIGHT);
        desk.chooser = answer;
        desk.host("engine", outcome).shows_no_secret();
    }
}

/// Not a test: the host, if a test has started this copy.
#[test]
fn host() {
    if let Ok(way) = std::env::var("TICKETAPI_TEST_HOST") {
        host::run(&way);
    }
}
