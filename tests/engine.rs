//! The four operations from many threads, and what ends a login from outside.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use support::{Desk, PATIENCE, PIN, User, kind};
use ticketapi::cancel::CancelToken;
use ticketapi::prompt::{PinRequest, Prompter};
use ticketapi::ssb::Role;
use ticketapi::{Engine, Error, ErrorKind, Pin, Result, Stage};
use ticketapi_testkit::spine::Entry;
use ticketapi_testkit::{Endpoint, Misbehaviour};

/// A user whose PIN prompt reports when it opens, and answers when the test says so.
fn slow_user() -> (User, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (there, is_there) = mpsc::channel();
    let (answer, answered) = mpsc::channel::<()>();
    let user = User::new().asked_for_pin(move |cancel| {
        there.send(()).unwrap();
        loop {
            if cancel.is_cancelled() {
                return Err(Error::cancelled(Stage::Pin));
            }
            match answered.recv_timeout(Duration::from_millis(5)) {
                Ok(()) => return Ok(Pin::new(PIN.into())),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(Error::cancelled(Stage::Pin)),
            }
        }
    });
    (user, is_there, answer)
}

#[test]
fn sixty_four_threads_share_one_login() {
    let desk = Desk::new();
    let (user, is_there, answer) = slow_user();
    let engine = desk.engine(&user);
    let ready = Barrier::new(64);
    let tickets: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    ready.wait();
                    engine.get_ticket().unwrap()
                })
            })
            .collect();
        is_there.recv().unwrap();
        answer.send(()).unwrap();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(tickets.iter().all(|ticket| *ticket == tickets[0]));
    assert_eq!(user.pins_asked(), 1);
    assert_eq!(desk.spine.open_sessions(), 1);
}

#[test]
fn no_auth_does_not_wait_for_a_login() {
    let desk = Desk::new();
    let (user, is_there, answer) = slow_user();
    let engine = desk.engine(&user);
    thread::scope(|scope| {
        let login = scope.spawn(|| engine.get_ticket().unwrap());
        is_there.recv().unwrap();
        assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
        answer.send(()).unwrap();
        assert_eq!(login.join().unwrap(), engine.get_ticket_no_auth().unwrap());
    });
}

#[test]
fn no_auth_never_prompts_and_never_connects() {
    let desk = Desk::new();
    let user = User::new();
    assert_eq!(kind(desk.engine(&user).get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert_eq!(user.asked(), []);
    assert_eq!(desk.spine.connections(), 0);
}

#[test]
fn a_new_ticket_replaces_the_old_session() {
    let desk = Desk::new();
    let engine = desk.engine(&User::new());
    let old = engine.get_ticket().unwrap();
    let new = engine.get_new_ticket().unwrap();
    assert_ne!(old, new);
    assert_eq!(engine.get_ticket_no_auth().unwrap(), new);
    assert_eq!(desk.spine.open_sessions(), 1);
    assert!(desk.spine.end_session(new.expose()));
}

#[test]
fn a_new_login_that_fails_keeps_the_old_session() {
    let desk = Desk::new();
    let engine = desk.engine(&User::typing(&[PIN]));
    let old = engine.get_ticket().unwrap();
    assert_eq!(kind(engine.get_new_ticket()), ErrorKind::Cancelled);
    assert_eq!(engine.get_ticket().unwrap(), old);
}

#[test]
fn destroying_the_ticket_cancels_a_login_for_every_waiting_thread() {
    let desk = Desk::new();
    let (user, is_there, _answer) = slow_user();
    let engine = desk.engine(&user);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| kind(engine.get_ticket()))).collect();
        is_there.recv().unwrap();
        let now = Instant::now();
        engine.destroy_ticket().unwrap();
        // A thread that starts only afterwards logs in anew, as it should.
        while !threads.iter().all(|thread| thread.is_finished()) {
            if is_there.recv_timeout(Duration::from_millis(5)).is_ok() {
                engine.destroy_ticket().unwrap();
            }
        }
        assert!(now.elapsed() < PATIENCE);
        for thread in threads {
            assert_eq!(thread.join().unwrap(), ErrorKind::Cancelled);
        }
    });
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn a_login_destroyed_as_its_ticket_arrives_leaves_no_session() {
    let desk = Desk::with(|spine| spine.roles(1));
    let engine = desk.engine(&User::new());
    thread::scope(|scope| {
        let held = desk.spine.hold(Endpoint::Validate);
        let login = scope.spawn(|| kind(engine.get_ticket()));
        assert!(desk.spine.wait_for_sessions(PATIENCE, 1));
        engine.destroy_ticket().unwrap();
        drop(held);
        assert_eq!(login.join().unwrap(), ErrorKind::Cancelled);
    });
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert!(desk.spine.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn a_login_destroyed_during_role_selection_leaves_no_session() {
    let desk = Desk::with(|spine| spine.roles(1));
    let engine = desk.engine(&User::new());
    thread::scope(|scope| {
        let held = desk.spine.hold(Endpoint::SelectRole);
        let login = scope.spawn(|| kind(engine.get_ticket()));
        let selecting = |log: &[Entry]| log.iter().any(|entry| entry.endpoint == Some(Endpoint::SelectRole));
        assert!(desk.spine.wait_for(PATIENCE, selecting));
        engine.destroy_ticket().unwrap();
        drop(held);
        assert_eq!(login.join().unwrap(), ErrorKind::Cancelled);
    });
    assert!(desk.spine.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn a_login_can_be_cancelled_at_each_request_within_200_ms() {
    for endpoint in [Endpoint::Activate, Endpoint::Validate, Endpoint::SelectRole] {
        let desk = Desk::with(|spine| spine.roles(1));
        desk.spine.misbehave(endpoint, Misbehaviour::NoAnswer);
        let engine = desk.engine(&User::new());
        thread::scope(|scope| {
            let login = scope.spawn(|| (kind(engine.get_ticket()), Instant::now()));
            let asked = |log: &[Entry]| log.iter().any(|entry| entry.endpoint == Some(endpoint));
            assert!(desk.spine.wait_for(PATIENCE, asked));
            let cancelled = Instant::now();
            engine.cancel_login();
            let (kind, ended) = login.join().unwrap();
            assert_eq!(kind, ErrorKind::Cancelled);
            let time = ended.saturating_duration_since(cancelled);
            assert!(time < Duration::from_millis(200), "{endpoint:?} took {time:?}");
        });
        assert_eq!(desk.spine.open_sessions(), 0, "{endpoint:?}");
    }
}

#[test]
fn cancelling_a_login_keeps_an_earlier_session() {
    let desk = Desk::new();
    let (user, is_there, answer) = slow_user();
    let engine = desk.engine(&user);
    answer.send(()).unwrap();
    let ticket = engine.get_ticket().unwrap();
    is_there.recv().unwrap();
    thread::scope(|scope| {
        let login = scope.spawn(|| kind(engine.get_new_ticket()));
        is_there.recv().unwrap();
        engine.cancel_login();
        assert_eq!(login.join().unwrap(), ErrorKind::Cancelled);
    });
    assert_eq!(engine.get_ticket_no_auth().unwrap(), ticket);
}

#[test]
fn a_ticket_is_destroyed_although_the_broker_is_unreachable() {
    let desk = Desk::new();
    let engine = desk.engine(&User::new());
    engine.get_ticket().unwrap();
    drop(desk.spine);
    assert_eq!(kind(engine.destroy_ticket()), ErrorKind::ServerNotAvailable);
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
}

#[test]
fn a_prompt_that_requests_a_ticket_gets_an_error() {
    let desk = Desk::with(|spine| spine.roles(2));
    let engine = Arc::new(OnceLock::<Engine>::new());
    let user = User::new().asked_for_role({
        let engine = Arc::clone(&engine);
        move |_| {
            let inner = engine.get().unwrap();
            assert_eq!(kind(inner.get_ticket()), ErrorKind::LoginUnderWay);
            assert_eq!(kind(inner.get_new_ticket()), ErrorKind::LoginUnderWay);
            assert_eq!(kind(inner.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
            Ok(1)
        }
    });
    engine.set(desk.engine(&user)).ok().unwrap();
    engine.get().unwrap().get_ticket().unwrap();
}

/// Panics at the first PIN prompt, after `go`.
struct PanicsOnce {
    there: mpsc::Sender<()>,
    go: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Prompter for PanicsOnce {
    fn pin(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<Pin> {
        let first = self.go.lock().unwrap().take();
        if let Some(go) = first {
            self.there.send(()).unwrap();
            go.recv().unwrap();
            panic!("a defect of the host, planted by this test");
        }
        Ok(Pin::new(PIN.into()))
    }

    fn use_last_try(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<bool> {
        Ok(false)
    }

    fn role(&self, _: &[Role], _: &CancelToken) -> Result<usize> {
        Ok(0)
    }
}

#[test]
fn a_prompter_that_panics_fails_the_login_for_every_waiting_thread_and_the_next_login_works() {
    let desk = Desk::new();
    let (there, is_there) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    let prompter = PanicsOnce { there, go: Mutex::new(Some(gone)) };
    let engine = Engine::builder(desk.config.clone()).prompter(prompter).build().unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| engine.get_ticket());
        is_there.recv().unwrap();
        let second = scope.spawn(|| engine.get_ticket());
        go.send(()).unwrap();
        assert!(first.join().is_err(), "the panic goes to the thread that prompted");
        // It may have started too late to wait for that login, and then had its own.
        let second = second.join().unwrap();
        assert!(second.is_ok() || kind(second) == ErrorKind::Internal);
    });
    engine.get_ticket().unwrap();
}

#[test]
fn a_prompter_that_panics_after_the_ticket_arrived_leaves_no_session() {
    let desk = Desk::new();
    let user = User::new().asked_for_role(|_| panic!("a defect of the host, planted by this test"));
    let engine = desk.engine(&user);
    thread::scope(|scope| assert!(scope.spawn(|| engine.get_ticket()).join().is_err()));
    assert_eq!(desk.spine.open_sessions(), 0);
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
}

#[test]
fn many_threads_that_get_and_destroy_tickets_leave_no_session() {
    let desk = Desk::with(|spine| spine.roles(1));
    let engine = desk.engine(&User::typing(&[PIN; 10_000]));
    thread::scope(|scope| {
        for worker in 0..8 {
            let engine = &engine;
            scope.spawn(move || {
                for round in 0..20 {
                    match (worker + round) % 4 {
                        0 => drop(engine.destroy_ticket()),
                        1 => drop(engine.get_new_ticket()),
                        2 => drop(engine.get_ticket_no_auth()),
                        _ => drop(engine.get_ticket()),
                    }
                }
            });
        }
    });
    engine.destroy_ticket().unwrap();
    assert!(desk.spine.wait_for_sessions(PATIENCE, 0), "{} left", desk.spine.open_sessions());
}
