//! Compares calls of a page through the host with those through a bare one, in the same Chromium and by turns, and
//! measures the idle host. scripts/bench-web builds and runs it. With --check it fails if a bound is missed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/oidc/house.rs"]
#[allow(dead_code)]
mod house;
#[path = "../tests/pages/mod.rs"]
mod pages;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pages::story::Site;
use ticketapi_testkit::chromium::Chromium;

const EXTENSION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/extension");

const IDLE: Duration = Duration::from_secs(10);

/// Browsers end a worker that has nothing to do after half a minute.
const WORKER: Duration = Duration::from_secs(60);

/// By turns 20 rounds of 100 calls; the median time of a call, in microseconds, through each.
const CALLS: &str = "(async () => { \
    const time = async (api) => { const began = performance.now(); \
        for (let n = 0; n < 100; n++) await api.getTicketNoAuth(); return (performance.now() - began) * 10; }; \
    const [ours, bare] = [[], []]; \
    for (let n = 0; n < 20; n++) { bare.push(await time(window.bare)); ours.push(await time(navigator.ticketapi)); } \
    const median = (all) => all.sort((a, b) => a - b)[10]; \
    return median(ours) + ' ' + median(bare); })()";

/// The same extension under another name, for the bare host. Returns its id, which Chromium makes from its place.
fn copy_extension(folder: &Path) -> String {
    fs::create_dir(folder).unwrap();
    for file in fs::read_dir(EXTENSION).unwrap().flatten() {
        let text = fs::read_to_string(file.path()).unwrap();
        let text =
            text.replace("org.ticketapi.web", "org.ticketapi.bare").replace("\"ticketapi\"", "\"ticketapi-bare\"");
        let text: Vec<_> = text.lines().filter(|line| !line.contains("\"key\": \"")).collect();
        fs::write(folder.join(file.file_name()), text.join("\n")).unwrap();
    }
    let path = fs::canonicalize(folder).unwrap();
    let digest = openssl::sha::sha256(path.to_str().unwrap().as_bytes());
    digest[..16].iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(b'a' + digit)).collect()
}

fn run(browser: &Chromium, call: &str) -> String {
    let script =
        format!("const done = arguments[arguments.length - 1]; {call}.then(done, (error) => done(String(error)))");
    browser.run(&script).unwrap()
}

fn field(file: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Of all threads.
fn wake_ups(process: &Path) -> u64 {
    let tasks = fs::read_dir(process.join("task")).unwrap().flatten();
    tasks.map(|task| field(&task.path().join("status"), "voluntary_ctxt_switches:")).sum()
}

fn main() {
    let site = Site::new();
    let bare = site.desk.path("bare");
    let id = copy_extension(&bare);
    let extensions = format!("{EXTENSION},{}", bare.display());
    let arguments = [
        format!("--load-extension={extensions}"),
        format!("--disable-extensions-except={extensions}"),
        "--disable-features=DisableLoadExtensionCommandLineSwitch".into(),
    ];
    let echo = PathBuf::from(std::env::var_os("BARE_HOST").expect("scripts/bench-web runs this"));
    let browser = Chromium::start_with(&arguments, |profile| {
        let hosts = profile.join("NativeMessagingHosts");
        pages::install(&hosts, include_str!("../install/chromium.json.in"), &site.desk, &site.allowed)?;
        let manifest = format!(
            "{{ \"name\": \"org.ticketapi.bare\", \"description\": \"bare\", \"path\": {:?}, \"type\": \"stdio\", \
             \"allowed_origins\": [\"chrome-extension://{id}/\"] }}",
            echo.display().to_string()
        );
        fs::write(hosts.join("org.ticketapi.bare.json"), manifest)
    })
    .unwrap();
    // On a busy computer the extensions may not be there in time for the first page.
    let calls = "navigator.ticketapi.getTicket().then(() => window.bare.getTicketNoAuth())";
    let is_ready = (0..10).any(|_| {
        browser.open(&format!("{}/both", site.allowed)).unwrap();
        run(&browser, calls).starts_with("AQIC5w")
    });
    assert!(is_ready, "{}", run(&browser, calls));

    run(&browser, CALLS);
    let times = run(&browser, CALLS);
    let times: Vec<f64> = times.split(' ').map(|time| time.parse().expect("two times")).collect();
    let process = Path::new("/proc").join(fs::read_to_string(site.desk.path("pid")).unwrap().trim());
    run(&browser, "navigator.ticketapi.watch().then(String)");
    std::thread::sleep(Duration::from_secs(1));
    let before = wake_ups(&process);
    std::thread::sleep(IDLE);
    let woken = wake_ups(&process) - before;
    let rollup = process.join("smaps_rollup");
    let mib = |name| field(&rollup, name) as f64 / 1024.0;

    println!("getTicketNoAuth from a page: {:.0} us, through the bare host {:.0} us", times[0], times[1]);
    println!("host: {:.2} MiB of its own (anonymous), {:.2} MiB proportional", mib("Anonymous:"), mib("Pss:"));
    let checks = std::env::args().any(|argument| argument == "--check");
    let resident = mib("Rss:");
    browser.open("about:blank").unwrap();
    let left = Instant::now();
    while browser.has_worker().unwrap() && left.elapsed() < WORKER * 2 {
        std::thread::sleep(Duration::from_millis(500));
    }
    let mut failed = false;
    for (what, value, most) in [
        ("getTicketNoAuth from a page / through a bare host", times[0] / times[1], 3.0),
        ("the host, resident MiB", resident, 8.0),
        (
            "seconds until the extension's worker has ended after the page",
            left.elapsed().as_secs_f64(),
            WORKER.as_secs_f64(),
        ),
        ("its wake-ups in 10 s without a call, with watch()", woken as f64, 0.0),
    ] {
        let is_missed = value > most;
        println!("{what:<60} {value:8.2}  (at most {most:.2}){}", if is_missed { "  FAILED" } else { "" });
        failed |= is_missed;
    }
    // Ends the browser and the agent.
    drop((browser, site));
    std::process::exit(i32::from(checks && failed));
}
