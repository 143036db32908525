//! The agent with a card in a reader: OpenSC, a real PC/SC service, virtual readers.
//!
//! `TICKETAPI_TEST_ROUNDS` multiplies how often the service is killed; 70 for a soak test.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Desk, InProcess, PATIENCE, UID, kind, program, script, settings, wait_until};
use ticketapi::agent::{self, AgentUse};
use ticketapi::cancel::CancelToken;
use ticketapi::card::CardReader;
use ticketapi::card::events::{CardWatch, Snapshot};
use ticketapi::card::helper::{DEADLINE, HelperReader, HelperSettings};
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::engine::Status;
use ticketapi::{Engine, ErrorKind};
use ticketapi_testkit::artifacts::{helper_program, opensc_module};
use ticketapi_testkit::piv::DEFAULT_PIN;
use ticketapi_testkit::{CardSpec, Pcscd, PivCard};

/// Makes a copy of this test act as a program that loses its ticket.
const PROGRAM: &str = "TICKETAPI_TEST_PROGRAM";

/// How long pcscd takes to notice that a card was removed; it does not notice a card that is back sooner. Also how
/// long a test waits to conclude that there is no prompt.
const NOTICED: Duration = Duration::from_secs(1);

struct Reader {
    // First, so that the card is removed before the service ends.
    card: PivCard,
    pcscd: Pcscd,
    desk: Desk,
}

impl Reader {
    /// An empty reader, a card, and a user who enters its PIN.
    fn new() -> Self {
        let desk = Desk::with(|spine| spine.roles(1));
        let card = PivCard::new(&desk.ca.issue(&CardSpec::new(UID)).unwrap()).unwrap();
        let pcscd = Pcscd::start().unwrap();
        let helper = pcscd.helper_wrapper(&helper_program()).unwrap();
        let mut desk = desk.set("pkcs11_module", opensc_module()).set("helper", helper.to_str().unwrap());
        desk.config.software_card = None;
        let pinentry = desk.path("pinentry");
        let body = format!(
            "echo OK\nwhile read -r line; do\ncase $line in GETPIN)\n\
             echo >>{0}.asked\n\
             while [ -e {0}.hold ]; do sleep 0.02; done\n\
             cat {0}.answer-$(wc -l <{0}.asked) 2>/dev/null || printf 'D {DEFAULT_PIN}\\nOK\\n' ;;\n\
             *) echo OK ;; esac\ndone\n",
            pinentry.display()
        );
        script(&pinentry, &body);
        Self { card, pcscd, desk }
    }

    /// Sets the user's answer to the prompt of this number.
    fn answers(&self, number: usize, answer: &str) {
        fs::write(self.desk.path(&format!("pinentry.answer-{number}")), answer).unwrap();
    }

    fn cancels(&self, number: usize) {
        self.answers(number, "ERR 83886179 cancelled\n");
    }

    /// From now on the user does not answer.
    fn hesitates(&self) {
        fs::write(self.desk.path("pinentry.hold"), "").unwrap();
    }

    fn answers_at_last(&self) {
        fs::remove_file(self.desk.path("pinentry.hold")).unwrap();
    }

    fn insert(&self) {
        self.card.insert(self.pcscd.port()).unwrap();
        assert!(self.card.wait_until_seen(PATIENCE));
    }

    fn remove_and_insert(&self) {
        self.card.remove();
        thread::sleep(NOTICED);
        self.insert();
    }

    fn agent(&self) -> InProcess {
        InProcess::run(&self.desk, &mut support::command(&self.desk))
    }

    /// Starts an agent that offers the login.
    fn offering_agent(&self) -> InProcess {
        InProcess::run(&self.desk, support::command(&self.desk).env("TICKETAPI_OFFER_LOGIN", "true"))
    }

    /// Waits until the agent has prompted this often and no prompt is open.
    fn wait_for_answers(&self, agent: &InProcess, count: usize) {
        let config = settings(&self.desk, AgentUse::Require);
        wait_until(|| agent.prompts() >= count && !agent::status(&config).unwrap().login);
        assert_eq!(agent.prompts(), count);
    }

    fn assert_nobody_is_asked(&self, agent: &InProcess) {
        let before = agent.prompts();
        thread::sleep(NOTICED);
        self.wait_for_answers(agent, before);
    }

    /// A watch that belongs to the test.
    fn watch(&self) -> Box<dyn CardWatch> {
        let program = self.desk.config.helper.clone().unwrap();
        let settings = HelperSettings { program, card: CardSettings::default(), deadline: DEADLINE };
        let mut watch = HelperReader::new(settings).watch().unwrap().unwrap();
        watch.next(None, &CancelToken::new()).unwrap();
        watch
    }

    /// Removes the card, and returns when PC/SC reports it.
    fn remove_until_reported(&self) -> Instant {
        let mut watch = self.watch();
        self.card.remove();
        let has_card = |snapshot| matches!(snapshot, Some(Snapshot::Readers(readers)) if readers[0].card);
        while has_card(watch.next(None, &CancelToken::new()).unwrap()) {}
        Instant::now()
    }
}

/// Counts the agent's child processes that watch the readers.
fn watchers(agent: &InProcess) -> usize {
    let children = support::children(agent.child.id()).into_iter();
    let commands = children.filter_map(|child| fs::read_to_string(format!("/proc/{child}/cmdline")).ok());
    commands.filter(|command| command.ends_with("\0events\0")).count()
}

fn has_ticket(engine: &Engine) -> bool {
    engine.get_ticket_no_auth().is_ok()
}

#[test]
fn each_inserted_card_prompts_for_its_pin_and_its_session_serves_every_program() {
    let reader = Reader::new();
    let agent = reader.offering_agent();
    let engine = program(&reader.desk);
    wait_until(|| watchers(&agent) == 1);
    thread::sleep(NOTICED);
    // The agent does not wake up for this before a card is inserted.
    let wake_ups = support::wake_ups(agent.child.id());
    thread::sleep(2 * NOTICED);
    assert_eq!(support::wake_ups(agent.child.id()), wake_ups);
    assert_eq!(agent.prompts(), 0);
    reader.insert();
    wait_until(|| has_ticket(&engine));
    assert_eq!((agent.prompts(), reader.card.counts().verify), (1, 1));
    // Now the session's watcher.
    wait_until(|| watchers(&agent) == 1);
    reader.card.remove();
    wait_until(|| !has_ticket(&engine));
    assert!(reader.desk.spine.wait_for_sessions(PATIENCE, 0));
    wait_until(|| watchers(&agent) == 1);
    reader.insert();
    wait_until(|| has_ticket(&engine));
    assert_eq!((agent.prompts(), reader.card.counts().verify), (2, 2));
}

#[test]
fn a_user_who_cancels_or_errs_is_asked_again_after_reinserting_the_card() {
    let reader = Reader::new();
    reader.cancels(1);
    reader.answers(2, "D 999999\nOK\n");
    reader.cancels(3);
    let agent = reader.offering_agent();
    reader.insert();
    reader.wait_for_answers(&agent, 1);
    reader.assert_nobody_is_asked(&agent);
    assert_eq!(reader.card.counts().verify, 0);
    // Now the PIN is wrong, and the user gives up.
    reader.remove_and_insert();
    reader.wait_for_answers(&agent, 3);
    reader.assert_nobody_is_asked(&agent);
    assert_eq!(reader.card.counts().verify, 1);
    reader.remove_and_insert();
    let engine = program(&reader.desk);
    wait_until(|| has_ticket(&engine));
    assert_eq!((agent.prompts(), reader.card.counts().verify), (4, 2));
}

#[test]
fn a_card_present_at_the_agents_start_prompts_and_a_card_whose_user_logged_out_does_not() {
    let reader = Reader::new();
    reader.insert();
    let agent = reader.offering_agent();
    let engine = program(&reader.desk);
    wait_until(|| has_ticket(&engine));
    engine.destroy_ticket().unwrap();
    wait_until(|| watchers(&agent) == 1);
    reader.assert_nobody_is_asked(&agent);
    assert!(!has_ticket(&engine));
    // A request for the ticket prompts as usual.
    engine.get_ticket().unwrap();
    assert_eq!(agent.prompts(), 2);
}

#[test]
fn a_program_that_gives_up_does_not_close_the_users_prompt() {
    let reader = Reader::new();
    reader.hesitates();
    let mut agent = reader.offering_agent();
    reader.insert();
    agent.wait_for_prompt();
    let (engine, config) = (program(&reader.desk), settings(&reader.desk, AgentUse::Require));
    thread::scope(|scope| {
        let login = scope.spawn(|| kind(engine.get_ticket()));
        wait_until(|| agent::status(&config).unwrap().clients == 2);
        engine.cancel_login();
        assert_eq!(login.join().unwrap(), ErrorKind::Cancelled);
    });
    reader.answers_at_last();
    wait_until(|| has_ticket(&engine));
    assert_eq!(agent.prompts(), 1);
    // A signal closes the prompt.
    engine.destroy_ticket().unwrap();
    reader.hesitates();
    reader.remove_and_insert();
    wait_until(|| agent.prompts() == 2);
    agent.signal(Signal::TERM);
    assert!(agent.child.wait().unwrap().success());
    assert_eq!((reader.card.counts().verify, reader.desk.spine.open_sessions()), (1, 0));
}

#[test]
fn a_locked_session_continues_after_its_card_is_inserted() {
    let reader = Reader::new();
    let agent = InProcess::run(
        &reader.desk,
        support::command(&reader.desk).env("TICKETAPI_OFFER_LOGIN", "true").env("TICKETAPI_MODE", "session_lock"),
    );
    reader.insert();
    let engine = program(&reader.desk);
    wait_until(|| has_ticket(&engine));
    let ticket = engine.get_ticket_no_auth().unwrap();
    assert_eq!(engine.status(), Status::Live { card_watched: true });
    assert!(engine.session().unwrap().card_watched());
    assert_eq!(engine.own_status(), Status::LoggedOut);
    reader.card.remove();
    wait_until(|| matches!(engine.status(), Status::Locked { .. }));
    thread::sleep(NOTICED);
    reader.insert();
    wait_until(|| has_ticket(&engine));
    assert_eq!(engine.get_ticket_no_auth().unwrap(), ticket);
    assert_eq!(agent.prompts(), 2);
}

#[test]
fn the_agent_offers_and_watches_nothing_unless_the_setting_says_so() {
    let reader = Reader::new();
    let agent = reader.agent();
    reader.insert();
    reader.assert_nobody_is_asked(&agent);
    assert_eq!((agent.prompts(), watchers(&agent)), (0, 0));
}

/// Not a test: a program that reports when it gets a ticket and when it loses it.
#[test]
fn a_program() {
    if std::env::var_os(PROGRAM).is_none() {
        return;
    }
    let engine = Engine::new().unwrap();
    println!("\nhas {}", has_ticket(&engine));
    while has_ticket(&engine) {}
    println!("lost");
}

#[test]
fn removing_the_card_ends_the_session_for_every_program_within_a_quarter_of_a_second() {
    let reader = Reader::new();
    reader.insert();
    let _agent = reader.agent();
    let engine = program(&reader.desk);
    for _ in 0..3 {
        engine.get_ticket().unwrap();
        let mut others = [(); 2].map(|()| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["a_program", "--exact", "--nocapture"]).env(PROGRAM, "1").env("TICKETAPI_AGENT", "require");
            support::environment(&reader.desk, &mut command);
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
            assert!(lines.any(|line| line == "has true"));
            (child, lines)
        });
        let told = reader.remove_until_reported();
        while has_ticket(&engine) {}
        let mut times = vec![told.elapsed()];
        for (child, lines) in &mut others {
            assert!(lines.any(|line| line == "lost"));
            times.push(told.elapsed());
            assert!(child.wait().unwrap().success());
        }
        assert!(times.iter().all(|time| *time <= Duration::from_millis(250)), "{times:?}");
        assert!(reader.desk.spine.wait_for_sessions(PATIENCE, 0));
        thread::sleep(NOTICED);
        reader.insert();
    }
}

#[test]
fn an_agent_works_again_after_the_pcsc_service_was_killed_and_restarted() {
    let mut reader = Reader::new();
    let agent = reader.offering_agent();
    let engine = program(&reader.desk);
    let rounds = std::env::var("TICKETAPI_TEST_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let mut held = None;
    for round in 0..3 * rounds {
        // During a session, without a card, and just after a card was inserted.
        if round % 3 == 0 {
            reader.insert();
            wait_until(|| has_ticket(&engine));
        } else if round % 3 == 1 {
            reader.card.insert(reader.pcscd.port()).unwrap();
        }
        reader.pcscd.kill();
        assert!(reader.card.wait_until_out(PATIENCE));
        reader.pcscd.restart().unwrap();
        let _ = engine.destroy_ticket();
        reader.insert();
        let back = Instant::now();
        engine.get_ticket().unwrap();
        assert!(back.elapsed() < Duration::from_secs(3), "round {round}: {:?}", back.elapsed());
        engine.destroy_ticket().unwrap();
        reader.card.remove();
        wait_until(|| watchers(&agent) == 1);
        let now = || support::descriptors(agent.child.id());
        // The watcher has some more for a moment when it starts.
        let held = *held.get_or_insert_with(now);
        wait_until(|| now() <= held);
    }
    assert_eq!(reader.card.tries_left(), 3);
}
