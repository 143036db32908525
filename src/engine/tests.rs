//! Random walks over an engine's session with a clock of the test's own (number 17 of the hazards).

mod renewal;
mod scripted;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use ticketapi_testkit::{CardSpec, TestCa};

use super::Engine;
use crate::card::Certificate;
use crate::config::Config;
use crate::prompt::NoPrompter;
use crate::secret::Ticket;
use crate::service::Grant;
use crate::session::rules::Happening;
use crate::session::{Limits, Mode, Session, User};

const NANOS: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * NANOS;
/// How often the kernel moves its coarse clock.
const TICK: u64 = 4_000_000;

/// A computer that is suspended and whose wall clock is set.
#[derive(Clone, Default)]
struct Computer(Arc<(AtomicU64, AtomicI64)>);

impl Computer {
    fn now(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    fn advance(&self, nanos: u64) {
        self.0.0.fetch_add(nanos, Ordering::Relaxed);
    }

    fn set_wall_clock(&self, nanos: i64) {
        self.0.1.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl crate::clock::Clock for Computer {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.now())
    }

    fn tick(&self) -> u64 {
        (self.now() / TICK * TICK).wrapping_add_signed(self.0.1.load(Ordering::Relaxed))
    }
}

/// What may be given out, counted apart from the engine.
struct Expected {
    ends: u64,
    idle: u64,
    used: u64,
    proved: u64,
    mode: Mode,
    locked: Option<u64>,
    over: bool,
}

impl Expected {
    fn allows(&mut self, now: u64) -> bool {
        if self.mode == Mode::Mobility && self.locked.is_none() && now >= self.proved + REAUTHENTICATION {
            self.locked = Some(self.proved + REAUTHENTICATION);
        }
        self.over |= now >= self.ends || now >= self.used + self.idle;
        self.over |= self.locked.is_some_and(|since| now >= since + LOCK);
        !self.over && self.locked.is_none()
    }
}

const REAUTHENTICATION: u64 = 20 * MINUTE;
const LOCK: u64 = 10 * MINUTE;

fn session(engine: &Engine, certificate: &Certificate, limits: Limits) -> Arc<Session> {
    let user = User { uid: certificate.uid().to_owned(), name: String::new() };
    let ticket = Ticket::new("AQIC5wM2LY4SfcwrRGMHiyxMR3suYWqcF".into());
    let grant = Grant {
        service: engine.inner.parts.service.session(&user, &ticket),
        user,
        roles: Vec::new(),
        role: None,
        ticket,
        expiry: None,
        limits,
        card: Some(certificate.clone()),
        card_watched: false,
    };
    Arc::new(grant.into())
}

/// How often a ticket was given out, and how often not.
fn walk(engine: &Engine, computer: &Computer, certificate: &Certificate, random: &mut StdRng) -> (u64, u64) {
    let inner = &engine.inner;
    let (idle, total) = (random.gen_range(1..10) * MINUTE, random.gen_range(1..30) * MINUTE);
    let limits = Limits { idle: Some(Duration::from_nanos(idle)), total: Some(Duration::from_nanos(total)) };
    let begun = computer.now();
    let mode = inner.parts.settings.policy.mode;
    let mut expected =
        Expected { ends: begun + total, idle, used: begun, proved: begun, mode, locked: None, over: false };
    {
        let mut state = inner.lock();
        let _ = inner.keep_session(&mut state, &session(engine, certificate, limits), None);
    }
    let mut asked = (0, 0);
    for _ in 0..random.gen_range(5..60) {
        match random.gen_range(0..12) {
            // Between ticks and around limits, where it is closest.
            0..3 => computer.advance(random.gen_range(0..3 * TICK)),
            3 => computer.advance(random.gen_range(0..3 * NANOS)),
            4 | 5 => computer.advance(random.gen_range(0..3 * MINUTE)),
            // To just before or after the limit that comes first.
            6 => {
                let limit = expected.ends.min(expected.used + expected.idle);
                let aim = (limit + random.gen_range(0..2 * TICK)).saturating_sub(TICK);
                computer.advance(aim.saturating_sub(computer.now()));
            }
            7 => computer.set_wall_clock(random.gen_range(-(2 * MINUTE as i64)..2 * MINUTE as i64)),
            8 => computer.set_wall_clock(random.gen_range(-(NANOS as i64)..NANOS as i64)),
            9 if random.gen_bool(0.1) => {
                expected.allows(computer.now());
                if !expected.over && expected.locked.is_none() && mode != Mode::Mobility {
                    (expected.over, expected.locked) = match mode {
                        Mode::SessionLock => (false, Some(computer.now())),
                        _ => (true, None),
                    };
                }
                inner.happens(&mut inner.lock(), Happening::CardOut);
            }
            10 if random.gen_bool(0.5) => {
                expected.allows(computer.now());
                if !expected.over {
                    (expected.locked, expected.proved, expected.used) = (None, computer.now(), computer.now());
                }
                inner.happens(&mut inner.lock(), Happening::Proved);
            }
            _ => {}
        }
        let given = match random.gen_range(0..4) {
            0 => engine.get_ticket_no_auth().is_ok(),
            1 | 2 => engine.with_ticket(|_| ()).is_some(),
            _ => continue,
        };
        let allowed = expected.allows(computer.now());
        assert!(allowed || !given, "a ticket was given out after its limit");
        if given {
            (asked.0, expected.used) = (asked.0 + 1, computer.now());
        } else {
            asked.1 += 1;
        }
    }
    asked
}

#[test]
fn no_ticket_is_given_out_after_its_limit_whatever_the_clocks_do() {
    let walks = std::env::var("TICKETAPI_TEST_WALKS").map_or(5_000, |number| number.parse().unwrap());
    let certificate =
        TestCa::new().unwrap().issue(&CardSpec::new("123456789012")).unwrap().certificate().to_der().unwrap();
    let certificate = Certificate::from_der(&certificate).unwrap();
    let (mut given, mut refused) = (0, 0);
    for (seed, mode) in [Mode::Normal, Mode::SessionLock, Mode::Mobility].into_iter().enumerate() {
        let mut config = Config::default();
        // No event: there is no session.
        config.set("base_url", "http://127.0.0.1:1").unwrap();
        (config.allow_http, config.request_timeout, config.mode) = (true, Duration::ZERO, mode);
        config.lock_timeout = Duration::from_nanos(LOCK);
        config.reauthentication = Duration::from_nanos(REAUTHENTICATION);
        let computer = Computer::default();
        let engine = Engine::builder(config).prompter(NoPrompter).clock(computer.clone()).build().unwrap();
        // The walks see what is found by who asks; the monitor only finds it earlier.
        engine.rest();
        let mut random = StdRng::seed_from_u64(seed as u64);
        for _ in 0..walks / 3 {
            let (gave, kept) = walk(&engine, &computer, &certificate, &mut random);
            (given, refused) = (given + gave, refused + kept);
        }
    }
    assert!(given > walks && refused > walks, "{given} given, {refused} refused");
}
