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
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use support::{Desk, PATIENCE, UID, User};
use ticketapi::{Config, Engine};
use ticketapi_testkit::artifacts::{helper_program, opensc_module};
use ticketapi_testkit::piv::DEFAULT_PIN;
use ticketapi_testkit::{CardSpec, Pcscd, PivCard};
#[cfg(feature = "oidc")]
use ticketapi_testkit::{
    OidcProvider,
    oidc::{Endpoint, Entry},
};

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
    fn with_card(desk: &Desk, pcscd: &Pcscd) -> Self {
        Self::start(desk.folder.path(), |host| {
            host.env("TICKETAPI_BASE_URL", desk.spine.url()).env("TICKETAPI_CA_FILE", desk.path("ca.pem"));
            host.env("TICKETAPI_PKCS11_MODULE", opensc_module());
            host.env("TICKETAPI_HELPER", pcscd.helper_wrapper(&helper_program()).unwrap());
        })
    }

    #[cfg(feature = "oidc")]
    fn with_browser(provider: &OidcProvider, folder: &Path) -> Self {
        let browser = folder.join("browser");
        let page = "import ssl, sys, urllib.request as u; u.urlopen(sys.argv[2], context=ssl.create_default_context(cafile=sys.argv[1]))";
        support::script(&browser, &format!("exec python3 -c '{page}' {} \"$1\"\n", provider.ca_file().display()));
        Self::start(folder, |host| {
            host.env("TICKETAPI_SERVICE", "oidc").env("TICKETAPI_ISSUER", provider.issuer());
            host.env("TICKETAPI_CLIENT_ID", provider.client_id()).env("TICKETAPI_CA_FILE", provider.ca_file());
            host.env("TICKETAPI_BROWSER", &browser).env("TICKETAPI_BIND_CARD", "false").env("TICKETAPI_PROXY", "none");
        })
    }

    fn start(folder: &Path, set_up: impl FnOnce(&mut Command)) -> Self {
        let mut host = Command::new(std::env::current_exe().unwrap());
        // On its main thread, because libtest would otherwise measure the time.
        host.args(["a_host", "--exact", "--nocapture", "--test-threads=1"]).env(HOST, "1");
        host.env("TICKETAPI_AGENT", "never").env("XDG_CONFIG_HOME", folder);
        set_up(&mut host);
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

    /// Returns what each thread has done within `time`; nothing if threads have come or gone.
    fn idles_for(&self, time: Duration) -> Option<Vec<(String, Duration, u64)>> {
        let before = self.threads();
        thread::sleep(time);
        let after = self.threads();
        if !before.keys().eq(after.keys()) {
            println!("threads have come or gone: {before:?} {after:?}");
            return None;
        }
        let both = before.into_values().zip(after);
        Some(both.map(|(old, (name, new))| (name, Duration::from_nanos(new.0 - old.0), new.1 - old.1)).collect())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long to measure.
fn seconds() -> u64 {
    std::env::var("TICKETAPI_TEST_SECONDS").map_or(4, |number| number.parse().unwrap())
}

#[test]
#[cfg(feature = "oidc")]
fn an_idle_session_in_the_browser_wakes_for_renewals_alone() {
    // Tickets of 16 s are renewed after 8 s.
    const LIFETIME: Duration = Duration::from_secs(16);
    let provider = OidcProvider::builder().token_lifetime(LIFETIME).start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut host = Host::with_browser(&provider, folder.path());
    host.until("ready");
    drop(std::io::Write::write_all(host.child.stdin.as_mut().unwrap(), b"x"));
    host.until("has a session");

    let renewals = || provider.log_of(Endpoint::Refresh).len();
    let wait_for_renewal = || {
        let before = renewals();
        let renewed = |log: &[Entry]| log.iter().filter(|one| one.endpoint == Some(Endpoint::Refresh)).count() > before;
        assert!(provider.wait_for(PATIENCE, renewed), "it is not renewed");
    };
    // The threads that stay: the program's and the monitor. Not the browser's.
    let waits = |host: &Host| {
        let all = host
            .threads()
            .into_iter()
            .filter(|(name, _)| !name.ends_with("ticketapi-renew") && !name.ends_with("python3"));
        all.map(|(name, (_, waits))| (name, waits)).collect::<BTreeMap<_, _>>()
    };
    wait_for_renewal();
    let (before, renewed) = (waits(&host), renewals());
    for _ in 0..(seconds() / 8).max(2) {
        wait_for_renewal();
    }
    let (after, count) = (waits(&host), renewals() - renewed);
    for (name, waits) in &after {
        println!("{name}: woken {} times in {count} renewals", waits - before.get(name).unwrap_or(&0));
    }
    assert!(after.keys().any(|name| name.ends_with("ticketapi-keep")), "{after:?}");
    for (name, waits) in after {
        // When a renewal begins and when it has ended. It may have to wait for a lock, too.
        let allowed = if name.ends_with("ticketapi-keep") { 5 * count as u64 + 3 } else { 0 };
        let woken = waits - before.get(&name).unwrap_or_else(|| panic!("{name} has come"));
        assert!(woken <= allowed, "{name} was woken {woken} times in {count} renewals");
    }
    assert_eq!(provider.refresh_tokens_sent_twice(), 0);
}

#[test]
fn an_idle_session_wakes_no_thread() {
    let seconds = seconds();
    // With limits, which the engine must enforce.
    let desk = Desk::with(|spine| spine.roles(1).session_minutes(10, 600));
    let pcscd = Pcscd::start().unwrap();
    let card = PivCard::new(&desk.ca.issue(&CardSpec::new(UID)).unwrap()).unwrap();
    card.insert(pcscd.port()).unwrap();
    assert!(card.wait_until_seen(PATIENCE));

    let mut host = Host::with_card(&desk, &pcscd);
    host.until("ready");
    let ours = |host: &Host| host.threads().into_keys().filter(|name| name.contains("ticketapi")).collect::<Vec<_>>();
    assert_eq!(ours(&host), Vec::<String>::new(), "an engine alone has no thread and no helper");
    drop(std::io::Write::write_all(host.child.stdin.as_mut().unwrap(), b"x"));
    host.until("has a session");
    // libpcsclite wakes once a minute, whatever timeout it is given.
    let allowed = |name: &str| if name.ends_with("ticketapi-card") { 3 * (seconds / 50) } else { 0 };
    let idle_within = |seconds| {
        let Some(threads) = host.idles_for(Duration::from_secs(seconds)) else { return false };
        for (name, time, waits) in &threads {
            println!("{name}: {time:?} on a processor, woken {waits} times in {seconds} s");
        }
        let named = |name: &str| threads.iter().filter(|thread| thread.0.ends_with(name)).count();
        (named("ticketapi-keep"), named("ticketapi-card")) == (1, 1)
            && threads.iter().map(|thread| thread.1).sum::<Duration>() <= Duration::from_millis(1)
            && threads.iter().all(|thread| thread.2 <= allowed(&thread.0))
    };
    // The login's thread and helper end after it, and the watcher reads once more a second after a change: later on a
    // busy machine.
    assert!((0..5).any(|_| idle_within(seconds)), "something wakes again and again");

    // Proves that activity is counted.
    let before = host.threads();
    card.remove();
    assert!(desk.spine.wait_for_sessions(PATIENCE, 0));
    let after = host.threads();
    let more = |(name, old): (&String, &(u64, u64))| after.get(name).is_some_and(|new| new.1 > old.1);
    assert!(before.iter().any(more), "nothing was counted: {before:?} {after:?}");
}
