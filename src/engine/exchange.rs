//! Exchanges of the session's ticket for another one: renewals, by the monitor before the ticket expires or for a
//! program afterwards, and changes of context. One at a time, as services take each refresh token once.
//!
//! Each runs on a thread of its own and is not cancelled with its callers: that would lose the new ticket.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::login_flight::{ended_meanwhile, expires_too_soon};
use super::outcome::Outcome;
use super::service_calls::{cancelled, is_over};
use super::state::{Inner, State};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::service::{Call, Renewal, Replacement, ServiceSession};
use crate::session::rules::MARGIN;
use crate::session::{Context, EndReason, Session};
use crate::sync::MutexGuard;

/// An exchange in progress.
pub(super) struct Exchange {
    purpose: Purpose,
    /// The session as it was when the exchange began.
    session: Arc<Session>,
    outcome: Outcome<Result<Arc<Session>>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Purpose {
    Renewal,
    Context(Context),
}

impl Inner {
    /// Has the ticket renewed on another thread if it is time for that.
    pub(super) fn renew_if_due(self: &Arc<Self>, state: &mut State, now: Duration) {
        let due = state.session.as_ref().and_then(|kept| kept.life.renewal());
        if due.is_some_and(|due| due <= now) && state.exchange.is_none() && !state.resting {
            // Its end is reported by the thread itself.
            let _ = self.begin(state, Purpose::Renewal);
        }
    }

    /// Renews the ticket of the session in `state`, after any other exchange in progress. Also succeeds if the session
    /// ends meanwhile.
    pub(super) fn renew<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>) -> Result<()> {
        loop {
            let kept = state.session.as_ref().filter(|kept| kept.life.locked().is_none());
            if kept.is_none_or(|kept| kept.life.gives_ticket()) {
                return Ok(());
            }
            let exchange = match &state.exchange {
                Some(exchange) => Arc::clone(exchange),
                None => self.begin(&mut state, Purpose::Renewal)?,
            };
            let cancel = state.calls.cancel.clone();
            drop(state);
            let outcome = exchange.outcome.wait_or_cancel(&cancel).ok_or_else(cancelled)?;
            state = self.lock();
            self.catch_up(&mut state);
            let lives = state.unlocked().is_some_and(|live| live.is_same(&exchange.session));
            if exchange.purpose == Purpose::Renewal {
                return if lives { outcome.map(drop) } else { Ok(()) };
            }
        }
    }

    /// Switches the live session to `context`.
    pub(super) fn switch_context(self: &Arc<Self>, context: &Context) -> Result<Arc<Session>> {
        let purpose = Purpose::Context(context.clone());
        loop {
            let mut state = self.lock();
            self.catch_up(&mut state);
            if state.unlocked().is_none() {
                return Err(state.no_ticket());
            }
            let cancel = state.calls.cancel.clone();
            let exchange = match &state.exchange {
                Some(exchange) => Arc::clone(exchange),
                None => self.begin(&mut state, purpose.clone())?,
            };
            drop(state);
            let outcome = exchange.outcome.wait_or_cancel(&cancel).ok_or_else(cancelled)?;
            if exchange.purpose == purpose {
                return outcome;
            }
        }
    }

    /// Starts an exchange for the session in `state`.
    fn begin(self: &Arc<Self>, state: &mut State, purpose: Purpose) -> Result<Arc<Exchange>> {
        let kept = state.session.as_mut().ok_or_else(ended_meanwhile)?;
        if purpose == Purpose::Renewal {
            kept.life.renewal_began();
        }
        let exchange = Arc::new(Exchange { purpose, session: Arc::clone(&kept.session), outcome: Outcome::default() });
        let (inner, cancel) = (Arc::clone(self), CancelToken::new());
        let run = {
            let (exchange, cancel) = (Arc::clone(&exchange), cancel.clone());
            move || inner.run(&exchange, &cancel)
        };
        if let Err(error) = self.threads.spawn("ticketapi-renew", cancel, run) {
            warn!(%error, "no thread could be started for the ticket's renewal");
            kept.life.renewal_failed(self.parts.now());
            return Err(Error::no_thread(Stage::Session, error));
        }
        state.exchange = Some(Arc::clone(&exchange));
        Ok(exchange)
    }

    fn run(self: &Arc<Self>, exchange: &Exchange, cancel: &CancelToken) {
        debug!(renews = exchange.purpose == Purpose::Renewal, "exchange of the ticket begins");
        let service = &*exchange.session.grant.service;
        let result = catch_unwind(AssertUnwindSafe(|| exchange.make(service, &self.parts.call(cancel))));
        let defect = || Error::new(ErrorKind::Internal, Stage::Session, "a renewal ended in a defect of ticketapi");
        let outcome = self.complete(exchange, result.unwrap_or_else(|_| Err(defect())));
        exchange.outcome.set(outcome);
    }

    /// Applies the result of an exchange to the session.
    fn complete(self: &Arc<Self>, exchange: &Exchange, result: Result<Option<Replacement>>) -> Result<Arc<Session>> {
        let mut state = self.lock();
        let mine = |under_way: &mut Arc<Exchange>| std::ptr::eq(&**under_way, exchange);
        if state.exchange.take_if(mine).is_none() {
            // In a child of `fork()`.
            return Err(ended_meanwhile());
        }
        let now = self.catch_up(&mut state);
        let result = self.apply(&mut state, exchange, result, now);
        match &result {
            Ok(_) => info!("the session has another ticket"),
            Err(error) => warn!(%error, "the ticket could not be exchanged"),
        }
        // The monitor waits for another time now.
        self.tend(&mut state);
        result
    }

    fn apply(
        self: &Arc<Self>,
        state: &mut State,
        exchange: &Exchange,
        result: Result<Option<Replacement>>,
        now: Duration,
    ) -> Result<Arc<Session>> {
        let renews = exchange.purpose == Purpose::Renewal;
        let Some(kept) = state.session.as_mut().filter(|kept| kept.session.is_same(&exchange.session)) else {
            return Err(ended_meanwhile());
        };
        if renews && !Arc::ptr_eq(&kept.session, &exchange.session) {
            // The role was changed meanwhile: its ticket is the later one.
            return Ok(Arc::clone(&kept.session));
        }
        match result {
            Ok(Some(new)) => {
                let session = self.replace_ticket(state, new).ok_or_else(ended_meanwhile)?;
                let is_usable = session.grant.expiry.is_none_or(|expiry| expiry.after > MARGIN);
                if is_usable { Ok(session) } else { Err(expires_too_soon()) }
            }
            Ok(None) => {
                kept.life.is_not_renewable();
                self.catch_up(state);
                Err(Error::new(ErrorKind::TicketNotAvailable, Stage::Session, "the ticket cannot be renewed"))
            }
            Err(error) if renews && is_over(&error) => {
                if let Some(session) = self.take_session(state, EndReason::RenewalRefused) {
                    self.end_on_broker_meanwhile(&session);
                }
                Err(error)
            }
            Err(error) => {
                if renews {
                    kept.life.renewal_failed(now);
                }
                Err(error)
            }
        }
    }
}

impl Exchange {
    fn make(&self, service: &dyn ServiceSession, call: &Call<'_>) -> Result<Option<Replacement>> {
        match &self.purpose {
            Purpose::Context(context) => service.switch_context(context, call).map(Some),
            Purpose::Renewal => Ok(service.renew(call)?.map(|Renewal { ticket, expiry }| {
                let grant = &self.session.grant;
                Replacement { ticket, expiry, roles: grant.roles.clone(), role: grant.role }
            })),
        }
    }
}
