//! Pages in a real Chromium with the extension: who gets the ticket of the agent's session.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod pages;
mod support;

use std::path::Path;
use std::process::Command;

use pages::{answer, serve, serve_tls};
use support::{Desk, InThread, User, program};
use ticketapi_testkit::chromium::Chromium;

const EXTENSION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/extension");
/// Installs the host for this profile.
fn install(profile: &Path, desk: &Desk, origin: &str) -> std::io::Result<()> {
    let manifest = include_str!("../install/chromium.json.in");
    pages::install(&profile.join("NativeMessagingHosts"), manifest, desk, origin)
}

/// What a call of the page gives.
fn call(browser: &Chromium, call: &str) -> String {
    let script = format!(
        "const done = arguments[arguments.length - 1]; \
         {call}.then((value) => done(String(value)), (error) => done(error.name + ': ' + error.message))"
    );
    browser.run(&script).unwrap()
}

fn start(desk: &Desk, origin: &str) -> Chromium {
    let arguments = [
        format!("--load-extension={EXTENSION}"),
        format!("--disable-extensions-except={EXTENSION}"),
        "--disable-features=DisableLoadExtensionCommandLineSwitch".into(),
    ];
    Chromium::start_with(&arguments, |profile| install(profile, desk, origin)).unwrap()
}

/// Opens the page, and logs in. On a busy computer the extension may not be there in time for the first page.
fn first_ticket(browser: &Chromium, address: &str) -> String {
    for _ in 0..10 {
        browser.open(address).unwrap();
        let ticket = call(browser, "navigator.ticketapi.getTicket()");
        if ticket != REFUSED {
            return ticket;
        }
    }
    panic!("an allowed page gets no ticket");
}

const REFUSED: &str = "NotAllowedError: not allowed";

#[test]
fn only_a_page_of_an_allowed_origin_gets_the_ticket_in_chromium() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let (tls, plain) = (serve_tls(desk.folder.path()), serve(answer));
    let allowed = format!("https://127.0.0.1:{tls}");
    let browser = start(&desk, &allowed);

    let ticket = first_ticket(&browser, &format!("{allowed}/"));
    assert_eq!(program(&desk).get_ticket_no_auth().unwrap().expose(), ticket);

    let thousand = "(async () => { const all = new Set(); \
        for (let n = 0; n < 1000; n++) all.add(await navigator.ticketapi.getTicketNoAuth()); return [...all].join(); })()";
    assert_eq!(call(&browser, thousand), ticket);
    let many = "Promise.allSettled(Array.from({ length: 10000 }, () => navigator.ticketapi.getTicketNoAuth())) \
        .then((all) => all.every((one) => one.status === 'fulfilled' || one.reason.kind === 'Busy'))";
    assert_eq!(call(&browser, many), "true");

    // The host is killed; the page goes on with another.
    let pid = std::fs::read_to_string(desk.path("pid")).unwrap();
    assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    let until_it_works = "(async () => { for (;;) try { return await navigator.ticketapi.getTicketNoAuth(); } \
        catch { } })()";
    assert_eq!(call(&browser, until_it_works), ticket);

    // A page that makes up messages of its own.
    browser.open(&format!("https://localhost:{tls}/")).unwrap();
    let forged = format!(
        "new Promise((resolve) => {{ const {{ port1, port2 }} = new MessageChannel(); port1.onmessage = (event) => \
         resolve(JSON.stringify(event.data)); window.postMessage('ticketapi', '/', [port2]); \
         port1.postMessage({{ origin: '{allowed}' }}); port1.postMessage({{ id: 1, call: 'getTicketNoAuth', origin: '{allowed}' }}); \
         navigator.ticketapi.getTicket().catch((error) => resolve(error.name + ': ' + error.message)); }})"
    );
    assert_eq!(call(&browser, &forged), REFUSED);
    for address in
        [format!("https://localhost:{tls}/"), format!("http://127.0.0.1:{plain}/"), format!("{allowed}/sandboxed")]
    {
        browser.open(&address).unwrap();
        assert_eq!(call(&browser, "navigator.ticketapi.getTicketNoAuth()"), REFUSED, "{address}");
    }
    for (top, frame) in [
        (allowed.clone(), format!("https://localhost:{tls}/")),
        (format!("https://localhost:{tls}"), format!("{allowed}/")),
        (allowed.clone(), format!("{allowed}/sandboxed")),
    ] {
        browser.open(&format!("{top}/frame?{frame}")).unwrap();
        browser.enter_frame().unwrap();
        assert_eq!(call(&browser, "navigator.ticketapi.getTicketNoAuth()"), REFUSED, "{frame} in {top}");
    }
    browser.open(&format!("{allowed}/frame?{allowed}/")).unwrap();
    browser.enter_frame().unwrap();
    assert_eq!(call(&browser, "top.navigator.ticketapi.getTicketNoAuth()"), ticket);
}

#[test]
fn the_example_page_shows_a_part_of_the_ticket() {
    let desk = Desk::new();
    let _agent = InThread::start(&desk, &User::new());
    let allowed = format!("https://127.0.0.1:{}", serve_tls(desk.folder.path()));
    let browser = start(&desk, &allowed);
    let ticket = first_ticket(&browser, &format!("{allowed}/"));
    browser.open(&format!("{allowed}/example/")).unwrap();
    browser.click("#login").unwrap();
    let shown = "new Promise((resolve) => setInterval(() => { const text = document.getElementById('output').textContent; \
        if (text.startsWith('Logged in.')) resolve(text); }, 20))";
    let shown = call(&browser, shown);
    assert!(shown.contains(&ticket[..4]) && !shown.contains(&ticket[..8]), "{shown}");
    if let Some(file) = std::env::var_os("TICKETAPI_SCREENSHOT") {
        std::fs::write(file, browser.screenshot().unwrap()).unwrap();
    }
}
