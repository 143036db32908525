//! The monitor: the thread that watches the session's card and limits, and has its ticket renewed. It runs only while there is
//! something to watch, and sleeps until that changes.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::events::Event;
use super::state::{Inner, State};
use crate::cancel::CancelToken;
use crate::card::Certificate;
use crate::card::events::{CardWatch, Presence, ReaderState, Snapshot, changes};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::timer;
use crate::session::rules::Happening;
use crate::sync::mpsc;

/// How long to wait before the next search for a card that was missing when its reader returned.
const AGAIN: Duration = Duration::from_millis(500);

/// How long a watch may take to deliver events that it has kept.
const DRAIN: Duration = Duration::from_millis(20);

/// The watched readers.
pub(super) struct Watching {
    watch: Box<dyn CardWatch>,
    /// `None` before the first snapshot.
    last: Option<Snapshot>,
}

impl Watching {
    /// Returns the readers, if they were visible.
    fn readers(&self) -> Option<&[ReaderState]> {
        match &self.last {
            Some(Snapshot::Readers(readers)) => Some(readers),
            Some(Snapshot::Down) | None => None,
        }
    }
}

/// The monitor's next step.
enum Plan {
    /// Nothing is left to watch.
    End,
    Sleep {
        until: Option<Instant>,
        wake: CancelToken,
        watches: bool,
        identifies: bool,
    },
}

/// The search for the session's card after a restart of the PC/SC service, which restarts the counters.
#[derive(Default)]
struct Looking {
    cancel: CancelToken,
    found: Option<mpsc::Receiver<Result<(Certificate, Presence)>>>,
    again: Option<Instant>,
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Inner {
    /// Makes the monitor apply changes, and starts it if there is something to watch. Returns `false` if it
    /// cannot be started.
    pub(super) fn tend(self: &Arc<Self>, state: &mut State) -> bool {
        if let Some(wake) = &state.monitor {
            wake.cancel();
        } else if state.needs_monitor() && !state.resting {
            let inner = Arc::clone(self);
            if let Err(error) = self.threads.spawn("ticketapi-keep", CancelToken::new(), move || inner.keep()) {
                warn!(%error, "the session cannot be watched");
                return false;
            }
            // Cancelled, as that of a monitor that has been woken: it plans next.
            let wake = CancelToken::new();
            wake.cancel();
            state.monitor = Some(wake);
        }
        true
    }

    fn keep(self: &Arc<Self>) {
        let mut watching = self.lock().parked.take();
        let mut looking = Looking::default();
        loop {
            let (until, wake, watches, identifies) = match self.plan(&mut watching) {
                Plan::End => return,
                Plan::Sleep { until, wake, watches, identifies } => (until, wake, watches, identifies),
            };
            if !watches {
                watching = None;
            } else if watching.is_none() {
                watching = self.begin_watch();
                if watching.is_none() {
                    continue;
                }
            }
            let until = match identifies {
                true => [until, self.look_for_card(&mut looking)].into_iter().flatten().min(),
                false => {
                    looking = Looking::default();
                    until
                }
            };
            match &mut watching {
                Some(readers) => match readers.watch.next(until, &wake) {
                    Ok(Some(snapshot)) => self.see(readers, snapshot),
                    Ok(None) => {}
                    Err(error) if *error.kind() == ErrorKind::Cancelled => {}
                    Err(error) => {
                        watching = None;
                        self.cannot_watch(&error);
                    }
                },
                None => timer::sleep(until, &wake),
            }
        }
    }

    fn plan(self: &Arc<Self>, watching: &mut Option<Watching>) -> Plan {
        let mut state = self.lock();
        let now = self.catch_up(&mut state);
        self.renew_if_due(&mut state, now);
        let watches = state.presences().next().is_some();
        let due = state.due();
        if state.resting || !state.needs_monitor() {
            state.monitor = None;
            state.parked = watching.take_if(|_| state.resting && watches);
            drop(state);
            // Ends a child process, which may take a moment.
            *watching = None;
            return Plan::End;
        }
        if mem::take(&mut state.card_found) {
            // The last snapshot may miss a card that has just come, or still show one that has left. A new watch
            // starts with the current state.
            let seen = |readers: &[ReaderState]| state.presences().all(|card| card.holds(readers));
            watching.take_if(|watching| !watching.readers().is_some_and(seen));
        }
        let unseen = state.session.as_ref().is_some_and(|kept| kept.life.is_unseen());
        let readers = watching.as_ref().and_then(Watching::readers);
        let card = readers.is_some_and(|readers| readers.iter().any(|reader| reader.card));
        let wake = CancelToken::new();
        state.monitor = Some(wake.clone());
        // Callers that need the ticket before the monitor wakes check the time themselves.
        let until = due.and_then(|due| Instant::now().checked_add(due.saturating_sub(now).min(timer::LONGEST)));
        Plan::Sleep { until, wake, watches, identifies: unseen && card && state.login.is_none() }
    }

    fn begin_watch(self: &Arc<Self>) -> Option<Watching> {
        match self.parts.reader.watch() {
            Ok(Some(watch)) => return Some(Watching { watch, last: None }),
            Ok(None) => {
                let mut state = self.lock();
                state.login.iter_mut().for_each(|login| login.presence = None);
                state.session.iter_mut().for_each(|kept| kept.presence = None);
            }
            Err(error) => self.cannot_watch(&error),
        }
        None
    }

    fn cannot_watch(self: &Arc<Self>, error: &Error) {
        warn!(%error, "the readers cannot be watched");
        let mut state = self.lock();
        state.fail_login(|card| {
            format!("it is no longer visible whether the card is in {}: {}", card.reader, error.detail())
        });
        self.lose_card(&mut state, Happening::Unwatched);
    }

    /// Applies an event of the session's card, if it has a watched card.
    fn lose_card(self: &Arc<Self>, state: &mut State, happening: Happening) {
        if let Some(kept) = state.session.as_mut().filter(|kept| kept.presence.is_some()) {
            if happening != Happening::CardUnseen && kept.life.is_bound_to_card() {
                kept.presence = None;
            }
            self.happens(state, happening);
        }
    }

    /// Applies a snapshot of the readers.
    fn see(self: &Arc<Self>, watching: &mut Watching, snapshot: Snapshot) {
        let mut state = self.lock();
        match &snapshot {
            Snapshot::Down => {
                state.fail_login(|_| "the reader service was stopped".to_owned());
                // It is unknown for how long the service was down while nobody watched.
                let happening = if state.resting { Happening::Unwatched } else { Happening::CardUnseen };
                self.lose_card(&mut state, happening);
            }
            Snapshot::Readers(readers) => {
                let gone = |card: &Presence| !card.holds(readers);
                if state.login.as_ref().and_then(|login| login.presence.as_ref()).is_some_and(gone) {
                    state.fail_login(|card| format!("the card was taken out of {}", card.reader));
                }
                let kept = state.session.as_ref().filter(|kept| !kept.life.is_unseen());
                if kept.and_then(|kept| kept.presence.as_ref()).is_some_and(gone) {
                    self.lose_card(&mut state, Happening::CardOut);
                }
            }
        }
        // The first snapshot of a watch is not an event.
        if let Some(before) = watching.last.replace(snapshot)
            && let Some(now) = &watching.last
        {
            for event in changes(&before, now) {
                self.tell(&mut state, Event::Card(event));
            }
        }
    }

    /// Searches for the session's card on another thread: a card that hangs must not keep the session from
    /// ending. Returns when to search again.
    fn look_for_card(self: &Arc<Self>, looking: &mut Looking) -> Option<Instant> {
        match looking.found.as_ref().map(mpsc::Receiver::try_recv) {
            Some(Err(mpsc::TryRecvError::Empty)) => return None,
            Some(Ok(found)) => self.card_identified(found),
            Some(Err(mpsc::TryRecvError::Disconnected)) | None => {}
        }
        if looking.found.take().is_some() {
            looking.again = Some(Instant::now() + AGAIN);
        }
        if looking.again.is_some_and(|again| again > Instant::now()) {
            return looking.again;
        }
        let (tell, found) = mpsc::channel();
        let (inner, cancel) = (Arc::clone(self), looking.cancel.clone());
        let look = move || {
            let card = inner.parts.reader.wait_for_card(Duration::ZERO, &mut |_| {}, &cancel);
            let found = card.and_then(|card| match (card.certificate(), card.presence()) {
                (Some(certificate), Some(presence)) => Ok((certificate.clone(), presence.clone())),
                _ => Err(Error::new(ErrorKind::NoCertificate, Stage::Card, "the card does not tell whose it is")),
            });
            // Sending fails if nobody waits any more.
            let _ = tell.send(found);
            inner.tend(&mut inner.lock());
        };
        match self.threads.spawn("ticketapi-card", looking.cancel.clone(), look) {
            Ok(()) => looking.found = Some(found),
            Err(error) => warn!(%error, "the card cannot be looked for"),
        }
        None
    }

    fn card_identified(self: &Arc<Self>, found: Result<(Certificate, Presence)>) {
        let mut state = self.lock();
        match (found, &mut state.session) {
            (Ok((certificate, presence)), Some(kept)) if kept.session.grant.card.as_ref() == Some(&certificate) => {
                // The last snapshot is older. If the card has left since, another snapshot follows.
                kept.presence = Some(presence);
                self.happens(&mut state, Happening::CardSeen);
            }
            (Ok(_), _) => self.lose_card(&mut state, Happening::CardOut),
            (Err(error), _) => debug!(%error, "the card was not found again yet"),
        }
    }

    /// Ends the monitor and every other thread, and keeps the session. Card events are kept for
    /// [`Inner::wake`].
    pub(super) fn rest(self: &Arc<Self>, grace: Duration) {
        let mut state = self.lock();
        state.resting = true;
        self.tend(&mut state);
        drop(state);
        self.threads.end(grace);
    }

    /// Applies what has happened since [`Inner::rest`], and resumes.
    pub(super) fn wake(self: &Arc<Self>) {
        let mut watching = {
            let mut state = self.lock();
            let bound = state.presences().next().is_some();
            state.parked.take().filter(|_| bound)
        };
        while let Some(readers) = &mut watching {
            match readers.watch.next(Some(Instant::now() + DRAIN), &CancelToken::new()) {
                Ok(Some(snapshot)) => self.see(readers, snapshot),
                Ok(None) => break,
                Err(error) => {
                    watching = None;
                    self.cannot_watch(&error);
                }
            }
        }
        let mut state = self.lock();
        state.resting = false;
        state.parked = watching;
        self.tend(&mut state);
    }
}
