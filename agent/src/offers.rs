//! Offers a login: prompts for the PIN when a card is inserted and nobody is logged in.
//!
//! A thread watches the readers while there is neither a live session nor a login. Otherwise the
//! engine's own watch does and reports its events. So only one process watches at a time.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use ticketapi::cancel::CancelToken;
use ticketapi::card::events::{CardEvent, CardWatch, Snapshot, changes};
use ticketapi::engine::Event;
use ticketapi::{Engine, ErrorKind};
use tracing::warn;

use crate::os::Waker;

/// A login that an inserted card asks for.
pub(crate) struct Offers(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    wake: Waker,
}

struct State {
    watched: Watched,
    /// Changes whenever [`Watched::is_idle`] does.
    turn: u64,
    /// Ends this turn's watch.
    over: CancelToken,
    wanted: bool,
    ended: bool,
}

impl Offers {
    /// `wake` wakes the server whenever an offer is waiting.
    pub(crate) fn new(wake: Waker) -> Self {
        let state = State { watched: Watched::new(), turn: 0, over: CancelToken::new(), wanted: false, ended: false };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), wake }))
    }

    /// Returns the listener for the engine's events.
    pub(crate) fn listener(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let shared = Arc::clone(&self.0);
        move |event| shared.hear(event)
    }

    /// Starts watching.
    pub(crate) fn start(&self, engine: &Arc<Engine>) -> io::Result<()> {
        let (shared, engine) = (Arc::clone(&self.0), Arc::downgrade(engine));
        thread::Builder::new().name("Offers".to_owned()).spawn(move || shared.watch(&engine))?;
        Ok(())
    }

    /// Returns `true` once for each inserted card.
    pub(crate) fn take_wanted(&self) -> bool {
        std::mem::take(&mut self.0.lock().wanted)
    }
}

impl Drop for Offers {
    fn drop(&mut self) {
        // Not joined: it may be starting a helper that hangs.
        let mut state = self.0.lock();
        state.ended = true;
        state.over.cancel();
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a change, and wakes the server if a card asks for a login.
    fn take(&self, change: impl FnOnce(&mut Watched) -> bool) {
        let mut state = self.lock();
        let was_idle = state.watched.is_idle();
        let asks = change(&mut state.watched);
        if state.watched.is_idle() != was_idle {
            state.turn += 1;
            std::mem::take(&mut state.over).cancel();
            self.changed.notify_all();
        }
        if asks {
            state.wanted = true;
            self.wake.wake();
        }
    }

    fn hear(&self, event: &Event) {
        self.take(|watched| watched.hear(event));
    }

    /// Watches while nobody is logged in.
    fn watch(&self, engine: &Weak<Engine>) {
        let mut last = None;
        while let Some((turn, over)) = self.wait_for_another_turn(last) {
            last = Some(turn);
            let Some(engine) = engine.upgrade() else { return };
            let watch = engine.watch_cards();
            drop(engine);
            match watch {
                Ok(Some(watch)) => self.follow(watch, &over),
                Ok(None) => {
                    warn!("no login is offered: cards of this kind are in no reader that can be watched");
                    return;
                }
                Err(error) => warn!(%error, "no login is offered: the readers cannot be watched"),
            }
        }
    }

    /// Waits until nobody is logged in; if that held in turn `last`, until it holds again.
    fn wait_for_another_turn(&self, last: Option<u64>) -> Option<(u64, CancelToken)> {
        let waits = |state: &mut State| !state.ended && (!state.watched.is_idle() || Some(state.turn) == last);
        let state = self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        (!state.ended).then(|| (state.turn, state.over.clone()))
    }

    fn follow(&self, mut watch: Box<dyn CardWatch>, over: &CancelToken) {
        loop {
            match watch.next(None, over) {
                Ok(Some(snapshot)) if !over.is_cancelled() => self.take(|watched| watched.see(snapshot)),
                Ok(_) => {}
                Err(error) if *error.kind() == ErrorKind::Cancelled => return,
                Err(error) => {
                    warn!(%error, "no login is offered any more: the readers cannot be watched");
                    return;
                }
            }
        }
    }
}

/// Tracks readers and session, and decides when a card asks for a login.
///
/// A card asks once. It must be removed and inserted to ask again, whatever the outcome of the login.
#[derive(Debug)]
struct Watched {
    live: bool,
    login: bool,
    /// The readers' last state; `None` while they are not watched here.
    last: Option<Snapshot>,
    /// The agent has just started: cards already inserted count as inserted now.
    begins: bool,
    /// Readers whose card the engine saw leave since its last login.
    emptied: BTreeSet<String>,
}

impl Watched {
    fn new() -> Self {
        Self { live: false, login: false, last: None, begins: true, emptied: BTreeSet::new() }
    }

    fn is_idle(&self) -> bool {
        !self.live && !self.login
    }

    /// Applies an event of the engine.
    fn hear(&mut self, event: &Event) -> bool {
        match event {
            Event::LoginBegun => {
                self.login = true;
                self.begins = false;
                self.last = None;
                self.emptied.clear();
            }
            Event::LoginEnded(_) => self.login = false,
            Event::SessionBegun | Event::SessionUnlocked => self.live = true,
            Event::SessionLocked(_) | Event::SessionEnded(_) => self.live = false,
            // The engine also reports what follows a removal, such as the insertion of another card.
            Event::Card(event) if self.last.is_none() => match event {
                CardEvent::Removed { reader } => drop(self.emptied.insert(reader.clone())),
                // A card inserted before its login had failed asks when the login is over.
                CardEvent::Inserted { reader } if self.live || !self.login => {
                    self.emptied.remove(reader);
                    return self.is_idle();
                }
                _ => {}
            },
            _ => {}
        }
        false
    }

    /// Applies a snapshot taken while nobody is logged in.
    fn see(&mut self, now: Snapshot) -> bool {
        if !self.is_idle() {
            return false;
        }
        let asks = match &self.last {
            Some(last) => changes(last, &now).iter().any(|event| matches!(event, CardEvent::Inserted { .. })),
            // Cards that were there during a login or a session have already asked.
            None => match &now {
                Snapshot::Readers(readers) => {
                    readers.iter().any(|reader| reader.card && (self.begins || self.emptied.contains(&reader.name)))
                }
                Snapshot::Down => false,
            },
        };
        (self.begins, self.last) = (false, Some(now));
        self.emptied.clear();
        asks
    }
}

#[cfg(test)]
mod tests {
    use ticketapi::card::events::ReaderState;
    use ticketapi::session::{EndReason, LockReason};

    use super::*;

    /// The cards of the two readers, identified by their counters.
    fn readers(cards: [Option<u16>; 2]) -> Snapshot {
        let reader = |(name, counter): (&str, Option<u16>)| ReaderState {
            name: name.into(),
            card: counter.is_some(),
            counter: counter.unwrap_or_default(),
        };
        Snapshot::Readers(["one", "two"].into_iter().zip(cards).map(reader).collect())
    }

    const EMPTY: [Option<u16>; 2] = [None, None];

    fn watched(begins_with: Snapshot) -> Watched {
        let mut watched = Watched::new();
        watched.see(begins_with);
        watched
    }

    fn hear(watched: &mut Watched, events: &[Event]) -> bool {
        // All of them, whichever asks.
        events.iter().filter(|event| watched.hear(event)).count() > 0
    }

    fn failed() -> Event {
        Event::LoginEnded(Some(ticketapi::Error::cancelled(ticketapi::Stage::Pin)))
    }

    fn inserted(reader: &str) -> Event {
        Event::Card(CardEvent::Inserted { reader: reader.into() })
    }

    fn removed(reader: &str) -> Event {
        Event::Card(CardEvent::Removed { reader: reader.into() })
    }

    #[test]
    fn a_card_asks_when_it_is_put_in_or_is_there_at_the_beginning() {
        assert!(Watched::new().see(readers([Some(1), None])));
        let mut watched = watched(readers(EMPTY));
        assert!(!watched.see(readers(EMPTY)));
        assert!(watched.see(readers([None, Some(1)])));
        assert!(!watched.see(readers([None, Some(1)])));
        assert!(watched.see(readers([Some(1), Some(1)])));
        assert!(!watched.see(readers(EMPTY)));
        assert!(watched.see(readers([Some(3), None])), "it has come back");
        assert!(watched.see(readers([Some(5), None])), "it has been swapped");
    }

    #[test]
    fn a_card_does_not_ask_again_after_a_login_that_was_cancelled_or_failed() {
        for begins_with in [EMPTY, [Some(1), None]] {
            let mut watched = watched(readers(begins_with));
            watched.see(readers([Some(1), None]));
            assert!(!hear(&mut watched, &[Event::LoginBegun, failed()]));
            for _ in 0..2 {
                assert!(!watched.see(readers([Some(1), None])));
            }
            assert!(!watched.see(readers(EMPTY)));
            assert!(watched.see(readers([Some(3), None])));
        }
    }

    #[test]
    fn a_login_that_a_program_begins_first_is_the_one_for_the_card_that_was_there() {
        let mut watched = Watched::new();
        hear(&mut watched, &[Event::LoginBegun, failed()]);
        assert!(!watched.see(readers([Some(1), None])));
    }

    #[test]
    fn a_card_that_comes_back_while_the_login_fails_for_it_asks() {
        let mut watched = watched(readers([Some(1), None]));
        hear(&mut watched, &[Event::LoginBegun, removed("one"), inserted("one"), failed()]);
        assert!(watched.see(readers([Some(3), None])));
        assert!(!watched.see(readers([Some(3), None])));
    }

    #[test]
    fn nothing_asks_while_somebody_is_logged_in() {
        let mut watched = watched(readers([Some(1), None]));
        assert!(!hear(&mut watched, &[Event::LoginBegun, Event::SessionBegun, Event::LoginEnded(None)]));
        assert!(!hear(&mut watched, &[removed("two"), inserted("two")]));
        assert!(!watched.see(readers([Some(1), Some(7)])));
        // The user has logged out and left the card in the reader.
        assert!(!hear(&mut watched, &[Event::SessionEnded(EndReason::Destroyed)]));
        assert!(!watched.see(readers([Some(1), Some(7)])));
    }

    #[test]
    fn the_card_that_is_put_in_for_the_one_of_a_session_asks_once() {
        let logged_in = [Event::LoginBegun, Event::SessionBegun, Event::LoginEnded(None)];
        let ended = Event::SessionEnded(EndReason::Removed);
        // Swapped, as the engine sees it.
        let mut swapped = watched(readers([Some(1), None]));
        hear(&mut swapped, &logged_in);
        assert!(hear(&mut swapped, &[ended.clone(), removed("one"), inserted("one")]));
        assert!(!swapped.see(readers([Some(3), None])));
        // Before the readers are watched here.
        let mut quick = watched(readers([Some(1), None]));
        hear(&mut quick, &logged_in);
        hear(&mut quick, &[ended.clone(), removed("one")]);
        assert!(quick.see(readers([Some(3), None])));
        assert!(!quick.hear(&inserted("one")));
        // Later.
        let mut later = watched(readers([Some(1), None]));
        hear(&mut later, &logged_in);
        hear(&mut later, &[Event::SessionLocked(LockReason::CardRemoved), removed("one")]);
        assert!(!later.see(readers(EMPTY)));
        assert!(later.see(readers([Some(3), None])));
    }

    #[test]
    fn a_lock_that_time_has_brought_does_not_ask() {
        let mut watched = watched(readers([Some(1), None]));
        hear(&mut watched, &[Event::LoginBegun, Event::SessionBegun, Event::LoginEnded(None)]);
        hear(&mut watched, &[Event::SessionLocked(LockReason::ReauthenticationDue)]);
        assert!(!watched.see(readers([Some(1), None])));
    }

    #[test]
    fn with_the_service_every_card_is_put_in_anew() {
        let mut watched = watched(readers([Some(1), None]));
        assert!(!watched.see(Snapshot::Down));
        assert!(watched.see(readers([Some(1), None])));
    }
}
