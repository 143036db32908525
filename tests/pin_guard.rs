//! PINs at the card while many faults happen at once: no PIN is tried that the user did not enter, no PIN is tried
//! on another card, and no card gets locked that its user did not lock.
//!
//! `TICKETAPI_TEST_SEQUENCES` sets the number of random sequences; 10,000 for a soak test. `TICKETAPI_TEST_SEED`
//! is the number of the first.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod support;

use std::collections::HashMap;
use std::process::{Command as Program, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::{Desk, PATIENCE};
use ticketapi::cancel::CancelToken;
use ticketapi::card::CardReader;
use ticketapi::card::events::{CardWatch, Snapshot};
use ticketapi::card::helper::{DEADLINE, HelperReader, HelperSettings};
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::prompt::{PinRequest, Prompter};
use ticketapi::ssb::Role;
use ticketapi::{Engine, Error, Pin, Result, Stage};
use ticketapi_testkit::artifacts::{helper_program, opensc_module};
use ticketapi_testkit::piv::Fault;
use ticketapi_testkit::{CardSpec, Pcscd, PivCard};

/// Two users with different PINs. The second never enters a wrong one.
const USERS: [(&str, &str); 2] = [("123456789012", "482915"), ("999000000001", "730164")];

/// The users at a prompt.
#[derive(Clone)]
struct Users(Arc<Mutex<Entered>>);

struct Entered {
    random: StdRng,
    /// The entered PINs of a possible length, by user.
    pins: HashMap<String, u32>,
}

impl Users {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Entered { random: StdRng::seed_from_u64(0), pins: HashMap::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Entered> {
        self.0.lock().unwrap()
    }

    fn entered(&self, uid: &str) -> u32 {
        self.lock().pins.get(uid).copied().unwrap_or(0)
    }
}

impl Prompter for Users {
    fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin> {
        let uid = request.uid.expect("the card tells whose it is");
        let (time, typed) = {
            let mut state = self.lock();
            (state.random.gen_range(0..120), state.random.gen_range(0..100))
        };
        // As a user types; one in three does not notice that the prompt was closed.
        let gone = cancel.wait(Duration::from_millis(time));
        if gone && typed % 3 != 0 {
            return Err(Error::cancelled(Stage::Pin));
        }
        let (_, right) = USERS.into_iter().find(|(user, _)| *user == uid).expect("it is one of the users");
        let never_wrong = uid == USERS[1].0;
        let pin = match typed {
            // Too short: it is not tried on a card.
            0..5 => return Ok(Pin::new("123".to_owned())),
            5..12 => return Err(Error::cancelled(Stage::Pin)),
            12..45 if !never_wrong => "555555",
            _ => right,
        };
        *self.lock().pins.entry(uid.to_owned()).or_default() += 1;
        Ok(Pin::new(pin.to_owned()))
    }

    /// No user risks the last try.
    fn use_last_try(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<bool> {
        Ok(false)
    }

    fn role(&self, _: &[Role], _: &CancelToken) -> Result<usize> {
        Ok(0)
    }
}

/// What happens to card, reader and login meanwhile.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Nothing,
    /// Another program resets the card.
    Reset,
    /// The first user changes the PIN in another program, which resets the card.
    PinChanged,
    /// The card is removed, and reinserted after this many milliseconds.
    Eject(u64),
    /// The card leaves instead of answering the command with this number, and is reinserted.
    EjectAt(u32),
    /// The other user's card replaces it.
    Swap,
    /// The PC/SC service is killed, and restarted after this many milliseconds.
    Kill(u64),
    Cancel,
    Destroy,
}

impl Mishap {
    fn any(random: &mut StdRng) -> Self {
        match random.gen_range(0..12) {
            0 | 1 => Self::Nothing,
            2 | 3 => Self::Reset,
            4 => Self::PinChanged,
            5 => Self::Eject(random.gen_range(0..700)),
            6 | 7 => Self::EjectAt(random.gen_range(1..60)),
            8 => Self::Swap,
            9 => Self::Kill(random.gen_range(0..300)),
            10 => Self::Cancel,
            _ => Self::Destroy,
        }
    }
}

/// A reader, the users' cards, and two programs that log in with the card in the reader.
struct Counter {
    engines: Arc<[Engine; 2]>,
    users: Users,
    // Before the service, so that the cards are removed when it ends.
    cards: [PivCard; 2],
    /// The index of the card in the reader.
    inside: usize,
    /// Watches the reader, with the state that it last reported.
    watch: Box<dyn CardWatch>,
    seen: Option<Snapshot>,
    pcscd: Pcscd,
    _desk: Desk,
}

impl Counter {
    fn new() -> Self {
        let desk = Desk::with(|spine| spine.roles(1).capacity(50));
        let cards = USERS.map(|(uid, pin)| {
            let card = PivCard::new(&desk.ca.issue(&CardSpec::new(uid)).unwrap()).unwrap();
            card.set_pin(pin);
            card
        });
        let pcscd = Pcscd::start().unwrap();
        let helper = pcscd.helper_wrapper(&helper_program()).unwrap();
        let mut desk = desk
            .set("pkcs11_module", opensc_module())
            .set("helper", helper.to_str().unwrap())
            .set("card_wait", "2")
            .set("card_timeout", "4");
        desk.config.software_card = None;
        let users = Users::new();
        let reader =
            HelperReader::new(HelperSettings { program: helper, card: CardSettings::default(), deadline: DEADLINE });
        let watch = reader.watch().unwrap().unwrap();
        let engines = [(); 2].map(|()| Engine::builder(desk.config.clone()).prompter(users.clone()).build().unwrap());
        Self { engines: engines.into(), users, cards, inside: 0, watch, seen: None, pcscd, _desk: desk }
    }

    fn insert(&mut self, card: usize) {
        self.inside = card;
        // If the service is down, the card is inserted after its restart.
        let _ = self.cards[card].insert(self.pcscd.port());
    }

    /// Removes the card. The virtual reader notices this only when it is polled, and would mistake another card
    /// for this one before that; real readers do not.
    fn remove(&mut self) {
        while self.look(Duration::ZERO) {}
        self.cards[self.inside].remove();
        let seen = |seen: &Snapshot| matches!(seen, Snapshot::Readers(readers) if readers.first().is_some_and(|reader| reader.card));
        if self.seen.as_ref().is_some_and(seen) {
            while self.seen.as_ref().is_some_and(seen) {
                assert!(self.look(PATIENCE), "the reader is never empty");
            }
        } else {
            // Nothing reports that the reader was polled twice.
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// Returns `true` if there was an event within this time.
    fn look(&mut self, time: Duration) -> bool {
        let seen = self.watch.next(Some(Instant::now() + time), &CancelToken::new()).unwrap();
        let happened = seen.is_some();
        self.seen = seen.or(self.seen.take());
        happened
    }

    fn reset(&self) {
        let mut tool = Program::new("opensc-tool");
        tool.arg("--reset").env("PCSCLITE_CSOCK_NAME", self.pcscd.socket());
        // The card may have been removed.
        tool.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    }

    fn happens(&mut self, mishap: Mishap, engine: usize) {
        match mishap {
            Mishap::Nothing => {}
            Mishap::Reset => self.reset(),
            Mishap::PinChanged => {
                self.cards[0].set_pin("918273");
                self.reset();
            }
            Mishap::EjectAt(_) => {
                let _ = self.cards[self.inside].wait_until_out(Duration::from_millis(500));
                self.remove();
                self.insert(self.inside);
            }
            Mishap::Eject(time) => {
                self.remove();
                thread::sleep(Duration::from_millis(time));
                self.insert(self.inside);
            }
            Mishap::Swap => {
                self.remove();
                self.insert(1 - self.inside);
            }
            Mishap::Kill(time) => {
                self.pcscd.kill();
                thread::sleep(Duration::from_millis(time));
                self.pcscd.restart().unwrap();
                self.insert(self.inside);
            }
            Mishap::Cancel => self.engines[engine].cancel_login(),
            Mishap::Destroy => drop(self.engines[engine].destroy_ticket()),
        }
    }

    /// Lets one or two callers log in while something happens. Returns what happened.
    fn step(&mut self, random: &mut StdRng) -> String {
        let (mishap, delay) = (Mishap::any(random), random.gen_range(0..250));
        let callers: &[usize] = [&[0][..], &[0, 0], &[0, 1]][random.gen_range(0..3)];
        let (anew, again) = (random.gen_bool(0.7), random.gen_bool(0.5));
        // A slow card gives other threads the time to run in between.
        let slow = random.gen_range(0..8);
        self.cards.iter().for_each(|card| card.set_delay(Duration::from_millis(slow)));
        if let Mishap::EjectAt(command) = mishap {
            self.cards[self.inside].set_fault(Some(Fault::RemovedAfter(command)));
        }
        let engines = Arc::clone(&self.engines);
        thread::scope(|scope| {
            for engine in callers {
                let engine = &engines[*engine];
                scope.spawn(move || {
                    let log_in = || if anew { engine.get_new_ticket() } else { engine.get_ticket() };
                    if log_in().is_err() && again {
                        let _ = log_in();
                    }
                });
            }
            thread::sleep(Duration::from_millis(delay));
            self.happens(mishap, callers[0]);
        });
        self.cards.iter().for_each(|card| card.set_fault(None));
        self.cards[0].set_pin(USERS[0].1);
        if !self.cards[self.inside].is_inserted() {
            self.remove();
            self.insert(self.inside);
        }
        format!("{mishap:?} after {delay} ms, {} callers, commands of {slow} ms", callers.len())
    }

    /// How many PINs were tried on the cards, and how many the users have entered.
    fn counts(&self) -> [(u32, u32); 2] {
        [0, 1].map(|user| (self.cards[user].counts().verify, self.users.entered(USERS[user].0)))
    }

    /// Runs one random sequence. Returns how many PINs were tried on the cards.
    fn sequence(&mut self, seed: u64) -> u32 {
        let random = &mut StdRng::seed_from_u64(seed);
        self.users.lock().random = StdRng::seed_from_u64(!seed);
        self.cards.iter().for_each(|card| card.set_tries_left(3));
        let before = self.counts();
        let mut story = Vec::new();
        let mut tried = 0;
        for _ in 0..random.gen_range(1..5) {
            story.push(self.step(random));
            assert_ne!(self.cards[0].tries_left(), 0, "sequence {seed}: the card is locked: {story:#?}");
            assert_eq!(self.cards[1].tries_left(), 3, "sequence {seed}: another card's PIN was tried: {story:#?}");
            let now = self.counts();
            for (user, ((verify, entered), (verify_before, entered_before))) in now.into_iter().zip(before).enumerate()
            {
                let (verify, entered) = (verify - verify_before, entered - entered_before);
                assert!(
                    verify <= entered,
                    "sequence {seed}: {verify} tries of {entered} PINs at card {user}: {story:#?}"
                );
            }
            tried = now.iter().map(|count| count.0).sum::<u32>() - before.iter().map(|count| count.0).sum::<u32>();
        }
        for engine in &*self.engines {
            engine.cancel_login();
            let _ = engine.destroy_ticket();
        }
        tried
    }
}

#[test]
fn only_pins_that_were_entered_for_a_card_are_tried_on_it() {
    let number = |name, default| std::env::var(name).map_or(default, |number| number.parse().unwrap());
    let (sequences, first): (u64, u64) = (number("TICKETAPI_TEST_SEQUENCES", 24), number("TICKETAPI_TEST_SEED", 1));
    let (next, tried, began) = (AtomicU64::new(first), AtomicU64::new(0), Instant::now());
    // Nearly all of it is waiting for the PC/SC service, which polls twice a second.
    thread::scope(|scope| {
        for _ in 0..sequences.min(12) {
            scope.spawn(|| {
                let mut counter = Counter::new();
                counter.insert(0);
                assert!(counter.cards[0].wait_until_seen(PATIENCE));
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + sequences {
                        break;
                    }
                    tried.fetch_add(counter.sequence(seed).into(), Ordering::Relaxed);
                }
            });
        }
    });
    let tried = tried.into_inner();
    println!("{sequences} sequences, {tried} PINs tried, {:?}", began.elapsed());
    assert!(tried >= sequences, "the cards were hardly asked: {tried}");
}
