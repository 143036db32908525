//! The Danish eHealth infrastructure: contexts, renewal, and what ends a session.

use std::time::{Duration, Instant};

use ticketapi::engine::{Event, Status};
use ticketapi::session::{Context, EndReason, Session};
use ticketapi::{ErrorKind, Stage};
use ticketapi_testkit::keycloak::{EHEALTH_CONFIDENTIAL, EHEALTH_SECRET};

use crate::site::{Site, end_reason, keycloak, payload};
use crate::support::{User, kind};

const FHIR: &str = "https://organization.test.example/fhir";

fn role_names(session: &Session) -> Vec<&str> {
    session.roles().iter().map(|role| &*role.name).collect()
}

#[test]
fn a_session_begins_at_keycloak_with_the_login_and_is_gone_after_the_logout() {
    let site = Site::ehealth("ehealth", "logout");
    let engine = site.engine(&User::new());
    let session = engine.log_in().unwrap();
    assert_eq!((&*session.user().uid, &*session.user().name), ("logout", "Anna Testsen"));
    assert_eq!(role_names(&session), ["Citizen Enroller", "Clinical Viewer", "Monitoring Adjuster"]);
    assert!(site.browser.last_page().contains("close this window"));
    assert_eq!(site.sessions(), 1);

    let claims: serde_json::Value = serde_json::from_str(&engine.claims().unwrap()).unwrap();
    assert_eq!((&claims["cpr"], &claims["user_type"]), (&"0101010000".into(), &"PRACTITIONER".into()));
    assert_eq!(engine.get_ticket().unwrap(), *session.ticket());
    assert_eq!(site.browser.opened(), 1);

    engine.destroy_ticket().unwrap();
    site.wait_for_sessions(0);
    assert_eq!(engine.status(), Status::LoggedOut);
}

#[test]
fn a_client_with_a_secret_logs_in_too() {
    let site = Site::ehealth("ehealth", "secret").set("client_id", EHEALTH_CONFIDENTIAL).with_secret(EHEALTH_SECRET);
    let engine = site.engine(&User::new());
    engine.log_in().unwrap();
    assert_eq!(site.sessions(), 1);
    engine.destroy_ticket().unwrap();
    site.wait_for_sessions(0);

    let error = site.with_secret("another").engine(&User::new()).log_in().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Configuration, "{error}");
}

#[test]
fn a_context_changes_roles_and_ticket_and_one_that_is_refused_changes_nothing() {
    let site = Site::ehealth("ehealth", "contexts");
    let engine = site.engine(&User::new());
    let first = engine.get_ticket().unwrap();
    let contexts = engine.contexts().unwrap();
    let teams: Vec<_> = contexts.care_teams.iter().map(|team| (&*team.id, &*team.name)).collect();
    assert_eq!(teams, [(&*format!("{FHIR}/CareTeam/1"), "Team 1"), (&*format!("{FHIR}/CareTeam/2"), "Team 2")]);
    assert_eq!(contexts.organizations.len(), 2);

    let team = |number: u32| Context::new().care_team(format!("{FHIR}/CareTeam/{number}"));
    let session = engine.switch_context(&team(1).patient(format!("{FHIR}/Patient/7"))).unwrap();
    let second = engine.get_ticket_no_auth().unwrap();
    assert!(second != first && second == *session.ticket());
    assert_eq!(role_names(&session), ["Clinical Viewer", "Monitoring Adjuster"]);
    let context = &payload(second.expose())["context"];
    assert_eq!(context["patient_id"], format!("{FHIR}/Patient/7"));
    assert_eq!(context["organization_id"], format!("{FHIR}/Organization/10"));

    // The refresh token is still good after each refusal.
    for _ in 0..2 {
        let error = engine.switch_context(&team(3)).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.detail().contains("Not a member of Care team"), "{error}");
        assert_eq!(engine.get_ticket_no_auth().unwrap(), second);
    }
    let patient_alone = Context::new().patient(format!("{FHIR}/Patient/7"));
    assert_eq!(kind(engine.switch_context(&patient_alone)), ErrorKind::InvalidParameter);
    assert_eq!(role_names(&engine.switch_context(&team(2)).unwrap()), ["Clinical Viewer"]);
    assert_eq!((site.sessions(), site.browser.opened()), (1, 1));
}

#[test]
fn a_ticket_is_renewed_before_it_expires_until_the_session_is_as_long_as_it_may_be() {
    let site = Site::ehealth("ehealth-short", "renewal");
    let (engine, events) = site.watched();
    let first = engine.get_ticket().unwrap();
    let (began, session) = (Instant::now(), Duration::from_secs(26));
    let mut tickets = vec![first];
    // Keycloak's last tickets end with the session: they may be too short-lived to be given out.
    while let Some(left) = session.checked_sub(began.elapsed()) {
        if let Ok(Event::TicketReplaced) = events.recv_timeout(left)
            && let Ok(ticket) = engine.get_ticket_no_auth()
        {
            tickets.push(ticket);
        }
    }
    let ends: Vec<_> = tickets.iter().map(|ticket| payload(ticket.expose())["exp"].as_u64().unwrap()).collect();
    assert!((3..8).contains(&tickets.len()) && ends.is_sorted(), "{ends:?}");
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert_eq!(site.browser.opened(), 1);

    // The session has ended, and so has the browser's.
    engine.get_ticket().unwrap();
    assert_eq!(site.browser.opened(), 2);
}

#[test]
fn a_session_that_keycloak_has_ended_ends_here_with_the_next_renewal() {
    let site = Site::ehealth("ehealth-short", "ended");
    let (engine, events) = site.watched();
    engine.log_in().unwrap();
    site.end_sessions();
    assert_eq!(end_reason(&events), EndReason::RenewalRefused);
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    // A new login is a new session.
    engine.get_ticket().unwrap();
    assert_eq!(site.sessions(), 1);
}

#[test]
fn a_user_who_is_disabled_loses_the_session_with_the_next_change_and_cannot_log_in() {
    let site = Site::ehealth("ehealth", "disabled").set("login_timeout", "5");
    let engine = site.engine(&User::new());
    engine.log_in().unwrap();
    keycloak().set_enabled("ehealth", "disabled", false).unwrap();
    let context = Context::new().care_team(format!("{FHIR}/CareTeam/1"));
    let error = engine.switch_context(&context).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Refused | ErrorKind::UserNotValid), "{error}");
    engine.destroy_ticket().ok();

    // Keycloak shows an error and redirects nowhere: that is noticed by the time alone.
    let error = engine.log_in_again().unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::Cancelled, Stage::Browser), "{error}");
    assert!(error.detail().contains("login_timeout"), "{error}");
    assert!(site.browser.last_page().contains("disabled"), "{}", site.browser.last_page());
    site.wait_for_sessions(0);
}

#[test]
fn keys_may_be_rotated_during_a_session() {
    let site = Site::ehealth("ehealth", "rotation");
    let engine = site.engine(&User::new());
    let first = engine.get_ticket().unwrap();
    keycloak().rotate_keys("ehealth").unwrap();
    let key_of = |token: &str| {
        use base64::Engine;
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        serde_json::from_slice::<serde_json::Value>(&header).unwrap()["kid"].clone()
    };
    // The ID token of the refresh has the new key, and so has that of another login.
    let context = Context::new().care_team(format!("{FHIR}/CareTeam/1"));
    let second = engine.switch_context(&context).unwrap();
    assert_ne!(key_of(first.expose()), key_of(second.ticket().expose()));
    engine.log_in_again().unwrap();
    site.wait_for_sessions(1);
}
