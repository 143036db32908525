//! Tickets that expire before their session: renewal, and changes of role and context.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use super::scripted::{Desktop, Scripted, away, refused, wait_until};
use crate::engine::{Event, Status};
use crate::error::{Error, ErrorKind, Stage};
use crate::service::Expiry;
use crate::session::{Context, EndReason, Mode};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind().clone()
}

fn logged_in() -> Desktop {
    let desktop = Desktop::new(Scripted::new());
    assert_eq!(desktop.get().unwrap(), "login-1");
    desktop
}

impl Desktop {
    fn waits_for(&self, call: &'static str, count: usize) {
        wait_until(|| self.service.session.count(call) >= count);
    }

    fn ended(&self, reason: EndReason) {
        wait_until(|| self.has_event(|event| matches!(event, Event::SessionEnded(ended) if *ended == reason)));
    }

    /// Lets the ticket expire while the network is away.
    fn expire(&self) {
        self.service.session.fails_with(std::iter::repeat_n(away(), 1000));
        self.advance(4 * MINUTE);
        self.waits_for("renew", 1);
        self.advance(55 * SECOND);
        // It is tried again until the ticket has expired altogether.
        for _ in 0..6 {
            wait_until(|| self.engine.inner.threads_are_idle());
            self.advance(SECOND);
        }
        wait_until(|| self.engine.inner.threads_are_idle());
        self.service.session.fails_with([]);
    }
}

#[test]
fn the_monitor_that_a_page_of_a_login_starts_ends_when_the_login_fails() {
    let desktop = Desktop::new(Scripted { cancelled_on_page: true, ..Scripted::new() });
    assert!(desktop.get().is_err());
    wait_until(|| desktop.engine.inner.lock().monitor.is_none());
}

#[test]
fn a_ticket_is_renewed_in_the_background_before_it_expires() {
    let desktop = logged_in();
    let old = desktop.engine.session().unwrap();
    desktop.advance(4 * MINUTE - SECOND);
    assert_eq!(desktop.ticket().as_deref(), Some("login-1"));
    assert_eq!(desktop.service.session.count("renew"), 0);
    for renewal in 0..3 {
        desktop.advance(if renewal == 0 { SECOND } else { 4 * MINUTE });
        let expected = format!("renewed-{}", renewal + 2);
        wait_until(|| desktop.ticket().as_deref() == Some(&*expected));
    }
    assert_eq!(desktop.service.session.count("renew"), 3);
    let new = desktop.engine.session().unwrap();
    assert!(Arc::ptr_eq(old.login(), new.login()) && !Arc::ptr_eq(&old, &new));
    assert_eq!((new.user(), new.role()), (old.user(), old.role()));
    assert!(new.expires() >= old.expires());
    wait_until(|| desktop.has_event(|event| matches!(event, Event::TicketReplaced)));
    assert_eq!(desktop.service.session.count("log_out"), 0);
}

#[test]
fn no_ticket_is_given_out_within_five_seconds_of_its_expiry_and_the_next_request_renews_it() {
    let desktop = logged_in();
    // Nothing is renewed in the background while the engine rests.
    desktop.engine.rest();
    desktop.advance(5 * MINUTE - 5 * SECOND - Duration::from_nanos(1));
    assert_eq!(desktop.ticket().as_deref(), Some("login-1"));
    desktop.advance(Duration::from_nanos(1));
    assert_eq!(desktop.ticket(), None);
    let error = desktop.engine.get_ticket_no_auth().unwrap_err();
    assert_eq!(error.detail(), "the ticket has expired and has not been renewed yet");
    assert_eq!(desktop.engine.status(), Status::Live { card_watched: false });
    assert_eq!(desktop.service.session.count("renew"), 0, "the network was used without need");
    assert_eq!(desktop.get().unwrap(), "renewed-2");
    assert_eq!(desktop.ticket().as_deref(), Some("renewed-2"));
}

#[test]
fn a_ticket_of_a_few_seconds_is_renewed_in_time() {
    let mut service = Scripted::new();
    service.expiry = Some(Expiry { after: 12 * SECOND, renewable: Some(26 * SECOND) });
    let desktop = Desktop::new(service);
    desktop.get().unwrap();
    for count in 1..5 {
        desktop.advance(6 * SECOND);
        desktop.waits_for("renew", count);
        wait_until(|| desktop.ticket() == Some(format!("renewed-{}", count + 1)));
    }
}

#[test]
fn a_renewal_that_the_network_prevents_is_tried_again_until_the_ticket_expires() {
    let desktop = logged_in();
    desktop.service.session.fails_with([away(), away(), away()]);
    desktop.advance(4 * MINUTE);
    for (tried, pause) in [15, 12, 9].into_iter().enumerate() {
        desktop.waits_for("renew", tried + 1);
        wait_until(|| desktop.engine.inner.threads_are_idle());
        assert_eq!(desktop.ticket().as_deref(), Some("login-1"), "it is still valid");
        desktop.advance(pause * SECOND);
    }
    wait_until(|| desktop.ticket().as_deref() == Some("renewed-2"));
    assert_eq!(desktop.service.session.count("renew"), 4);
}

#[test]
fn a_session_whose_ticket_expired_without_network_lives_on_and_renews_it_later() {
    let desktop = logged_in();
    desktop.expire();
    assert_eq!(desktop.ticket(), None);
    desktop.advance(MINUTE);
    let tried = desktop.service.session.count("renew");
    desktop.service.session.fails_with([away()]);
    assert_eq!(kind(desktop.get()), ErrorKind::ServerNotAvailable);
    assert_eq!(desktop.ticket(), None);
    assert_eq!(desktop.get().unwrap(), "renewed-2");
    assert_eq!(desktop.service.session.count("renew"), tried + 2);
    assert_eq!(desktop.service.session.count("log_out"), 0);
}

#[test]
fn a_refused_renewal_ends_the_session_and_the_next_request_logs_in() {
    let not_valid = || Error::new(ErrorKind::UserNotValid, Stage::Session, "User disabled");
    for refusal in [refused as fn() -> Error, not_valid] {
        let desktop = logged_in();
        desktop.service.session.fails_with([refusal()]);
        desktop.advance(4 * MINUTE);
        desktop.ended(EndReason::RenewalRefused);
        assert!(desktop.is_logged_out() && desktop.ticket().is_none());
        desktop.waits_for("log_out", 1);
        assert_eq!(desktop.get().unwrap(), "login-2");
    }
    let desktop = logged_in();
    desktop.engine.rest();
    desktop.advance(6 * MINUTE);
    desktop.service.session.fails_with([refused()]);
    assert_eq!(desktop.get().unwrap(), "login-2", "the request that met the refusal");
    desktop.ended(EndReason::RenewalRefused);
}

#[test]
fn requests_that_meet_an_expired_ticket_share_one_renewal() {
    let desktop = logged_in();
    desktop.expire();
    let tried = desktop.service.session.count("renew");
    desktop.service.session.hold("renew");
    let begin = Barrier::new(9);
    thread::scope(|scope| {
        let requests: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    begin.wait();
                    desktop.get().unwrap()
                })
            })
            .collect();
        begin.wait();
        desktop.waits_for("renew", tried + 1);
        assert_eq!(desktop.ticket(), None, "it does not wait");
        thread::sleep(Duration::from_millis(50));
        desktop.service.session.let_go();
        for request in requests {
            assert_eq!(request.join().unwrap(), "renewed-2");
        }
    });
    assert_eq!(desktop.service.session.count("renew"), tried + 1);
    assert_eq!(desktop.service.session.most_renewing(), 1);
}

#[test]
fn cancelling_ends_the_wait_for_a_renewal_and_not_the_renewal() {
    let desktop = logged_in();
    desktop.expire();
    let tried = desktop.service.session.count("renew");
    desktop.service.session.hold("renew");
    thread::scope(|scope| {
        let request = scope.spawn(|| desktop.get());
        desktop.waits_for("renew", tried + 1);
        // The request may not wait yet.
        wait_until(|| {
            desktop.engine.cancel_login();
            request.is_finished()
        });
        assert_eq!(kind(request.join().unwrap()), ErrorKind::Cancelled);
    });
    desktop.service.session.let_go();
    wait_until(|| desktop.ticket().as_deref() == Some("renewed-2"));
}

#[test]
fn a_session_that_is_not_used_is_renewed_until_its_idle_limit() {
    let desktop = logged_in();
    for renewal in 1..=7 {
        desktop.advance(4 * MINUTE);
        desktop.waits_for("renew", renewal);
        wait_until(|| desktop.engine.inner.threads_are_idle());
    }
    desktop.advance(2 * MINUTE);
    desktop.ended(EndReason::Idle);
    assert_eq!(desktop.service.session.count("renew"), 7);
    desktop.waits_for("log_out", 1);
}

#[test]
fn a_session_ends_at_its_maximum_however_often_it_was_renewed() {
    let mut service = Scripted::new();
    service.limits.total = Some(9 * MINUTE);
    let desktop = Desktop::new(service);
    desktop.get().unwrap();
    for renewal in 1..=2 {
        desktop.advance(4 * MINUTE);
        desktop.waits_for("renew", renewal);
        wait_until(|| desktop.ticket() == Some(format!("renewed-{}", renewal + 1)));
    }
    desktop.advance(MINUTE);
    desktop.ended(EndReason::Expired);
    assert_eq!(desktop.ticket(), None);
}

#[test]
fn a_session_ends_with_a_ticket_that_cannot_be_renewed() {
    let mut service = Scripted::new();
    service.expiry = Some(Expiry { after: 5 * MINUTE, renewable: None });
    let desktop = Desktop::new(service);
    desktop.get().unwrap();
    desktop.advance(5 * MINUTE - 5 * SECOND);
    desktop.ended(EndReason::TicketExpired);
    assert_eq!(desktop.service.session.count("renew"), 0);
    assert_eq!(desktop.get().unwrap(), "login-2");

    let desktop = logged_in();
    desktop.service.session.renews_nothing();
    desktop.advance(4 * MINUTE);
    desktop.waits_for("renew", 1);
    wait_until(|| desktop.engine.inner.threads_are_idle());
    assert_eq!(desktop.ticket().as_deref(), Some("login-1"));
    desktop.advance(55 * SECOND);
    desktop.ended(EndReason::TicketExpired);
}

#[test]
fn tickets_too_short_lived_to_be_given_out_are_an_error_and_leave_no_session() {
    let short = Expiry { after: 5 * SECOND, renewable: Some(MINUTE) };
    let mut service = Scripted::new();
    service.expiry = Some(short);
    let desktop = Desktop::new(service);
    assert_eq!(kind(desktop.get()), ErrorKind::BadAnswer);
    assert!(desktop.is_logged_out());
    desktop.waits_for("log_out", 1);

    let desktop = logged_in();
    desktop.engine.rest();
    desktop.service.session.issues_for(short);
    desktop.advance(5 * MINUTE);
    assert_eq!(kind(desktop.get()), ErrorKind::BadAnswer);
    assert_eq!(desktop.ticket(), None);
    assert_eq!(desktop.service.session.count("renew"), 1, "no loop");
}

#[test]
fn a_session_that_is_destroyed_during_its_renewal_stays_so() {
    let desktop = logged_in();
    desktop.service.session.hold("renew");
    desktop.advance(4 * MINUTE);
    desktop.waits_for("renew", 1);
    desktop.engine.destroy_ticket().unwrap();
    assert_eq!(desktop.service.session.count("log_out"), 1);
    desktop.service.session.let_go();
    wait_until(|| desktop.engine.inner.threads_are_idle());
    assert!(desktop.is_logged_out() && desktop.ticket().is_none());
    assert_eq!(desktop.get().unwrap(), "login-3");
    assert_eq!(desktop.ticket().as_deref(), Some("login-3"));
}

#[test]
fn a_locked_session_is_not_renewed_and_gets_the_ticket_of_its_unlocking() {
    let desktop = Desktop::with(Scripted::new(), |config| {
        config.mode = Mode::Mobility;
        config.reauthentication = 2 * MINUTE;
    });
    desktop.get().unwrap();
    desktop.advance(10 * MINUTE);
    assert!(matches!(desktop.engine.status(), Status::Locked { .. }));
    assert_eq!((desktop.ticket(), desktop.service.session.count("renew")), (None, 0));
    assert_eq!(desktop.get().unwrap(), "login-2");
    assert_eq!(desktop.ticket().as_deref(), Some("login-2"));
    wait_until(|| desktop.has_event(|event| matches!(event, Event::SessionUnlocked)));
    assert_eq!(desktop.service.session.count("log_out"), 0);
}

#[test]
fn a_change_of_role_gives_the_session_another_ticket_and_role() {
    let desktop = logged_in();
    let old = desktop.engine.session().unwrap();
    let new = desktop.engine.change_role().unwrap();
    assert_eq!(new.ticket().expose(), "role-2");
    assert_eq!(new.role().map(|role| &*role.id), Some("B"));
    assert_eq!((new.user(), new.login().as_ref() as *const _), (old.user(), old.login().as_ref() as *const _));
    assert_eq!(desktop.ticket().as_deref(), Some("role-2"));
    assert_eq!(desktop.service.session.count("log_out"), 0);
    desktop.advance(4 * MINUTE);
    wait_until(|| desktop.ticket().as_deref() == Some("renewed-3"));
    assert_eq!(desktop.engine.session().unwrap().role().map(|role| &*role.id), Some("B"));
}

#[test]
fn the_session_continues_while_its_user_chooses_another_role() {
    let desktop = logged_in();
    desktop.service.session.hold("change_role");
    thread::scope(|scope| {
        let change = scope.spawn(|| desktop.engine.change_role());
        let second = scope.spawn(|| desktop.engine.change_role());
        desktop.waits_for("change_role", 1);
        assert_eq!(desktop.ticket().as_deref(), Some("login-1"));
        assert_eq!(desktop.get().unwrap(), "login-1");
        desktop.advance(4 * MINUTE);
        wait_until(|| desktop.ticket().as_deref() == Some("renewed-2"));
        desktop.service.session.let_go();
        assert_eq!(change.join().unwrap().unwrap().ticket().expose(), "role-3");
        assert!(second.join().unwrap().unwrap().ticket().expose().starts_with("role-"));
    });
}

#[test]
fn a_renewal_that_ends_after_a_change_of_role_does_not_undo_it() {
    let desktop = logged_in();
    desktop.service.session.hold("renew");
    desktop.advance(4 * MINUTE);
    desktop.waits_for("renew", 1);
    assert_eq!(desktop.engine.change_role().unwrap().ticket().expose(), "role-2");
    desktop.service.session.let_go();
    wait_until(|| desktop.engine.inner.threads_are_idle());
    assert_eq!(desktop.ticket().as_deref(), Some("role-2"));
    // A refusal of the old ticket says nothing about the new one.
    desktop.service.session.hold("renew");
    desktop.advance(4 * MINUTE);
    desktop.waits_for("renew", 2);
    desktop.engine.change_role().unwrap();
    desktop.service.session.fails_with([refused()]);
    desktop.service.session.let_go();
    wait_until(|| desktop.engine.inner.threads_are_idle());
    assert!(!desktop.is_logged_out());
}

#[test]
fn changes_that_fail_leave_the_session_as_it_was() {
    let desktop = logged_in();
    for error in [refused, away] {
        desktop.service.session.fails_with([error(), error()]);
        assert_eq!(kind(desktop.engine.change_role()), *error().kind());
        assert_eq!(kind(desktop.engine.switch_context(&Context::new())), *error().kind());
        assert_eq!(desktop.get().unwrap(), "login-1");
        assert_eq!(desktop.engine.session().unwrap().role().map(|role| &*role.id), Some("A"));
    }
    assert_eq!(desktop.service.session.count("log_out"), 0);
    wait_until(|| desktop.engine.inner.threads_are_idle());
    assert!(!desktop.has_event(|event| matches!(event, Event::TicketReplaced)));
}

#[test]
fn a_change_of_role_can_be_cancelled_and_ends_with_its_session() {
    for destroy in [false, true] {
        let desktop = logged_in();
        desktop.service.session.hold("change_role");
        thread::scope(|scope| {
            let change = scope.spawn(|| desktop.engine.change_role());
            desktop.waits_for("change_role", 1);
            if destroy {
                desktop.engine.destroy_ticket().unwrap();
            } else {
                desktop.engine.cancel_login();
            }
            desktop.service.session.let_go();
            assert_eq!(kind(change.join().unwrap()), ErrorKind::Cancelled);
        });
        assert_eq!(desktop.ticket().is_some(), !destroy);
    }
}

#[test]
fn a_switch_of_context_gives_every_reader_the_new_ticket_and_waits_for_a_renewal() {
    let desktop = logged_in();
    let context = Context::new().care_team("https://a/CareTeam/1").patient("https://a/Patient/1");
    assert_eq!(desktop.engine.switch_context(&context).unwrap().ticket().expose(), "context-2");
    assert_eq!(desktop.ticket().as_deref(), Some("context-2"));
    desktop.service.session.hold("renew");
    desktop.advance(4 * MINUTE);
    desktop.waits_for("renew", 1);
    thread::scope(|scope| {
        let switch = scope.spawn(|| desktop.engine.switch_context(&context));
        thread::sleep(Duration::from_millis(50));
        assert_eq!(desktop.service.session.count("switch_context"), 1, "two exchanges at a time");
        desktop.service.session.let_go();
        assert_eq!(switch.join().unwrap().unwrap().ticket().expose(), "context-4");
    });
    assert_eq!(desktop.ticket().as_deref(), Some("context-4"));
}

#[test]
fn a_context_that_cannot_be_right_is_not_sent() {
    let desktop = logged_in();
    let context = Context::new().patient("https://a/Patient/1");
    assert_eq!(kind(desktop.engine.switch_context(&context)), ErrorKind::InvalidParameter);
    assert_eq!(desktop.service.session.count("switch_context"), 0);
}

#[test]
fn nobody_is_logged_in_for_a_change_or_a_question() {
    let desktop = Desktop::new(Scripted::new());
    assert_eq!(kind(desktop.engine.change_role()), ErrorKind::TicketNotAvailable);
    assert_eq!(kind(desktop.engine.switch_context(&Context::new())), ErrorKind::TicketNotAvailable);
    assert_eq!(kind(desktop.engine.claims()), ErrorKind::TicketNotAvailable);
    assert_eq!(kind(desktop.engine.contexts()), ErrorKind::TicketNotAvailable);
    assert!(desktop.is_logged_out());
}

#[test]
fn questions_about_the_user_renew_an_expired_ticket_first() {
    let desktop = logged_in();
    assert_eq!(desktop.engine.claims().unwrap(), "{}");
    assert_eq!(kind(desktop.engine.contexts()), ErrorKind::NotImplemented);
    desktop.expire();
    let tried = desktop.service.session.count("renew");
    assert_eq!(desktop.engine.claims().unwrap(), "{}");
    assert_eq!(desktop.service.session.count("renew"), tried + 1);
    desktop.service.session.fails_with([refused()]);
    assert_eq!(kind(desktop.engine.claims()), ErrorKind::TicketNotAvailable);
    desktop.ended(EndReason::EndedByBroker);
}

#[test]
fn a_reader_of_the_ticket_may_use_the_engine() {
    for length in [8, 4096] {
        let desktop = Desktop::new(Scripted::new());
        desktop.service.session.pads_tickets_to(length);
        desktop.get().unwrap();
        // At the engine's lock, then without it.
        for _ in 0..2 {
            let read = desktop.engine.with_ticket(|bytes| {
                assert_eq!(desktop.engine.get_ticket().unwrap().expose().as_bytes(), bytes);
                bytes.len()
            });
            assert_eq!(read, Some(length));
        }
        let read = desktop.engine.with_ticket(|bytes| {
            desktop.engine.destroy_ticket().unwrap();
            bytes.len()
        });
        assert_eq!(read, Some(length));
        assert_eq!(desktop.ticket(), None);
    }
}
