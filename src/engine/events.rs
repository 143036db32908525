//! Events for a program's listener.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::warn;

use super::state::{Inner, State};
use crate::cancel::CancelToken;
use crate::card::events::CardEvent;
use crate::error::Error;
use crate::session::{EndReason, LockReason};

/// An event; see [`EngineBuilder::listener`](super::EngineBuilder::listener).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A card or reader event. Only while readers are watched: during a login with a card in a reader, and
    /// while that card is bound to a session.
    Card(CardEvent),
    /// A login has started, or the session is being unlocked, or its role changed: the user is needed.
    LoginBegun,
    /// The login has ended, with its error if it failed.
    LoginEnded(Option<Error>),
    /// A session has started.
    SessionBegun,
    /// The session has another ticket, after a renewal or a change of role or context.
    TicketReplaced,
    /// The session is locked.
    SessionLocked(LockReason),
    /// The session is unlocked.
    SessionUnlocked,
    /// The session has ended.
    SessionEnded(EndReason),
}

pub(super) type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

/// Events that the listener has not received yet.
#[derive(Default)]
pub(super) struct Untold {
    events: VecDeque<Event>,
    /// A thread is delivering them.
    telling: bool,
}

#[cfg(test)]
impl Untold {
    pub(super) fn is_being_told(&self) -> bool {
        self.telling
    }
}

impl Inner {
    /// Queues an event. Events keep the order in which they happened under the lock, and a thread delivers
    /// them: a listener that blocks must not keep a session from ending.
    pub(super) fn tell(self: &Arc<Self>, state: &mut State, event: Event) {
        let Some(listener) = &self.parts.listener else { return };
        state.untold.events.push_back(event);
        if state.untold.telling {
            return;
        }
        let (inner, listener, cancel) = (Arc::clone(self), Arc::clone(listener), CancelToken::new());
        let tell_all = {
            let cancel = cancel.clone();
            move || {
                while let Some(event) = inner.next_event(&cancel) {
                    if catch_unwind(AssertUnwindSafe(|| listener(&event))).is_err() {
                        warn!(?event, "the listener panicked");
                    }
                }
            }
        };
        match self.threads.spawn("ticketapi-tell", cancel, tell_all) {
            Ok(()) => state.untold.telling = true,
            Err(error) => warn!(%error, "the listener cannot be notified"),
        }
    }

    fn next_event(&self, cancel: &CancelToken) -> Option<Event> {
        let mut state = self.lock();
        let event = state.untold.events.pop_front().filter(|_| !cancel.is_cancelled());
        state.untold.telling = event.is_some();
        event
    }
}
