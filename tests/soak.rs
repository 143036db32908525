//! Many logins leave nothing behind in the process. Alone in its test program, because it counts resources of the
//! whole process.
//!
//! `TICKETAPI_TEST_LOGINS` sets the number; `scripts/soak` runs 100,000.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use peak_alloc::PeakAlloc;
use support::{Desk, Held, PATIENCE, PIN, UID, kind, script};
use ticketapi::cancel::CancelToken;
use ticketapi::prompt::{PinRequest, Prompter};
use ticketapi::ssb::Role;
use ticketapi::{Config, Engine, Error, ErrorKind, Pin, Result, Stage};
use ticketapi_testkit::artifacts::helper_program;
use ticketapi_testkit::{CardSpec, Endpoint, Misbehaviour, SoftHsm};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// How much the process's memory may grow in any number of logins.
const MAX_GROWTH: usize = 1 << 20;

/// Logins before the first measurement, which fill caches, thread stacks and the simulator's log.
const WARM_UP: usize = 250;

/// How many sessions and log entries the simulator keeps.
const CAPACITY: usize = 50;

/// Starting a process is slower than a login, so only one login in this many does.
const WITH_PROCESSES: usize = 25;

fn logins() -> usize {
    std::env::var("TICKETAPI_TEST_LOGINS").map_or(3_000, |number| number.parse().unwrap())
}

/// Types the same PINs again and again; `None` presses cancel.
struct Typist {
    pins: &'static [Option<&'static str>],
    typed: AtomicUsize,
    takes_role: bool,
}

impl Prompter for Typist {
    fn pin(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<Pin> {
        let turn = self.typed.fetch_add(1, Ordering::Relaxed) % self.pins.len();
        self.pins[turn].map(|pin| Pin::new(pin.to_owned())).ok_or_else(|| Error::cancelled(Stage::Pin))
    }

    fn use_last_try(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<bool> {
        Ok(false)
    }

    fn role(&self, roles: &[Role], _: &CancelToken) -> Result<usize> {
        if self.takes_role { Ok(roles.len() - 1) } else { Err(Error::cancelled(Stage::RoleSelection)) }
    }
}

/// A kind of login.
struct Way {
    engine: Engine,
    server: Option<(Endpoint, Misbehaviour)>,
    fails: Option<ErrorKind>,
}

impl Way {
    fn new(config: &Config, pins: &'static [Option<&'static str>]) -> Self {
        Self::prompting(config, Typist { pins, typed: AtomicUsize::new(0), takes_role: true })
    }

    fn prompting(config: &Config, prompter: impl Prompter + 'static) -> Self {
        Self { engine: Engine::builder(config.clone()).prompter(prompter).build().unwrap(), server: None, fails: None }
    }

    fn with_server(mut self, endpoint: Endpoint, misbehaviour: Misbehaviour) -> Self {
        self.server = Some((endpoint, misbehaviour));
        self
    }

    fn fails(mut self, kind: ErrorKind) -> Self {
        self.fails = Some(kind);
        self
    }

    fn go(&self, desk: &Desk) {
        if let Some((endpoint, misbehaviour)) = &self.server {
            desk.spine.misbehave_times(*endpoint, misbehaviour.clone(), 1);
        }
        let ticket = self.engine.get_ticket();
        match &self.fails {
            Some(expected) => assert_eq!(kind(ticket), *expected),
            None => {
                ticket.unwrap();
                self.engine.destroy_ticket().unwrap();
            }
        }
        assert_eq!(desk.spine.open_sessions(), 0);
    }
}

const RIGHT: &[Option<&str>] = &[Some(PIN)];

/// Logins without other processes.
fn ways_here(config: &Config) -> Vec<Way> {
    let wrong_pin = || ErrorKind::PinIncorrect { tries_left: None };
    let refused = || Misbehaviour::Refuse("not today".into());
    let no_role = Typist { pins: RIGHT, typed: AtomicUsize::new(0), takes_role: false };
    vec![
        Way::new(config, RIGHT),
        Way::new(config, &[Some("0000"), Some(PIN)]),
        Way::new(config, &[Some("0000"), None]).fails(wrong_pin()),
        Way::new(config, &[Some("0000"), Some("1111"), Some("2222")]).fails(wrong_pin()),
        Way::new(config, &[None]).fails(ErrorKind::Cancelled),
        Way::prompting(config, no_role).fails(ErrorKind::Cancelled),
        Way::new(config, RIGHT).with_server(Endpoint::Activate, refused()).fails(ErrorKind::Refused),
        Way::new(config, RIGHT).with_server(Endpoint::Validate, refused()).fails(ErrorKind::Refused),
        Way::new(config, RIGHT).with_server(Endpoint::SelectRole, refused()).fails(ErrorKind::Refused),
        Way::new(config, RIGHT)
            .with_server(Endpoint::Activate, Misbehaviour::Reset)
            .fails(ErrorKind::ServerNotAvailable),
        Way::new(config, RIGHT)
            .with_server(Endpoint::Validate, Misbehaviour::Reset)
            .fails(ErrorKind::ServerNotAvailable),
        Way::new(config, RIGHT)
            .with_server(Endpoint::SelectRole, Misbehaviour::Reset)
            .fails(ErrorKind::ServerNotAvailable),
        Way::new(config, RIGHT)
            .with_server(Endpoint::Validate, Misbehaviour::Without("sso_ticket".into()))
            .fails(ErrorKind::BadAnswer),
    ]
}

/// Logins that start the helper, a pinentry, or a role chooser.
fn ways_with_processes(desk: &Desk, hsm: &SoftHsm) -> Vec<Way> {
    let mut programs = desk.config.clone();
    let pinentry = desk.path("pinentry");
    script(
        &pinentry,
        &format!("echo OK\nwhile read -r line; do case $line in GETPIN) echo 'D {PIN}'; esac; echo OK; done\n"),
    );
    programs.pinentry = Some(pinentry);
    programs.role_command = vec!["tail".into(), "-n1".into()];
    let mut cancelling = programs.clone();
    cancelling.role_command = vec!["false".into()];
    let alone = |config: Config| Way { engine: Engine::builder(config).build().unwrap(), server: None, fails: None };

    hsm.add_card("card", PIN, &desk.ca.issue(&CardSpec::new(UID)).unwrap()).unwrap();
    let mut helper = desk.config.clone();
    helper.software_card = None;
    helper.pkcs11_module = Some(hsm.module().to_owned());
    helper.helper = Some(hsm.helper_wrapper(&helper_program()).unwrap());
    vec![
        alone(programs),
        alone(cancelling).fails(ErrorKind::Cancelled),
        Way::new(&helper, RIGHT),
        Way::new(&helper, &[Some("0000"), None]).fails(ErrorKind::PinIncorrect { tries_left: None }),
        Way::new(&helper, RIGHT)
            .with_server(Endpoint::Activate, Misbehaviour::Reset)
            .fails(ErrorKind::ServerNotAvailable),
    ]
}

/// Bytes in use: in the heap, and in the process's whole memory.
fn memory() -> (usize, usize) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: usize = resident.trim().trim_end_matches(" kB").parse().unwrap();
    (HEAP.current_usage(), kilobytes << 10)
}

#[test]
fn many_logins_leave_nothing_behind() {
    let hsm = SoftHsm::new().unwrap();
    // Built by another process, which must not be counted.
    helper_program();
    let before = Held::now();
    let mut desk = Desk::with(|spine| spine.roles(3).capacity(CAPACITY));
    desk.config.software_card = Some(desk.quick_card(&CardSpec::new(UID)));
    let (here, with_processes) = (ways_here(&desk.config), ways_with_processes(&desk, &hsm));
    let go = |login: usize| {
        let (ways, turn) = match login.is_multiple_of(WITH_PROCESSES) {
            true => (&with_processes, login / WITH_PROCESSES),
            false => (&here, login),
        };
        ways[turn % ways.len()].go(&desk);
    };

    let logins = logins();
    (0..WARM_UP.max(logins / 100)).for_each(&go);
    let warm = memory();
    for login in 1..=logins {
        go(login);
        if login % (logins / 10).max(1) == 0 {
            let (heap, resident) = memory();
            let more = |now: usize, before: usize| now as isize - before as isize;
            println!("{login} logins: {:+} bytes of heap, {:+} resident", more(heap, warm.0), more(resident, warm.1));
        }
    }
    let now = memory();
    assert!(now.0 < warm.0 + MAX_GROWTH, "the heap grew by {} bytes", now.0 - warm.0);
    assert!(now.1 < warm.1 + MAX_GROWTH, "the process grew by {} bytes", now.1 - warm.1);

    drop((here, with_processes));
    assert!(desk.spine.wait_for_connections(PATIENCE, 0));
    drop(desk);
    assert_eq!(Held::now(), before);
    the_measurement_finds_leaks();
}

fn the_measurement_finds_leaks() {
    let (held, used) = (Held::now(), memory());
    let mut child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let waits = thread::spawn(thread::park);
    let bytes = std::hint::black_box(vec![1_u8; 2 * MAX_GROWTH]);
    let (held_now, used_now) = (Held::now(), memory());
    assert!(held_now.descriptors > held.descriptors && held_now.threads > held.threads, "{held_now:?}");
    assert_ne!(held_now.children, held.children);
    assert!(used_now.0 > used.0 + MAX_GROWTH && used_now.1 > used.1 + MAX_GROWTH, "{used:?} {used_now:?}");
    drop(bytes);
    waits.thread().unpark();
    waits.join().unwrap();
    child.wait().unwrap();
}
