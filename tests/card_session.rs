//! Sessions from a PIV card: OpenSC, a real PC/SC service, virtual readers, and the removal of the card.
//!
//! `TICKETAPI_TEST_CYCLES` sets how often cards are inserted and removed; 1,000 for a soak test.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod support;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use support::{Desk, PATIENCE, UID, User, kind};
use ticketapi::cancel::CancelToken;
use ticketapi::card::CardReader;
use ticketapi::card::events::{CardEvent, CardWatch, Snapshot};
use ticketapi::card::helper::{DEADLINE, HelperReader, HelperSettings};
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::engine::{Event, Status};
use ticketapi::session::{EndReason, LockReason};
use ticketapi::{Engine, Error, ErrorKind, Pin, Result, Stage};
use ticketapi_testkit::artifacts::{helper_program, opensc_module};
use ticketapi_testkit::piv::{Command, DEFAULT_PIN, Fault};
use ticketapi_testkit::{CardSpec, Endpoint, Pcscd, PivCard};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// How much the process's memory may grow in any number of cycles.
const MAX_GROWTH: usize = 1 << 20;

struct Reader {
    engine: Engine,
    events: mpsc::Receiver<Event>,
    // Before the service, so that the cards are removed when it ends.
    card: PivCard,
    other: PivCard,
    pcscd: Pcscd,
    desk: Desk,
}

impl Reader {
    /// Two readers, with the card in the first.
    fn new() -> Self {
        Self::with(Desk::with(|spine| spine.roles(2).capacity(50)), &User::typing(&[DEFAULT_PIN; 5000]))
    }

    /// A desk with no reader plugged in.
    fn unplugged(user: &User) -> Self {
        Self::at(Desk::with(|spine| spine.roles(1)), user, Pcscd::start_with_usb().unwrap())
    }

    fn with(desk: Desk, user: &User) -> Self {
        let reader = Self::at(desk, user, Pcscd::start().unwrap());
        reader.insert();
        reader
    }

    fn at(desk: Desk, user: &User, pcscd: Pcscd) -> Self {
        let card = |uid: &str| PivCard::new(&desk.ca.issue(&CardSpec::new(uid)).unwrap()).unwrap();
        let (card, other) = (card(UID), card("999000000001"));
        let helper = pcscd.helper_wrapper(&helper_program()).unwrap();
        let mut desk =
            desk.set("pkcs11_module", opensc_module()).set("helper", helper.to_str().unwrap()).set("card_wait", "30");
        desk.config.software_card = None;
        let (tell, events) = mpsc::channel();
        let engine = Engine::builder(desk.config.clone())
            .prompter(user.clone())
            .listener(move |event| drop(tell.send(event.clone())))
            .build()
            .unwrap();
        Self { engine, events, card, other, pcscd, desk }
    }

    fn insert(&self) {
        self.card.insert(self.pcscd.port()).unwrap();
        assert!(self.card.wait_until_seen(PATIENCE));
    }

    /// Waits for an event for which `wanted` returns something.
    fn event<T>(&self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(&self.events.recv_timeout(PATIENCE).expect("the event comes")) {
                return found;
            }
        }
    }

    fn end_reason(&self) -> EndReason {
        self.event(|event| if let Event::SessionEnded(reason) = event { Some(*reason) } else { None })
    }

    fn until_card(&self, wanted: impl Fn(&CardEvent) -> bool) {
        self.event(|event| matches!(event, Event::Card(event) if wanted(event)).then_some(()));
    }

    fn assert_logged_out(&self) {
        assert_eq!(kind(self.engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
        assert!(self.desk.spine.wait_for_sessions(PATIENCE, 0), "a session is left on the server");
    }

    /// A watch that belongs to the test.
    fn watch(&self) -> Box<dyn CardWatch> {
        let settings = HelperSettings {
            program: self.desk.config.helper.clone().unwrap(),
            card: CardSettings::default(),
            deadline: DEADLINE,
        };
        let mut watch = HelperReader::new(settings).watch().unwrap().unwrap();
        watch.next(None, &CancelToken::new()).unwrap();
        watch
    }

    /// Removes the card during a login, after `at`.
    fn remove_during(&self, at: impl FnOnce()) {
        let engine = &self.engine;
        let error = thread::scope(|scope| {
            let login = scope.spawn(|| engine.get_ticket().unwrap_err());
            at();
            self.card.remove();
            login.join().unwrap()
        });
        assert_eq!(*error.kind(), ErrorKind::CardFailed, "{error}");
        self.assert_logged_out();
        // pcscd does not notice a card that is back before it has noticed the empty reader.
        thread::sleep(Duration::from_secs(1));
        self.insert();
        self.engine.get_ticket().unwrap();
    }
}

/// A prompt that reports when it is open, and stays open the first time until it is cancelled.
fn stays<T>(stage: Stage, then: fn() -> T) -> (impl FnMut(&CancelToken) -> Result<T>, mpsc::Receiver<()>) {
    let (there, is_there) = mpsc::channel();
    let mut first = true;
    let ask = move |cancel: &CancelToken| {
        if !std::mem::take(&mut first) {
            return Ok(then());
        }
        there.send(()).unwrap();
        assert!(cancel.wait(PATIENCE), "the prompt is taken back");
        Err(Error::cancelled(stage))
    };
    (ask, is_there)
}

#[test]
fn removing_the_card_ends_the_session_here_and_on_the_broker() {
    let reader = Reader::new();
    reader.engine.get_ticket().unwrap();
    assert_eq!(reader.engine.status(), Status::Live { card_watched: true });
    reader.card.remove();
    assert_eq!(reader.end_reason(), EndReason::Removed);
    reader.assert_logged_out();
}

#[test]
fn only_the_card_of_the_session_matters() {
    let reader = Reader::new();
    let ticket = reader.engine.get_ticket().unwrap();
    reader.other.insert(reader.pcscd.second_port()).unwrap();
    reader.until_card(|event| matches!(event, CardEvent::Inserted { reader } if reader.ends_with("01")));
    reader.other.remove();
    reader.until_card(|event| matches!(event, CardEvent::Removed { reader } if reader.ends_with("01")));
    assert_eq!(reader.engine.get_ticket().unwrap(), ticket);
}

#[test]
fn removing_the_card_during_pin_entry_fails_the_login() {
    let (ask, is_there) = stays(Stage::Pin, || Pin::new(DEFAULT_PIN.into()));
    let reader = Reader::with(Desk::new(), &User::new().asked_for_pin(ask));
    reader.remove_during(|| is_there.recv().unwrap());
}

#[test]
fn removing_the_card_during_the_role_prompt_leaves_no_session() {
    let (ask, is_there) = stays(Stage::RoleSelection, || 0);
    let reader = Reader::with(Desk::new(), &User::typing(&[DEFAULT_PIN; 5]).asked_for_role(ask));
    reader.remove_during(|| is_there.recv().unwrap());
}

#[test]
fn removing_the_card_during_validate_leaves_no_session() {
    let reader = Reader::new();
    let held = reader.desk.spine.hold(Endpoint::Validate);
    let release = thread::scope(|scope| {
        let login = scope.spawn(|| kind(reader.engine.get_ticket()));
        assert!(reader.desk.spine.wait_for_sessions(PATIENCE, 1));
        reader.card.remove();
        assert_eq!(login.join().unwrap(), ErrorKind::CardFailed);
        held
    });
    drop(release);
    reader.assert_logged_out();
}

#[test]
fn removing_the_card_while_it_signs_leaves_no_session() {
    let reader = Reader::new();
    reader.card.set_fault(Some(Fault::RemovedAt(Command::Sign)));
    assert_eq!(kind(reader.engine.get_ticket()), ErrorKind::CardFailed);
    reader.assert_logged_out();
}

#[test]
fn a_session_survives_only_a_service_that_restarts_in_time() {
    let mut reader = Reader::new();
    let ticket = reader.engine.get_ticket().unwrap();
    reader.pcscd.restart().unwrap();
    reader.insert();
    // Longer than a session lives without its card.
    thread::sleep(Duration::from_secs(7));
    assert_eq!(reader.engine.get_ticket_no_auth().unwrap(), ticket);

    reader.pcscd.kill();
    let began = Instant::now();
    assert_eq!(reader.end_reason(), EndReason::ReaderLost);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    reader.assert_logged_out();

    reader.pcscd.restart().unwrap();
    reader.insert();
    reader.engine.get_ticket().unwrap();
}

#[test]
fn another_card_after_a_restart_of_the_service_ends_the_session() {
    let mut reader = Reader::new();
    reader.engine.get_ticket().unwrap();
    reader.pcscd.restart().unwrap();
    reader.other.insert(reader.pcscd.port()).unwrap();
    reader.end_reason();
    reader.assert_logged_out();
}

#[test]
fn a_reader_plugged_in_during_the_wait_is_used_and_unplugging_it_ends_the_session() {
    let user = User::typing(&[DEFAULT_PIN; 5]);
    let reader = Reader::unplugged(&user);
    for _ in 0..2 {
        thread::scope(|scope| {
            let login = scope.spawn(|| reader.engine.get_ticket().unwrap());
            while user.notices() == 0 {
                thread::sleep(Duration::from_millis(5));
            }
            reader.pcscd.plug_in().unwrap();
            // Its driver listens at once.
            let began = Instant::now();
            while reader.card.insert(reader.pcscd.port()).is_err() {
                assert!(began.elapsed() < PATIENCE);
                thread::sleep(Duration::from_millis(5));
            }
            login.join().unwrap();
        });
        assert_eq!(user.notices(), 0);
        assert_eq!(reader.engine.status(), Status::Live { card_watched: true });
        reader.pcscd.unplug().unwrap();
        assert_eq!(reader.end_reason(), EndReason::Removed);
        reader.assert_logged_out();
    }
    assert_eq!(reader.card.counts().verify, 2);
}

#[test]
fn a_locked_session_is_unlocked_by_the_same_card_and_pin() {
    let desk = Desk::with(|spine| spine.roles(1)).set("mode", "session_lock");
    let reader = Reader::with(desk, &User::typing(&[DEFAULT_PIN; 5]));
    let ticket = reader.engine.get_ticket().unwrap();
    reader.card.remove();
    reader.event(|event| matches!(event, Event::SessionLocked(LockReason::CardRemoved)).then_some(()));
    assert_eq!(kind(reader.engine.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    thread::sleep(Duration::from_secs(1));
    reader.insert();
    assert_eq!(reader.engine.get_ticket().unwrap(), ticket);
    assert_eq!(reader.card.counts().verify, 2);
    assert_eq!(reader.engine.status(), Status::Live { card_watched: true });
}

#[test]
fn in_mobility_mode_the_card_may_be_removed() {
    let desk = Desk::with(|spine| spine.roles(1)).set("mode", "mobility");
    let reader = Reader::with(desk, &User::typing(&[DEFAULT_PIN; 5]));
    let ticket = reader.engine.get_ticket().unwrap();
    reader.card.remove();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(reader.engine.get_ticket().unwrap(), ticket);
}

/// The end of the ticket is measured from the time when the test's own watch reports the event.
#[test]
fn many_insertions_and_removals_lose_no_event_and_leave_nothing_behind() {
    let cycles = std::env::var("TICKETAPI_TEST_CYCLES").map_or(6, |number| number.parse().unwrap());
    let reader = Reader::new();
    let (mut times, mut warm) = (Vec::new(), 0);
    for cycle in 0..cycles {
        reader.engine.get_ticket().unwrap();
        assert_eq!(reader.engine.status(), Status::Live { card_watched: true });
        let mut watch = reader.watch();
        reader.card.remove();
        let has_card = |snapshot| matches!(snapshot, Some(Snapshot::Readers(readers)) if readers[0].card);
        while has_card(watch.next(None, &CancelToken::new()).unwrap()) {}
        let seen = Instant::now();
        while reader.engine.with_ticket(|_| ()).is_some() {
            thread::yield_now();
        }
        times.push(seen.elapsed());
        drop(watch);
        assert_eq!(reader.end_reason(), EndReason::Removed, "cycle {cycle}");
        reader.assert_logged_out();
        reader.insert();
        if cycle == cycles / 10 {
            warm = HEAP.current_usage();
        }
    }
    let growth = HEAP.current_usage().saturating_sub(warm);
    times.sort_unstable();
    println!(
        "{cycles} removals: ticket gone {:?} after the event at the median, {:?} at most; {growth} bytes more",
        times[cycles / 2],
        times[cycles - 1]
    );
    assert!(growth < MAX_GROWTH, "the heap grew by {growth} bytes");
    assert!(times[cycles - 1] <= Duration::from_millis(250), "{times:?}");
    assert!(times[cycles / 2] <= Duration::from_millis(50), "{times:?}");
}
