//! Logs in with a software card at the simulator over TLS.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::{Asked, Desk, PATIENCE, PIN, UID, User, kind, script};
use ticketapi::prompt::PinProblem;
use ticketapi::{Engine, Error, ErrorKind, Pin, Stage};
use ticketapi_testkit::spine::{Outcome, TlsVersions};
use ticketapi_testkit::{CardSpec, Endpoint, Misbehaviour};

#[test]
fn a_user_with_one_role_gets_a_ticket_without_choosing() {
    let desk = Desk::with(|spine| spine.roles(1).display_name("NURSE A"));
    let user = User::new();
    let engine = desk.engine(&user);
    let session = engine.log_in().unwrap();
    assert_eq!(session.user().uid, UID);
    assert_eq!(session.user().name, "NURSE A");
    assert_eq!(session.role(), session.roles().first());
    assert_eq!(user.asked(), [Asked::Pin(None)]);
    assert_eq!(engine.get_ticket().unwrap(), *session.ticket());
    assert_eq!(desk.spine.open_sessions(), 1);
}

#[test]
fn the_chosen_role_is_selected_at_the_broker() {
    let desk = Desk::with(|spine| spine.roles(40));
    let engine = desk.engine(&User::new().choosing(17));
    let session = engine.log_in().unwrap();
    let log = desk.spine.log();
    let selection = log.iter().find(|entry| entry.endpoint == Some(Endpoint::SelectRole)).unwrap();
    assert_eq!(selection.parameter("selectedRoleUid"), Some(&*session.roles()[17].id));
    assert_eq!(session.role(), Some(&session.roles()[17]));
}

#[test]
fn every_part_of_every_role_is_parsed() {
    let desk = Desk::with(|spine| spine.roles(1000));
    let session = desk.engine(&User::new()).log_in().unwrap();
    let expected: Vec<_> = desk.spine.roles().iter().map(|role| (role.id.clone(), role.organisation.clone())).collect();
    let got: Vec<_> = session.roles().iter().map(|role| (role.id.clone(), role.organisation.clone())).collect();
    assert_eq!(got, expected);
    assert_eq!(desk.spine.open_sessions(), 1);
}

#[test]
fn a_login_takes_one_connection_and_one_handshake() {
    for versions in [TlsVersions::Tls12, TlsVersions::Tls13] {
        let desk = Desk::with(|spine| spine.tls_versions(versions));
        desk.engine(&User::new()).log_in().unwrap();
        assert_eq!((desk.spine.connections(), desk.spine.handshakes()), (1, 1));
    }
}

#[test]
fn a_card_signs_with_sha256_if_the_broker_requires_it() {
    let desk = Desk::with(|spine| spine.digest(ticketapi_testkit::spine::Digest::Sha256)).set("digest", "sha256");
    desk.engine(&User::new()).log_in().unwrap();
}

#[test]
fn a_refused_signature_is_reported_with_the_brokers_reason() {
    let desk = Desk::with(|spine| spine.digest(ticketapi_testkit::spine::Digest::Sha256));
    let error = desk.engine(&User::new()).log_in().unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::Refused, Stage::Authentication));
}

#[test]
fn after_a_wrong_pin_the_prompt_shows_the_reason() {
    let desk = Desk::new();
    let user = User::typing(&["0000", PIN]);
    desk.engine(&user).log_in().unwrap();
    let wrong = PinProblem::Incorrect { tries_left: None };
    assert_eq!(user.asked()[..2], [Asked::Pin(None), Asked::Pin(Some(wrong))]);
}

#[test]
fn giving_up_after_a_wrong_pin_is_reported_as_a_wrong_pin() {
    let desk = Desk::new();
    let error = desk.engine(&User::typing(&["0000"])).log_in().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PinIncorrect { tries_left: None });
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn an_error_after_a_wrong_pin_is_reported_instead_of_the_wrong_pin() {
    let desk = Desk::new();
    for gone in [true, false] {
        let mut pins = ["0000"].into_iter();
        let user = User::new().asked_for_pin(move |cancel| match pins.next() {
            Some(pin) => Ok(Pin::new(pin.into())),
            None if gone => Err(Error::new(ErrorKind::NoPrompter, Stage::Pin, "the screen is gone")),
            None => {
                // As `cancel_login` does.
                cancel.cancel();
                Err(Error::cancelled(Stage::Pin))
            }
        });
        let expected = if gone { ErrorKind::NoPrompter } else { ErrorKind::Cancelled };
        assert_eq!(kind(desk.engine(&user).log_in()), expected);
        assert_eq!(user.pins_asked(), 2);
    }
}

#[test]
fn a_prompter_that_repeats_a_wrong_pin_is_stopped_after_three_tries() {
    let desk = Desk::new();
    let user = User::typing(&["0000"; 10]);
    assert!(matches!(kind(desk.engine(&user).log_in()), ErrorKind::PinIncorrect { .. }));
    assert_eq!(user.pins_asked(), 3);
}

#[test]
fn an_empty_password_is_tried_on_a_software_card() {
    let desk = Desk::new();
    let user = User::typing(&["", PIN]);
    desk.engine(&user).log_in().unwrap();
    let wrong = PinProblem::Incorrect { tries_left: None };
    assert_eq!(user.asked()[..2], [Asked::Pin(None), Asked::Pin(Some(wrong))]);
}

#[test]
fn cancelling_the_pin_prompt_ends_the_login_before_a_session_begins() {
    let desk = Desk::new();
    assert_eq!(kind(desk.engine(&User::typing(&[])).log_in()), ErrorKind::Cancelled);
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn cancelling_the_role_prompt_ends_the_session_on_the_broker() {
    let desk = Desk::new();
    let user = User::new().asked_for_role(|_| Err(Error::cancelled(Stage::RoleSelection)));
    assert_eq!(kind(desk.engine(&user).log_in()), ErrorKind::Cancelled);
    assert_eq!(desk.spine.open_sessions(), 0);
    let log = desk.spine.log();
    assert!(log.iter().any(|entry| matches!(entry.answer, Outcome::Ticket(_))), "a session had begun");
}

#[test]
fn a_role_that_cannot_be_selected_ends_the_session_on_the_broker() {
    let desk = Desk::new();
    desk.spine.misbehave(Endpoint::SelectRole, Misbehaviour::Refuse("not today".into()));
    let error = desk.engine(&User::new()).log_in().unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::Refused, Stage::RoleSelection));
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn a_prompter_that_chooses_a_missing_role_causes_an_internal_error() {
    let desk = Desk::new();
    assert_eq!(kind(desk.engine(&User::new().choosing(3)).log_in()), ErrorKind::Internal);
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn a_user_without_roles_is_refused_if_a_role_is_required() {
    let desk = Desk::with(|spine| spine.roles(0));
    assert_eq!(kind(desk.engine(&User::new()).log_in()), ErrorKind::UserNotValid);
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn a_user_without_roles_logs_in_if_no_role_is_required() {
    let desk = Desk::with(|spine| spine.roles(0)).set("require_role", "false");
    assert_eq!(desk.engine(&User::new()).log_in().unwrap().role(), None);
}

#[test]
fn the_role_of_the_settings_is_selected_without_a_prompt() {
    let desk = Desk::with(|spine| spine.roles(5));
    let id = desk.spine.roles()[3].id.clone();
    let desk = desk.set("role", &id);
    let user = User::new();
    assert_eq!(desk.engine(&user).log_in().unwrap().role().unwrap().id, id);
    assert_eq!(user.asked(), [Asked::Pin(None)]);
}

#[test]
fn a_role_of_the_settings_that_the_user_does_not_have_is_refused() {
    let desk = Desk::new().set("role", "42");
    let error = desk.engine(&User::new()).log_in().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::UserNotValid);
    assert!(error.detail().contains("42"));
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn without_a_prompter_for_roles_a_user_with_several_cannot_log_in() {
    let desk = Desk::new();
    let pinentry = desk.path("pinentry");
    let answers =
        format!("echo OK\nwhile read -r line; do case $line in GETPIN) echo 'D {PIN}'; esac; echo OK; done\n");
    script(&pinentry, &answers);
    let desk = desk.set("pinentry", pinentry.to_str().unwrap());
    assert_eq!(kind(Engine::builder(desk.config.clone()).build().unwrap().log_in()), ErrorKind::NoPrompter);
    assert_eq!(desk.spine.open_sessions(), 0);

    let desk = desk.set("role_command", "sed -n 2p");
    let session = Engine::builder(desk.config.clone()).build().unwrap().log_in().unwrap();
    assert_eq!(session.role(), Some(&session.roles()[1]));
}

#[test]
fn keys_of_every_size_log_in() {
    for bits in [1024, 3072, 4096] {
        let desk = Desk::new();
        let card = desk.path("other.p12");
        desk.ca.issue(&CardSpec::new(UID).key_bits(bits)).unwrap().write_pkcs12(&card, PIN).unwrap();
        let desk = desk.set("software_card", card.to_str().unwrap());
        desk.engine(&User::new()).log_in().unwrap();
    }
}

#[test]
fn an_expired_card_is_not_sent_to_the_broker() {
    let desk = Desk::new();
    let card = desk.path("old.p12");
    desk.ca.issue(&CardSpec::new(UID).expired()).unwrap().write_pkcs12(&card, PIN).unwrap();
    let desk = desk.set("software_card", card.to_str().unwrap());
    assert_eq!(kind(desk.engine(&User::new()).log_in()), ErrorKind::CertificateNotValid);
    assert!(!desk.spine.log().iter().any(|entry| entry.endpoint == Some(Endpoint::Validate)));
}

#[test]
fn a_card_of_an_unknown_ca_is_refused_by_the_broker() {
    let desk = Desk::new();
    let card = desk.path("stranger.p12");
    let stranger = ticketapi_testkit::TestCa::new().unwrap();
    stranger.issue(&CardSpec::new(UID)).unwrap().write_pkcs12(&card, PIN).unwrap();
    let desk = desk.set("software_card", card.to_str().unwrap());
    assert_eq!(kind(desk.engine(&User::new()).log_in()), ErrorKind::Refused);
}

#[test]
fn logging_out_ends_the_session_on_the_broker() {
    let desk = Desk::new();
    let engine = desk.engine(&User::new());
    engine.get_ticket().unwrap();
    engine.destroy_ticket().unwrap();
    assert!(desk.spine.wait_for_sessions(PATIENCE, 0));
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    engine.destroy_ticket().unwrap();
}

#[test]
fn plain_http_needs_a_setting() {
    let desk = Desk::with(|spine| spine.plain_http());
    let error = Engine::builder(desk.config.clone()).build().map(|_| ()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Configuration);
    let desk = desk.set("allow_http", "true");
    desk.engine(&User::new()).log_in().unwrap();
}
