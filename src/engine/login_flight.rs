//! One login for all callers that need it, and its outcome.

use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::{info, warn};

use super::builder::Parts;
use super::events::Event;
use super::state::{Inner, UnderWay};
use crate::cancel::CancelToken;
use crate::card::events::Presence;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::service::{Desk, Grant, Unlocking};
use crate::session::rules::Happening;
use crate::session::{EndReason, Session};
use crate::sync::{Condvar, Mutex, ThreadId, current_thread};

/// A login in progress, and its outcome.
pub(super) struct LoginFlight {
    pub(super) thread: ThreadId,
    pub(super) cancel: CancelToken,
    card_wait: Duration,
    outcome: Mutex<Option<Result<()>>>,
    ended: Condvar,
}

/// What a successful login has achieved.
enum Success {
    Session(Arc<Session>),
    Unlocked(Arc<Session>),
}

impl LoginFlight {
    /// Starts a login on this thread that waits up to `card_wait` for a card.
    fn begin(card_wait: Duration) -> Self {
        Self {
            thread: current_thread().id(),
            cancel: CancelToken::new(),
            card_wait,
            outcome: Mutex::new(None),
            ended: Condvar::new(),
        }
    }

    /// Waits for the end of the login.
    fn outcome(&self) -> Result<()> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = &*outcome {
                return result.clone();
            }
            outcome = self.ended.wait(outcome).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Inner {
    /// Returns the live session, or logs in. A login it starts waits up to `card_wait` for a card.
    pub(super) fn session_or_login(self: &Arc<Self>, anew: bool, card_wait: Duration) -> Result<Arc<Session>> {
        loop {
            let mut state = self.lock();
            if let Some(login) = &state.login {
                let flight = Arc::clone(&login.flight);
                let cancelled = flight.cancel.is_cancelled();
                drop(state);
                if flight.thread == current_thread().id() {
                    let detail = "a prompt of the login that is under way asked for a ticket";
                    return Err(Error::new(ErrorKind::LoginUnderWay, Stage::Session, detail));
                }
                let outcome = flight.outcome();
                if cancelled {
                    // That login had ended before this call.
                    continue;
                }
                outcome?;
                return self.session_that_began();
            }
            if let Some(session) = self.ask(&mut state).filter(|_| !anew) {
                if self.is_alive(&session, state)? {
                    return Ok(session);
                }
                continue;
            }
            // A session that is still here is locked.
            let locked = state.session.as_ref().filter(|_| !anew).map(|kept| Arc::clone(&kept.session));
            let flight = Arc::new(LoginFlight::begin(card_wait));
            state.login = Some(UnderWay { flight: Arc::clone(&flight), presence: None });
            self.tell(&mut state, Event::LoginBegun);
            drop(state);
            return self.log_in(flight, locked);
        }
    }

    /// A card that left right after the login has ended the session already.
    fn session_that_began(self: &Arc<Self>) -> Result<Arc<Session>> {
        self.ask(&mut self.lock()).ok_or_else(|| {
            let detail = "the session was ended as soon as it had begun";
            Error::new(ErrorKind::Cancelled, Stage::Session, detail)
        })
    }

    /// Logs in on this thread, or unlocks the session, and wakes every waiting caller.
    fn log_in(self: &Arc<Self>, flight: Arc<LoginFlight>, locked: Option<Arc<Session>>) -> Result<Arc<Session>> {
        let finish = Finish { inner: self, flight };
        info!(unlocks = locked.is_some(), "login begins");
        let result = self.log_in_or_unlock(&finish.flight, locked);
        if let Err(error) = &result {
            warn!(%error, "login failed");
        }
        finish.with(result)?;
        self.session_that_began()
    }

    fn log_in_or_unlock(self: &Arc<Self>, flight: &Arc<LoginFlight>, locked: Option<Arc<Session>>) -> Result<Success> {
        let Parts { service, reader, prompter, browser, .. } = &self.parts;
        let desk = Desk {
            prompter: prompter.as_ref(),
            browser: browser.as_ref(),
            cards: reader.as_ref(),
            card_wait: flight.card_wait,
            card_found: &|presence| self.card_found(flight, presence),
            cancel: &flight.cancel,
            threads: &self.threads,
        };
        let began = |grant: Grant| Success::Session(Arc::new(grant.into()));
        let Some(locked) = locked else { return service.log_in(&desk).map(began) };
        match service.unlock(&locked, &desk)? {
            Unlocking::SameUser(_) => Ok(Success::Unlocked(locked)),
            Unlocking::OtherUser(log_in) => {
                self.end_if_there(&locked, EndReason::Replaced);
                log_in(&desk).map(began)
            }
        }
    }

    /// Ends `session`, unless it has ended already, without waiting for the broker.
    pub(super) fn end_if_there(self: &Arc<Self>, session: &Arc<Session>, reason: EndReason) {
        let mut state = self.lock();
        if state.session.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.session, session))
            && let Some(session) = self.take_session(&mut state, reason)
            && reason != EndReason::EndedByBroker
        {
            self.end_on_broker_meanwhile(&session);
        }
    }

    /// From now on the login fails if the card leaves.
    fn card_found(self: &Arc<Self>, flight: &Arc<LoginFlight>, presence: &Presence) -> Result<()> {
        let mut state = self.lock();
        match &mut state.login {
            Some(login) if Arc::ptr_eq(&login.flight, flight) => login.presence = Some(presence.clone()),
            _ => return Err(Error::cancelled(Stage::Card)),
        }
        state.found = true;
        if self.tend(&mut state) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Internal, Stage::Card, "no thread could be started that watches the card"))
    }
}

/// Completes a login for every waiting caller, even if the login panics.
struct Finish<'a> {
    inner: &'a Arc<Inner>,
    flight: Arc<LoginFlight>,
}

impl Finish<'_> {
    fn with(self, result: Result<Success>) -> Result<()> {
        let (result, over) = self.settle(result);
        if let Some(session) = over
            && let Err(error) = self.inner.end_on_broker(&session)
        {
            warn!(%error, "the session could not be ended on the broker");
        }
        result
    }

    /// Keeps the session and wakes the waiting callers. Returns the outcome and the session to end.
    fn settle(&self, result: Result<Success>) -> (Result<()>, Option<Arc<Session>>) {
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
        let (result, over) = match result {
            Ok(success) if lives_on => match success {
                Success::Session(session) => (Ok(()), inner.keep_session(&mut state, &session, presence)),
                Success::Unlocked(session) => {
                    let kept = state.session.as_mut().filter(|kept| Arc::ptr_eq(&kept.session, &session));
                    match kept {
                        Some(kept) => {
                            kept.presence = presence;
                            inner.happens(&mut state, Happening::Proved);
                            (Ok(()), None)
                        }
                        None => {
                            let detail = "the session had ended before it was unlocked";
                            (Err(Error::new(ErrorKind::Cancelled, Stage::Session, detail)), None)
                        }
                    }
                }
            },
            Ok(Success::Session(session)) => (Err(failed(Error::cancelled(Stage::Session))), Some(session)),
            Ok(Success::Unlocked(_)) => (Err(failed(Error::cancelled(Stage::Session))), None),
            Err(error) => (Err(failed(error)), None),
        };
        inner.tell(&mut state, Event::LoginEnded(result.as_ref().err().cloned()));
        inner.tend(&mut state);
        drop(state);
        *self.flight.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(result.clone());
        self.flight.ended.notify_all();
        (result, over)
    }
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let defect = Error::new(ErrorKind::Internal, Stage::Session, "the login ended in a defect of ticketapi");
            let _ = self.settle(Err(defect));
        }
    }
}
