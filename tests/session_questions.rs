//! Asks the simulated broker whether the session is open, and for its role assertion.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use support::{Desk, PATIENCE, UID, User, kind};
use ticketapi::ssb::assertion::Mode;
use ticketapi::ssb::{RoleAssertion, SessionState};
use ticketapi::{Engine, Error, ErrorKind};
use ticketapi_testkit::spine::{Entry, Role};
use ticketapi_testkit::{Endpoint, Misbehaviour};

/// An interval that has always passed.
const AT_ONCE: Duration = Duration::from_nanos(1);

const LATER: Duration = Duration::from_secs(3600);

/// How soon a cancelled call returns.
const SOON: Duration = Duration::from_millis(200);

/// A desk that checks the session if the last response is this old.
fn desk_that_checks(after: Duration) -> Desk {
    let mut desk = Desk::with(|spine| spine.roles(1));
    desk.config.check_session = after;
    desk
}

fn asked(log: &[Entry], endpoint: Endpoint) -> usize {
    log.iter().filter(|entry| entry.endpoint == Some(endpoint)).count()
}

fn assertions(desk: &Desk) -> usize {
    asked(&desk.spine.log(), Endpoint::RoleAssertion)
}

fn assert_tells_of(assertion: &RoleAssertion, roles: &[Role]) {
    assert_eq!((&*assertion.uid, &*assertion.user_name), (UID, "TEST USER"));
    assert_eq!((assertion.mode.as_ref(), assertion.version.as_deref()), (Some(&Mode::Live), Some("1.1")));
    assert_eq!(assertion.roles.len(), roles.len());
    for (profile, expected) in assertion.roles.iter().zip(roles) {
        let role = &profile.role;
        assert_eq!(
            [&role.id, &role.organisation, &role.role_type, &role.sub_type, &role.name],
            [&expected.id, &expected.organisation, &expected.job_type, &expected.job_sub_type, &expected.name]
        );
        assert_eq!(role.organisation_code, expected.organisation_code.as_deref().unwrap_or_default());
    }
}

#[test]
fn an_assertion_contains_the_user_and_every_role() {
    let desk = Desk::new();
    let engine = desk.engine(&User::new().choosing(2));
    let session = engine.log_in().unwrap();
    let assertion = engine.role_assertion().unwrap();
    assert_tells_of(&assertion, &desk.spine.roles());
    assert_eq!(&assertion.session_role().unwrap().role, session.role().unwrap());

    let profile = &assertion.roles[1];
    assert_eq!(profile.business_functions, ["Execute Management Reports", "Perform Patient Trace & View", ""]);
    assert_eq!(profile.business_function_codes, ["B8029", "B0945", "B0001"]);
    assert_eq!(profile.areas_of_work, ["Community & Mental Health", "\"Out of hours\""]);
    assert_eq!((&*profile.workgroups, profile.workgroup_codes.len()), (&["Ward <3>".to_owned()][..], 1));
    let dates = [&profile.opened, &profile.closed].map(|dates| dates[0].to_string());
    assert_eq!(dates, ["1974-04-01", "2030-02-28"]);
    assert_eq!((&*profile.person_status, profile.job_role_code.is_some()), (&["1".to_owned()][..], true));
}

#[test]
fn an_assertion_may_have_no_role_or_many_hundreds() {
    for count in [0, 1, 300, 1_000] {
        let desk = Desk::with(|spine| spine.roles(count)).set("require_role", "false");
        let engine = desk.engine(&User::new());
        engine.log_in().unwrap();
        let assertion = engine.role_assertion().unwrap();
        assert_tells_of(&assertion, &Role::generate(count));
        assert_eq!(assertion.session_role().map(|profile| &profile.role), assertion.roles.first().map(|p| &p.role));
    }
}

#[test]
fn the_session_service_returns_the_times_of_an_open_session() {
    let desk = Desk::with(|spine| spine.session_minutes(30, 90));
    let engine = desk.engine(&User::new());
    engine.log_in().unwrap();
    for reset in [false, true] {
        let info = engine.session_state(reset).unwrap();
        assert_eq!((info.state, info.uid.as_deref()), (SessionState::Valid, Some(UID)));
        let minutes = |count: u64| Some(Duration::from_secs(60 * count));
        assert_eq!((info.max_time, info.max_idle), (minutes(90), minutes(30)));
        assert!(info.left <= minutes(90) && info.left > minutes(80), "{info:?}");
        assert!(info.idle < minutes(10), "{info:?}");
        let log = desk.spine.log();
        assert_eq!(log.last().unwrap().parameter("reset"), Some(&*reset.to_string()));
    }
}

#[test]
fn without_a_session_no_request_is_sent() {
    let desk = Desk::new();
    let engine = desk.engine(&User::new());
    assert_eq!(kind(engine.role_assertion()), ErrorKind::TicketNotAvailable);
    assert_eq!(kind(engine.session_state(false)), ErrorKind::TicketNotAvailable);
    assert_eq!(desk.spine.connections(), 0);
}

#[test]
fn a_session_that_the_broker_has_ended_ends_here_at_the_next_request_about_it() {
    type Question = fn(&Engine) -> Result<(), Error>;
    let questions: [Question; 2] =
        [|engine| engine.role_assertion().map(drop), |engine| engine.session_state(true).map(drop)];
    for question in questions {
        let desk = Desk::with(|spine| spine.roles(1));
        let engine = desk.engine(&User::new());
        let old = engine.get_ticket().unwrap();
        desk.spine.end_all_sessions();
        assert_eq!(engine.get_ticket().unwrap(), old, "nobody was asked yet");

        let error = question(&engine).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::TicketNotAvailable, "{error}");
        assert!(error.detail().contains("there is no session with this ticket"), "{error}");
        assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
        assert!(engine.with_ticket(|_| ()).is_none() && engine.session().is_none());
        assert_ne!(engine.get_ticket().unwrap(), old);
        assert_eq!(asked(&desk.spine.log(), Endpoint::Logout), 0, "there is nothing to log out of");
    }
}

#[test]
fn a_session_whose_state_is_not_valid_ends() {
    for state in ["invalid", "inactive", "destroyed"] {
        let desk = Desk::with(|spine| spine.roles(1));
        let engine = desk.engine(&User::new());
        engine.get_ticket().unwrap();
        desk.spine.misbehave(Endpoint::SessionService, Misbehaviour::With("state".into(), state.into()));
        let error = engine.session_state(false).unwrap_err();
        assert!(error.detail().contains(state), "{error}");
        assert_eq!(error.kind(), &ErrorKind::TicketNotAvailable);
        assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    }
}

#[test]
fn without_the_setting_a_ticket_is_returned_without_a_check() {
    let desk = Desk::with(|spine| spine.roles(1));
    let engine = desk.engine(&User::new());
    engine.get_ticket().unwrap();
    engine.get_ticket().unwrap();
    assert!(engine.with_ticket_at_hand(|_| ()).is_some());
    assert_eq!(assertions(&desk), 0);
}

#[test]
fn the_check_finds_a_session_that_the_broker_has_ended_before_its_ticket_is_returned() {
    let desk = desk_that_checks(AT_ONCE);
    let user = User::new();
    let engine = desk.engine(&user);
    let old = engine.get_ticket().unwrap();
    assert_eq!(assertions(&desk), 0, "it has just begun");
    assert_eq!(engine.get_ticket().unwrap(), old);
    assert_eq!(engine.log_in().unwrap().ticket(), &old);
    assert_eq!(assertions(&desk), 2);

    desk.spine.end_all_sessions();
    assert_eq!(engine.get_ticket_no_auth().unwrap(), old);
    assert!(engine.with_ticket(|_| ()).is_some());
    assert!(engine.with_ticket_at_hand(|_| ()).is_none(), "the broker has to be asked");
    assert_eq!(assertions(&desk), 2, "no-auth does not use the network");
    let new = engine.get_ticket().unwrap();
    assert_ne!(new, old);
    assert_eq!(engine.get_ticket_no_auth().unwrap(), new);
    assert_eq!((user.pins_asked(), desk.spine.open_sessions()), (2, 1));
    assert_eq!(asked(&desk.spine.log(), Endpoint::Logout), 0);
}

#[test]
fn a_session_continues_while_the_broker_is_unreachable() {
    let mut desk = desk_that_checks(AT_ONCE);
    desk.config.request_timeout = Duration::from_secs(1);
    let user = User::new();
    let engine = desk.engine(&user);
    let ticket = engine.get_ticket().unwrap();
    for failing in [
        Misbehaviour::Status(404),
        Misbehaviour::Status(503),
        Misbehaviour::Reset,
        Misbehaviour::NoAnswer,
        Misbehaviour::html(),
        Misbehaviour::Without("Status".into()),
        Misbehaviour::With("uid".into(), "999999999999".into()),
    ] {
        let before = assertions(&desk);
        desk.spine.misbehave(Endpoint::RoleAssertion, failing.clone());
        assert_eq!(engine.get_ticket().unwrap(), ticket, "{failing:?}");
        assert_eq!(assertions(&desk), before + 1, "{failing:?}");
    }
    drop(desk.spine);
    assert_eq!(engine.get_ticket().unwrap(), ticket);
    assert_eq!(user.pins_asked(), 1);
}

#[test]
fn the_broker_is_asked_once_in_each_interval_whatever_it_responds() {
    let interval = Duration::from_secs(2);
    let desk = desk_that_checks(interval);
    let engine = desk.engine(&User::new());
    desk.spine.misbehave(Endpoint::RoleAssertion, Misbehaviour::Status(503));
    let mut last = Instant::now();
    engine.get_ticket().unwrap();
    for count in 1..=2 {
        while assertions(&desk) < count {
            assert!(last.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(10));
            engine.get_ticket().unwrap();
        }
        assert!(last.elapsed() >= interval, "asked after {:?}", last.elapsed());
        last = Instant::now();
    }
}

#[test]
fn the_response_to_any_request_counts_as_a_check() {
    let desk = desk_that_checks(LATER);
    let engine = desk.engine(&User::new());
    for _ in 0..2 {
        engine.get_ticket().unwrap();
        engine.role_assertion().unwrap();
        engine.session_state(false).unwrap();
    }
    assert_eq!(assertions(&desk), 2);
}

#[test]
fn thirty_two_threads_send_one_check_and_do_not_wait_for_the_response() {
    let desk = desk_that_checks(AT_ONCE);
    let engine = desk.engine(&User::new());
    let ticket = engine.get_ticket().unwrap();
    let ready = Barrier::new(32);
    thread::scope(|scope| {
        let held = desk.spine.hold(Endpoint::RoleAssertion);
        let threads: Vec<_> = (0..32)
            .map(|_| {
                scope.spawn(|| {
                    ready.wait();
                    engine.get_ticket().unwrap()
                })
            })
            .collect();
        let began = Instant::now();
        while threads.iter().filter(|thread| thread.is_finished()).count() < 31 {
            assert!(began.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(5));
        }
        assert!(desk.spine.wait_for(PATIENCE, |log| asked(log, Endpoint::RoleAssertion) == 1));
        assert_eq!(threads.iter().filter(|thread| thread.is_finished()).count(), 31);
        drop(held);
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == ticket));
    });
    assert_eq!(assertions(&desk), 1);
}

/// Makes `question` wait for the broker, runs `meanwhile`, and expects that this cancels it.
fn is_cancelled(desk: &Desk, engine: &Engine, question: fn(&Engine) -> Result<(), Error>, meanwhile: fn(&Engine)) {
    thread::scope(|scope| {
        let before = desk.spine.log().len();
        let _held = desk.spine.hold(Endpoint::RoleAssertion);
        let asking = scope.spawn(|| (question(engine).unwrap_err(), Instant::now()));
        assert!(desk.spine.wait_for(PATIENCE, |log| asked(&log[before..], Endpoint::RoleAssertion) == 1));
        let cancelled = Instant::now();
        meanwhile(engine);
        let (error, ended) = asking.join().unwrap();
        assert_eq!(error.kind(), &ErrorKind::Cancelled, "{error}");
        assert!(error.detail().contains("question"), "{error}");
        let time = ended.saturating_duration_since(cancelled);
        assert!(time < SOON, "{time:?}");
    });
}

#[test]
fn a_request_can_be_cancelled_and_the_session_continues() {
    let desk = desk_that_checks(AT_ONCE);
    let engine = desk.engine(&User::new());
    let ticket = engine.get_ticket().unwrap();
    is_cancelled(&desk, &engine, |engine| engine.role_assertion().map(drop), Engine::cancel_login);
    is_cancelled(&desk, &engine, |engine| engine.get_ticket().map(drop), Engine::cancel_login);
    assert_eq!(engine.get_ticket().unwrap(), ticket);
}

#[test]
fn a_request_ends_with_its_session_and_starts_no_login() {
    let desk = desk_that_checks(AT_ONCE);
    let user = User::new();
    let engine = desk.engine(&user);
    let destroy = |engine: &Engine| engine.destroy_ticket().unwrap();
    engine.get_ticket().unwrap();
    is_cancelled(&desk, &engine, |engine| engine.role_assertion().map(drop), destroy);
    engine.get_ticket().unwrap();
    is_cancelled(&desk, &engine, |engine| engine.get_ticket().map(drop), destroy);
    assert_eq!((user.pins_asked(), desk.spine.open_sessions()), (2, 0));
}

#[test]
fn a_response_about_the_old_session_does_not_end_the_new_one() {
    let desk = Desk::with(|spine| spine.roles(1));
    let engine = Arc::new(desk.engine(&User::new()));
    let old = engine.get_ticket().unwrap();
    desk.spine.end_session(old.expose());
    thread::scope(|scope| {
        let held = desk.spine.hold(Endpoint::RoleAssertion);
        let asking = scope.spawn(|| kind(engine.role_assertion()));
        assert!(desk.spine.wait_for(PATIENCE, |log| asked(log, Endpoint::RoleAssertion) == 1));
        let new = engine.get_new_ticket().unwrap();
        drop(held);
        assert_eq!(asking.join().unwrap(), ErrorKind::TicketNotAvailable);
        assert_eq!(engine.get_ticket_no_auth().unwrap(), new);
    });
}
