//! Readers with software cards, and a clock, which the test controls.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use ticketapi::cancel::CancelToken;
use ticketapi::card::events::{CardWatch, Presence, ReaderState, Snapshot};
use ticketapi::card::software::SoftwareCardReader;
use ticketapi::card::{Absence, CardReader, Certificate, PinStatus, SmartCard};
use ticketapi::challenge::Digest;
use ticketapi::clock::{Clock, SystemClock};
use ticketapi::engine::Event;
use ticketapi::session::{EndReason, LockReason};
use ticketapi::{Engine, Error, ErrorKind, Pin, Result, Stage};
use ticketapi_testkit::CardSpec;

use super::{Desk, PATIENCE, PIN, UID, User, kind};

/// A desk with such readers and such a clock. The user's card is in the first reader.
pub struct Watched {
    pub engine: Engine,
    pub readers: Readers,
    pub card: TestCard,
    pub clock: MovedClock,
    pub user: User,
    pub desk: Desk,
    events: Mutex<mpsc::Receiver<Event>>,
}

impl Watched {
    pub fn with(desk: Desk, user: &User) -> Self {
        let card = TestCard::new(&desk, UID);
        let (readers, clock) = (Readers::with(&card), MovedClock::default());
        let (tell, events) = mpsc::channel();
        let engine = Engine::builder(desk.config.clone())
            .prompter(user.clone())
            .card_reader(readers.clone())
            .clock(clock.clone())
            .listener(move |event| drop(tell.send(event.clone())))
            .build()
            .unwrap();
        Self { engine, readers, card, clock, user: user.clone(), desk, events: Mutex::new(events) }
    }

    pub fn next_event(&self) -> Event {
        self.events.lock().unwrap().recv_timeout(PATIENCE).expect("the event comes")
    }

    /// Waits for an event for which `wanted` returns something.
    pub fn event<T>(&self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        std::iter::repeat_with(|| wanted(&self.next_event())).find_map(|found| found).unwrap()
    }

    pub fn end_reason(&self) -> EndReason {
        self.event(|event| if let Event::SessionEnded(reason) = event { Some(*reason) } else { None })
    }

    pub fn lock_reason(&self) -> LockReason {
        self.event(|event| if let Event::SessionLocked(reason) = event { Some(*reason) } else { None })
    }

    pub fn assert_no_ticket(&self) {
        assert_eq!(kind(self.engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
        assert!(self.engine.with_ticket(|_| ()).is_none());
        assert!(self.engine.session().is_none());
    }

    pub fn read(&self) -> Option<String> {
        self.engine.with_ticket(|ticket| String::from_utf8(ticket.to_vec()).unwrap())
    }

    /// Waits until there is no ticket. Returns how long that took.
    pub fn ticket_gone(&self) -> Duration {
        let began = Instant::now();
        while self.engine.with_ticket(|_| ()).is_some() {
            assert!(began.elapsed() < PATIENCE, "the ticket is still given out");
            std::thread::yield_now();
        }
        self.assert_no_ticket();
        began.elapsed()
    }
}

/// A card that can be inserted into a reader.
#[derive(Clone)]
pub struct TestCard {
    file: PathBuf,
    certificate: Certificate,
}

impl TestCard {
    /// A card of the user `uid`, in its own file.
    pub fn new(desk: &Desk, uid: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let identity = desk.ca.issue(&CardSpec::new(uid).key_bits(1024)).unwrap();
        let file = desk.path(&format!("card-{}.p12", NEXT.fetch_add(1, Ordering::Relaxed)));
        identity.write_pkcs12(&file, PIN).unwrap();
        let certificate = Certificate::from_der(&identity.certificate().to_der().unwrap()).unwrap();
        Self { file, certificate }
    }

    /// This card, but unreadable.
    pub fn unreadable(&self) -> Self {
        Self { file: self.file.with_extension("gone"), ..self.clone() }
    }
}

/// Readers, as the engine sees them. Clones share the same readers.
#[derive(Clone)]
pub struct Readers(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    slots: Vec<(ReaderState, Option<TestCard>)>,
    /// Every snapshot so far.
    shown: Vec<Snapshot>,
    /// Watching fails from now on.
    broken: bool,
    holds_signing: bool,
    signing: bool,
    /// How many watches there are now, and how many have begun.
    watches: (usize, usize),
    /// How many searches for a card there were.
    searches: u32,
}

pub const READER: &str = "Reader 00 00";

impl Readers {
    /// Two readers, with `card` in the first.
    pub fn with(card: &TestCard) -> Self {
        let reader = |name: &str| (ReaderState { name: name.into(), card: false, counter: 0 }, None);
        let readers = Self(Arc::new(Shared {
            state: Mutex::new(State {
                slots: vec![reader(READER), reader("Reader 01 00")],
                shown: Vec::new(),
                broken: false,
                holds_signing: false,
                signing: false,
                watches: (0, 0),
                searches: 0,
            }),
            changed: Condvar::new(),
        }));
        readers.insert(0, card);
        readers
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock();
        change(&mut state);
        let now = Snapshot::Readers(state.slots.iter().map(|(reader, _)| reader.clone()).collect());
        state.shown.push(now);
        drop(state);
        self.0.changed.notify_all();
    }

    pub fn insert(&self, reader: usize, card: &TestCard) {
        self.change(|state| {
            let (shown, inside) = &mut state.slots[reader];
            (shown.card, shown.counter, *inside) = (true, shown.counter + 1, Some(card.clone()));
        });
    }

    pub fn remove(&self, reader: usize) {
        self.change(|state| {
            let (shown, inside) = &mut state.slots[reader];
            (shown.card, shown.counter, *inside) = (false, shown.counter + 1, None);
        });
    }

    /// Swaps the card between two snapshots.
    pub fn swap(&self, reader: usize, card: &TestCard) {
        self.change(|state| {
            let (shown, inside) = &mut state.slots[reader];
            (shown.counter, *inside) = (shown.counter + 2, Some(card.clone()));
        });
    }

    /// Changes something irrelevant, which wakes every watch.
    pub fn stir(&self) {
        self.change(|_| {});
    }

    /// Stops the service: the readers are not visible.
    pub fn stop(&self) {
        self.0.lock().shown.push(Snapshot::Down);
        self.0.changed.notify_all();
    }

    /// Starts the service, whose counters start anew, with `card` in the first reader.
    pub fn start(&self, card: Option<&TestCard>) {
        self.change(|state| {
            for (shown, inside) in &mut state.slots {
                (shown.card, shown.counter, *inside) = (false, 0, None);
            }
            if let Some(card) = card {
                (state.slots[0].0.card, state.slots[0].0.counter, state.slots[0].1) = (true, 1, Some(card.clone()));
            }
        });
    }

    /// Makes watching fail from now on.
    pub fn break_down(&self) {
        self.0.lock().broken = true;
        self.0.changed.notify_all();
    }

    /// Keeps cards from answering while they sign, until called with `false`.
    pub fn hold_signing(&self, hold: bool) {
        self.0.lock().holds_signing = hold;
        self.0.changed.notify_all();
    }

    pub fn wait_until_signing(&self) {
        self.wait_until(|state| state.signing);
    }

    pub fn wait_until_unwatched(&self) {
        self.wait_until(|state| state.watches.0 == 0);
    }

    pub fn wait_until_watched(&self) {
        self.wait_until(|state| state.watches.0 > 0);
    }

    fn wait_until(&self, wanted: impl Fn(&State) -> bool) {
        let waited = self.0.changed.wait_timeout_while(self.0.lock(), PATIENCE, |state| !wanted(state));
        assert!(!waited.unwrap().1.timed_out());
    }

    /// The number of searches for a card.
    pub fn searches(&self) -> u32 {
        self.0.lock().searches
    }

    /// The number of watches that have begun.
    pub fn watches_begun(&self) -> usize {
        self.0.lock().watches.1
    }

    /// The number of open watches.
    pub fn watches(&self) -> usize {
        self.0.lock().watches.0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready`. Returns `false` after `until`, or if `cancel` was cancelled.
    fn wait<'a>(
        self: &'a Arc<Self>,
        until: Option<Instant>,
        cancel: &CancelToken,
        ready: impl Fn(&State) -> bool,
    ) -> (MutexGuard<'a, State>, bool) {
        let shared = Arc::clone(self);
        // Without the lock, which is held when the guard is dropped. Whoever misses it checks again soon.
        let _guard = cancel.on_cancel(move || shared.changed.notify_all());
        let mut state = self.lock();
        loop {
            if ready(&state) {
                return (state, true);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return (state, false);
            }
            drop(state);
            if cancel.is_cancelled() {
                return (self.lock(), false);
            }
            state = self.lock();
            if ready(&state) {
                return (state, true);
            }
            let left = left.unwrap_or(Duration::from_secs(60)).min(Duration::from_millis(20));
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl CardReader for Readers {
    fn wait_for_card(
        &self,
        wait: Duration,
        absent: &mut dyn FnMut(Absence),
        cancel: &CancelToken,
    ) -> Result<Box<dyn SmartCard>> {
        let has_card = |state: &State| {
            state.slots.iter().any(|(_, card)| card.is_some()) && state.shown.last() != Some(&Snapshot::Down)
        };
        let there = {
            let mut state = self.0.lock();
            state.searches += 1;
            has_card(&state)
        };
        if !there {
            absent(Absence::NoCard);
        }
        let (state, found) = self.0.wait(Some(Instant::now() + wait), cancel, has_card);
        if !found {
            drop(state);
            cancel.check(Stage::Card)?;
            return Err(Error::new(ErrorKind::NoCard, Stage::Card, "there is no card"));
        }
        let found = state.slots.iter().find_map(|(reader, card)| Some((reader.clone(), card.clone()?)));
        drop(state);
        let (reader, card) = found.unwrap();
        let inner = SoftwareCardReader::new(card.file).wait_for_card(Duration::ZERO, &mut |_| {}, cancel)?;
        let presence = Presence { reader: reader.name, counter: reader.counter };
        Ok(Box::new(CardInReader { readers: self.clone(), inner, certificate: card.certificate, presence }))
    }

    fn watch(&self) -> Result<Option<Box<dyn CardWatch>>> {
        let mut state = self.0.lock();
        state.watches = (state.watches.0 + 1, state.watches.1 + 1);
        let seen = state.shown.len() - 1;
        self.0.changed.notify_all();
        Ok(Some(Box::new(Watch { readers: self.clone(), seen })))
    }
}

struct Watch {
    readers: Readers,
    seen: usize,
}

impl CardWatch for Watch {
    fn next(&mut self, until: Option<Instant>, cancel: &CancelToken) -> Result<Option<Snapshot>> {
        let seen = self.seen;
        let (state, ready) = self.readers.0.wait(until, cancel, |state| state.broken || state.shown.len() > seen);
        if state.broken {
            return Err(Error::new(ErrorKind::ReaderNotAvailable, Stage::Card, "the watcher has died"));
        }
        if !ready {
            drop(state);
            cancel.check(Stage::Card)?;
            return Ok(None);
        }
        self.seen += 1;
        Ok(Some(state.shown[seen].clone()))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.readers.0.lock().watches.0 -= 1;
        self.readers.0.changed.notify_all();
    }
}

struct CardInReader {
    readers: Readers,
    inner: Box<dyn SmartCard>,
    certificate: Certificate,
    presence: Presence,
}

impl SmartCard for CardInReader {
    fn label(&self) -> &str {
        self.inner.label()
    }

    fn certificate(&self) -> Option<&Certificate> {
        Some(&self.certificate)
    }

    fn pin_status(&self) -> PinStatus {
        self.inner.pin_status()
    }

    fn presence(&self) -> Option<&Presence> {
        Some(&self.presence)
    }

    fn sign(&mut self, pin: Option<Pin>, digest: Digest, message: &[u8], cancel: &CancelToken) -> Result<Vec<u8>> {
        let shared = &self.readers.0;
        shared.lock().signing = true;
        shared.changed.notify_all();
        let (mut state, _) = shared.wait(None, cancel, |state| !state.holds_signing);
        state.signing = false;
        drop(state);
        cancel.check(Stage::Signing)?;
        self.inner.sign(pin, digest, message, cancel)
    }
}

/// The system's clock plus a time that the test sets.
#[derive(Clone, Default)]
pub struct MovedClock(Arc<Mutex<Duration>>);

impl MovedClock {
    pub fn advance(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Duration {
        SystemClock.now() + *self.0.lock().unwrap()
    }

    fn tick(&self) -> u64 {
        SystemClock.tick() + self.0.lock().unwrap().as_nanos() as u64
    }
}
