//! An identity service whose tickets expire, and that answers as a test says.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::Computer;
use crate::config::Config;
use crate::engine::{Engine, Event, Status};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::prompt::NoPrompter;
use crate::secret::Ticket;
use crate::service::{
    Call, Desk, Expiry, Grant, IdentityService, Renewal, Replacement, ServiceSession, Unlocking, not_implemented,
};
use crate::session::{Context, Contexts, Limits, Role, Session, User};

const PATIENCE: Duration = Duration::from_secs(10);

/// A program's engine at the scripted service.
pub(super) struct Desktop {
    pub(super) engine: Engine,
    pub(super) computer: Computer,
    pub(super) service: Arc<Scripted>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Desktop {
    pub(super) fn new(service: Scripted) -> Self {
        Self::with(service, |_| {})
    }

    pub(super) fn with(service: Scripted, change: impl FnOnce(&mut Config)) -> Self {
        let (service, computer, events) = (Arc::new(service), Computer::default(), Arc::<Mutex<Vec<_>>>::default());
        // Sessions do not begin with the computer.
        computer.advance(1_000_000_000_000);
        let mut config = Config { agent: crate::agent::AgentUse::Never, ..Config::default() };
        change(&mut config);
        let listener = {
            let events = Arc::clone(&events);
            move |event: &Event| events.lock().unwrap().push(event.clone())
        };
        let engine = Engine::builder(config)
            .prompter(NoPrompter)
            .clock(computer.clone())
            .listener(listener)
            .service(Arc::clone(&service) as Arc<dyn IdentityService>)
            .build()
            .unwrap();
        Self { engine, computer, service, events }
    }

    /// Moves the time, and wakes the monitor, which sleeps by another clock.
    pub(super) fn advance(&self, time: Duration) {
        self.computer.advance(time.as_nanos() as u64);
        self.engine.inner.tend(&mut self.engine.inner.lock());
    }

    /// The ticket, as every way to ask without a prompt has it.
    pub(super) fn ticket(&self) -> Option<String> {
        let ask = || self.engine.get_ticket_no_auth().ok().map(|ticket| ticket.expose().to_owned());
        loop {
            let ticket = ask();
            let read = self.engine.with_ticket(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
            let session = self.engine.session().map(|session| session.ticket().expose().to_owned());
            // Not renewed meanwhile.
            if ask() == ticket {
                assert_eq!((&read, &session), (&ticket, &ticket));
                return ticket;
            }
        }
    }

    pub(super) fn get(&self) -> Result<String> {
        self.engine.get_ticket().map(|ticket| ticket.expose().to_owned())
    }

    pub(super) fn has_event(&self, is_it: impl Fn(&Event) -> bool) -> bool {
        self.events.lock().unwrap().iter().any(is_it)
    }

    pub(super) fn is_logged_out(&self) -> bool {
        self.engine.status() == Status::LoggedOut
    }
}

pub(super) fn wait_until(condition: impl Fn() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < give_up, "it took too long");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) fn away() -> Error {
    Error::new(ErrorKind::ServerNotAvailable, Stage::Session, "the network is away")
}

pub(super) fn refused() -> Error {
    Error::new(ErrorKind::Refused, Stage::Session, "Token is not active")
}

/// The service, and its only session at a time.
#[derive(Debug)]
pub(super) struct Scripted {
    pub(super) expiry: Option<Expiry>,
    pub(super) limits: Limits,
    pub(super) session: Arc<ScriptedSession>,
    /// Each login opens a page, on which the user cancels it.
    pub(super) cancelled_on_page: bool,
}

impl Scripted {
    /// Tickets of five minutes and refresh tokens of thirty.
    pub(super) fn new() -> Self {
        let minutes = |number: u64| Duration::from_secs(60 * number);
        let expiry = Expiry { after: minutes(5), renewable: Some(minutes(30)) };
        let limits = Limits { idle: Some(minutes(30)), total: Some(minutes(600)) };
        Self { expiry: Some(expiry), limits, session: Arc::default(), cancelled_on_page: false }
    }

    fn grant(&self) -> Grant {
        let roles = ["A", "B"].map(|id| Role::new(id, "RKF", "")).to_vec();
        Grant {
            user: User { uid: "910000000001".into(), name: "TEST USER".into() },
            roles,
            role: Some(0),
            ticket: self.session.issue("login"),
            expiry: self.expiry,
            limits: self.limits,
            card: None,
            card_watched: false,
            service: Arc::clone(&self.session) as Arc<dyn ServiceSession>,
        }
    }
}

impl IdentityService for Scripted {
    fn id(&self) -> String {
        "scripted".into()
    }

    fn log_in(&self, desk: &Desk<'_>) -> Result<Grant> {
        if self.cancelled_on_page {
            (desk.page_opened)();
            return Err(Error::cancelled(Stage::Browser));
        }
        self.session.expiry.lock().unwrap().clone_from(&self.expiry);
        Ok(self.grant())
    }

    fn unlock<'a>(&'a self, _: &Session, _: &Desk<'_>) -> Result<Unlocking<'a>> {
        let Grant { ticket, expiry, roles, role, .. } = self.grant();
        Ok(Unlocking::SameUser(Some(Replacement { ticket, expiry, roles, role })))
    }

    fn change_role(&self, session: &Session, desk: &Desk<'_>) -> Result<Replacement> {
        self.session.calls("change_role", || {
            desk.cancel.check(Stage::RoleSelection)?;
            let ticket = self.session.issue("role");
            Ok(Replacement { ticket, expiry: self.expiry, roles: session.roles().to_vec(), role: Some(1) })
        })
    }

    fn session(&self, _: &User, _: &Ticket) -> Arc<dyn ServiceSession> {
        Arc::clone(&self.session) as Arc<dyn ServiceSession>
    }
}

/// Counts its calls, and answers the next ones as the test says.
#[derive(Debug, Default)]
pub(super) struct ScriptedSession {
    expiry: Mutex<Option<Expiry>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    issued: usize,
    padding: usize,
    made: Vec<&'static str>,
    fails: VecDeque<Error>,
    renews_nothing: bool,
    /// These calls wait until the test lets them go on.
    held: Vec<&'static str>,
    renewing: usize,
    most_renewing: usize,
}

impl ScriptedSession {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The next exchanges of tickets fail so.
    pub(super) fn fails_with(&self, errors: impl IntoIterator<Item = Error>) {
        self.lock().fails = errors.into_iter().collect();
    }

    /// The first ticket has this many bytes.
    pub(super) fn pads_tickets_to(&self, length: usize) {
        self.lock().padding = length - "login-1".len();
    }

    pub(super) fn renews_nothing(&self) {
        self.lock().renews_nothing = true;
    }

    /// From now on tickets live so long.
    pub(super) fn issues_for(&self, expiry: Expiry) {
        *self.expiry.lock().unwrap() = Some(expiry);
    }

    pub(super) fn hold(&self, call: &'static str) {
        self.lock().held.push(call);
    }

    pub(super) fn let_go(&self) {
        self.lock().held.clear();
        self.changed.notify_all();
    }

    /// How often this was called.
    pub(super) fn count(&self, call: &str) -> usize {
        self.lock().made.iter().filter(|made| **made == call).count()
    }

    /// How many renewals there were at the same time.
    pub(super) fn most_renewing(&self) -> usize {
        self.lock().most_renewing
    }

    fn issue(&self, what: &str) -> Ticket {
        let mut state = self.lock();
        state.issued += 1;
        Ticket::new(format!("{what}-{}{}", state.issued, "x".repeat(state.padding)))
    }

    fn calls<T>(&self, call: &'static str, answer: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut state = self.lock();
        state.made.push(call);
        while state.held.contains(&call) {
            let (guard, waited) = self.changed.wait_timeout(state, PATIENCE).unwrap();
            assert!(!waited.timed_out(), "the test has forgotten {call}");
            state = guard;
        }
        let fails = state.fails.pop_front();
        drop(state);
        fails.map_or_else(answer, Err)
    }
}

impl ServiceSession for ScriptedSession {
    fn check(&self, _: &Call<'_>) -> Result<()> {
        self.calls("check", || Ok(()))
    }

    fn log_out(&self, _: &Call<'_>) -> Result<()> {
        self.lock().made.push("log_out");
        Ok(())
    }

    fn renew(&self, _: &Call<'_>) -> Result<Option<Renewal>> {
        let mut state = self.lock();
        state.renewing += 1;
        state.most_renewing = state.most_renewing.max(state.renewing);
        drop(state);
        let result = self.calls("renew", || {
            let expiry = *self.expiry.lock().unwrap();
            let renews_nothing = self.lock().renews_nothing;
            Ok((!renews_nothing).then(|| Renewal { ticket: self.issue("renewed"), expiry }))
        });
        self.lock().renewing -= 1;
        result
    }

    fn switch_context(&self, _: &Context, _: &Call<'_>) -> Result<Replacement> {
        self.calls("switch_context", || {
            let expiry = *self.expiry.lock().unwrap();
            Ok(Replacement { ticket: self.issue("context"), expiry, roles: Vec::new(), role: None })
        })
    }

    fn contexts(&self, _: &Call<'_>) -> Result<Contexts> {
        self.calls("contexts", || Err(not_implemented("contexts")))
    }

    fn claims(&self, _: &Call<'_>) -> Result<String> {
        self.calls("claims", || Ok("{}".into()))
    }
}
