//! A login against a faulty broker, and the resources that it may use.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ticketapi::{Config, Engine, Error, ErrorKind, Result, Stage};
use ticketapi_testkit::spine::Outcome;
use ticketapi_testkit::{Endpoint, Misbehaviour};

use crate::ALLOCATOR;
use crate::support::{Desk, PATIENCE, PIN, User, descriptors, kind};

/// How long a call may take beyond its deadline on a busy machine.
pub const SLACK: Duration = Duration::from_secs(5);

pub const MEMORY: usize = 8 << 20;

/// The requests of a login and of the logout, with the stage of their errors.
pub const REQUESTS: [(Endpoint, Stage); 4] = [
    (Endpoint::Activate, Stage::Activation),
    (Endpoint::Validate, Stage::Authentication),
    (Endpoint::SelectRole, Stage::RoleSelection),
    (Endpoint::Logout, Stage::Session),
];

/// The requests about a session, with their endpoints.
pub const QUESTIONS: [(Endpoint, Question); 2] = [
    (Endpoint::RoleAssertion, |engine| engine.role_assertion().map(drop)),
    (Endpoint::SessionService, |engine| engine.session_state(false).map(drop)),
];

pub type Question = fn(&Engine) -> Result<()>;

/// Runs one test at a time, because memory and descriptors are those of the whole process. Called first in a test:
/// what is created before counts for another test.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a call that fails, within the time of this many requests and 8 MiB of memory. What the simulator
/// allocates in this process counts too.
pub fn bounded_error<T>(config: &Config, requests: u32, call: impl FnOnce() -> Result<T>) -> Error {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let began = Instant::now();
    let error = call().map(drop).expect_err("it succeeded");
    let (time, memory) = (began.elapsed(), ALLOCATOR.peak_usage().saturating_sub(before));
    assert!(time < config.request_timeout * requests + SLACK, "{time:?}: {error}");
    assert!(memory <= MEMORY, "{memory} bytes: {error}");
    error
}

/// Waits until as many descriptors are open as before: the thread that watched a session closes its own as it
/// ends.
fn wait_for_descriptors(open: usize) {
    let began = Instant::now();
    while descriptors() != open {
        assert!(began.elapsed() < PATIENCE, "{} descriptors, {open} before", descriptors());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A broker, and an engine that logs in and out repeatedly.
pub struct Trial {
    pub desk: Desk,
    pub engine: Engine,
    _alone: MutexGuard<'static, ()>,
}

impl Trial {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With a deadline of 1 s for each request.
    pub fn impatient() -> Self {
        let second = Duration::from_secs(1);
        Self::with(|config| (config.request_timeout, config.connect_timeout) = (second, second))
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let alone = alone();
        let mut desk = Desk::new();
        change(&mut desk.config);
        let engine = desk.engine(&User::typing(&[PIN; 100]));
        Self { desk, engine, _alone: alone }
    }

    /// The broker as error texts name it.
    pub fn broker(&self) -> String {
        format!("127.0.0.1:{}", self.desk.spine.port())
    }

    /// Logs in, or out, while the broker does `what` at that request. Returns the error, and checks that nothing
    /// else is wrong afterwards.
    pub fn error_at(&self, endpoint: Endpoint, what: &Misbehaviour) -> Error {
        let Self { desk: Desk { spine, config, .. }, engine, .. } = self;
        let logging_out = endpoint == Endpoint::Logout;
        assert!(spine.wait_for_connections(PATIENCE, 0));
        let open = descriptors();
        if logging_out {
            engine.get_ticket().unwrap();
        }
        spine.clear_log();

        spine.misbehave(endpoint, what.clone());
        let error = if logging_out {
            bounded_error(config, 1, || engine.destroy_ticket())
        } else {
            // Once a session has begun, a logout follows.
            let requests = if endpoint == Endpoint::Activate { 1 } else { 2 };
            bounded_error(config, requests, || engine.get_ticket())
        };
        spine.behave();

        assert!(error.detail().contains(&self.broker()), "{endpoint:?}: {error}");
        assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable, "{endpoint:?}");
        assert!(spine.wait_for_connections(PATIENCE, 0), "{endpoint:?}");
        wait_for_descriptors(open);
        if logging_out {
            // The broker did not process the logout, and no client has the ticket any more.
            spine.end_all_sessions();
        }
        assert!(spine.wait_for_sessions(PATIENCE, 0), "{endpoint:?}: a session is left");
        if endpoint == Endpoint::SelectRole {
            let log = spine.log();
            assert!(log.iter().any(|entry| matches!(entry.answer, Outcome::Ticket(_))), "no session had begun");
        }

        self.logs_in_and_out();
        error
    }

    /// Checks kind, stage and text of the errors when the broker does `what` at each request in turn.
    pub fn fails_at_each_request(&self, what: &Misbehaviour, kind: &ErrorKind, says: &str) {
        for (endpoint, stage) in REQUESTS {
            let error = self.error_at(endpoint, what);
            assert_eq!((error.kind(), error.stage()), (kind, stage), "{error}");
            assert!(error.detail().contains(says), "{endpoint:?}: {error}");
        }
    }

    /// Asks about an open session while the broker does `what`. Returns the error. Afterwards the session
    /// continues or has ended, as expected, and the next request succeeds.
    pub fn question_error_at(&self, endpoint: Endpoint, what: &Misbehaviour, goes_on: bool) -> Error {
        let Self { desk: Desk { spine, config, .. }, engine, .. } = self;
        let (_, ask) = QUESTIONS.into_iter().find(|question| question.0 == endpoint).unwrap();
        let open = descriptors();
        let ticket = engine.get_ticket().unwrap();
        assert!(spine.wait_for_connections(PATIENCE, 0));

        spine.misbehave(endpoint, what.clone());
        let error = bounded_error(config, 1, || ask(engine));
        spine.behave();

        assert_eq!(error.stage(), Stage::Session, "{error}");
        assert!(error.detail().contains(&self.broker()), "{endpoint:?}: {error}");
        assert!(spine.wait_for_connections(PATIENCE, 0), "{endpoint:?}");
        assert_eq!(engine.get_ticket_no_auth().ok(), goes_on.then_some(ticket), "{endpoint:?}: {error}");
        if !goes_on {
            // The broker only claimed this.
            spine.end_all_sessions();
            engine.get_ticket().unwrap();
        }
        ask(engine).unwrap();
        engine.destroy_ticket().unwrap();
        assert!(spine.wait_for_sessions(PATIENCE, 0) && spine.wait_for_connections(PATIENCE, 0));
        wait_for_descriptors(open);
        error
    }

    /// Checks that the session continues when the broker does `what` at each of these requests in turn.
    pub fn fails_at_each_question(&self, what: &Misbehaviour, kind: &ErrorKind, says: &str) {
        for (endpoint, _) in QUESTIONS {
            let error = self.question_error_at(endpoint, what, true);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.detail().contains(says), "{endpoint:?}: {error}");
        }
    }

    pub fn logs_in_and_out(&self) {
        self.engine.get_ticket().unwrap();
        assert_eq!(self.desk.spine.open_sessions(), 1);
        self.engine.destroy_ticket().unwrap();
        assert!(self.desk.spine.wait_for_sessions(PATIENCE, 0));
    }
}
