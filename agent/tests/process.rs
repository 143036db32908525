//! The agent as a process: how it ends, what it leaves behind when it or a program is killed, and what it costs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use support::{Desk, InProcess, PATIENCE, User, auto_program, kind, program, settings, socket, status_of, wait_until};
use ticketapi::agent::protocol::{Hello, Request};
use ticketapi::agent::{self, AgentUse};
use ticketapi::{Engine, ErrorKind};
use ticketapi_testkit::spine::Entry;
use ticketapi_testkit::{CardSpec, Endpoint, Misbehaviour};

/// Makes a copy of this test act as a program that requests a ticket.
const PROGRAM: &str = "TICKETAPI_TEST_PROGRAM";

/// Not a test: the program that other tests start and kill.
#[test]
fn a_program() {
    if std::env::var_os(PROGRAM).is_none() {
        return;
    }
    let engine = Engine::new().unwrap();
    println!("\nasks");
    println!("\nhas {}", engine.get_ticket().unwrap().expose());
    // Until the program is killed, or its standard input ends.
    let _ = std::io::stdin().read(&mut [0]);
}

struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(desk: &Desk) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["a_program", "--exact", "--nocapture"]).env(PROGRAM, "1").env("TICKETAPI_AGENT", "require");
        support::environment(desk, &mut command);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Returns what the program prints after `word`.
    fn says(&mut self, word: &str) -> String {
        let mut lines = self.output.by_ref().lines().map(Result::unwrap);
        lines.find_map(|line| Some(line.strip_prefix(word)?.trim().to_owned())).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn desk() -> Desk {
    Desk::with(|spine| spine.roles(1))
}

fn is_asked_for(endpoint: Endpoint) -> impl Fn(&[Entry]) -> bool {
    move |log| log.iter().any(|entry| entry.endpoint == Some(endpoint))
}

#[test]
fn a_newly_started_program_gets_the_ticket_without_a_prompt() {
    let desk = desk();
    let agent = InProcess::start(&desk, "");
    let mut first = Program::start(&desk);
    let ticket = first.says("has ");
    let mut second = Program::start(&desk);
    assert_eq!(second.says("has "), ticket);
    assert_eq!(agent.prompts(), 1);
}

#[test]
fn sigterm_ends_the_session_and_the_agent() {
    let desk = desk();
    let mut agent = InProcess::start(&desk, "");
    let engine = program(&desk);
    engine.get_ticket().unwrap();
    agent.signal(Signal::TERM);
    assert!(agent.child.wait().unwrap().success());
    assert_eq!(desk.spine.open_sessions(), 0);
    assert!(!socket(&desk).exists());
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::AgentNotAvailable);
}

#[test]
fn sigterm_during_a_login_ends_the_login_and_its_pinentry() {
    let desk = desk();
    let mut agent = InProcess::start(&desk, "exec sleep 600");
    thread::scope(|scope| {
        let login = scope.spawn(|| kind(program(&desk).get_ticket()));
        agent.wait_for_prompt();
        let began = Instant::now();
        agent.signal(Signal::TERM);
        assert!(agent.child.wait().unwrap().success());
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(login.join().unwrap(), ErrorKind::Cancelled);
    });
}

#[test]
fn sigterm_does_not_wait_for_a_broker_that_hangs() {
    let desk = desk();
    let mut agent = InProcess::start(&desk, "");
    program(&desk).get_ticket().unwrap();
    let _held = desk.spine.hold(Endpoint::Logout);
    agent.signal(Signal::TERM);
    let began = Instant::now();
    agent.child.wait().unwrap();
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[test]
fn an_agent_that_is_killed_at_any_step_causes_an_error_or_a_login_in_the_program() {
    for step in [None, Some(Endpoint::Activate), Some(Endpoint::Validate), Some(Endpoint::SelectRole)] {
        let desk = desk();
        // Killed while the user is asked for the PIN, then at each request.
        let mut agent = InProcess::start(&desk, if step.is_none() { "exec sleep 600" } else { "" });
        let held = step.map(|endpoint| desk.spine.hold(endpoint));
        let user = User::new();
        let (auto, require) = (auto_program(&desk, &user), program(&desk));
        thread::scope(|scope| {
            let here = scope.spawn(|| auto.get_ticket());
            let error = scope.spawn(|| require.get_ticket().unwrap_err());
            match step {
                None => agent.wait_for_prompt(),
                Some(endpoint) => assert!(desk.spine.wait_for(PATIENCE, is_asked_for(endpoint))),
            }
            let config = settings(&desk, AgentUse::Require);
            wait_until(|| agent::status(&config).unwrap().clients == 3);
            agent.signal(Signal::KILL);
            let error = error.join().unwrap();
            assert_eq!(*error.kind(), ErrorKind::AgentNotAvailable, "{step:?}");
            assert_eq!(error.detail(), "the ticketapi agent ended before it had answered");
            agent.child.wait().unwrap();
            drop(held);
            here.join().unwrap().unwrap();
        });
        assert_eq!(user.pins_asked(), 1);
        auto.destroy_ticket().unwrap();
        // The next agent takes over.
        let agent = InProcess::start(&desk, "");
        require.get_ticket().unwrap();
        assert!(agent.prompts() >= 1);
    }
}

#[test]
fn an_agent_that_is_killed_during_a_logout_causes_an_error() {
    let desk = desk();
    let mut agent = InProcess::start(&desk, "");
    let engine = program(&desk);
    engine.get_ticket().unwrap();
    let held = desk.spine.hold(Endpoint::Logout);
    thread::scope(|scope| {
        let error = scope.spawn(|| engine.destroy_ticket().unwrap_err());
        assert!(desk.spine.wait_for(PATIENCE, is_asked_for(Endpoint::Logout)));
        agent.signal(Signal::KILL);
        assert_eq!(error.join().unwrap().detail(), "the ticketapi agent ended before it had answered");
    });
    drop(held);
    agent.child.wait().unwrap();
    assert_eq!(kind(engine.get_ticket_no_auth()), ErrorKind::AgentNotAvailable);
}

#[test]
fn killing_the_agent_between_requests_ends_the_session() {
    let desk = desk();
    let mut agent = InProcess::start(&desk, "");
    let (auto, require) = (auto_program(&desk, &User::new()), program(&desk));
    require.get_ticket().unwrap();
    auto.get_ticket_no_auth().unwrap();
    agent.signal(Signal::KILL);
    agent.child.wait().unwrap();
    assert_eq!(kind(auto.get_ticket_no_auth()), ErrorKind::TicketNotAvailable);
    assert_eq!(kind(require.get_ticket_no_auth()), ErrorKind::AgentNotAvailable);
    assert!(auto.session().is_none() && require.session().is_none());
    auto.get_ticket().unwrap();
}

#[test]
fn an_agent_that_is_suspended_does_not_block_programs_for_long() {
    let desk = desk();
    let agent = InProcess::start(&desk, "");
    let engine = program(&desk);
    engine.get_ticket().unwrap();
    engine.get_ticket_no_auth().unwrap();
    agent.signal(Signal::STOP);
    // Each of its threads stops separately.
    waitid(WaitId::Pid(Pid::from_child(&agent.child)), WaitIdOptions::STOPPED).unwrap();
    let began = Instant::now();
    let error = engine.get_ticket_no_auth().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::AgentNotAvailable);
    assert_eq!(error.detail(), "the ticketapi agent does not answer");
    assert!(began.elapsed() < Duration::from_secs(10));
    agent.signal(Signal::CONT);
    engine.get_ticket_no_auth().unwrap();
}

#[test]
fn a_program_that_is_killed_at_any_step_does_not_break_the_agent() {
    for step in [None, Some(Endpoint::Activate), Some(Endpoint::Validate), Some(Endpoint::SelectRole)] {
        let desk = desk();
        let agent = InProcess::start(&desk, if step.is_none() { "sleep 1" } else { "" });
        let held = step.map(|endpoint| desk.spine.hold(endpoint));
        let config = settings(&desk, AgentUse::Require);
        let mut killed = Program::start(&desk);
        match step {
            None => agent.wait_for_prompt(),
            Some(endpoint) => assert!(desk.spine.wait_for(PATIENCE, is_asked_for(endpoint))),
        }
        killed.child.kill().unwrap();
        killed.child.wait().unwrap();
        // No other program waits, so the login is cancelled.
        wait_until(|| !agent::status(&config).unwrap().login);
        drop(held);
        assert!(!agent::status(&config).unwrap().session);
        assert!(desk.spine.wait_for_sessions(PATIENCE, 0));
        Program::start(&desk).says("has ");
        assert_eq!(desk.spine.open_sessions(), 1);
    }
}

#[test]
fn an_idle_agent_does_not_wake_up_and_uses_little_memory() {
    let desk = desk();
    let agent = InProcess::start(&desk, "");
    let engines: Vec<_> = (0..50).map(|_| program(&desk)).collect();
    engines[0].get_ticket().unwrap();
    for engine in &engines {
        engine.get_ticket_no_auth().unwrap();
    }
    let process = agent.child.id();
    // The main thread, and the one that accepts connections.
    wait_until(|| status_of(process, "Threads") <= 2);
    let wakes = || support::wake_ups(process);
    // Until it sleeps again after the last response.
    let before = wakes();
    thread::sleep(Duration::from_secs(3));
    assert!(wakes() <= before + 1, "it woke {} times", wakes() - before);
    let resident = status_of(process, "VmRSS");
    assert!(resident <= 24 * 1024, "{resident} KiB");
}

#[test]
fn many_requests_leak_no_memory() {
    let desk = desk();
    let agent = InProcess::start(&desk, "");
    program(&desk).get_ticket().unwrap();
    let process = agent.child.id();
    let ask = |count: usize| {
        let stream = UnixStream::connect(socket(&desk)).unwrap();
        let mut reader = stream.try_clone().unwrap();
        let requests = [&Request::Hello(Hello::new("")).encode()[..], &Request::TicketNoAuth.encode().repeat(count)];
        let requests = requests.concat();
        let drain = thread::spawn(move || reader.read_to_end(&mut Vec::new()).unwrap());
        (&stream).write_all(&requests).unwrap();
        // The agent disconnects once everything is answered, because this is not a message.
        (&stream).write_all(&[0xff; 4]).unwrap();
        assert!(drain.join().unwrap() > 60 * count);
    };
    ask(1000);
    let before = status_of(process, "VmRSS");
    let rounds = std::env::var("TICKETAPI_TEST_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    for _ in 0..rounds {
        ask(20_000);
    }
    let after = status_of(process, "VmRSS");
    assert!(after <= before + 1024, "it grew from {before} to {after} KiB");
}

#[test]
fn many_logins_leave_nothing_behind() {
    let mut desk = desk();
    desk.config.software_card = Some(desk.quick_card(&CardSpec::new(support::UID)));
    let agent = InProcess::start(&desk, "[ ! -e $0.cancels ] || { echo 'ERR 83886179 cancelled'; continue; }");
    let engine = program(&desk);
    let process = agent.child.id();
    let log_in = |count: usize| {
        for number in 0..count {
            // Some of them fail: the user cancels, or the broker refuses.
            let cancels = desk.path("pinentry.cancels");
            match number % 5 {
                3 => {
                    fs::write(&cancels, "").unwrap();
                    assert_eq!(kind(engine.get_ticket()), ErrorKind::Cancelled);
                    fs::remove_file(&cancels).unwrap();
                }
                4 => {
                    desk.spine.misbehave_times(Endpoint::SelectRole, Misbehaviour::Refuse("no".into()), 1);
                    assert_eq!(kind(engine.get_ticket()), ErrorKind::Refused);
                }
                _ => drop(engine.get_ticket().unwrap()),
            }
            engine.destroy_ticket().unwrap();
        }
    };
    let held =
        || [status_of(process, "Threads") as usize, support::descriptors(process), support::children(process).len()];
    log_in(50);
    let (before, resident) = (held(), status_of(process, "VmRSS"));
    let rounds = std::env::var("TICKETAPI_TEST_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    log_in(100 * rounds);
    // The agent may not have released the last one yet.
    wait_until(|| held().iter().zip(before).all(|(now, before)| *now <= before));
    let after = status_of(process, "VmRSS");
    assert!(after <= resident + 1024, "it grew from {resident} to {after} KiB");
    assert!(desk.spine.wait_for_sessions(PATIENCE, 0));
}
