//! The checks from the helper to the PIN counter, with real PC/SC, OpenSC and SoftHSM2.

use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ticketapi_testkit::artifacts::{helper_program, opensc_module, scripted_module};
use ticketapi_testkit::piv::Counts;
use ticketapi_testkit::{CardSpec, Pcscd, PivCard, SoftHsm};

use crate::Visit;
use crate::support::{Agent, Desk, PIN, UID, script};

pub const PATIENCE: Duration = Duration::from_secs(30);
/// A desk with a reader, and a card that is not inserted yet.
pub struct ReaderDesk {
    // First, so that the card is removed before the service ends.
    pub card: PivCard,
    pub pcscd: Pcscd,
    pub desk: Desk,
}

impl ReaderDesk {
    pub fn new(spec: &CardSpec) -> Self {
        let (desk, pcscd) = (Desk::new(), Pcscd::start().unwrap());
        let card = PivCard::new(&desk.identity(spec)).unwrap();
        let helper = pcscd.helper_wrapper(&helper_program()).unwrap();
        let desk =
            desk.without("software_card").set("helper", helper.to_str().unwrap()).set("pkcs11_module", opensc_module());
        Self { card, pcscd, desk }
    }

    pub fn with_card(spec: &CardSpec) -> Self {
        let desk = Self::new(spec);
        desk.card.insert(desk.pcscd.port()).unwrap();
        assert!(desk.card.wait_until_seen(PATIENCE));
        desk
    }
}

/// A desk with a software token, and no PC/SC service.
struct TokenDesk {
    hsm: SoftHsm,
    desk: Desk,
}

impl TokenDesk {
    fn empty() -> Self {
        let (desk, hsm) = (Desk::new(), SoftHsm::new().unwrap());
        let (helper, program, conf) = (desk.path("helper"), helper_program(), hsm.conf());
        script(
            &helper,
            &format!("export SOFTHSM2_CONF={conf:?} PCSCLITE_CSOCK_NAME=/nowhere\nexec {program:?} \"$@\"\n"),
        );
        let module = hsm.module().to_str().unwrap().to_owned();
        let helper = desk.text("helper");
        let desk = desk.without("software_card").set("helper", &helper).set("pkcs11_module", &module);
        Self { hsm, desk }
    }

    fn with(spec: &CardSpec) -> Self {
        let desk = Self::empty();
        desk.hsm.add_card("CARD", PIN, &desk.desk.identity(spec)).unwrap();
        desk
    }

    /// Makes the module follow `script`.
    fn scripted(self, lines: &str) -> Self {
        let module = self.desk.text("scripted.so");
        std::fs::copy(scripted_module(), &module).unwrap();
        let real = format!("module {}\n{lines}\n", self.hsm.module().display());
        std::fs::write(self.desk.path("scripted.so.script"), real).unwrap();
        Self { desk: self.desk.set("pkcs11_module", &module), hsm: self.hsm }
    }
}

fn spec() -> CardSpec {
    CardSpec::new(UID)
}

/// The date this many days from now, as the doctor shows it. Certificates end at the second they were issued.
fn day(days: u64) -> String {
    let then = std::time::SystemTime::now() + Duration::from_secs(days * 24 * 60 * 60);
    humantime::format_rfc3339_seconds(then).to_string()[..10].to_owned()
}

#[test]
fn a_card_is_shown_with_all_that_can_be_read_without_a_pin() {
    let reader = ReaderDesk::with_card(&spec());
    let visit = Visit::to(&reader.desk);
    assert_eq!((visit.code, visit.failed()), (0, Vec::new()));
    assert_eq!(visit.told("service").sentence, "it answers");
    assert_eq!(visit.told("reader").sentence, "Virtual PCD 00 00, Virtual PCD 00 01");
    let card = visit.told("card").sentence;
    assert!(card.starts_with("in Virtual PCD 00 00, with the ATR 3B "), "{card}");
    assert_eq!(visit.told("module").sentence, format!("{} can be loaded", opensc_module()));
    assert!(visit.told("token").sentence.contains(" (serial number "), "{:?}", visit.told("token"));
    let certificate = format!("user {UID}, issued by SubCA02, valid until {}", day(730));
    assert_eq!(visit.told("certificate").sentence, certificate);
    assert_eq!(visit.told("pin").sentence, "the card reports no wrong PIN");
    let Counts { verify, sign, change_pin, .. } = reader.card.counts();
    assert_eq!((verify, sign, change_pin), (0, 0, 0), "no PIN is tried");
}

#[test]
fn a_missing_helper_is_reported() {
    let visit = Visit::to(&Desk::new().without("software_card").set("helper", "/nowhere/ticketapi-card"));
    let sentence = "the card helper ticketapi-card does not exist (searched: /nowhere/ticketapi-card)";
    visit.assert_only_failure("helper", 5, sentence);
    let rest = ["service", "reader", "card", "module", "token", "certificate", "pin"];
    visit.assert_skipped(&rest, "card helper");
    assert_eq!(visit.told("clock").state, "ok", "the way to the broker is looked at all the same");
}

#[test]
fn an_open_folder_for_locks_is_reported_and_logged_once() {
    let TokenDesk { hsm: _hsm, desk } = TokenDesk::with(&spec());
    let (folder, socket, log) = (desk.path("run/ticketapi"), desk.text("run/agent.sock"), desk.path("agent.log"));
    std::fs::DirBuilder::new().mode(0o755).create(&folder).unwrap();
    let fault = format!("{} is open to other users", folder.display());
    let told = Visit::to(&desk).told("helper");
    assert_eq!(told.state, "warning");
    let sentence = format!("{fault}; programs that log in at the same time do not take turns with the card");
    assert_eq!(told.sentence, sentence);
    assert!(told.remedy.contains("chmod 700"), "{told:?}");

    // The agent's own folder is private.
    let desk = desk.set("agent_socket", &socket);
    let stderr = std::fs::File::create(&log).unwrap();
    let _agent = Agent(desk.command(&["agent"]).stderr(stderr).spawn().unwrap());
    let began = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    for _ in 0..2 {
        let run = desk.run(&["login"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(desk.run(&["logout"]).code, 0);
    }
    let log = std::fs::read_to_string(&log).unwrap();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("do not take turns with the card")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains(&fault), "{log}");
}

#[test]
fn a_program_that_is_not_a_helper_is_reported() {
    let desk = Desk::new().without("software_card");
    script(&desk.path("helper"), "exit 3\n");
    let helper = desk.text("helper");
    let visit = Visit::to(&desk.set("helper", &helper).set("pkcs11_module", opensc_module()));
    let sentence = format!("the card helper {helper} cannot be used: it ended at once (exit status: 3)");
    assert_eq!((visit.told("service").sentence, visit.code), (sentence, 5));
}

#[test]
fn a_service_that_is_down_is_reported() {
    let mut reader = ReaderDesk::new(&spec());
    reader.pcscd.kill();
    let visit = Visit::to(&reader.desk);
    let sentence = "the PC/SC service does not answer (The Smart card resource manager is not running)";
    visit.assert_only_failure("service", 3, sentence);
    visit.assert_skipped(&["reader", "card", "token", "certificate", "pin"], "PC/SC service");
    assert_eq!(visit.told("module").state, "ok");
}

#[test]
fn an_empty_reader_is_reported() {
    let visit = Visit::to(&ReaderDesk::new(&spec()).desk);
    visit.assert_only_failure("card", 4, "no card is in a reader");
    visit.assert_skipped(&["token", "certificate", "pin"], "card");
}

#[test]
fn a_certificate_that_expires_within_90_days_is_a_warning() {
    let visit = Visit::to(&ReaderDesk::with_card(&spec().valid_days(-700, 30)).desk);
    let told = visit.told("certificate");
    let begins = format!("user {UID}, issued by SubCA02, valid until {}, which is in ", day(30));
    assert_eq!((told.state.as_str(), told.sentence), ("warning", format!("{begins}29 days")));
    assert_eq!(told.remedy, "Ask your Registration Authority to renew the card before then.");
    assert_eq!(visit.code, 0);
}

#[test]
fn the_last_try_of_a_pin_is_a_warning_and_a_locked_pin_a_failure() {
    let reader = ReaderDesk::with_card(&spec());
    reader.card.set_tries_left(1);
    let visit = Visit::to(&reader.desk);
    let told = visit.told("pin");
    let label = visit.told("token").sentence.split('"').nth(1).unwrap().to_owned();
    let sentence = format!("one try is left for the PIN of \"{label}\": a wrong PIN locks the card");
    assert_eq!((told.state.as_str(), told.sentence), ("warning", sentence));
    assert_eq!(visit.code, 0);

    reader.card.set_tries_left(0);
    let visit = Visit::to(&reader.desk);
    visit.assert_only_failure("pin", 3, &format!("the PIN of \"{label}\" is locked"));
    assert_eq!(visit.told("pin").remedy, "Ask your Registration Authority to unlock the card.");
    assert_eq!(reader.card.counts().verify, 0);
}

#[test]
fn a_card_that_the_module_does_not_recognize_is_reported() {
    let reader = ReaderDesk::with_card(&spec());
    let desk = TokenDesk::with(&spec())
        .scripted(&(1..=8).map(|call| format!("fault C_GetTokenInfo {call} error 0xe1\n")).collect::<String>());
    let helper = reader.desk.text("helper");
    let (conf, socket, program) = (desk.hsm.conf(), reader.pcscd.socket(), helper_program());
    script(
        &reader.desk.path("helper"),
        &format!("export SOFTHSM2_CONF={conf:?} PCSCLITE_CSOCK_NAME={socket:?}\nexec {program:?} \"$@\"\n"),
    );
    let module = desk.desk.text("scripted.so");
    let real = std::fs::read_to_string(desk.desk.path("scripted.so.script")).unwrap();
    std::fs::write(desk.desk.path("scripted.so.script"), real + "reader Virtual PCD 00 00\n").unwrap();
    let ReaderDesk { card: _card, pcscd: _pcscd, desk: computer } = reader;
    let visit = Visit::to(&computer.set("helper", &helper).set("pkcs11_module", &module));
    let sentence = format!("is not known to {module}");
    let told = visit.told("token");
    assert_eq!((told.state.as_str(), visit.code), ("failed", 3));
    assert!(
        told.sentence.starts_with("the card in Virtual PCD 00 00 ") && told.sentence.ends_with(&sentence),
        "{told:?}"
    );
    // The line above says that the card is in the reader.
    assert!(!told.remedy.contains("Put your smartcard"), "{told:?}");
    visit.assert_skipped(&["certificate", "pin"], "token");
}

#[test]
fn a_software_token_needs_neither_service_nor_reader() {
    let visit = Visit::to(&TokenDesk::with(&spec()).desk);
    assert_eq!((visit.code, visit.failed()), (0, Vec::new()));
    let service = visit.told("service");
    assert_eq!(service.state, "skipped");
    assert!(service.sentence.ends_with("; the software token does not need it"), "{service:?}");
    assert!(visit.told("token").sentence.starts_with("\"CARD\" (serial number "));
    assert_eq!(visit.told("certificate").state, "ok");
}

fn assert_module_failure(desk: &TokenDesk, code: i32, sentence: &str) {
    let visit = Visit::to(&desk.desk);
    let told = visit.told("module");
    assert_eq!((told.state.as_str(), told.sentence.as_str()), ("failed", sentence));
    assert!(!told.remedy.is_empty());
    // The service, which is checked first, is down here.
    assert_eq!((visit.failed(), visit.code), (vec!["service".to_owned(), "module".to_owned()], 3));
    visit.assert_skipped(&["token", "certificate", "pin"], "PC/SC service");
    let group = visit.answer["checks"].as_array().unwrap().iter().find(|check| check["name"] == "module").unwrap();
    assert_eq!(group["group"], if code == 5 { "config" } else { "card device" });
}

#[test]
fn a_module_that_is_missing_or_not_a_module_or_not_loadable_is_reported() {
    let TokenDesk { hsm, desk } = TokenDesk::with(&spec());
    let text = desk.text("module.so");
    std::fs::write(&text, "no library").unwrap();
    let desk = TokenDesk { hsm, desk: desk.set("pkcs11_module", "/nowhere/libcard.so") };
    assert_module_failure(&desk, 5, "/nowhere/libcard.so does not exist");

    let desk = TokenDesk { desk: desk.desk.set("pkcs11_module", "/usr/lib/x86_64-linux-gnu/libm.so.6"), ..desk };
    let told = Visit::to(&desk.desk).told("module").sentence;
    assert!(told.starts_with("/usr/lib/x86_64-linux-gnu/libm.so.6 is not a PKCS#11 module ("), "{told}");

    let desk = TokenDesk { desk: desk.desk.set("pkcs11_module", &text), ..desk };
    let told = Visit::to(&desk.desk).told("module").sentence;
    assert!(told.starts_with(&format!("{text} cannot be loaded (")), "{told}");
}

#[test]
fn a_low_count_of_tries_is_a_warning() {
    let visit = Visit::to(&TokenDesk::with(&spec()).scripted("flag USER_PIN_COUNT_LOW C_Login 0").desk);
    let told = visit.told("pin");
    let sentence = "a wrong PIN was entered for \"CARD\" since the last right one".to_owned();
    assert_eq!((told.state.as_str(), told.sentence), ("warning", sentence));
    assert_eq!(told.remedy, "Take care to enter the right PIN; too many wrong ones lock the card.");
}

#[test]
fn a_module_that_crashes_is_reported_by_name() {
    let desk = TokenDesk::with(&spec()).scripted("fault C_GetSlotList 1 crash");
    let module = desk.desk.text("scripted.so");
    assert_module_failure(&desk, 3, &format!("{module}: the card's software crashed (signal: 11 (SIGSEGV))"));
}

#[test]
fn a_module_that_hangs_is_reported_at_the_deadline() {
    let TokenDesk { desk, hsm } = TokenDesk::with(&spec()).scripted("fault C_GetSlotList 1 hang");
    let module = desk.text("scripted.so");
    let desk = TokenDesk { desk: desk.set("card_timeout", "1"), hsm };
    assert_module_failure(&desk, 3, &format!("{module}: the card's software did not answer in time"));
}

/// A desk whose reader is empty for PC/SC, and whose module has further tokens.
fn assert_token_failure(desk: &TokenDesk, name: &str, code: i32, sentence: &str) -> Visit {
    let visit = Visit::to(&desk.desk);
    visit.assert_only_failure(name, code, sentence);
    visit
}

#[test]
fn an_empty_token_is_reported() {
    // A token with a reader's name, like an uninitialized card.
    let desk = TokenDesk::empty();
    let reader = ReaderDesk::with_card(&spec());
    let (conf, socket, program) = (desk.hsm.conf(), reader.pcscd.socket(), helper_program());
    script(
        &desk.desk.path("helper"),
        &format!("export SOFTHSM2_CONF={conf:?} PCSCLITE_CSOCK_NAME={socket:?}\nexec {program:?} \"$@\"\n"),
    );
    let visit = assert_token_failure(&desk, "token", 3, "the token in slot 0 is empty: it has not been initialized");
    visit.assert_skipped(&["certificate", "pin"], "token");
}

#[test]
fn a_token_without_certificate_is_reported() {
    let desk = TokenDesk::empty();
    desk.hsm.add_token("CARD", PIN).unwrap().add_key(&desk.desk.identity(&spec()), 1).unwrap();
    let visit = Visit::to(&desk.desk);
    let told = visit.told("certificate");
    let sentence = "the card shows no certificate before the PIN is entered".to_owned();
    assert_eq!((visit.code, told.state.as_str(), told.sentence), (0, "warning", sentence));
}

#[test]
fn an_expired_certificate_is_reported() {
    let desk = TokenDesk::with(&spec().expired());
    let yesterday = std::time::SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    let date = humantime::format_rfc3339_seconds(yesterday).to_string();
    let sentence = format!("the certificate of {UID} expired on {}", &date[..10]);
    assert_token_failure(&desk, "certificate", 3, &sentence);
}

#[test]
fn a_certificate_of_an_issuer_that_is_not_accepted_is_reported() {
    let TokenDesk { hsm, desk } = TokenDesk::with(&spec());
    let desk = TokenDesk { hsm, desk: desk.set("certificate_issuers", "NHS Level 1D") };
    assert_token_failure(&desk, "certificate", 3, "the card contains no certificate issued by NHS Level 1D");
}

#[test]
fn several_cards_and_cards_that_do_not_match_the_settings_are_reported_by_name() {
    let TokenDesk { hsm, desk } = TokenDesk::with(&spec());
    let second = hsm.add_card("SPARE", PIN, &desk.identity(&spec())).unwrap().serial().to_owned();
    let desk = TokenDesk { hsm, desk };
    let told = Visit::to(&desk.desk).told("token").sentence;
    assert!(told.starts_with("there are several cards: ") && told.contains(&second), "{told}");

    let TokenDesk { hsm, desk } = desk;
    let desk = TokenDesk { hsm, desk: desk.set("token_label", "MINE") };
    let visit = Visit::to(&desk.desk);
    let told = visit.told("token").sentence;
    assert!(told.starts_with("no card with label \"MINE\" is in a reader; there is \""), "{told}");
    assert_eq!(visit.code, 4);
}

#[test]
fn the_helper_ends_with_the_doctor() {
    let desk = TokenDesk::with(&spec());
    let (pids, helper) = (desk.desk.path("pids"), desk.desk.path("helper"));
    let (conf, program) = (desk.hsm.conf(), helper_program());
    script(&helper, &format!("echo $$ >>{pids:?}\nexport SOFTHSM2_CONF={conf:?}\nexec {program:?} \"$@\"\n"));
    Visit::to(&desk.desk);
    let pids = std::fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 3, "one for the readers, one for the module, one for the search");
    for pid in pids.lines() {
        assert!(!std::path::Path::new("/proc").join(pid).exists(), "{pid} is left");
    }
}
