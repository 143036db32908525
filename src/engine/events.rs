//! What a program can listen to.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::warn;

use super::state::{Inner, State};
use crate::cancel::CancelToken;
use crate::card::events::CardEvent;
use crate::error::Error;
use crate::session::{EndReason, LockReason};

/// Something that has happened; see [`EngineBuilder::listener`](super::EngineBuilder::listener).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Something happened to a card or a reader. Told only while readers are watched: during a login
    /// with a card that is in a reader, and for as long as that card rules a session.
    Card(CardEvent),
    /// Somebody asks for a ticket, and the user is needed: for a login, or to unlock the session.
    LoginBegun,
    /// That has ended, with the error if it failed.
    LoginEnded(Option<Error>),
    /// There is a session.
    SessionBegun,
    /// The session gives no ticket out for now.
    SessionLocked(LockReason),
    /// The session goes on.
    SessionUnlocked,
    /// The session is over.
    SessionEnded(EndReason),
}

pub(super) type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

/// Events that the listener has not been told yet.
#[derive(Default)]
pub(super) struct Untold {
    events: VecDeque<Event>,
    /// A thread is telling them.
    telling: bool,
}

impl Inner {
    /// Has the listener told, in the order in which things happen under the lock, on a thread of its
    /// own: a listener that blocks must not keep a session from ending.
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
            Err(error) => warn!(%error, "the listener cannot be told"),
        }
    }

    fn next_event(&self, cancel: &CancelToken) -> Option<Event> {
        let mut state = self.lock();
        let event = state.untold.events.pop_front().filter(|_| !cancel.is_cancelled());
        state.untold.telling = event.is_some();
        event
    }
}
