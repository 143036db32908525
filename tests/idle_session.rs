//! What an idle session costs, as the kernel counts it for each thread of the host and of the helper that watches
//! the card.
//!
//! `TICKETAPI_TEST_SECONDS` sets how long to measure; 60 for the benchmark.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use support::{Desk, PATIENCE, UID, User};
use ticketapi::{Config, Engine};
use ticketapi_testkit::artifacts::{helper_program, opensc_module};
use ticketapi_testkit::piv::DEFAULT_PIN;
use ticketapi_testkit::{CardSpec, Pcscd, PivCard};

/// Makes a copy of this test act as the host.
const HOST: &str = "TICKETAPI_TEST_HOST";

/// Not a test: the host, which contains only an engine.
#[test]
fn a_host() {
    if std::env::var_os(HOST).is_none() {
        return;
    }
    let engine = Engine::builder(Config::load().unwrap()).prompter(User::typing(&[DEFAULT_PIN])).build().unwrap();
    println!("\nready");
    let _ = std::io::stdin().read(&mut [0]);
    engine.get_ticket().unwrap();
    println!("\nhas a session");
    // Until it is killed, or its standard input ends.
    let _ = std::io::stdin().read(&mut [0]);
}

struct Host {
    child: Child,
    output: Box<dyn Iterator<Item = String>>,
}

impl Host {
    fn start(desk: &Desk, pcscd: &Pcscd) -> Self {
        let mut host = Command::new(std::env::current_exe().unwrap());
        // On its main thread, because libtest would otherwise measure the time.
        host.args(["a_host", "--exact", "--nocapture", "--test-threads=1"]).env(HOST, "1");
        host.env("TICKETAPI_BASE_URL", desk.spine.url()).env("TICKETAPI_CA_FILE", desk.path("ca.pem"));
        host.env("TICKETAPI_PKCS11_MODULE", opensc_module()).env("TICKETAPI_AGENT", "never");
        host.env("TICKETAPI_HELPER", pcscd.helper_wrapper(&helper_program()).unwrap());
        host.env("XDG_CONFIG_HOME", desk.folder.path());
        let mut child = host.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        Self { child, output: Box::new(output) }
    }

    fn until(&mut self, says: &str) {
        assert!(self.output.any(|line| line == says), "it never was: {says}");
    }

    /// Lists the threads of the host and of its child processes: their names, their CPU time in nanoseconds, and
    /// how often they have begun to wait.
    fn threads(&self) -> BTreeMap<String, (u64, u64)> {
        let mut threads = BTreeMap::new();
        let mut processes = vec![self.child.id().to_string()];
        while let Some(process) = processes.pop() {
            // Threads may end meanwhile.
            for task in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
                let read = |name| fs::read_to_string(task.path().join(name)).ok();
                let files = ["schedstat", "status", "comm", "children"].map(read);
                let [Some(time), Some(status), Some(comm), Some(children)] = files else { continue };
                let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
                let name = format!("{} {}", task.file_name().display(), comm.trim());
                let time = time.split(' ').next().unwrap();
                threads.insert(name, (time.parse().unwrap(), waits.trim().parse().unwrap()));
                processes.extend(children.split_whitespace().map(str::to_owned));
            }
        }
        threads
    }

    /// Returns what each thread has done within `time`.
    fn idles_for(&self, time: Duration) -> Vec<(String, Duration, u64)> {
        let before = self.threads();
        thread::sleep(time);
        let after = self.threads();
        assert!(before.keys().eq(after.keys()), "threads have come or gone: {before:?} {after:?}");
        let both = before.into_values().zip(after);
        both.map(|(old, (name, new))| (name, Duration::from_nanos(new.0 - old.0), new.1 - old.1)).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_idle_session_wakes_no_thread() {
    let seconds = std::env::var("TICKETAPI_TEST_SECONDS").map_or(4, |number| number.parse().unwrap());
    // With limits, which the engine must enforce.
    let desk = Desk::with(|spine| spine.roles(1).session_minutes(10, 600));
    let pcscd = Pcscd::start().unwrap();
    let card = PivCard::new(&desk.ca.issue(&CardSpec::new(UID)).unwrap()).unwrap();
    card.insert(pcscd.port()).unwrap();
    assert!(card.wait_until_seen(PATIENCE));

    let mut host = Host::start(&desk, &pcscd);
    host.until("ready");
    let ours = |host: &Host| host.threads().into_keys().filter(|name| name.contains("ticketapi")).collect::<Vec<_>>();
    assert_eq!(ours(&host), Vec::<String>::new(), "an engine alone has no thread and no helper");
    drop(std::io::Write::write_all(host.child.stdin.as_mut().unwrap(), b"x"));
    host.until("has a session");
    // libpcsclite wakes once a minute, whatever timeout it is given.
    let allowed = |name: &str| if name.ends_with("ticketapi-card") { 3 * (seconds / 50) } else { 0 };
    let idle_within = |seconds| {
        let threads = host.idles_for(Duration::from_secs(seconds));
        for (name, time, waits) in &threads {
            println!("{name}: {time:?} on a processor, woken {waits} times in {seconds} s");
        }
        let named = |name: &str| threads.iter().filter(|thread| thread.0.ends_with(name)).count();
        assert_eq!((named("ticketapi-keep"), named("ticketapi-card")), (1, 1), "{threads:?}");
        threads.iter().map(|thread| thread.1).sum::<Duration>() <= Duration::from_millis(1)
            && threads.iter().all(|thread| thread.2 <= allowed(&thread.0))
    };
    // The watcher reads once more a second after a change, which is later on a busy machine.
    assert!((0..5).any(|_| idle_within(seconds)), "something wakes again and again");

    // Proves that activity is counted.
    let before = host.threads();
    card.remove();
    assert!(desk.spine.wait_for_sessions(PATIENCE, 0));
    let after = host.threads();
    let more = |(name, old): (&String, &(u64, u64))| after.get(name).is_some_and(|new| new.1 > old.1);
    assert!(before.iter().any(more), "nothing was counted: {before:?} {after:?}");
}
