//! One login for all callers that need it, and its outcome.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tracing::{info, warn};

use super::builder::Parts;
use super::events::Event;
use super::outcome::Outcome;
use super::state::{Inner, State, UnderWay};
use crate::cancel::CancelToken;
use crate::card::events::Presence;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::service::{Desk, Grant, Replacement, Unlocking};
use crate::session::rules::{Happening, MARGIN};
use crate::session::{EndReason, Session};
use crate::sync::{ThreadId, current_thread};

/// A login or a change of role in progress, and its outcome.
pub(super) struct LoginFlight {
    pub(super) purpose: Purpose,
    thread: ThreadId,
    pub(super) cancel: CancelToken,
    card_wait: Duration,
    outcome: Outcome<Result<Arc<Session>>>,
}

/// What the user is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To log in, or to unlock the session.
    Login,
    ChangeRole,
}

/// What a successful login has achieved.
enum Success {
    Session(Arc<Session>),
    Unlocked(Arc<Session>, Option<Replacement>),
    RoleChanged(Arc<Session>, Replacement),
}

impl LoginFlight {
    /// Starts a login on this thread that waits up to `card_wait` for a card.
    fn begin(purpose: Purpose, card_wait: Duration) -> Self {
        let (cancel, outcome) = (CancelToken::new(), Outcome::default());
        Self { purpose, thread: current_thread().id(), cancel, card_wait, outcome }
    }

    /// Waits for the end of the login. A prompt of the login itself must not.
    fn wait(&self) -> Result<Result<Arc<Session>>> {
        if self.thread == current_thread().id() {
            let detail = "a prompt of the login that is under way asked for a ticket";
            return Err(Error::new(ErrorKind::LoginUnderWay, Stage::Session, detail));
        }
        Ok(self.outcome.wait())
    }
}

impl Inner {
    /// Returns the live session, or logs in. A login it starts waits up to `card_wait` for a card.
    pub(super) fn session_or_login(self: &Arc<Self>, anew: bool, card_wait: Duration) -> Result<Arc<Session>> {
        loop {
            let mut state = self.lock();
            self.catch_up(&mut state);
            if let Some(flight) = state.login_to_wait_for(anew).map(Arc::clone) {
                // That login may have ended before this call.
                let is_shared = flight.purpose == Purpose::Login && !flight.cancel.is_cancelled();
                drop(state);
                let outcome = flight.wait()?;
                if is_shared {
                    return outcome;
                }
                continue;
            }
            if let Some(session) = self.use_session(&mut state).filter(|_| !anew) {
                if self.is_alive(&session, state)? {
                    return Ok(session);
                }
                continue;
            }
            if state.unlocked().is_some() && !anew {
                self.renew(state)?;
                continue;
            }
            // A session that is still here is locked.
            let locked = state.session.as_ref().filter(|_| !anew).map(|kept| Arc::clone(&kept.session));
            let flight = self.begin_flight(&mut state, Purpose::Login, card_wait);
            drop(state);
            info!(unlocks = locked.is_some(), "login begins");
            return self.fly(flight, |desk| self.log_in_or_unlock(desk, locked));
        }
    }

    /// Lets the user of the open session choose another role.
    pub(super) fn change_role(self: &Arc<Self>) -> Result<Arc<Session>> {
        loop {
            let mut state = self.lock();
            self.catch_up(&mut state);
            if let Some(login) = &state.login {
                let flight = Arc::clone(&login.flight);
                let is_shared = flight.purpose == Purpose::ChangeRole && !flight.cancel.is_cancelled();
                drop(state);
                let outcome = flight.wait()?;
                if is_shared {
                    return outcome;
                }
                continue;
            }
            let session = state.unlocked().map(Arc::clone).ok_or_else(|| state.no_ticket())?;
            let flight = self.begin_flight(&mut state, Purpose::ChangeRole, self.parts.settings.card_wait);
            drop(state);
            info!("change of role begins");
            return self.fly(flight, |desk| {
                let new = self.parts.service.change_role(&session, desk)?;
                Ok(Success::RoleChanged(session, new))
            });
        }
    }

    fn begin_flight(self: &Arc<Self>, state: &mut State, purpose: Purpose, card_wait: Duration) -> Arc<LoginFlight> {
        let flight = Arc::new(LoginFlight::begin(purpose, card_wait));
        state.login = Some(UnderWay { flight: Arc::clone(&flight), presence: None, page_opened: false });
        self.tell(state, Event::LoginBegun);
        flight
    }

    /// Runs a login on this thread and wakes every waiting caller.
    fn fly(
        self: &Arc<Self>,
        flight: Arc<LoginFlight>,
        run: impl FnOnce(&Desk<'_>) -> Result<Success>,
    ) -> Result<Arc<Session>> {
        let finish = Finish { inner: self, flight };
        let flight = &finish.flight;
        let Parts { reader, prompter, browser, .. } = &self.parts;
        let desk = Desk {
            prompter: prompter.as_ref(),
            browser: browser.as_ref(),
            page_opened: &|| self.page_opened(flight),
            cards: reader.as_ref(),
            card_wait: flight.card_wait,
            card_found: &|presence| self.card_found(flight, presence),
            cancel: &flight.cancel,
            threads: &self.threads,
        };
        let result = run(&desk);
        if let Err(error) = &result {
            warn!(%error, "login failed");
        }
        finish.with(result)
    }

    fn log_in_or_unlock(self: &Arc<Self>, desk: &Desk<'_>, locked: Option<Arc<Session>>) -> Result<Success> {
        let service = &self.parts.service;
        let began = |grant: Grant| Success::Session(Arc::new(grant.into()));
        let Some(locked) = locked else { return service.log_in(desk).map(began) };
        match service.unlock(&locked, desk)? {
            Unlocking::SameUser(new) => Ok(Success::Unlocked(locked, new)),
            Unlocking::OtherUser(log_in) => {
                self.end_if_there(&locked, EndReason::Replaced);
                log_in(desk).map(began)
            }
        }
    }

    /// Ends `session`, unless it has ended already, without waiting for the broker.
    pub(super) fn end_if_there(self: &Arc<Self>, session: &Arc<Session>, reason: EndReason) {
        let mut state = self.lock();
        if state.session.as_ref().is_some_and(|kept| kept.session.is_same(session))
            && let Some(session) = self.take_session(&mut state, reason)
            && reason != EndReason::EndedByBroker
        {
            self.end_on_broker_meanwhile(&session);
        }
    }

    /// Starts the monitor while the user acts: the session needs it at once.
    fn page_opened(self: &Arc<Self>, flight: &Arc<LoginFlight>) {
        let mut state = self.lock();
        if let Some(login) = state.login.as_mut().filter(|login| Arc::ptr_eq(&login.flight, flight)) {
            login.page_opened = true;
            self.tend(&mut state);
        }
    }

    /// From now on the login fails if the card leaves.
    fn card_found(self: &Arc<Self>, flight: &Arc<LoginFlight>, presence: &Presence) -> Result<()> {
        let mut state = self.lock();
        match &mut state.login {
            Some(login) if Arc::ptr_eq(&login.flight, flight) => login.presence = Some(presence.clone()),
            _ => return Err(Error::cancelled(Stage::Card)),
        }
        state.card_found = true;
        if self.tend(&mut state) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NoResources, Stage::Card, "no thread could be started that watches the card"))
    }
}

impl Inner {
    /// Unlocks the session, if it is still there.
    fn unlock(
        self: &Arc<Self>,
        state: &mut State,
        session: &Session,
        new: Option<Replacement>,
        presence: Option<Presence>,
    ) -> Result<Arc<Session>> {
        let Some(kept) = state.session.as_mut().filter(|kept| kept.session.is_same(session)) else {
            return Err(ended_meanwhile());
        };
        kept.presence = presence;
        if let Some(new) = new {
            self.replace_ticket(state, new);
        }
        self.happens(state, Happening::Proved);
        state.unlocked().map(Arc::clone).ok_or_else(ended_meanwhile)
    }
}

/// Completes a login for every waiting caller, even if the login panics.
struct Finish<'a> {
    inner: &'a Arc<Inner>,
    flight: Arc<LoginFlight>,
}

impl Finish<'_> {
    fn with(self, result: Result<Success>) -> Result<Arc<Session>> {
        let (result, over) = self.complete(result);
        if let Some(session) = over
            && let Err(error) = self.inner.end_on_broker(&session)
        {
            warn!(%error, "the session could not be ended on the broker");
        }
        result
    }

    /// Keeps the session and wakes the waiting callers. Returns the outcome and the session to end.
    fn complete(&self, result: Result<Success>) -> (Result<Arc<Session>>, Option<Arc<Session>>) {
        let inner = self.inner;
        let mut state = inner.lock();
        // In a child of `fork()` it is missing: the login is the parent's.
        let mine = |login: &mut UnderWay| Arc::ptr_eq(&login.flight, &self.flight);
        let login = state.login.take_if(mine);
        let lives_on = login.is_some() && !self.flight.cancel.is_cancelled();
        let card_lost = login.as_ref().and_then(|login| login.flight.cancel.reason());
        let presence = login.and_then(|login| login.presence);
        let failed = |error: Error| match (&card_lost, error.kind()) {
            // Cancelling it was what taking the card out did.
            (Some(detail), ErrorKind::Cancelled | ErrorKind::CardFailed) => {
                Error::new(ErrorKind::CardFailed, error.stage(), detail)
            }
            _ => error,
        };
        let cancelled = || failed(Error::cancelled(Stage::Session));
        let (result, over) = match result {
            Ok(Success::Session(session)) if !lives_on => (Err(cancelled()), Some(session)),
            Ok(Success::Session(session)) if session.grant.expiry.is_some_and(|expiry| expiry.after <= MARGIN) => {
                (Err(expires_too_soon()), Some(session))
            }
            Ok(Success::Session(session)) => {
                let over = inner.keep_session(&mut state, &session, presence);
                (Ok(session), over)
            }
            Ok(Success::Unlocked(..)) if !lives_on => (Err(cancelled()), None),
            Ok(Success::Unlocked(session, new)) => (inner.unlock(&mut state, &session, new, presence), None),
            // Also after it was cancelled: the role has changed at the service.
            Ok(Success::RoleChanged(session, new)) => {
                let is_there = state.unlocked().is_some_and(|live| live.is_same(&session));
                let changed = if is_there { inner.replace_ticket(&mut state, new) } else { None };
                (changed.ok_or_else(|| failed(ended_meanwhile())), None)
            }
            Err(error) => (Err(failed(error)), None),
        };
        inner.tell(&mut state, Event::LoginEnded(result.as_ref().err().cloned()));
        inner.tend(&mut state);
        drop(state);
        self.flight.outcome.set(result.clone());
        (result, over)
    }
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let defect = Error::new(ErrorKind::Internal, Stage::Session, "the login ended in a defect of ticketapi");
            let _ = self.complete(Err(defect));
        }
    }
}

pub(super) fn expires_too_soon() -> Error {
    let detail = "the identity service issued a ticket that expires within 5 seconds";
    Error::new(ErrorKind::BadAnswer, Stage::Session, detail)
}

pub(super) fn ended_meanwhile() -> Error {
    Error::new(ErrorKind::Cancelled, Stage::Session, "the session has ended meanwhile")
}
