//! The engine's calls to the service about its session: whose it is, whether it is alive, and ending it.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::Engine;
use super::state::{Inner, State};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::fork::ForkGuard;
use crate::service::{Call, ServiceSession};
use crate::session::{EndReason, Session};
use crate::sync::MutexGuard;

/// How long to leave an unreachable broker alone.
const PAUSE: Duration = Duration::from_millis(500);

/// The state of calls to the service.
#[derive(Default)]
pub(super) struct ServiceCalls {
    /// When the service last confirmed the live session, or started it.
    last_confirmed: Duration,
    /// The thread that checks the session before the ticket is given out.
    checking: Option<ForkGuard>,
    /// Cancels every call in progress.
    pub(super) cancel: CancelToken,
}

impl ServiceCalls {
    pub(super) fn confirmed(&mut self, now: Duration) {
        self.last_confirmed = now;
    }

    pub(super) fn cancel(&mut self) {
        std::mem::take(&mut self.cancel).cancel();
    }

    fn are_due(&self, interval: Duration, now: Duration) -> bool {
        // A child forked during another thread's call has no call in progress.
        let is_being_checked = self.checking.as_ref().is_some_and(ForkGuard::is_this_process);
        !interval.is_zero() && !is_being_checked && now.saturating_sub(self.last_confirmed) >= interval
    }
}

impl Engine {
    /// Asks the service `S` about the live session, which may be the agent's. Ends the session if the service
    /// says that it is over.
    pub(super) fn call_service<S: ServiceSession, T>(
        &self,
        question: impl FnOnce(&S, &Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let question = |session: &dyn ServiceSession, call: &Call<'_>| {
            let session: &dyn Any = session;
            let other = || {
                Error::new(
                    ErrorKind::NotImplemented,
                    Stage::Session,
                    "the identity service does not answer this question",
                )
            };
            question(session.downcast_ref().ok_or_else(other)?, call)
        };
        let cancel = self.inner.lock().calls.cancel.clone();
        let session = self.live_session()?;
        let is_own = self.own_session().is_some_and(|own| own.is_same(&session));
        let answer = self.inner.call_service(&session, &cancel, question);
        if let (Err(error), Some(remote), false) = (&answer, &self.remote, is_own)
            && *error.kind() == ErrorKind::TicketNotAvailable
        {
            remote.is_over(&session);
        }
        answer
    }
}

impl Inner {
    /// Asks without holding a lock, and ends the session here if it is over on the broker.
    fn call_service<T>(
        self: &Arc<Self>,
        session: &Arc<Session>,
        cancel: &CancelToken,
        question: impl FnOnce(&dyn ServiceSession, &Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let answer = question(&*session.grant.service, &self.parts.call(cancel));
        match &answer {
            Ok(_) => self.lock().calls.confirmed(self.parts.now()),
            // The answer says nothing about a ticket that has been renewed meanwhile.
            Err(error) if is_over(error) && self.has(session) => self.end_if_there(session, EndReason::EndedByBroker),
            Err(_) => {}
        }
        answer.map_err(|error| match error.kind() {
            ErrorKind::Cancelled => cancelled(),
            _ if is_over(&error) => {
                info!(%error, "the broker has ended the session");
                let detail = format!("the session is over: {}", error.detail());
                Error::new(ErrorKind::TicketNotAvailable, Stage::Session, detail).because(error)
            }
            _ => error,
        })
    }

    fn has(&self, session: &Arc<Session>) -> bool {
        self.lock().session.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.session, session))
    }

    /// Asks about the live session of this process. Never prompts; renews a ticket that has expired.
    pub(super) fn call_own_service<T>(
        self: &Arc<Self>,
        question: impl FnOnce(&dyn ServiceSession, &Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.lock();
        let cancel = state.calls.cancel.clone();
        let session = match self.use_session(&mut state) {
            Some(session) => session,
            None if state.unlocked().is_some() => {
                self.renew(state)?;
                state = self.lock();
                self.use_session(&mut state).ok_or_else(|| state.no_ticket())?
            }
            None => return Err(state.no_ticket()),
        };
        drop(state);
        self.call_service(&session, &cancel, question)
    }

    /// Returns whether `session`, which is live in `state`, may be given out. Asks the broker if `check_session`
    /// says so; meanwhile other threads keep using the session.
    pub(super) fn is_alive(self: &Arc<Self>, session: &Arc<Session>, mut state: MutexGuard<'_, State>) -> Result<bool> {
        if !state.calls.are_due(self.parts.settings.check_session, self.parts.now()) {
            return Ok(true);
        }
        state.calls.checking = Some(ForkGuard::this_process());
        let cancel = state.calls.cancel.clone();
        drop(state);
        let checking = Checking(self);
        let answer = self.call_service(session, &cancel, |session, call| session.check(call));
        drop(checking);
        if cancel.is_cancelled() {
            return Err(cancelled());
        }
        if let Err(error) = answer
            && *error.kind() != ErrorKind::TicketNotAvailable
        {
            warn!(%error, "the session could not be checked; it continues");
        }
        let mut state = self.lock();
        self.catch_up(&mut state);
        // If its ticket was renewed meanwhile, the caller gets the new one.
        Ok(state.unlocked().is_some_and(|live| Arc::ptr_eq(live, session)))
    }

    /// Ends `session` on the broker, over its own connection.
    pub(super) fn end_on_broker(&self, session: &Session) -> Result<()> {
        session.grant.service.log_out(&self.parts.call(&CancelToken::new()))
    }

    /// Ends `session` on the broker in the background.
    pub(super) fn end_on_broker_meanwhile(self: &Arc<Self>, session: &Arc<Session>) {
        let cancel = CancelToken::new();
        let (inner, session, token) = (Arc::clone(self), Arc::clone(session), cancel.clone());
        if let Err(error) =
            self.threads.spawn("ticketapi-end", cancel, move || inner.end_within_deadline(&session, &token))
        {
            warn!(%error, "the session could not be ended on the broker");
        }
    }

    /// Retries until the time for one request has passed: the network may return.
    fn end_within_deadline(&self, session: &Session, cancel: &CancelToken) {
        let call = self.parts.call(cancel);
        loop {
            let left = call.left();
            match session.grant.service.log_out(&call) {
                Ok(()) => return info!("session ended on the broker"),
                Err(error) if *error.kind() != ErrorKind::ServerNotAvailable || left <= PAUSE => {
                    return warn!(%error, "the session could not be ended on the broker");
                }
                Err(_) if cancel.wait(PAUSE) => return warn!("the session was not ended on the broker"),
                Err(_) => {}
            }
        }
    }
}

/// A check before the ticket is given out. It counts as made however it ends.
struct Checking<'a>(&'a Inner);

impl Drop for Checking<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.calls.checking = None;
        state.calls.confirmed(self.0.parts.now());
    }
}

/// Returns `true` if the service says that the session is over.
pub(super) fn is_over(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused | ErrorKind::UserNotValid)
}

pub(super) fn nobody_is_logged_in() -> Error {
    Error::new(ErrorKind::TicketNotAvailable, Stage::Session, "nobody is logged in")
}

pub(super) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, Stage::Session, "the question to the broker was cancelled")
}
