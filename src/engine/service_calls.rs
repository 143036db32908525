//! What an engine asks the broker about its session: whose it is, whether it is still alive, and to end it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Engine;
use super::state::{Inner, State};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::fork::ForkGuard;
use crate::session::{EndReason, Session};
use crate::ssb::{BrokerSession, RoleAssertion, SessionInfo, SessionState, Ssb};
use crate::sync::MutexGuard;

/// How long to leave a broker alone that could not be reached.
const PAUSE: Duration = Duration::from_millis(500);

/// What is known about questions to the broker.
#[derive(Default)]
pub(super) struct Questions {
    /// When the broker was last asked about the live session, or began it.
    asked: Duration,
    /// Who asks before the ticket is given out, as long as that lasts.
    checking: Option<ForkGuard>,
    /// Cancels every question that is under way.
    cancel: CancelToken,
}

impl Questions {
    pub(super) fn answered(&mut self, now: Duration) {
        self.asked = now;
    }

    pub(super) fn cancel(&mut self) {
        std::mem::take(&mut self.cancel).cancel();
    }

    fn are_due(&self, interval: Duration, now: Duration) -> bool {
        // In a child that was forked while another thread asked, nobody asks.
        let somebody_asks = self.checking.as_ref().is_some_and(ForkGuard::is_this_process);
        !interval.is_zero() && !somebody_asks && now.saturating_sub(self.asked) >= interval
    }
}

impl Engine {
    /// Asks the broker whose the live session is, and for every role of that user.
    ///
    /// Blocks until the answer is there, at the longest for the setting `request_timeout`;
    /// [`Engine::cancel_login`] and [`destroy_ticket`](crate::TicketApi::destroy_ticket) end it
    /// earlier. Any number of threads may ask at once. Never prompts. Source: the broker's
    /// `/saml/RoleAssertion`.
    ///
    /// # Errors
    ///
    /// [`TicketNotAvailable`](ErrorKind::TicketNotAvailable) when there is no session, or the broker
    /// says that it is over; then it is over here too. With every other error it goes on:
    /// [`ServerNotAvailable`](ErrorKind::ServerNotAvailable), [`Tls`](ErrorKind::Tls),
    /// [`BadAnswer`](ErrorKind::BadAnswer), [`Cancelled`](ErrorKind::Cancelled).
    pub fn role_assertion(&self) -> Result<RoleAssertion> {
        self.ask(Ssb::role_assertion)
    }

    /// Asks the broker how the live session is: whether it is alive, and for how long. With `reset`,
    /// its time without use begins anew, there and not here.
    ///
    /// Blocks and ends as [`Engine::role_assertion`] does. Source: the broker's
    /// `/amserver/sessionservice`, for which no answer of a real broker was ever seen.
    ///
    /// # Errors
    ///
    /// As [`Engine::role_assertion`]; every state but valid means that the session is over.
    pub fn session_state(&self, reset: bool) -> Result<SessionInfo> {
        self.ask(|ssb, session, cancel| {
            let info = ssb.session_state(session, reset, cancel)?;
            match info.state {
                SessionState::Valid => Ok(info),
                other => Err(Error::new(
                    ErrorKind::Refused,
                    Stage::Session,
                    format!("the broker says that the session is {}", other.as_str()),
                )),
            }
        })
    }

    fn ask<T>(&self, question: impl FnOnce(&mut Ssb, &BrokerSession, &CancelToken) -> Result<T>) -> Result<T> {
        let cancel = self.inner.lock().questions.cancel.clone();
        let own = self.own_session();
        let is_own = own.is_some();
        let session = own.or_else(|| self.session()).ok_or_else(nobody_is_logged_in)?;
        let answer = self.inner.ask_about(&session, &cancel, question);
        if let (Err(error), Some(remote), false) = (&answer, &self.remote, is_own)
            && *error.kind() == ErrorKind::TicketNotAvailable
        {
            remote.is_over(&session);
        }
        answer
    }
}

impl Inner {
    /// Asks with no lock held, and ends the session here when it is over on the broker.
    fn ask_about<T>(
        self: &Arc<Self>,
        session: &Arc<Session>,
        cancel: &CancelToken,
        question: impl FnOnce(&mut Ssb, &BrokerSession, &CancelToken) -> Result<T>,
    ) -> Result<T> {
        let answer = question(&mut self.parts.broker(), &session.broker, cancel);
        let is_over = |error: &Error| matches!(error.kind(), ErrorKind::Refused | ErrorKind::UserNotValid);
        match &answer {
            Ok(_) => self.lock().questions.answered(self.parts.now()),
            Err(error) if is_over(error) => self.end_if_there(session, EndReason::EndedByBroker),
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

    /// Whether `session`, which is live in `state`, may be given out. Asks the broker when the setting
    /// `check_session` says so; other threads go on with the session meanwhile.
    pub(super) fn is_alive(self: &Arc<Self>, session: &Arc<Session>, mut state: MutexGuard<'_, State>) -> Result<bool> {
        if !state.questions.are_due(self.parts.config.check_session, self.parts.now()) {
            return Ok(true);
        }
        state.questions.checking = Some(ForkGuard::this_process());
        let cancel = state.questions.cancel.clone();
        drop(state);
        let checking = Checking(self);
        // The role assertion and not the session service, as its answers are known.
        let answer = self.ask_about(session, &cancel, Ssb::role_assertion);
        drop(checking);
        if cancel.is_cancelled() {
            return Err(cancelled());
        }
        if let Err(error) = answer
            && *error.kind() != ErrorKind::TicketNotAvailable
        {
            warn!(%error, "the broker cannot tell whether the session is alive; it goes on");
        }
        let mut state = self.lock();
        self.catch_up(&mut state);
        let live = state.session.as_ref().filter(|kept| kept.life.locked().is_none());
        Ok(live.is_some_and(|kept| Arc::ptr_eq(&kept.session, session)))
    }

    /// Ends `session` on the broker, over a connection of its own.
    pub(super) fn end_on_broker(&self, session: &Session) -> Result<()> {
        self.parts.broker().log_out(&session.broker, &CancelToken::new())
    }

    /// Ends `session` on the broker without anybody waiting for it.
    pub(super) fn end_on_broker_meanwhile(self: &Arc<Self>, session: &Arc<Session>) {
        let cancel = CancelToken::new();
        let (inner, session, token) = (Arc::clone(self), session.broker.clone(), cancel.clone());
        if let Err(error) =
            self.threads.spawn("ticketapi-end", cancel, move || inner.end_within_deadline(&session, &token))
        {
            warn!(%error, "the session could not be ended on the broker");
        }
    }

    /// Tries until the time for one request is over: the network may be back before.
    fn end_within_deadline(&self, session: &BrokerSession, cancel: &CancelToken) {
        let until = Instant::now() + self.parts.config.request_timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.parts.broker_within(left).log_out(session, cancel) {
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

/// A question before the ticket is given out. It counts as asked however it ends.
struct Checking<'a>(&'a Inner);

impl Drop for Checking<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.questions.checking = None;
        state.questions.answered(self.0.parts.now());
    }
}

pub(super) fn nobody_is_logged_in() -> Error {
    Error::new(ErrorKind::TicketNotAvailable, Stage::Session, "nobody is logged in")
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, Stage::Session, "the question to the broker was cancelled")
}
