//! What pages get, from the first ticket to the end of the browser: the same in every browser.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use openssl::hash::MessageDigest;
use openssl::sign::Verifier;
use openssl::x509::X509;
use serde_json::Value;
use ticketapi::{Error, Pin, Stage};

use super::{answer, serve, serve_tls, set, settings_of};
use crate::house::House;
use crate::support::{Desk, InThread, PATIENCE, PIN, Readers, TestCard, UID, User, program, wait_for_end};

const REFUSED: &str = "NotAllowedError: not allowed";
const NO_AUTH: &str = "navigator.ticketapi.getTicketNoAuth()";
const LOG_IN: &str = "navigator.ticketapi.getTicket()";

/// A browser with the extension.
pub trait Browser {
    fn open(&self, address: &str);
    fn enter_frame(&self);
    /// Opens a window, and returns what to enter it with.
    fn new_window(&self) -> String;
    fn window(&self) -> String;
    fn windows(&self) -> Vec<String>;
    fn enter_window(&self, window: &str);
    /// What can be read in an element.
    fn text(&self, selector: &str) -> String;
    /// Runs a script, and returns what it passes to `done`.
    fn run(&self, script: &str) -> String;

    /// What a call of the page gives.
    fn call(&self, call: &str) -> String {
        self.run(&format!(
            "{call}.then((value) => done(String(value)), (error) => done(error.name + ': ' + error.message))"
        ))
    }

    /// Begins a call, whose outcome is `window.NAME`.
    fn begin(&self, name: &str, call: &str) {
        let outcome = "(value) => String(value), (error) => error.name + ': ' + error.message";
        self.run(&format!("window.{name} = {call}.then({outcome}); done('')"));
    }
}

/// A desk, its agent, and a web site whose pages are allowed.
pub struct Site {
    pub desk: Desk,
    pub allowed: String,
    _agent: InThread,
    port: u16,
    hesitates: Arc<AtomicBool>,
    asked: mpsc::Receiver<()>,
    cancelled: mpsc::Receiver<()>,
}

impl Site {
    pub fn new() -> Self {
        let (desk, hesitates) = (Desk::new(), Arc::new(AtomicBool::new(false)));
        let ((ask, asked), (cancel, cancelled)) = (mpsc::channel(), mpsc::channel());
        let does = Arc::clone(&hesitates);
        let user = User::new().asked_for_pin(move |token| {
            if !does.load(Ordering::SeqCst) {
                return Ok(Pin::new(PIN.into()));
            }
            ask.send(()).unwrap();
            while !token.is_cancelled() {
                std::thread::sleep(Duration::from_millis(5));
            }
            cancel.send(()).unwrap();
            Err(Error::cancelled(Stage::Pin))
        });
        let (agent, port) = (InThread::start(&desk, &user), serve_tls(desk.folder.path()));
        Self { desk, allowed: format!("https://127.0.0.1:{port}"), _agent: agent, port, hesitates, asked, cancelled }
    }

    /// Begins a login that waits for the PIN.
    fn begin_login(&self, browser: &impl Browser) {
        self.hesitates.store(true, Ordering::SeqCst);
        browser.begin("login", LOG_IN);
        self.asked.recv_timeout(PATIENCE).unwrap();
    }

    fn host(&self) -> String {
        std::fs::read_to_string(self.desk.path("pid")).unwrap().trim().to_owned()
    }
}

/// The whole story; `close` closes the browser.
pub fn tell<B: Browser>(site: &Site, browser: B, close: impl FnOnce(B)) {
    let ticket = first_ticket(site, &browser);
    many_calls(&browser, &ticket);
    only_allowed_pages(site, &browser, &ticket);
    signatures(site, &browser);
    a_long_ticket(site, &browser);
    a_locked_session(site, &browser);
    events(site, &browser);
    a_killed_host(site, &browser);

    site.begin_login(&browser);
    let host = site.host();
    close(browser);
    site.cancelled.recv_timeout(PATIENCE).unwrap();
    wait_for_end(&host);
    site.hesitates.store(false, Ordering::SeqCst);
    program(&site.desk).get_ticket().unwrap();
}

/// The page gets the ticket of the agent's session, and a window shows the user which site asks: once.
pub fn first_ticket(site: &Site, browser: &impl Browser) -> String {
    // On a busy computer the extension may not be there in time for the first page.
    let tickets = (0..10).map(|_| {
        browser.open(&format!("{}/", site.allowed));
        browser.call(LOG_IN)
    });
    let ticket = { tickets }.find(|ticket| ticket != REFUSED).expect("an allowed page gets a ticket");
    assert_eq!(program(&site.desk).get_ticket_no_auth().unwrap().expose(), ticket);

    let until = Instant::now() + PATIENCE;
    let page = browser.window();
    while browser.windows().len() < 2 {
        assert!(Instant::now() < until, "no window shows which site asks");
        std::thread::sleep(Duration::from_millis(50));
    }
    let windows = browser.windows();
    browser.enter_window(windows.iter().find(|window| **window != page).unwrap());
    assert_eq!(browser.text("#origin"), site.allowed);
    browser.enter_window(&page);
    browser.open(&format!("{}/", site.allowed));
    assert_eq!(browser.call(LOG_IN), ticket);
    assert_eq!(browser.windows().len(), 2);
    ticket
}

fn many_calls(browser: &impl Browser, ticket: &str) {
    let thousand = format!(
        "(async () => {{ const all = new Set(); for (let n = 0; n < 1000; n++) all.add(await {NO_AUTH}); return [...all].join(); }})()"
    );
    assert_eq!(browser.call(&thousand), ticket);
    let queued = format!(
        "Promise.allSettled(Array.from({{ length: 10000 }}, () => {NO_AUTH})) \
         .then((all) => all.every((one) => one.status === 'fulfilled' || one.reason.kind === 'Busy'))"
    );
    assert_eq!(browser.call(&queued), "true");
}

/// Pages of other origins, http, frames, sandboxed pages and forged messages get nothing.
fn only_allowed_pages(site: &Site, browser: &impl Browser, ticket: &str) {
    let (allowed, other) = (&site.allowed, format!("https://localhost:{}", site.port));
    let forged = format!(
        "new Promise((resolve) => {{ const {{ port1, port2 }} = new MessageChannel(); port1.onmessage = (event) => \
         resolve(JSON.stringify(event.data)); window.postMessage('ticketapi', '/', [port2]); \
         port1.postMessage({{ origin: '{allowed}' }}); port1.postMessage({{ id: 1, call: 'getTicketNoAuth', origin: '{allowed}' }}); \
         {NO_AUTH}.catch((error) => resolve(error.name + ': ' + error.message)); }})"
    );
    let refused = [
        (format!("{other}/"), false, NO_AUTH),
        (format!("{other}/?"), false, &forged),
        (format!("http://127.0.0.1:{}/", serve(answer)), false, NO_AUTH),
        (format!("{allowed}/sandboxed"), false, NO_AUTH),
        (format!("{allowed}/frame?{other}/"), true, NO_AUTH),
        (format!("{other}/frame?{allowed}/"), true, NO_AUTH),
        (format!("{allowed}/frame?{allowed}/sandboxed"), true, NO_AUTH),
    ];
    let page = browser.window();
    // All of them at once: each is refused after the same time.
    let windows = refused.map(|(address, frame, call)| {
        let window = browser.new_window();
        browser.enter_window(&window);
        browser.open(&address);
        if frame {
            browser.enter_frame();
        }
        browser.begin("outcome", call);
        (window, address, frame)
    });
    for (window, address, frame) in windows {
        browser.enter_window(&window);
        if frame {
            browser.enter_frame();
        }
        assert_eq!(browser.run("window.outcome.then(done)"), REFUSED, "{address}");
    }
    browser.enter_window(&page);
    browser.open(&format!("{allowed}/frame?{allowed}/"));
    browser.enter_frame();
    assert_eq!(browser.call(&NO_AUTH.replace("navigator", "top.navigator")), ticket);
}

/// The user sees which site has documents signed.
fn signatures(site: &Site, browser: &impl Browser) {
    browser.open(&format!("{}/", site.allowed));
    let sign = "navigator.ticketapi.sign({ title: 'for A. Patient', payloads: [{ id: '1', payload: btoa('two tablets') }] }) \
        .then(JSON.stringify)";
    let signed: Value = serde_json::from_str(&browser.call(sign)).unwrap();
    let bytes = |text: &Value| BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap();
    let key = X509::from_der(&bytes(&signed["certificate"])).unwrap().public_key().unwrap();
    let mut verifier = Verifier::new(MessageDigest::sha256(), &key).unwrap();
    assert!(verifier.verify_oneshot(&bytes(&signed["signatures"][0]["signature"]), b"two tablets").unwrap());
    let shown = std::fs::read_to_string(site.desk.path("pinentry.shown")).unwrap();
    assert!(shown.contains(&format!("sign 1 document: {}: for A. Patient", site.allowed)), "{shown}");

    let large = "navigator.ticketapi.sign({ payloads: [{ id: '1', payload: 'A'.repeat(70000) }] })";
    let refusal = "Error: the request has more than 64 KiB; have the documents signed in several calls";
    assert_eq!(browser.call(large), refusal);
    assert_eq!(browser.call("navigator.ticketapi.sign('everything')"), "Error: this is not a request for signatures");
    assert_eq!(browser.call("navigator.ticketapi.status()"), "live");
}

/// Another agent, at a provider whose tickets are long.
fn a_long_ticket(site: &Site, browser: &impl Browser) {
    let house = House::with("oidc", |provider| provider.token_padding(4096));
    let _agent = InThread::listen(house.folder.path(), &house.config, |engine| {
        engine.prompter(User::new()).browser(house.browser.clone())
    });
    let settings = [
        ("AGENT_SOCKET", house.folder.path().join("run/agent.sock").display().to_string()),
        ("CA_FILE", house.folder.path().join("ca.pem").display().to_string()),
        ("SERVICE", "oidc".into()),
        ("ISSUER", house.provider.issuer()),
        ("CLIENT_ID", house.provider.client_id()),
        ("BIND_CARD", "false".into()),
        ("PROXY", "none".into()),
    ];
    set(&site.desk, &settings).unwrap();
    browser.open(&format!("{}/", site.allowed));
    let ticket = browser.call(LOG_IN);
    assert!(ticket.len() > 4096 && !ticket.contains("Error"), "{ticket}");
    assert_eq!(browser.call(NO_AUTH), ticket);
    set(&site.desk, &settings_of(&site.desk)).unwrap();
}

fn events(site: &Site, browser: &impl Browser) {
    browser.open(&format!("{}/", site.allowed));
    browser.run(
        "window.ended = new Promise((resolve) => navigator.ticketapi.addEventListener('sessionended', resolve)); \
         navigator.ticketapi.watch().then(done)",
    );
    program(&site.desk).destroy_ticket().unwrap();
    assert_eq!(browser.call("window.ended.then((event) => event.type)"), "sessionended");
}

/// Another agent, whose session is locked when the card is taken out.
fn a_locked_session(site: &Site, browser: &impl Browser) {
    let desk = Desk::with(|spine| spine.roles(1)).set("mode", "session_lock");
    let card = TestCard::new(&desk, UID);
    let readers = Readers::with(&card);
    let _agent = InThread::listen(desk.folder.path(), &desk.config, |engine| {
        engine.prompter(User::new()).card_reader(readers.clone())
    });
    set(&site.desk, &settings_of(&desk)).unwrap();
    browser.open(&format!("{}/", site.allowed));
    let ticket = browser.call(LOG_IN);
    browser.run(
        "window.locked = new Promise((resolve) => navigator.ticketapi.addEventListener('sessionlocked', resolve)); \
         navigator.ticketapi.watch().then(done)",
    );
    readers.remove(0);
    assert_eq!(browser.call("window.locked.then((event) => event.type)"), "sessionlocked");
    assert_eq!(browser.call("navigator.ticketapi.status()"), "locked");
    let refused = browser.call(NO_AUTH);
    assert!(refused.starts_with("Error: ") && refused.contains("locked"), "{refused}");
    readers.insert(0, &card);
    assert_eq!(browser.call(LOG_IN), ticket);
    assert_eq!(browser.call("navigator.ticketapi.status()"), "live");
    set(&site.desk, &settings_of(&site.desk)).unwrap();
}

/// The host is killed during a login, which is cancelled; the page goes on with another.
fn a_killed_host(site: &Site, browser: &impl Browser) {
    site.begin_login(browser);
    assert!(Command::new("kill").args(["-9", &site.host()]).status().unwrap().success());
    assert_eq!(browser.run("window.login.then(done)"), "Error: the connection has ended; try again");
    site.cancelled.recv_timeout(PATIENCE).unwrap();
    let status = "(async () => { for (;;) { const status = await navigator.ticketapi.status(); \
        if (status !== 'loggingin') return status; } })()";
    assert_eq!(browser.call(status), "loggedout");
}
