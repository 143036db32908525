//! What an engine has, and the changes to it that are made under its lock.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tracing::info;

use super::builder::Parts;
use super::events::{Event, Untold};
use super::exchange::Exchange;
use super::login_flight::{LoginFlight, Purpose};
use super::monitor::Watching;
use super::service_calls::{ServiceCalls, nobody_is_logged_in};
use super::ticket_cell::TicketCell;
use crate::cancel::CancelToken;
use crate::card::events::Presence;
use crate::error::{Error, ErrorKind, Stage};
use crate::os::fork::ForkGuard;
use crate::os::threads::Threads;
use crate::service::Replacement;
use crate::session::rules::{Change, Happening, Life};
use crate::session::{EndReason, Session, Status};
use crate::sync::{Mutex, MutexGuard};

/// A ticket is lent for a tick only while the session has this long to go: longer than any tick, and
/// than the second that comes twice when a leap second is inserted.
const LONGEST_TICK: Duration = Duration::from_secs(2);

pub(super) struct Inner {
    pub(super) parts: Parts,
    state: Mutex<State>,
    /// The ticket of `state.session` while it is live; written under its lock.
    pub(super) ticket: TicketCell,
    pub(super) threads: Threads,
}

pub(super) struct State {
    owner: ForkGuard,
    pub(super) session: Option<LiveSession>,
    pub(super) login: Option<UnderWay>,
    /// The renewal or change of context in progress.
    pub(super) exchange: Option<Arc<Exchange>>,
    pub(super) calls: ServiceCalls,
    /// Wakes the monitor, where it runs.
    pub(super) monitor: Option<CancelToken>,
    /// What the monitor left behind for the next one.
    pub(super) parked: Option<Watching>,
    /// A card was found after the monitor last read the readers' state.
    pub(super) card_found: bool,
    /// Nothing is kept for now.
    pub(super) resting: bool,
    pub(super) untold: Untold,
    /// Documents are being signed.
    #[cfg(feature = "sign")]
    pub(super) signing: bool,
}

/// The session that there is.
pub(super) struct LiveSession {
    pub(super) session: Arc<Session>,
    pub(super) life: Life,
    /// Where its card was last known to be.
    pub(super) presence: Option<Presence>,
}

/// The login that there is.
pub(super) struct UnderWay {
    pub(super) flight: Arc<LoginFlight>,
    pub(super) presence: Option<Presence>,
    /// The user has a page to act on.
    pub(super) page_opened: bool,
}

impl State {
    fn new() -> Self {
        Self {
            owner: ForkGuard::this_process(),
            session: None,
            login: None,
            exchange: None,
            calls: ServiceCalls::default(),
            monitor: None,
            parked: None,
            card_found: false,
            resting: false,
            untold: Untold::default(),
            #[cfg(feature = "sign")]
            signing: false,
        }
    }

    /// Under the engine's lock, so that a login that ends just now does not keep its session.
    pub(super) fn cancel_login(&mut self) {
        self.calls.cancel();
        if let Some(login) = &self.login {
            login.flight.cancel.cancel();
        }
    }

    /// Fails the login that is under way.
    pub(super) fn fail_login(&mut self, detail: impl FnOnce(&Presence) -> String) {
        let Some(login) = &self.login else { return };
        if let (Some(presence), None) = (&login.presence, login.flight.cancel.reason()) {
            login.flight.cancel.cancel_because(detail(presence));
        }
    }

    /// Why no ticket is given out.
    pub(super) fn no_ticket(&self) -> Error {
        let unavailable = |detail| Error::new(ErrorKind::TicketNotAvailable, Stage::Session, detail);
        match &self.session {
            Some(kept) if kept.life.locked().is_some() => unavailable("the session is locked"),
            Some(_) => unavailable("the ticket has expired and has not been renewed yet"),
            None => nobody_is_logged_in(),
        }
    }

    /// Whether there is something to watch, or soon will be.
    pub(super) fn needs_monitor(&self) -> bool {
        self.presences().next().is_some()
            || self.due().is_some()
            || self.login.as_ref().is_some_and(|login| login.page_opened)
    }

    /// Returns when the monitor has to act.
    pub(super) fn due(&self) -> Option<Duration> {
        let life = &self.session.as_ref()?.life;
        // One exchange at a time.
        let renewal = life.renewal().filter(|_| self.exchange.is_none());
        [life.due(), renewal].into_iter().flatten().min()
    }

    /// The session that is not locked, whether or not its ticket has expired.
    pub(super) fn unlocked(&self) -> Option<&Arc<Session>> {
        self.session.as_ref().filter(|kept| kept.life.locked().is_none()).map(|kept| &kept.session)
    }

    /// The login in progress that requests for the ticket wait for.
    pub(super) fn login_to_wait_for(&self, anew: bool) -> Option<&Arc<LoginFlight>> {
        // The session continues while its user chooses another role.
        let waits = |flight: &LoginFlight| anew || flight.purpose == Purpose::Login || self.unlocked().is_none();
        self.login.as_ref().map(|login| &login.flight).filter(|flight| waits(flight))
    }

    /// Where the cards are that matter.
    pub(super) fn presences(&self) -> impl Iterator<Item = &Presence> {
        let session = self.session.as_ref().filter(|kept| kept.life.is_bound_to_card());
        let login = self.login.as_ref().filter(|login| login.flight.cancel.reason().is_none());
        let login = login.and_then(|login| login.presence.as_ref());
        session.and_then(|kept| kept.presence.as_ref()).into_iter().chain(login)
    }
}

impl Inner {
    pub(super) fn new(parts: Parts) -> Self {
        let state = Mutex::new(State::new());
        Self { parts, state, ticket: TicketCell::default(), threads: Threads::default() }
    }

    /// Returns `true` if nothing happens but the monitor's wait.
    #[cfg(test)]
    pub(super) fn threads_are_idle(&self) -> bool {
        let state = self.lock();
        // A monitor that was woken has not planned anew yet.
        let monitor_waits = state.monitor.as_ref().is_none_or(|wake| !wake.is_cancelled());
        monitor_waits && state.exchange.is_none() && state.login.is_none() && !state.untold.is_being_told()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.owner.is_this_process() {
            // In a child of `fork()`: session, threads and children are the parent's.
            self.ticket.set(None);
            self.threads.forget();
            *state = State::new();
        }
        state
    }

    /// The session, for a caller that gets its ticket.
    pub(super) fn use_session(self: &Arc<Self>, state: &mut State) -> Option<Arc<Session>> {
        // First: a tick that has begun before the time was read is over before the lease is.
        let tick = self.parts.tick();
        let now = self.catch_up(state);
        let kept = state.session.as_mut().filter(|kept| kept.life.locked().is_none())?;
        let session = kept.life.gives_ticket().then(|| Arc::clone(&kept.session));
        let change = kept.life.on(Happening::Used, now);
        let lasts = kept.life.gives_ticket_until().is_none_or(|end| end.saturating_sub(now) > LONGEST_TICK);
        self.ticket.lend((lasts && session.is_some()).then_some(tick));
        self.follow(state, change);
        session
    }

    /// Carries out what the time has brought. Returns the time.
    pub(super) fn catch_up(self: &Arc<Self>, state: &mut State) -> Duration {
        let now = self.parts.now();
        while let Some(kept) = &mut state.session {
            match kept.life.at(now) {
                Change::Nothing => break,
                change => self.follow(state, change),
            }
        }
        now
    }

    /// Carries out what `happening` brings to the session.
    pub(super) fn happens(self: &Arc<Self>, state: &mut State, happening: Happening) {
        let now = self.catch_up(state);
        if let Some(kept) = &mut state.session {
            let change = kept.life.on(happening, now);
            self.follow(state, change);
        }
    }

    fn follow(self: &Arc<Self>, state: &mut State, change: Change) {
        match change {
            Change::Nothing => return,
            Change::Locked(why) => {
                self.ticket.set(None);
                info!(?why, "session locked");
                self.tell(state, Event::SessionLocked(why));
            }
            Change::Unlocked => {
                self.ticket.set(state.session.as_ref().map(|kept| kept.session.ticket()));
                info!("session unlocked");
                self.tell(state, Event::SessionUnlocked);
            }
            Change::Ended(reason) => {
                if let Some(session) = self.take_session(state, reason) {
                    self.end_on_broker_meanwhile(&session);
                }
            }
        }
        // It may have to wait for another time now, and for no card.
        self.tend(state);
    }

    /// Ends the session here. On the broker, that is up to the caller.
    pub(super) fn take_session(self: &Arc<Self>, state: &mut State, reason: EndReason) -> Option<Arc<Session>> {
        self.ticket.set(None);
        self.retire_session(state, reason)
    }

    /// As [`Inner::take_session`]; the ticket stays with the readers, for the next one to replace.
    fn retire_session(self: &Arc<Self>, state: &mut State, reason: EndReason) -> Option<Arc<Session>> {
        let kept = state.session.take()?;
        info!(?reason, "session ended");
        self.tell(state, Event::SessionEnded(reason));
        Some(kept.session)
    }

    /// Keeps a session that has just begun. Returns the one whose place it takes.
    pub(super) fn keep_session(
        self: &Arc<Self>,
        state: &mut State,
        session: &Arc<Session>,
        presence: Option<Presence>,
    ) -> Option<Arc<Session>> {
        // A concurrent reader gets the old or the new ticket; the session is never absent.
        let over = self.retire_session(state, EndReason::Replaced);
        let now = self.parts.now();
        state.calls.confirmed(now);
        let life = Life::new(self.parts.settings.policy, session.limits(), session.grant.expiry, now);
        self.ticket.set(Some(session.ticket()));
        state.session = Some(LiveSession { session: Arc::clone(session), life, presence });
        self.tell(state, Event::SessionBegun);
        self.tend(state);
        over
    }

    /// Gives the session another ticket. Returns it, unless it has ended.
    pub(super) fn replace_ticket(self: &Arc<Self>, state: &mut State, new: Replacement) -> Option<Arc<Session>> {
        let now = self.parts.now();
        let kept = state.session.as_mut()?;
        if new.ticket != *kept.session.ticket() {
            kept.life.renewed(new.expiry, now);
        }
        let session = Arc::new(kept.session.with(new));
        kept.session = Arc::clone(&session);
        if kept.life.locked().is_none() {
            self.ticket.set(Some(session.ticket()));
        }
        state.calls.confirmed(now);
        self.tell(state, Event::TicketReplaced);
        self.tend(state);
        Some(session)
    }

    pub(super) fn status(self: &Arc<Self>) -> Status {
        let mut state = self.lock();
        let now = self.catch_up(&mut state);
        match (&state.session, &state.login) {
            (Some(LiveSession { life, presence, .. }), _) => match life.locked() {
                Some(why) => {
                    let ends_in = life.due().map_or(Duration::MAX, |end| end.saturating_sub(now));
                    Status::Locked { why, ends_in }
                }
                None => Status::Live { card_watched: presence.is_some() && life.is_bound_to_card() },
            },
            (None, Some(_)) => Status::LoggingIn,
            (None, None) => Status::LoggedOut,
        }
    }
}
