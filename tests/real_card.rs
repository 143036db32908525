//! Logins with a PIV card: OpenSC in the card helper, a real PC/SC service, a virtual reader.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod support;

use std::process::{Command as Program, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{Asked, Desk, PATIENCE, UID, User, kind, times_called};
use ticketapi::ErrorKind;
use ticketapi::prompt::PinProblem;
use ticketapi_testkit::artifacts::{helper_program, opensc_module, scripted_module};
use ticketapi_testkit::piv::{Command, DEFAULT_PIN, Fault};
use ticketapi_testkit::{CardIdentity, CardSpec, Endpoint, Pcscd, PivCard};

struct Reader {
    // First, so that the card is removed before the service ends.
    card: PivCard,
    pcscd: Pcscd,
    desk: Desk,
}

impl Reader {
    /// A reader with the card.
    fn new() -> Self {
        let reader = Self::empty();
        reader.insert();
        reader
    }

    /// An empty reader, and a card with a second certificate for signing documents.
    fn empty() -> Self {
        let desk = Desk::new();
        let decoy = desk.ca.issue(&CardSpec::new(UID).key_number(1).for_signing()).unwrap();
        Self::with(desk, Some(&decoy))
    }

    fn with(desk: Desk, signature: Option<&CardIdentity>) -> Self {
        let identity = desk.ca.issue(&CardSpec::new(UID)).unwrap();
        let pcscd = Pcscd::start().unwrap();
        let helper = pcscd.helper_wrapper(&helper_program()).unwrap();
        let mut desk = desk.set("pkcs11_module", opensc_module()).set("helper", helper.to_str().unwrap());
        desk.config.software_card = None;
        Self { card: PivCard::with_signature(&identity, signature).unwrap(), pcscd, desk }
    }

    fn insert(&self) {
        self.card.insert(self.pcscd.port()).unwrap();
        assert!(self.card.wait_until_seen(PATIENCE));
    }

    fn insert_when_asked(&self, user: &User) {
        while !user.asked().contains(&Asked::InsertCard) {
            thread::sleep(Duration::from_millis(10));
        }
        // No user is faster: pcscd polls every 0.4 s, and never powers up a new card if it has not noticed the
        // empty reader. It does not report when it has polled.
        thread::sleep(Duration::from_secs(1));
        self.insert();
    }

    /// Returns `true` if another program can sign without the PIN.
    fn another_program_signs(&self) -> bool {
        let (message, signature) = (self.desk.path("message"), self.desk.path("signature"));
        std::fs::write(&message, "anything").unwrap();
        let tool = Program::new("pkcs11-tool")
            .args(["--id", "01", "--sign", "-m", "SHA1-RSA-PKCS", "-i"])
            .arg(message)
            .arg("-o")
            .arg(signature)
            .env("PCSCLITE_CSOCK_NAME", self.pcscd.socket())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        tool.status.success()
    }

    fn another_program_resets(&self) {
        let mut tool = Program::new("opensc-tool");
        tool.arg("--reset").env("PCSCLITE_CSOCK_NAME", self.pcscd.socket()).stdin(Stdio::null());
        assert!(tool.output().unwrap().status.success());
    }

    fn assert_nobody_can_sign(&self) {
        assert!(!self.card.is_verified(), "the card is not reset");
        assert!(!self.another_program_signs());
    }

    /// Makes OpenSC be called through the module with this script.
    fn script(&mut self, lines: &str) {
        let module = self.desk.path("scripted.so");
        std::fs::copy(scripted_module(), &module).unwrap();
        let opensc = self.desk.config.pkcs11_module.replace(module).unwrap();
        std::fs::write(self.desk.path("scripted.so.script"), format!("module {}\n{lines}\n", opensc.display()))
            .unwrap();
    }

    /// A third program that uses the card while `then` runs, so that it stays powered.
    fn while_held<T>(&self, then: impl FnOnce() -> T) -> T {
        let commands = self.card.counts().commands();
        let mut holder = Program::new("opensc-explorer")
            .args(["-r", "0", "-m", ""])
            .env("PCSCLITE_CSOCK_NAME", self.pcscd.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert!(self.card.wait_for(PATIENCE, |counts| counts.commands() > commands));
        let result = then();
        drop(holder.stdin.take());
        holder.wait().unwrap();
        result
    }
}

fn user() -> User {
    User::typing(&[DEFAULT_PIN; 5])
}

#[test]
fn a_login_costs_one_verify_and_one_signature() {
    let reader = Reader::new();
    let session = reader.desk.engine(&user()).log_in().unwrap();
    assert_eq!(session.user().uid, UID);
    assert_eq!((reader.card.counts().verify, reader.card.counts().sign), (1, 1));
}

#[test]
fn the_module_of_a_card_is_found_without_a_setting() {
    let mut reader = Reader::new();
    reader.desk.config.pkcs11_module = None;
    let session = reader.desk.engine(&user()).log_in().unwrap();
    assert_eq!(session.user().uid, UID);
}

/// `TICKETAPI_TEST_ROUNDS` sets the number of rounds.
fn rounds() -> usize {
    std::env::var("TICKETAPI_TEST_ROUNDS").map_or(2, |rounds| rounds.parse().unwrap())
}

#[test]
fn another_program_cannot_sign_after_a_login_or_a_logout_while_a_third_holds_the_card() {
    let reader = Reader::new();
    let engine = reader.desk.engine(&User::typing(&[DEFAULT_PIN; 1000]));
    reader.while_held(|| {
        for _ in 0..rounds() {
            engine.log_in_again().unwrap();
            reader.assert_nobody_can_sign();
            engine.destroy_ticket().unwrap();
            reader.assert_nobody_can_sign();
        }
    });
}

#[test]
fn another_program_cannot_sign_after_a_crash_or_a_time_out_while_a_third_holds_the_card() {
    for fault in ["crash", "hang"] {
        let mut reader = Reader::new();
        reader.desk = reader.desk.set("card_timeout", "2");
        reader.script(&format!("fault C_SignInit 1 {fault}"));
        let engine = reader.desk.engine(&User::typing(&[DEFAULT_PIN; 1000]));
        reader.while_held(|| {
            for round in 1..=rounds() {
                let resets = reader.card.counts().resets;
                assert_eq!(kind(engine.get_ticket()), ErrorKind::CardFailed);
                assert_eq!(reader.card.counts().verify as usize, round, "the PIN was entered");
                // By a helper that nobody waits for.
                assert!(reader.card.wait_for(PATIENCE, |counts| counts.resets > resets), "{fault}");
                reader.assert_nobody_can_sign();
            }
        });
    }
}

#[test]
fn a_card_that_is_not_reset_stays_logged_in_for_the_host() {
    let mut reader = Reader::new();
    reader.desk = reader.desk.set("card_after_login", "leave");
    let engine = reader.desk.engine(&user());
    reader.while_held(|| {
        let resets = reader.card.counts().resets;
        engine.log_in().unwrap();
        assert_eq!(reader.card.counts().resets, resets);
    });
}

#[test]
fn a_card_inserted_after_the_call_logs_in() {
    let reader = Reader::empty();
    let user = user();
    let mut config = reader.desk.config.clone();
    config.card_wait = PATIENCE;
    let engine = ticketapi::Engine::builder(config).prompter(user.clone()).build().unwrap();
    thread::scope(|scope| {
        let login = scope.spawn(|| engine.log_in().unwrap());
        reader.insert_when_asked(&user);
        login.join().unwrap();
    });
    assert_eq!(user.asked()[0], Asked::InsertCard);
}

#[test]
fn the_wait_for_a_card_ends_when_the_settings_say() {
    let reader = Reader::empty();
    assert_eq!(kind(reader.desk.engine(&user()).log_in()), ErrorKind::NoCard);
}

#[test]
fn a_stopped_pcsc_service_and_a_missing_card_cause_different_errors() {
    let mut reader = Reader::empty();
    reader.pcscd.kill();
    assert_eq!(kind(reader.desk.engine(&user()).log_in()), ErrorKind::ReaderNotAvailable);
    reader.pcscd.restart().unwrap();
    reader.insert();
    reader.desk.engine(&user()).log_in().unwrap();
}

#[test]
fn each_entered_wrong_pin_uses_up_one_try_and_a_locked_card_is_never_tried() {
    let reader = Reader::new();
    let user = User::typing(&["000000", "111111", "222222"]).using_the_last_try();
    let engine = reader.desk.engine(&user);
    assert_eq!(kind(engine.log_in()), ErrorKind::PinLocked);
    assert_eq!(reader.card.counts().verify, 3);
    let last = PinProblem::Incorrect { tries_left: Some(1) };
    assert_eq!(user.asked()[2..], [Asked::LastTry, Asked::Pin(Some(last))]);
    let first_lines: Vec<_> = user.told().iter().map(|told| told.rsplit_once('\n').unwrap().0.to_owned()).collect();
    let last = [
        "This is the last try: a wrong PIN locks the card.",
        "Wrong PIN.\nEnter your PIN (last try: a wrong PIN locks the card)",
    ];
    assert_eq!(first_lines[0], "Enter your PIN");
    assert_eq!(first_lines[2..], last);

    assert_eq!(kind(engine.log_in()), ErrorKind::PinLocked);
    assert_eq!(reader.card.counts().verify, 3, "a locked card was tried");
    assert_eq!(user.pins_asked(), 3);
}

#[test]
fn the_last_try_needs_an_explicit_yes() {
    let reader = Reader::new();
    reader.card.set_tries_left(1);
    let user = user();
    assert_eq!(kind(reader.desk.engine(&user).log_in()), ErrorKind::Cancelled);
    assert_eq!(user.asked(), [Asked::LastTry]);
    assert!(user.told()[0].starts_with("This is the last try: a wrong PIN locks the card.\n"), "{:?}", user.told());
    assert_eq!((reader.card.counts().verify, reader.card.tries_left()), (0, 1));

    let user = User::typing(&[DEFAULT_PIN]).using_the_last_try();
    reader.desk.engine(&user).log_in().unwrap();
    assert!(user.told()[1].starts_with("Enter your PIN (last try: a wrong PIN locks the card)\n"), "{:?}", user.told());
    assert_eq!((reader.card.counts().verify, reader.card.tries_left()), (1, 3));
}

#[test]
fn two_programs_with_wrong_pins_at_the_same_moment_leave_the_card_its_last_try() {
    let mut reader = Reader::new();
    let (calls, go) = (reader.desk.path("calls"), reader.desk.path("go"));
    reader.script(&format!("log {}\nhold C_Login {}", calls.display(), go.display()));
    reader.card.set_tries_left(2);
    let programs = [(); 2].map(|()| reader.desk.engine(&User::typing(&["555555"])));
    let tries = || times_called(&calls, "C_Login");
    thread::scope(|scope| {
        for program in &programs {
            scope.spawn(|| assert!(matches!(kind(program.get_ticket()), ErrorKind::PinIncorrect { .. })));
        }
        while tries() == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        // The second program does not report that it waits; the test can only check that it does not try.
        let until = Instant::now() + Duration::from_secs(1);
        while tries() == 1 && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        std::fs::write(&go, "").unwrap();
    });
    assert_eq!((tries(), reader.card.counts().verify, reader.card.tries_left()), (1, 1, 1));
}

#[test]
fn programs_that_log_in_at_the_same_moment_do_not_reset_each_others_card() {
    let reader = Reader::new();
    let programs = [(); 3].map(|()| reader.desk.engine(&User::typing(&[DEFAULT_PIN; 1000])));
    let rounds = 4 * rounds();
    for _ in 0..rounds {
        thread::scope(|scope| {
            for program in &programs {
                scope.spawn(|| program.get_new_ticket().unwrap());
            }
        });
    }
    assert_eq!(reader.card.counts().verify as usize, 3 * rounds);
}

#[test]
fn removing_the_card_while_it_signs_fails_the_login_and_the_next_login_works() {
    let mut reader = Reader::new();
    reader.desk = reader.desk.set("card_wait", "30");
    let user = user();
    let engine = reader.desk.engine(&user);
    reader.card.set_fault(Some(Fault::RemovedAt(Command::Sign)));
    assert_eq!(kind(engine.get_ticket()), ErrorKind::CardFailed);
    assert!(!reader.desk.spine.log().iter().any(|entry| entry.endpoint == Some(Endpoint::Validate)));
    reader.card.set_fault(None);
    thread::scope(|scope| {
        let login = scope.spawn(|| engine.get_ticket().unwrap());
        reader.insert_when_asked(&user);
        login.join().unwrap();
    });
    assert_eq!(reader.card.counts().verify, 2);
}

#[test]
fn the_pin_is_not_repeated_if_another_program_resets_the_card_before_the_signature() {
    let mut reader = Reader::new();
    let (calls, go) = (reader.desk.path("calls"), reader.desk.path("go"));
    reader.script(&format!("log {}\nhold C_SignInit {}", calls.display(), go.display()));
    let user = user();
    let engine = reader.desk.engine(&user);
    thread::scope(|scope| {
        let login = scope.spawn(|| engine.log_in().map(drop));
        while times_called(&calls, "C_SignInit") == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        // The user has changed the PIN meanwhile, so the old one would use up a try.
        reader.card.set_pin("918273");
        reader.another_program_resets();
        std::fs::write(&go, "").unwrap();
        assert_eq!(kind(login.join().unwrap()), ErrorKind::CardFailed);
    });
    assert_eq!((reader.card.counts().verify, reader.card.tries_left()), (1, 3));
}

#[test]
fn a_card_that_hangs_is_abandoned_at_the_deadline() {
    let mut reader = Reader::new();
    reader.desk = reader.desk.set("card_timeout", "2").set("card_wait", "30");
    let user = user();
    let engine = reader.desk.engine(&user);
    reader.card.set_fault(Some(Fault::HangsAt(Command::Sign)));
    let began = Instant::now();
    assert_eq!(kind(engine.get_ticket()), ErrorKind::CardFailed);
    assert!(began.elapsed() < Duration::from_secs(10));
    reader.card.set_fault(None);
    reader.card.remove();
    thread::scope(|scope| {
        let login = scope.spawn(|| engine.get_ticket().unwrap());
        reader.insert_when_asked(&user);
        login.join().unwrap();
    });
}

#[test]
fn a_search_that_hangs_is_restarted_before_the_deadline() {
    let mut reader = Reader::new();
    let (calls, go) = (reader.desk.path("calls"), reader.desk.path("go"));
    reader.script(&format!("log {}\nhold C_Initialize {}", calls.display(), go.display()));
    let searches = || times_called(&calls, "C_Initialize");
    let engine = reader.desk.engine(&user());
    thread::scope(|scope| {
        let login = scope.spawn(|| engine.log_in().map(drop));
        while searches() < 2 {
            thread::sleep(Duration::from_millis(5));
        }
        std::fs::write(&go, "").unwrap();
        login.join().unwrap().unwrap();
    });
    assert_eq!((searches(), reader.card.counts().verify), (2, 1));
}

#[test]
fn a_card_with_an_unreadable_certificate_counts_as_one_without() {
    let reader = Reader::with(Desk::new(), None);
    reader.card.set_fault(Some(Fault::CertificateUnreadable));
    reader.insert();
    assert_eq!(kind(reader.desk.engine(&user()).log_in()), ErrorKind::NoCertificate);
    // Cards may show it only after the login: the PIN was asked for once and tried once.
    assert_eq!(reader.card.counts().verify, 1);
}
