//! One login for many programs, and what happens to it when a program or the agent ends.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use support::{Desk, InThread, PATIENCE, PIN, User, auto_program, kind, program, settings, wait_until};
use ticketapi::agent::protocol::Change;
use ticketapi::agent::{self, AgentUse};
use ticketapi::engine::Status;
use ticketapi::session::Mode;
use ticketapi::{Engine, Error, ErrorKind, Pin, Stage};

/// A user whose PIN prompt reports when it appears, and answers when the test says so.
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
fn a_program_gets_the_session_that_another_program_began() {
    let desk = Desk::new();
    let user = User::new();
    let _agent = InThread::start(&desk, &user);
    let (first, second) = (program(&desk), program(&desk));
    assert_eq!(kind(second.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    let ticket = first.get_ticket().unwrap();
    assert_eq!(second.get_ticket_no_auth().unwrap(), ticket);
    assert_eq!(second.get_ticket().unwrap(), ticket);
    assert_eq!(second.with_ticket(<[u8]>::to_vec).unwrap(), ticket.expose().as_bytes());
    assert_eq!(user.pins_asked(), 1);
    assert_eq!(desk.spine.open_sessions(), 1);
}

#[test]
fn a_program_gets_the_sessions_user_limits_and_a_thousand_roles() {
    let desk = Desk::with(|spine| spine.roles(1000));
    let _agent = InThread::start(&desk, &User::new().choosing(777));
    let (first, second) = (program(&desk), program(&desk));
    assert!(second.session().is_none());
    let session = first.log_in().unwrap();
    assert_eq!(session.roles().len(), 1000);
    assert_eq!(session.role(), Some(&session.roles()[777]));
    assert_eq!(session.user().uid, "123456789012");
    let same = second.session().unwrap();
    assert_eq!((same.roles(), same.user(), same.limits()), (session.roles(), session.user(), session.limits()));
    assert!(std::sync::Arc::ptr_eq(&same, &second.session().unwrap()), "it is the session that was there");
}

#[test]
fn ending_the_session_ends_it_for_every_program_and_on_the_broker() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let (first, second) = (program(&desk), program(&desk));
    first.get_ticket().unwrap();
    assert!(second.session().is_some());
    first.destroy_ticket().unwrap();
    assert_eq!(kind(second.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert!(second.session().is_none() && second.with_ticket(|_| ()).is_none());
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn a_new_ticket_reaches_every_program() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let (first, second) = (program(&desk), program(&desk));
    let old = second.log_in().unwrap();
    let new = first.get_new_ticket().unwrap();
    assert_ne!(*old.ticket(), new);
    assert_eq!(*second.session().unwrap().ticket(), new);
}

#[test]
fn two_hundred_programs_share_one_prompt() {
    let desk = Desk::new();
    let (user, is_there, answer) = slow_user();
    let _agent = InThread::start(&desk, &user);
    let watcher = program(&desk);
    thread::scope(|scope| {
        let programs: Vec<_> = (0..200).map(|_| scope.spawn(|| program(&desk).get_ticket().unwrap())).collect();
        is_there.recv().unwrap();
        let config = settings(&desk, AgentUse::Require);
        wait_until(|| agent::status(&config).unwrap().clients == 201);
        assert_eq!(kind(watcher.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
        answer.send(()).unwrap();
        let tickets: Vec<_> = programs.into_iter().map(|program| program.join().unwrap()).collect();
        assert!(tickets.iter().all(|ticket| *ticket == tickets[0]));
    });
    assert_eq!(user.pins_asked(), 1);
    assert_eq!(desk.spine.open_sessions(), 1);
}

#[test]
fn a_login_is_cancelled_when_the_last_waiting_program_cancels_its_request() {
    let desk = Desk::new();
    let (user, is_there, answer) = slow_user();
    let _agent = InThread::start(&desk, &user);
    let (first, second) = (program(&desk), program(&desk));
    let config = settings(&desk, AgentUse::Require);
    thread::scope(|scope| {
        let one = scope.spawn(|| kind(first.get_ticket()));
        is_there.recv().unwrap();
        let other = scope.spawn(|| second.get_ticket());
        wait_until(|| agent::status(&config).unwrap().clients == 3);
        first.cancel_login();
        assert_eq!(one.join().unwrap(), ErrorKind::Cancelled);
        // The other program still waits.
        assert!(agent::status(&config).unwrap().login);
        second.cancel_login();
        assert_eq!(kind(other.join().unwrap()), ErrorKind::Cancelled);
        wait_until(|| !agent::status(&config).unwrap().login);
        let next = scope.spawn(|| first.get_ticket());
        is_there.recv().unwrap();
        answer.send(()).unwrap();
        next.join().unwrap().unwrap();
    });
    assert_eq!(desk.spine.open_sessions(), 1);
}

#[test]
fn a_request_during_the_end_of_a_cancelled_login_starts_a_new_login() {
    let desk = Desk::new();
    let (cancelled, is_cancelled) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let mut first = true;
    let user = User::new().asked_for_pin(move |cancel| {
        if std::mem::take(&mut first) {
            cancelled.send(()).unwrap();
            while !cancel.wait(Duration::from_secs(1)) {}
            cancelled.send(()).unwrap();
            goes_on.recv().unwrap();
            return Err(Error::cancelled(Stage::Pin));
        }
        Ok(Pin::new(PIN.into()))
    });
    let _agent = InThread::start(&desk, &user);
    let (first, second) = (program(&desk), program(&desk));
    let config = settings(&desk, AgentUse::Require);
    thread::scope(|scope| {
        let one = scope.spawn(|| kind(first.get_ticket()));
        is_cancelled.recv().unwrap();
        first.cancel_login();
        assert_eq!(one.join().unwrap(), ErrorKind::Cancelled);
        is_cancelled.recv().unwrap();
        let other = scope.spawn(|| second.get_ticket());
        wait_until(|| agent::status(&config).unwrap().clients == 2);
        go_on.send(()).unwrap();
        other.join().unwrap().unwrap();
    });
}

#[test]
fn ending_the_session_cancels_the_login_of_every_program() {
    let desk = Desk::new();
    let (user, is_there, _answer) = slow_user();
    let _agent = InThread::start(&desk, &user);
    let (first, second) = (program(&desk), program(&desk));
    thread::scope(|scope| {
        let login = scope.spawn(|| kind(first.get_ticket()));
        is_there.recv().unwrap();
        second.destroy_ticket().unwrap();
        assert_eq!(login.join().unwrap(), ErrorKind::Cancelled);
    });
}

#[test]
fn programs_get_the_errors_of_the_agents_login() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::typing(&["9999"]));
    let error = program(&desk).get_ticket().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PinIncorrect { tries_left: None });
    assert_eq!(error.stage(), Stage::Pin);
}

#[test]
fn a_program_prompts_the_user_itself_if_the_agent_cannot() {
    for stage in [Stage::Pin, Stage::RoleSelection] {
        let desk = Desk::new();
        let nobody = move || Error::new(ErrorKind::NoPrompter, stage, "there is nobody to ask");
        let agents_user = match stage {
            Stage::Pin => User::new().asked_for_pin(move |_| Err(nobody())),
            _ => User::new().asked_for_role(move |_| Err(nobody())),
        };
        let _agent = InThread::start(&desk, &agents_user);
        let user = User::new();
        let engine = auto_program(&desk, &user);
        engine.get_ticket().unwrap();
        assert_eq!((user.pins_asked(), desk.spine.open_sessions()), (1, 1));
        // From now on the session is this process's own.
        engine.get_ticket().unwrap();
        assert_eq!((user.pins_asked(), agents_user.pins_asked()), (1, 1));
        engine.destroy_ticket().unwrap();
        assert_eq!(desk.spine.open_sessions(), 0);
        // A program that requires the agent reports why it cannot use it.
        assert_eq!(kind(program(&desk).get_ticket()), ErrorKind::NoPrompter);
    }
}

#[test]
fn without_an_agent_auto_logs_in_in_the_program_and_require_is_an_error() {
    let desk = Desk::new();
    let user = User::new();
    let engine = auto_program(&desk, &user);
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert_eq!(engine.status(), Status::LoggedOut);
    engine.get_ticket().unwrap();
    assert_eq!(user.pins_asked(), 1);
    // A program with a session of its own does not use an agent that starts later.
    let _agent = InThread::start(&desk, &User::typing(&[]));
    engine.get_ticket().unwrap();
    engine.get_ticket_no_auth().unwrap();
    engine.destroy_ticket().unwrap();
    assert_eq!(desk.spine.open_sessions(), 0);

    let desk = Desk::new();
    let engine = program(&desk);
    for result in [engine.get_ticket(), engine.get_ticket_no_auth(), engine.get_new_ticket()] {
        let error = result.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::AgentNotAvailable);
        assert!(error.detail().starts_with("no ticketapi agent is running: /"), "{error}");
    }
    for why in [engine.read_ticket(|_| ()).unwrap_err(), engine.live_session().unwrap_err()] {
        assert!(why.detail().starts_with("no ticketapi agent is running: /"), "{why}");
    }
    assert_eq!(engine.status(), Status::Unknown);
    engine.destroy_ticket().unwrap();
    assert!(engine.session().is_none() && engine.with_ticket(|_| ()).is_none());
}

#[test]
fn the_agent_checks_the_session_before_a_program_gets_the_ticket_if_its_settings_say_so() {
    let mut desk = Desk::new();
    desk.config.check_session = Duration::from_nanos(1);
    let _agent = InThread::start(&desk, &User::new());
    desk.config.check_session = Duration::ZERO;
    let engine = program(&desk);
    let ticket = engine.get_ticket().unwrap();
    assert!(desk.spine.end_session(ticket.expose()));
    // A ticket that a program may use without the check is not returned by getTicket.
    assert!(engine.with_ticket(|_| ()).is_some());
    assert!(engine.with_ticket_at_hand(|_| ()).is_none());
    assert_ne!(engine.get_ticket().unwrap(), ticket);
}

#[test]
fn a_program_is_notified_when_the_agents_session_is_locked() {
    let mut desk = Desk::new();
    desk.config.mode = Mode::Mobility;
    desk.config.reauthentication = Duration::from_millis(1);
    let _agent = InThread::start(&desk, &User::new());
    let engine = program(&desk);
    // It may be locked as soon as it has begun.
    let _ = engine.get_ticket();
    wait_until(|| matches!(engine.status(), Status::Locked { .. }));
    for why in [engine.read_ticket(|_| ()).unwrap_err(), engine.live_session().unwrap_err()] {
        assert_eq!((why.kind(), why.detail()), (&ErrorKind::TicketNotAvailable, "the session is locked"));
    }
}

#[test]
fn an_agent_that_ends_during_a_login_causes_an_error_or_a_login_in_the_program() {
    let desk = Desk::new();
    let (slow, is_there, _answer) = slow_user();
    let user = User::new();
    let (auto, require) = (auto_program(&desk, &user), program(&desk));
    let agent = InThread::start(&desk, &slow);
    thread::scope(|scope| {
        let here = scope.spawn(|| auto.get_ticket());
        let error = scope.spawn(|| require.get_ticket().unwrap_err());
        is_there.recv().unwrap();
        let config = settings(&desk, AgentUse::Require);
        wait_until(|| agent::status(&config).unwrap().clients == 3);
        // The agent cancels the login before the deadline, and responds.
        drop(agent);
        assert_eq!(kind(here.join().unwrap()), ErrorKind::Cancelled);
        assert_eq!(*error.join().unwrap().kind(), ErrorKind::Cancelled);
    });
    auto.get_ticket().unwrap();
    assert_eq!(user.pins_asked(), 1);
}

#[test]
fn a_program_uses_an_agent_that_was_restarted() {
    let desk = Desk::new();
    let engine = program(&desk);
    let agent = InThread::start(&desk, &User::new());
    let old = engine.log_in().unwrap();
    drop(agent);
    let _agent = InThread::start(&desk, &User::new());
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    let new = engine.log_in().unwrap();
    assert_ne!(old.ticket(), new.ticket());
    assert_eq!(engine.get_ticket_no_auth().unwrap(), *new.ticket());
}

#[test]
fn an_agent_of_another_broker_is_not_used() {
    let desk = Desk::new();
    let user = User::new();
    let _agent = InThread::start(&desk, &user);
    program(&desk).get_ticket().unwrap();
    let mut config = settings(&desk, AgentUse::Require);
    config.set("base_url", "https://other.example").unwrap();
    let engine = Engine::builder(config.clone()).build().unwrap();
    let error = engine.get_ticket_no_auth().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::AgentNotAvailable);
    assert!(error.detail().contains("other.example"), "{error}");
    config.agent = AgentUse::Auto;
    let engine = Engine::builder(config).build().unwrap();
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert_eq!(user.pins_asked(), 1);
}

#[test]
fn sixty_four_threads_of_one_program_request_the_ticket_at_once() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let engine = program(&desk);
    let ticket = engine.get_ticket().unwrap();
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(engine.get_ticket_no_auth().unwrap(), ticket)));
        }
    });
}

#[test]
fn an_agent_that_is_stopped_ends_its_session_and_removes_its_socket() {
    let desk = Desk::new();
    let agent = InThread::start(&desk, &User::new());
    program(&desk).get_ticket().unwrap();
    let began = Instant::now();
    drop(agent);
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(desk.spine.open_sessions(), 0);
    assert!(!support::socket(&desk).exists());
}

#[test]
fn a_session_that_the_broker_has_ended_ends_for_every_program_once_one_checks_it() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let (first, second) = (program(&desk), program(&desk));
    assert_eq!(kind(second.role_assertion()), ErrorKind::TicketNotAvailable);
    let ticket = first.get_ticket().unwrap();
    second.role_assertion().unwrap();
    assert!(desk.spine.end_session(ticket.expose()));
    assert_eq!(first.get_ticket_no_auth().unwrap(), ticket);
    assert_eq!(kind(second.role_assertion()), ErrorKind::TicketNotAvailable);
    assert_eq!(kind(first.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
}

#[test]
fn a_program_that_watches_learns_of_every_change_of_the_session() {
    let desk = Desk::new();
    let agent = InThread::start(&desk, &User::new());
    let engine = program(&desk);
    let watch = agent::watch(&settings(&desk, AgentUse::Require)).unwrap();
    engine.get_ticket().unwrap();
    assert_eq!(watch.next_change().unwrap(), Change::Begun);
    engine.get_new_ticket().unwrap();
    let both = [watch.next_change().unwrap(), watch.next_change().unwrap()];
    assert!(both.contains(&Change::Ended) && both.contains(&Change::Begun), "{both:?}");
    engine.destroy_ticket().unwrap();
    assert_eq!(watch.next_change().unwrap(), Change::Ended);
    drop(agent);
    assert_eq!(kind(watch.next_change()), ErrorKind::AgentNotAvailable);
}
