//! What ends a session and what locks it: its limits, and the three modes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use support::readers::{MovedClock, TestCard, Watched};
use support::{Asked, Desk, PATIENCE, PIN, User, kind};
use ticketapi::engine::{Event, Status};
use ticketapi::session::{EndReason, LockReason};
use ticketapi::{Engine, ErrorKind};
use ticketapi_testkit::{Endpoint, Misbehaviour};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn in_mode(mode: &str) -> Watched {
    Watched::with(Desk::with(|spine| spine.roles(1)).set("mode", mode).set("lock_timeout", "30"), &User::new())
}

fn with_limits(idle: u64, total: u64) -> Watched {
    Watched::with(Desk::with(|spine| spine.roles(1).session_minutes(idle, total)), &User::new())
}

#[test]
fn a_session_ends_at_its_total_limit_and_the_next_call_logs_in_anew() {
    let desk = with_limits(60, 10);
    let old = desk.engine.get_ticket().unwrap();
    desk.clock.advance(10 * MINUTE - 20 * SECOND);
    assert_eq!(desk.engine.get_ticket().unwrap(), old);
    assert_eq!(desk.read().as_deref(), Some(old.expose()));
    desk.clock.advance(20 * SECOND);
    desk.assert_no_ticket();
    assert_eq!(desk.engine.status(), Status::LoggedOut);
    assert_eq!(desk.end_reason(), EndReason::Expired);
    assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 0), "the broker was told");
    assert_ne!(desk.engine.get_ticket().unwrap(), old);
    assert_eq!(desk.user.pins_asked(), 2);
}

#[test]
fn every_call_finds_an_expired_session() {
    type Ask = fn(&Watched) -> bool;
    let asks: [Ask; 4] = [
        |desk| desk.engine.get_ticket_no_auth().is_err(),
        |desk| desk.read().is_none(),
        |desk| desk.engine.session().is_none(),
        |desk| desk.engine.status() == Status::LoggedOut,
    ];
    for is_gone in asks {
        let desk = with_limits(60, 10);
        desk.engine.get_ticket().unwrap();
        assert!(!is_gone(&desk));
        desk.clock.advance(10 * MINUTE);
        assert!(is_gone(&desk));
    }
}

#[test]
fn a_limit_of_zero_minutes_is_no_limit() {
    let desk = with_limits(60, 10);
    desk.desk.spine.misbehave(Endpoint::Validate, Misbehaviour::With("sso_max_session_time".into(), "0".into()));
    let ticket = desk.engine.get_ticket().unwrap();
    let limits = desk.engine.session().unwrap().limits();
    assert_eq!((limits.idle, limits.total), (Some(60 * MINUTE), None));
    desk.clock.advance(59 * MINUTE);
    assert_eq!(desk.engine.get_ticket_no_auth().unwrap(), ticket);
}

#[test]
fn an_idle_session_ends_and_each_returned_ticket_counts_as_use() {
    let desk = with_limits(10, 600);
    desk.engine.get_ticket().unwrap();
    let uses: [&dyn Fn(); 3] =
        [&|| drop(desk.engine.get_ticket().unwrap()), &|| drop(desk.engine.get_ticket_no_auth().unwrap()), &|| {
            drop(desk.read().unwrap())
        }];
    for give_out in uses.iter().chain(&uses) {
        desk.clock.advance(9 * MINUTE);
        give_out();
    }
    // Reading the status does not count as use.
    desk.clock.advance(9 * MINUTE);
    assert!(desk.engine.session().is_some());
    assert_eq!(desk.engine.status(), Status::Live { card_watched: true });
    desk.clock.advance(MINUTE);
    desk.assert_no_ticket();
    assert_eq!(desk.end_reason(), EndReason::Idle);
}

#[test]
fn a_session_expires_without_any_call() {
    let desk = with_limits(60, 10);
    desk.engine.get_ticket().unwrap();
    desk.clock.advance(10 * MINUTE);
    // The test changes the clock without waking the sleeping thread.
    desk.readers.stir();
    assert_eq!(desk.end_reason(), EndReason::Expired);
    assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 0));
    desk.readers.wait_until_unwatched();
}

#[test]
fn setting_back_the_wall_clock_does_not_restore_a_ticket() {
    // The tick is all that an engine reads of the wall clock.
    struct SetBack(MovedClock, Arc<Mutex<u64>>);
    impl ticketapi::clock::Clock for SetBack {
        fn now(&self) -> Duration {
            self.0.now()
        }
        fn tick(&self) -> u64 {
            self.0.tick() - *self.1.lock().unwrap()
        }
    }
    let desk = Desk::with(|spine| spine.roles(1).session_minutes(60, 10));
    let (clock, back) = (MovedClock::default(), Arc::default());
    let engine = Engine::builder(desk.config.clone())
        .prompter(User::new())
        .clock(SetBack(clock.clone(), Arc::clone(&back)))
        .build()
        .unwrap();
    engine.get_ticket().unwrap();
    assert!(engine.with_ticket(|_| ()).is_some());
    clock.advance(10 * MINUTE);
    // Nobody can hit the exact nanosecond.
    *back.lock().unwrap() = (10 * MINUTE).as_nanos() as u64 - 1;
    assert!(engine.with_ticket(|_| ()).is_none());
}

#[test]
fn a_session_without_a_watched_reader_continues_and_reports_that() {
    let desk = Desk::with(|spine| spine.roles(1));
    let engine = desk.engine(&User::new());
    assert_eq!(engine.status(), Status::LoggedOut);
    assert!(!engine.log_in().unwrap().card_watched());
    assert_eq!(engine.status(), Status::Live { card_watched: false });
}

#[test]
fn a_locked_session_is_unlocked_by_the_same_card_and_pin() {
    let desk = in_mode("session_lock");
    let ticket = desk.engine.get_ticket().unwrap();
    desk.readers.remove(0);
    assert_eq!(desk.lock_reason(), LockReason::CardRemoved);
    desk.assert_no_ticket();
    assert_eq!(desk.engine.get_ticket_no_auth().unwrap_err().detail(), "the session is locked");
    let Status::Locked { why: LockReason::CardRemoved, ends_in } = desk.engine.status() else { panic!("locked") };
    assert!(ends_in <= 30 * MINUTE && ends_in > 29 * MINUTE, "{ends_in:?}");
    // Unlocking needs the card, and more than the card alone.
    assert_eq!(kind(desk.engine.get_ticket()), ErrorKind::NoCard);
    desk.readers.insert(0, &desk.card);
    desk.assert_no_ticket();
    assert_eq!(desk.engine.get_ticket().unwrap(), ticket);
    assert_eq!(desk.user.pins_asked(), 2);
    desk.event(|event| matches!(event, Event::SessionUnlocked).then_some(()));
    assert_eq!(desk.read().as_deref(), Some(ticket.expose()));
    let challenges = |endpoint| desk.desk.spine.log().iter().filter(|entry| entry.endpoint == Some(endpoint)).count();
    assert_eq!(challenges(ticketapi_testkit::Endpoint::Activate), 1, "the broker was not asked again");
    // It is watched again.
    desk.readers.remove(0);
    assert_eq!(desk.lock_reason(), LockReason::CardRemoved);
}

#[test]
fn a_wrong_pin_does_not_unlock() {
    let desk = in_mode("session_lock");
    let ticket = desk.engine.get_ticket().unwrap();
    desk.readers.swap(0, &desk.card);
    assert_eq!(desk.lock_reason(), LockReason::CardRemoved);
    desk.user.types(&["0000"]);
    assert!(matches!(kind(desk.engine.get_ticket()), ErrorKind::PinIncorrect { .. }));
    desk.assert_no_ticket();
    desk.user.types(&[PIN]);
    assert_eq!(desk.engine.get_ticket().unwrap(), ticket);
}

#[test]
fn many_threads_share_one_unlocking() {
    let desk = in_mode("session_lock");
    let ticket = desk.engine.get_ticket().unwrap();
    desk.readers.swap(0, &desk.card);
    assert_eq!(desk.lock_reason(), LockReason::CardRemoved);
    desk.readers.hold_signing(true);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| desk.engine.get_ticket().unwrap())).collect();
        desk.readers.wait_until_signing();
        desk.readers.hold_signing(false);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), ticket);
        }
    });
    assert_eq!(desk.user.pins_asked(), 2);
}

#[test]
fn another_users_card_ends_the_locked_session_and_logs_in() {
    let desk = in_mode("session_lock");
    let old = desk.engine.get_ticket().unwrap();
    desk.readers.remove(0);
    assert_eq!(desk.lock_reason(), LockReason::CardRemoved);
    let other = "999000000001";
    desk.readers.insert(1, &TestCard::new(&desk.desk, other));
    assert_ne!(desk.engine.get_ticket().unwrap(), old);
    assert_eq!(desk.engine.session().unwrap().user().uid, other);
    assert_eq!(desk.end_reason(), EndReason::Replaced);
    assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 1));
    assert!(!desk.desk.spine.end_session(old.expose()), "the old session is over on the broker");
}

#[test]
fn a_locked_session_ends_at_its_limit_here_and_on_the_broker() {
    let desk = in_mode("session_lock");
    let old = desk.engine.get_ticket().unwrap();
    desk.readers.remove(0);
    assert_eq!(desk.lock_reason(), LockReason::CardRemoved);
    desk.clock.advance(30 * MINUTE);
    assert_eq!(desk.engine.status(), Status::LoggedOut);
    assert_eq!(desk.end_reason(), EndReason::NotUnlocked);
    assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 0));
    desk.readers.insert(0, &desk.card);
    assert_ne!(desk.engine.get_ticket().unwrap(), old);
}

#[test]
fn the_monitor_ends_a_locked_session_without_any_call() {
    let mut desk = Desk::with(|spine| spine.roles(1)).set("mode", "mobility");
    desk.config.reauthentication = Duration::from_millis(50);
    desk.config.lock_timeout = Duration::from_millis(50);
    let (tell, events) = mpsc::channel();
    let engine = Engine::builder(desk.config.clone()).prompter(User::new());
    let engine = engine.listener(move |event| drop(tell.send(event.clone()))).build().unwrap();
    drop(engine.get_ticket());
    // No thread requests the ticket any more.
    assert!(desk.spine.wait_for_sessions(PATIENCE, 0));
    let told: Vec<_> = std::iter::from_fn(|| events.recv_timeout(PATIENCE).ok()).take(5).collect();
    assert!(
        matches!(
            told[..],
            [
                Event::LoginBegun,
                Event::SessionBegun,
                Event::LoginEnded(None),
                Event::SessionLocked(LockReason::ReauthenticationDue),
                Event::SessionEnded(EndReason::NotUnlocked)
            ]
        ),
        "{told:?}"
    );
}

#[test]
fn destroying_the_ticket_ends_a_locked_session() {
    let desk = in_mode("session_lock");
    desk.engine.get_ticket().unwrap();
    desk.readers.remove(0);
    assert_eq!(desk.lock_reason(), LockReason::CardRemoved);
    desk.engine.destroy_ticket().unwrap();
    assert_eq!(desk.engine.status(), Status::LoggedOut);
    assert_eq!(desk.end_reason(), EndReason::Destroyed);
    assert_eq!(desk.desk.spine.open_sessions(), 0);
}

#[test]
fn a_new_ticket_replaces_a_locked_session() {
    let desk = in_mode("session_lock");
    let old = desk.engine.get_ticket().unwrap();
    desk.readers.swap(0, &desk.card);
    assert_eq!(desk.lock_reason(), LockReason::CardRemoved);
    let new = desk.engine.get_new_ticket().unwrap();
    assert_ne!(new, old);
    assert_eq!(desk.engine.status(), Status::Live { card_watched: true });
    assert_eq!(desk.desk.spine.open_sessions(), 1);
}

#[test]
fn in_mobility_mode_the_card_may_be_removed_until_reauthentication() {
    let desk = in_mode("mobility");
    let ticket = desk.engine.get_ticket().unwrap();
    assert_eq!(desk.engine.status(), Status::Live { card_watched: false });
    desk.readers.wait_until_unwatched();
    desk.readers.remove(0);
    assert_eq!(desk.engine.get_ticket().unwrap(), ticket);
    desk.clock.advance(60 * MINUTE);
    desk.assert_no_ticket();
    assert_eq!(desk.lock_reason(), LockReason::ReauthenticationDue);
    assert!(matches!(desk.engine.status(), Status::Locked { why: LockReason::ReauthenticationDue, .. }));
    assert_eq!(kind(desk.engine.get_ticket()), ErrorKind::NoCard);
    desk.readers.insert(1, &desk.card);
    assert_eq!(desk.engine.get_ticket().unwrap(), ticket);
    assert_eq!(desk.user.asked().iter().filter(|asked| matches!(asked, Asked::Pin(_))).count(), 2);
}

#[test]
fn a_software_card_unlocks_a_session() {
    let desk = Desk::with(|spine| spine.roles(1)).set("mode", "mobility");
    let (user, clock) = (User::new(), MovedClock::default());
    let engine = Engine::builder(desk.config.clone()).prompter(user.clone()).clock(clock.clone()).build().unwrap();
    let ticket = engine.get_ticket().unwrap();
    clock.advance(61 * MINUTE);
    assert_eq!(engine.get_ticket().unwrap(), ticket);
    assert_eq!(user.pins_asked(), 2);
    // The card of another user, which shows its user only after its PIN: this user logs in.
    clock.advance(61 * MINUTE);
    let other = desk.ca.issue(&ticketapi_testkit::CardSpec::new("999000000001")).unwrap();
    other.write_pkcs12(desk.config.software_card.as_ref().unwrap(), PIN).unwrap();
    assert_ne!(engine.get_ticket().unwrap(), ticket);
    assert_eq!(engine.session().unwrap().user().uid, "999000000001");
    assert!(desk.spine.wait_for_sessions(PATIENCE, 1));
}

#[test]
fn a_listener_may_use_the_engine_and_panic() {
    let desk = Desk::with(|spine| spine.roles(1));
    let engine = Arc::new(OnceLock::<Engine>::new());
    let (tell, told) = mpsc::channel();
    let listener = {
        let engine = Arc::downgrade(&engine);
        move |event: &Event| {
            let engine = engine.upgrade().unwrap();
            let engine = engine.get().unwrap();
            let _ = (engine.status(), engine.session());
            if matches!(event, Event::SessionEnded(_)) {
                tell.send(engine.get_ticket().is_ok()).unwrap();
            }
            panic!("a defect of the host, planted by this test");
        }
    };
    let built = Engine::builder(desk.config.clone()).prompter(User::new()).listener(listener).build().unwrap();
    engine.set(built).ok().unwrap();
    engine.get().unwrap().get_ticket().unwrap();
    engine.get().unwrap().destroy_ticket().unwrap();
    assert!(told.recv_timeout(PATIENCE).unwrap(), "the listener logged in");
}
