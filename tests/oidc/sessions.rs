//! Live sessions: roles, contexts, claims, checks, locks, and the card.

use std::time::Duration;

use ticketapi::engine::Status;
use ticketapi::session::Context;
use ticketapi::{ErrorKind, Stage};
use ticketapi_testkit::oidc::{Endpoint, Misbehaviour, User as Person};

use crate::house::{House, parameter};
use crate::support::readers::{MovedClock, Readers, TestCard};
use crate::support::{Asked, Desk, PATIENCE, User, kind};

const TEAM: &str = "https://organization.test.example/fhir/CareTeam/";

/// CIS2 that asks for the role on its own page.
fn with_role_page() -> House {
    House::cis2(|provider| provider).set("role_selection", "service")
}

fn role_ids(house: &House) -> Vec<String> {
    let session = house.engine().log_in().unwrap();
    session.roles().iter().map(|role| role.id.clone()).collect()
}

#[test]
fn a_role_is_changed_by_the_programs_own_prompt_without_another_login() {
    let house = House::cis2(|provider| provider);
    let user = User::new().choosing(2);
    let engine = house.engine_for(&user);
    let session = engine.log_in().unwrap();
    let user = user.choosing(0);
    let changed = engine.change_role().unwrap();
    assert_eq!((session.role(), changed.role()), (session.roles().get(2), changed.roles().first()));
    assert_eq!(changed.ticket(), session.ticket());
    assert_eq!(user.asked(), [Asked::Role(3), Asked::Role(3)]);
    assert_eq!(house.browser.log().opened.len(), 1);
    // The ticket is renewed as before.
    assert_eq!(engine.get_ticket().unwrap(), *session.ticket());
}

#[test]
fn a_role_is_changed_on_the_providers_page_by_the_same_user() {
    let house = with_role_page();
    let ids = role_ids(&house);
    house.browser.forget();
    house.provider.end_all_sessions();
    let engine = house.engine();
    let session = engine.log_in().unwrap();
    // `auth_time` has seconds.
    std::thread::sleep(Duration::from_millis(1100));
    house.provider.choose_role(&*ids[1]);
    let changed = engine.change_role().unwrap();
    assert_eq!(changed.role().unwrap().id, ids[1]);
    assert_ne!(changed.ticket(), session.ticket());
    assert_eq!(engine.get_ticket_no_auth().unwrap(), *changed.ticket());
    let opened = house.browser.log().opened.pop().unwrap();
    assert_eq!(parameter(&opened, "prompt"), Some("login"));
    let scope = parameter(&opened, "scope").unwrap();
    assert!(scope.contains("changedrole") && !scope.contains("selectedrole"), "{scope}");
    engine.destroy_ticket().unwrap();
    assert!(house.provider.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn a_change_of_role_by_somebody_else_or_without_a_new_login_changes_nothing() {
    for name in
        ["another user", "old-auth-time", "without-claim:auth_time", "wrong-nonce", "bad-signature", "status:500"]
    {
        let house = with_role_page();
        let engine = house.engine();
        let session = engine.log_in().unwrap();
        std::thread::sleep(Duration::from_millis(1100));
        if name == "another user" {
            house.provider.set_user(Person::new("somebody-else").nrbac_roles(2).acr("AAL3_ANY"));
        } else {
            house.provider.misbehave(Endpoint::Token, Misbehaviour::from_name(name).unwrap());
        }
        let error = engine.change_role().unwrap_err();
        if name == "another user" || name == "old-auth-time" {
            assert_eq!(*error.kind(), ErrorKind::Refused, "{name}: {error}");
        }
        house.provider.behave();
        let after = engine.session().unwrap();
        assert_eq!((after.ticket(), after.role()), (session.ticket(), session.role()), "{name}");
        engine.claims().unwrap();
        engine.destroy_ticket().unwrap();
        house.assert_shows_no_secret(&[format!("{error} {error:?}")]);
        assert!(house.provider.wait_for_sessions(PATIENCE, 0), "{name}");
    }
}

#[test]
fn services_without_roles_or_contexts_say_so() {
    let house = House::new();
    let engine = house.engine();
    engine.log_in().unwrap();
    assert_eq!(kind(engine.change_role()), ErrorKind::NotImplemented);
    assert_eq!(kind(engine.contexts()), ErrorKind::NotImplemented);
    assert_eq!(kind(engine.switch_context(&Context::new())), ErrorKind::NotImplemented);
    engine.get_ticket_no_auth().unwrap();
}

#[test]
fn a_context_is_listed_and_switched_to_for_everybody() {
    let house = House::ehealth_dk();
    let engine = house.engine();
    let session = engine.log_in().unwrap();
    let contexts = engine.contexts().unwrap();
    assert_eq!((contexts.care_teams.len(), contexts.organizations.len()), (2, 2));
    assert_eq!(contexts.care_teams[1].id, format!("{TEAM}2"));

    let context = Context::new().care_team(&*contexts.care_teams[1].id).patient("https://a.example/Patient/1");
    let switched = engine.switch_context(&context).unwrap();
    assert_ne!(switched.ticket(), session.ticket());
    assert_eq!(switched.roles().iter().map(|role| &*role.name).collect::<Vec<_>>(), ["Clinical Viewer"]);
    assert_eq!(engine.get_ticket_no_auth().unwrap(), *switched.ticket());
    let sent = house.provider.log_of(Endpoint::Refresh).pop().unwrap();
    assert_eq!(sent.parameter("care_team_id"), Some(&*contexts.care_teams[1].id));
    assert_eq!(sent.parameter("patient_id"), Some("https://a.example/Patient/1"));
    assert_eq!(house.provider.open_sessions(), 1);
}

#[test]
fn a_context_that_is_refused_leaves_the_old_one_working() {
    let house = House::ehealth_dk();
    let engine = house.engine();
    let session = engine.log_in().unwrap();
    let error = engine.switch_context(&Context::new().care_team(format!("{TEAM}3"))).unwrap_err();
    assert!(error.detail().contains("Not a member of Care team"), "{error}");
    assert_eq!(engine.get_ticket().unwrap(), *session.ticket());
    // The refresh token was not used up.
    let switched = engine.switch_context(&Context::new().care_team(format!("{TEAM}1"))).unwrap();
    assert_eq!(switched.roles().len(), 2);
    // What cannot be right is not sent.
    let sent = house.provider.log().len();
    assert_eq!(kind(engine.switch_context(&Context::new().patient("https://a/1"))), ErrorKind::InvalidParameter);
    assert_eq!(house.provider.log().len(), sent);
}

#[test]
fn claims_are_what_the_provider_says_about_the_user() {
    let house = House::cis2(|provider| provider.signed_user_info());
    let engine = house.engine();
    engine.log_in().unwrap();
    let claims: serde_json::Value = serde_json::from_str(&engine.claims().unwrap()).unwrap();
    assert_eq!(claims["nhsid_nrbac_roles"].as_array().unwrap().len(), 3);
    assert_eq!(claims["sub"], "555021935107");
}

#[test]
fn a_session_that_the_provider_has_ended_is_noticed_by_the_check() {
    let house = House::new().set("check_session", "1");
    let clock = MovedClock::default();
    let engine = house.builder_for(&User::new()).clock(clock.clone()).build().unwrap();
    let ticket = engine.get_ticket().unwrap();
    clock.advance(Duration::from_secs(61));
    assert_eq!(engine.get_ticket().unwrap(), ticket);
    house.provider.end_all_sessions();
    clock.advance(Duration::from_secs(61));
    assert_ne!(engine.get_ticket().unwrap(), ticket);
    assert_eq!(house.browser.log().opened.len(), 2);
}

#[test]
fn a_check_that_fails_for_another_reason_leaves_the_session() {
    let house = House::new().set("check_session", "1");
    for name in ["status:500", "reset", "with:sub=somebody-else", "html"] {
        let clock = MovedClock::default();
        let engine = house.builder_for(&User::new()).clock(clock.clone()).build().unwrap();
        let ticket = engine.get_ticket().unwrap();
        house.provider.misbehave(Endpoint::UserInfo, Misbehaviour::from_name(name).unwrap());
        clock.advance(Duration::from_secs(61));
        assert_eq!(engine.get_ticket().unwrap(), ticket, "{name}");
        house.provider.behave();
    }
}

/// A session that has to be unlocked.
fn locked(house: &House) -> (ticketapi::Engine, ticketapi::Ticket) {
    let clock = MovedClock::default();
    let engine = house.builder_for(&User::new()).clock(clock.clone()).build().unwrap();
    let ticket = engine.get_ticket().unwrap();
    clock.advance(Duration::from_secs(61));
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert!(matches!(engine.status(), Status::Locked { .. }));
    std::thread::sleep(Duration::from_millis(1100));
    (engine, ticket)
}

#[test]
fn a_locked_session_is_unlocked_by_another_login_of_the_same_user() {
    let house = House::cis2(|provider| provider).set("mode", "mobility").set("reauthentication", "1");
    let (engine, ticket) = locked(&house);
    let again = engine.get_ticket().unwrap();
    assert_ne!(again, ticket);
    let opened = house.browser.log().opened;
    assert_eq!((opened.len(), parameter(&opened[1], "prompt")), (2, Some("login")));
    assert_eq!(house.provider.open_sessions(), 1);
    engine.claims().unwrap();
    engine.destroy_ticket().unwrap();
    assert!(house.provider.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn a_browser_with_a_new_session_unlocks_too_and_leaves_no_session_behind() {
    let house = House::new().set("mode", "mobility").set("reauthentication", "1");
    let (engine, _) = locked(&house);
    house.browser.forget();
    engine.get_ticket().unwrap();
    assert!(house.provider.wait_for_sessions(PATIENCE, 1));
    engine.destroy_ticket().unwrap();
    assert!(house.provider.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn somebody_else_does_not_unlock_a_session() {
    let house = House::new().set("mode", "mobility").set("reauthentication", "1");
    let (engine, _) = locked(&house);
    house.provider.set_user(Person::new("somebody-else"));
    house.browser.forget();
    let error = engine.get_ticket().unwrap_err();
    assert_eq!((error.kind(), error.stage()), (&ErrorKind::Refused, Stage::Authentication), "{error}");
    assert!(matches!(engine.status(), Status::Locked { .. }));
    assert!(house.provider.wait_for_sessions(PATIENCE, 1));
}

#[test]
fn a_session_is_bound_to_the_card_in_the_reader() {
    let desk = Desk::new();
    let card = TestCard::new(&desk, "123456789012");
    for (mode, bound) in [("normal", "true"), ("session_lock", "true"), ("normal", "false")] {
        let house = House::new().set("mode", mode).set("bind_card", bound);
        let readers = Readers::with(&card);
        let engine = house.builder_for(&User::new()).card_reader(readers.clone()).build().unwrap();
        engine.get_ticket().unwrap();
        let watched = bound == "true";
        assert_eq!(engine.status(), Status::Live { card_watched: watched });
        readers.remove(0);
        if !watched {
            engine.get_ticket_no_auth().unwrap();
            continue;
        }
        let began = std::time::Instant::now();
        while engine.get_ticket_no_auth().is_ok() {
            assert!(began.elapsed() < PATIENCE);
        }
        if mode == "normal" {
            assert!(house.provider.wait_for_sessions(PATIENCE, 0));
        } else {
            assert!(matches!(engine.status(), Status::Locked { .. }));
            assert_eq!(house.provider.open_sessions(), 1);
        }
    }
}

#[test]
fn a_session_without_a_card_in_a_reader_is_bound_to_none() {
    let desk = Desk::new();
    let readers = Readers::with(&TestCard::new(&desk, "123456789012"));
    readers.remove(0);
    let house = House::new().set("bind_card", "true");
    let engine = house.builder_for(&User::new()).card_reader(readers).build().unwrap();
    engine.get_ticket().unwrap();
    assert_eq!(engine.status(), Status::Live { card_watched: false });
}
