//! Removing the card: while the session is idle, at each step of a login, and when the server cannot be reached.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use support::readers::{READER, TestCard, Watched};
use support::{Desk, PATIENCE, PIN, User, kind};
use ticketapi::card::events::CardEvent;
use ticketapi::engine::{Event, Status};
use ticketapi::session::EndReason;
use ticketapi::{Error, ErrorKind, Pin, Stage};
use ticketapi_testkit::spine::Entry;
use ticketapi_testkit::{Endpoint, Misbehaviour};

/// The time from the event until the ticket is gone, with a margin for a busy machine.
const AT_ONCE: Duration = Duration::from_millis(250);

fn watched() -> Watched {
    Watched::with(Desk::with(|spine| spine.roles(2)), &User::new())
}

/// Fails a login by removing the card from the first reader after `at`.
fn remove_during(desk: &Watched, at: impl FnOnce(&Watched)) {
    let error = thread::scope(|scope| {
        let login = scope.spawn(|| desk.engine.get_new_ticket().unwrap_err());
        at(desk);
        desk.readers.remove(0);
        login.join().unwrap()
    });
    assert_eq!(*error.kind(), ErrorKind::CardFailed, "{error}");
    assert!(error.detail().contains("taken out") && error.detail().contains(READER), "{error}");
    assert_eq!(kind(desk.engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert_eq!(desk.engine.status(), Status::LoggedOut);
    assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 0), "a session was left on the server");
    desk.readers.wait_until_unwatched();
}

fn until_asked(endpoint: Endpoint) -> impl Fn(&Watched) {
    move |desk| {
        let asked = |log: &[Entry]| log.iter().any(|entry| entry.endpoint == Some(endpoint));
        assert!(desk.desk.spine.wait_for(PATIENCE, asked));
    }
}

#[test]
fn removing_the_card_ends_the_session_here_and_on_the_broker() {
    let desk = watched();
    desk.engine.get_ticket().unwrap();
    assert_eq!(desk.engine.status(), Status::Live { card_watched: true });
    assert!(desk.engine.session().unwrap().card_watched());
    desk.readers.remove(0);
    assert!(desk.ticket_gone() < AT_ONCE);
    assert_eq!(desk.end_reason(), EndReason::Removed);
    assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 0));
    desk.readers.wait_until_unwatched();
}

#[test]
fn inserting_and_removing_another_card_does_not_affect_the_session() {
    let desk = watched();
    let ticket = desk.engine.get_ticket().unwrap();
    for _ in 0..5 {
        desk.readers.insert(1, &TestCard::new(&desk.desk, "999000000001"));
        desk.readers.remove(1);
    }
    let removed = |event| matches!(event, Event::Card(CardEvent::Removed { reader }) if reader != READER);
    while !removed(desk.next_event()) {}
    assert_eq!(desk.engine.get_ticket_no_auth().unwrap(), ticket);
}

#[test]
fn a_swapped_card_that_no_snapshot_shows_ends_the_session() {
    let desk = watched();
    desk.engine.get_ticket().unwrap();
    desk.readers.swap(0, &TestCard::new(&desk.desk, "999000000001"));
    assert!(desk.ticket_gone() < AT_ONCE);
    assert_eq!(desk.end_reason(), EndReason::Removed);
}

#[test]
fn the_listener_gets_every_event_in_order() {
    let desk = watched();
    desk.engine.get_ticket().unwrap();
    desk.readers.remove(0);
    let told: Vec<_> = std::iter::repeat_with(|| desk.next_event()).take(5).collect();
    assert!(
        matches!(
            &told[..],
            [
                Event::LoginBegun,
                Event::SessionBegun,
                Event::LoginEnded(None),
                Event::SessionEnded(EndReason::Removed),
                Event::Card(CardEvent::Removed { reader })
            ] if reader == READER
        ),
        "{told:?}"
    );
}

#[test]
fn removing_the_card_during_pin_entry_fails_the_login() {
    let (there, is_there) = mpsc::channel();
    let user = User::new().asked_for_pin(move |cancel| {
        there.send(()).unwrap();
        assert!(cancel.wait(PATIENCE), "the prompt is taken back");
        Err(Error::cancelled(Stage::Pin))
    });
    remove_during(&Watched::with(Desk::new(), &user), |_| is_there.recv().unwrap());
}

#[test]
fn a_pin_that_is_entered_after_the_card_was_removed_is_not_tried() {
    let (there, is_there) = mpsc::channel();
    let user = User::new().asked_for_pin(move |cancel| {
        there.send(()).unwrap();
        assert!(cancel.wait(PATIENCE));
        Ok(Pin::new(PIN.into()))
    });
    remove_during(&Watched::with(Desk::new(), &user), |_| is_there.recv().unwrap());
}

#[test]
fn removing_the_card_while_it_signs_fails_the_login() {
    let desk = watched();
    desk.readers.hold_signing(true);
    remove_during(&desk, |desk| desk.readers.wait_until_signing());
}

#[test]
fn removing_the_card_during_validate_leaves_no_session_on_the_server() {
    let desk = watched();
    let held = desk.desk.spine.hold(Endpoint::Validate);
    thread::scope(|scope| {
        let login = scope.spawn(|| kind(desk.engine.get_ticket()));
        assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 1));
        desk.readers.remove(0);
        // The response with the ticket has not arrived yet.
        assert_eq!(login.join().unwrap(), ErrorKind::CardFailed);
    });
    drop(held);
    assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 0));
    assert_eq!(desk.engine.status(), Status::LoggedOut);
}

#[test]
fn removing_the_card_during_role_selection_fails_the_login() {
    let desk = watched();
    let held = desk.desk.spine.hold(Endpoint::SelectRole);
    remove_during(&desk, |desk| until_asked(Endpoint::SelectRole)(desk));
    drop(held);
}

#[test]
fn removing_the_card_during_the_role_prompt_fails_the_login() {
    let (there, is_there) = mpsc::channel();
    let user = User::new().asked_for_role(move |cancel| {
        there.send(()).unwrap();
        assert!(cancel.wait(PATIENCE), "the prompt is taken back");
        Err(Error::cancelled(Stage::RoleSelection))
    });
    remove_during(&Watched::with(Desk::new(), &user), |_| is_there.recv().unwrap());
}

#[test]
fn removing_the_card_during_a_new_login_ends_the_old_session() {
    let desk = watched();
    desk.engine.get_ticket().unwrap();
    desk.readers.hold_signing(true);
    remove_during(&desk, |desk| desk.readers.wait_until_signing());
    assert_eq!(desk.end_reason(), EndReason::Removed);
}

#[test]
fn an_unreachable_server_does_not_delay_the_end_of_a_session() {
    let desk = watched();
    desk.engine.get_ticket().unwrap();
    desk.desk.spine.misbehave(Endpoint::Logout, Misbehaviour::NoAnswer);
    for _ in 0..3 {
        let began = Instant::now();
        desk.readers.remove(0);
        assert!(desk.ticket_gone() < AT_ONCE);
        desk.readers.insert(0, &desk.card);
        desk.engine.get_ticket().unwrap();
        assert!(began.elapsed() < Duration::from_secs(10), "somebody waited for the server");
    }
    let began = Instant::now();
    drop(desk.engine);
    assert!(began.elapsed() < Duration::from_secs(3), "dropping the engine waited for the server");
}

#[test]
fn a_logout_is_repeated_until_the_server_is_reachable_again() {
    let desk = watched();
    desk.engine.get_ticket().unwrap();
    desk.desk.spine.misbehave_times(Endpoint::Logout, Misbehaviour::Reset, 2);
    desk.readers.remove(0);
    assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn one_watch_serves_many_logins() {
    let desk = watched();
    for _ in 0..3 {
        desk.engine.get_new_ticket().unwrap();
    }
    desk.readers.remove(0);
    desk.ticket_gone();
    assert_eq!(desk.readers.watches_begun(), 1);
}

#[test]
fn a_logout_that_the_server_refuses_is_not_repeated() {
    let desk = watched();
    desk.engine.get_ticket().unwrap();
    desk.desk.spine.misbehave(Endpoint::Logout, Misbehaviour::Refuse("no".into()));
    desk.readers.remove(0);
    desk.ticket_gone();
    // Waits for the work in the background.
    drop(desk.engine);
    let asked = desk.desk.spine.log().iter().filter(|entry| entry.endpoint == Some(Endpoint::Logout)).count();
    assert_eq!(asked, 1);
}

#[test]
fn a_dropped_engine_stops_watching_and_logs_out() {
    let desk = watched();
    desk.engine.get_ticket().unwrap();
    desk.readers.remove(0);
    desk.ticket_gone();
    drop(desk.engine);
    assert_eq!(desk.readers.watches(), 0);
    assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 0), "there was time to tell the broker");
}

#[test]
fn a_service_that_stops_ends_the_session_after_five_seconds() {
    let desk = watched();
    let ticket = desk.engine.get_ticket().unwrap();
    desk.readers.stop();
    let began = Instant::now();
    assert_eq!(desk.engine.get_ticket_no_auth().unwrap(), ticket, "it may be back in time");
    assert_eq!(desk.end_reason(), EndReason::ReaderLost);
    let time = began.elapsed();
    assert!(time > Duration::from_secs(4) && time < Duration::from_secs(8), "{time:?}");
    assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn a_service_that_restarts_in_time_with_the_card_keeps_the_session() {
    let desk = watched();
    let ticket = desk.engine.get_ticket().unwrap();
    desk.readers.stop();
    desk.readers.start(None);
    desk.readers.insert(0, &desk.card);
    // Until it is identified it counts as not seen.
    desk.readers.wait_until_watched();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        assert_eq!(desk.engine.get_ticket_no_auth().unwrap(), ticket);
        thread::sleep(Duration::from_millis(50));
    }
    desk.readers.remove(0);
    assert_eq!(desk.end_reason(), EndReason::Removed);
}

#[test]
fn a_card_that_cannot_be_read_after_a_restart_is_tried_at_most_twice_a_second() {
    let desk = watched();
    desk.engine.get_ticket().unwrap();
    desk.readers.stop();
    let (before, began) = (desk.readers.searches(), Instant::now());
    desk.readers.start(Some(&desk.card.unreadable()));
    assert_eq!(desk.end_reason(), EndReason::ReaderLost);
    let (searches, time) = (desk.readers.searches() - before, began.elapsed());
    assert!(searches > 1 && Duration::from_millis(500) * (searches - 2) <= time, "{searches} in {time:?}");
}

#[test]
fn a_service_that_restarts_with_another_card_ends_the_session() {
    let desk = watched();
    desk.engine.get_ticket().unwrap();
    desk.readers.stop();
    desk.readers.start(Some(&TestCard::new(&desk.desk, "999000000001")));
    assert_eq!(desk.end_reason(), EndReason::Removed);
    assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn a_watch_that_fails_ends_the_session() {
    let desk = watched();
    desk.engine.get_ticket().unwrap();
    desk.readers.break_down();
    assert_eq!(desk.end_reason(), EndReason::ReaderLost);
    desk.ticket_gone();
    assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn logins_fail_while_the_readers_cannot_be_watched() {
    let desk = watched();
    desk.readers.break_down();
    desk.readers.hold_signing(true);
    let error = desk.engine.get_ticket().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::CardFailed, "{error}");
    assert!(error.detail().contains("the watcher has died"), "{error}");
}

#[test]
fn many_threads_get_no_ticket_after_the_card_was_removed() {
    let desk = Watched::with(Desk::with(|spine| spine.roles(1)), &User::typing(&[PIN; 1000]));
    let (gone, over) = (AtomicBool::new(false), AtomicBool::new(false));
    desk.engine.get_ticket().unwrap();
    thread::scope(|scope| {
        let askers: Vec<_> = (0..64)
            .map(|number| {
                let (desk, gone, over) = (&desk, &gone, &over);
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        let was_gone = gone.load(Ordering::SeqCst);
                        let got = match number % 2 {
                            0 => desk.engine.with_ticket(|_| ()).is_some(),
                            _ => desk.engine.get_ticket_no_auth().is_ok(),
                        };
                        assert!(!(was_gone && got), "a ticket was given out after the session had ended");
                        thread::yield_now();
                    }
                })
            })
            .collect();
        desk.readers.remove(0);
        // Until one caller, and so every caller, gets no ticket.
        while desk.engine.with_ticket(|_| ()).is_some() {
            thread::yield_now();
        }
        gone.store(true, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(100));
        over.store(true, Ordering::SeqCst);
        askers.into_iter().for_each(|asker| asker.join().unwrap());
    });
}

#[test]
fn a_resting_engine_handles_missed_events_when_it_resumes() {
    let desk = watched();
    let ticket = desk.engine.get_ticket().unwrap();
    desk.readers.wait_until_watched();
    desk.engine.rest();
    assert_eq!(desk.readers.watches(), 1, "the readers are still watched");
    desk.engine.wake();
    assert_eq!(desk.engine.get_ticket_no_auth().unwrap(), ticket);

    desk.engine.rest();
    desk.readers.remove(0);
    desk.readers.insert(0, &desk.card);
    desk.engine.wake();
    assert_eq!(kind(desk.engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert_eq!(desk.end_reason(), EndReason::Removed);
    assert!(desk.desk.spine.wait_for_sessions(PATIENCE, 0));

    desk.engine.get_ticket().unwrap();
    desk.engine.rest();
    desk.readers.stop();
    desk.readers.start(Some(&desk.card));
    desk.engine.wake();
    assert_eq!(desk.end_reason(), EndReason::ReaderLost, "nobody knows what happened meanwhile");

    desk.engine.get_ticket().unwrap();
    desk.engine.rest();
    desk.clock.advance(Duration::from_secs(600 * 60));
    desk.engine.wake();
    assert_eq!(kind(desk.engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert_eq!(desk.end_reason(), EndReason::Expired);
}
