//! Logins with a card module that hangs, crashes, exits or corrupts its heap, at each call that the helper makes.
//!
//! `TICKETAPI_TEST_ROUNDS` repeats them; `scripts/soak` runs 31 rounds, 1,000 faults of each kind.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use support::{Desk, Held, PATIENCE, PIN, UID, User, kind, script};
use ticketapi::{Engine, ErrorKind};
use ticketapi_testkit::artifacts::{helper_program, scripted_module};
use ticketapi_testkit::{CardSpec, SoftHsm};

/// How long one operation of the card may take: short for one that hangs, long for a busy machine.
const DEADLINE: Duration = Duration::from_secs(1);

/// How long a call may take beyond that.
const TOLERANCE: Duration = Duration::from_millis(250);

/// A desk whose card module follows a script.
struct FaultyDesk {
    desk: Desk,
    hsm: SoftHsm,
    engine: Engine,
}

impl FaultyDesk {
    fn new() -> Self {
        let mut desk = Desk::with(|spine| spine.roles(1).capacity(50));
        let hsm = SoftHsm::new().unwrap();
        hsm.add_card("card", PIN, &desk.ca.issue(&CardSpec::new(UID)).unwrap()).unwrap();
        let (module, helper, pids) = (desk.path("scripted.so"), desk.path("helper"), desk.path("pids"));
        fs::copy(scripted_module(), &module).unwrap();
        // In the desk's folder, because a module with a corrupted heap may write files of any name. The card is in
        // a named reader, so that its reset is tried; the PC/SC service cannot be reached.
        let (folder, program) = (desk.folder.path(), helper_program());
        script(
            &helper,
            &format!(
                "cd {folder:?}\necho $$ >> {pids:?}\nexport PCSCLITE_CSOCK_NAME=/nowhere\nexec {program:?} \"$@\"\n"
            ),
        );
        desk.config.software_card = None;
        desk.config.pkcs11_module = Some(module);
        desk.config.helper = Some(helper);
        desk.config.card_timeout = DEADLINE;
        let engine = desk.engine(&User::typing(&[PIN; 100_000]));
        Self { desk, hsm, engine }
    }

    /// Sets the module's fault; none if it is empty.
    fn set(&self, fault: &str) {
        for file in ["calls", "pids"] {
            let _ = fs::remove_file(self.desk.path(file));
        }
        let script = format!(
            "module {}\nenv SOFTHSM2_CONF {}\nlog {}\nreader Some Reader 00 00\n{fault}\n",
            self.hsm.module().display(),
            self.hsm.conf().display(),
            self.desk.path("calls").display()
        );
        fs::write(self.desk.path("scripted.so.script"), script).unwrap();
    }

    fn calls(&self) -> Vec<String> {
        fs::read_to_string(self.desk.path("calls")).unwrap().lines().map(str::to_owned).collect()
    }

    /// The time since the start of the last call into the module.
    fn since_the_last_call(&self) -> Duration {
        fs::metadata(self.desk.path("calls")).unwrap().modified().unwrap().elapsed().unwrap_or_default()
    }

    /// Asserts that no started helper still runs or is left as a zombie.
    fn assert_helpers_gone(&self) {
        let pids = fs::read_to_string(self.desk.path("pids")).unwrap();
        assert!(!pids.is_empty());
        for pid in pids.lines() {
            assert!(!Path::new("/proc").join(pid).exists(), "{pid} of {pids:?} is left");
        }
    }

    fn log_in_successfully(&self) {
        self.set("");
        let began = Instant::now();
        self.engine.get_ticket().unwrap();
        assert!(began.elapsed() < Duration::from_secs(3), "the next login took {:?}", began.elapsed());
        self.engine.destroy_ticket().unwrap();
        self.assert_helpers_gone();
    }
}

/// The calls of a successful login: the function, and which of its calls it is.
fn calls_of_a_login() -> Vec<(String, usize)> {
    let desk = FaultyDesk::new();
    desk.log_in_successfully();
    let mut seen = HashMap::new();
    let number = |function: String| {
        let times = seen.entry(function.clone()).or_insert(0);
        *times += 1;
        (function, *times)
    };
    let calls: Vec<_> = desk.calls().into_iter().map(number).collect();
    assert!(calls.len() > 20 && calls.last().unwrap().0 == "C_Finalize", "{calls:?}");
    calls
}

/// A login that ends at most `limit` after the last call into the module, with a ticket or a clear error, and a
/// successful one after it.
fn log_in_with_fault(desk: &FaultyDesk, (function, call): &(String, usize), fault: &str, limit: Duration) {
    let name = format!("{function} {call} {fault}");
    desk.set(&format!("fault {name}"));
    let ticket = desk.engine.get_ticket();
    let took = desk.since_the_last_call();
    assert!(took < limit, "{name}: back after {took:?}");
    desk.assert_helpers_gone();
    // With a corrupted heap the module may continue for a while, or to the end.
    let strikes_late = fault == "corrupt";
    assert!(strikes_late || desk.calls().last() == Some(function), "{name}: {:?}", desk.calls());
    // After the signature the card is no longer needed.
    let has_signed = ["C_Logout", "C_CloseSession", "C_Finalize"].contains(&&**function);
    match ticket {
        Ok(_) if strikes_late || has_signed => desk.engine.destroy_ticket().unwrap(),
        // It may also return anything.
        Err(error) if strikes_late => assert_ne!(*error.kind(), ErrorKind::Internal, "{name}: {error}"),
        ticket => assert_eq!(kind(ticket), ErrorKind::CardFailed, "{name}"),
    }
    assert_eq!(desk.desk.spine.open_sessions(), 0, "{name}");
    desk.log_in_successfully();
}

/// Runs [`log_in_with_fault`] at each call of a login, on this many desks at once.
fn at_each_call(fault: &str, limit: Duration, desks: usize) {
    // The test examines the whole process.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let rounds = std::env::var("TICKETAPI_TEST_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let calls = calls_of_a_login();
    let before = Held::now();
    let cases = Mutex::new((0..rounds).flat_map(|_| &calls));
    thread::scope(|scope| {
        for _ in 0..desks {
            scope.spawn(|| {
                let desk = FaultyDesk::new();
                let next = || cases.lock().unwrap().next();
                while let Some(call) = next() {
                    log_in_with_fault(&desk, call, fault, limit);
                }
                assert!(desk.desk.spine.wait_for_connections(PATIENCE, 0));
            });
        }
    });
    println!("{} logins with {fault}", rounds * calls.len());
    // Threads of other tests start and end.
    assert_eq!(Held { threads: before.threads, ..Held::now() }, before, "{fault}");
}

#[test]
fn a_login_whose_module_hangs_ends_at_its_deadline_and_the_next_one_works() {
    // Nearly all of it is waiting.
    at_each_call("hang", DEADLINE + TOLERANCE, 4);
}

#[test]
fn a_login_whose_module_crashes_ends_with_an_error_and_the_next_one_works() {
    at_each_call("crash", Duration::from_millis(500), 2);
}

#[test]
fn a_login_whose_module_exits_ends_with_an_error_and_the_next_one_works() {
    at_each_call("exit", Duration::from_millis(500), 2);
}

#[test]
fn a_login_whose_module_corrupts_its_heap_ends_and_the_next_one_works() {
    at_each_call("corrupt", DEADLINE + TOLERANCE, 2);
}
