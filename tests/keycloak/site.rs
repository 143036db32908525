//! What these tests share: one Keycloak, and for each test a user of its own with a browser.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use ticketapi::cancel::CancelToken;
use ticketapi::engine::Event;
use ticketapi::prompt::{Browser, LoginPage, Opened};
use ticketapi::session::EndReason;
use ticketapi::{Config, Engine, Result};
use ticketapi_testkit::keycloak::{CIS2_SECRET, CIS2_WITH_SECRET, EHEALTH_PUBLIC, password};
use ticketapi_testkit::{Browser as Pages, Keycloak};

use crate::support::{PATIENCE, User};

/// The Keycloak of all these tests, which run at once. It ends with the process.
pub fn keycloak() -> &'static Keycloak {
    static KEYCLOAK: OnceLock<Keycloak> = OnceLock::new();
    KEYCLOAK.get_or_init(|| Keycloak::start().unwrap())
}

/// A user of a realm, and the settings to log in with.
pub struct Site {
    pub config: Config,
    pub folder: TempDir,
    pub browser: Visitor,
    realm: &'static str,
}

impl Site {
    /// The public client of eHealth, and the user `name`, who is like `anna`.
    pub fn ehealth(realm: &'static str, name: &str) -> Self {
        Self::new("ehealth_dk", realm, EHEALTH_PUBLIC, name, "anna")
    }

    /// A client of CIS2 that has a secret, and the user `name`, who is like another, or that one.
    pub fn cis2(name: &str, like: &str) -> Self {
        let site = Self::new("cis2", "cis2", CIS2_WITH_SECRET, name, like);
        site.with_secret(CIS2_SECRET)
    }

    fn new(service: &str, realm: &'static str, client: &str, name: &str, like: &str) -> Self {
        let keycloak = keycloak();
        if name != like {
            keycloak.add_user(realm, name, like).unwrap();
        }
        let mut config = Config::default();
        for (key, value) in [
            ("service", service),
            ("issuer", &keycloak.issuer(realm)),
            ("client_id", client),
            // Not those of the developer's desktop.
            ("agent", "never"),
            ("bind_card", "false"),
            ("proxy", "none"),
        ] {
            config.set(key, value).unwrap();
        }
        config.ca_file = Some(keycloak.ca_file().into());
        Self { config, folder: tempfile::tempdir().unwrap(), browser: Visitor::new(name), realm }
    }

    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.config.set(key, value).unwrap();
        self
    }

    pub fn with_secret(self, secret: &str) -> Self {
        let file = self.folder.path().join("secret");
        std::fs::write(&file, secret).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        self.set("client_auth", "client_secret").set("client_secret_file", file.to_str().unwrap())
    }

    pub fn engine(&self, user: &User) -> Engine {
        Engine::builder(self.config.clone()).prompter(user.clone()).browser(self.browser.clone()).build().unwrap()
    }

    /// An engine, and its events.
    pub fn watched(&self) -> (Engine, mpsc::Receiver<Event>) {
        let (tell, events) = mpsc::channel();
        let builder = Engine::builder(self.config.clone()).prompter(User::new()).browser(self.browser.clone());
        (builder.listener(move |event| drop(tell.send(event.clone()))).build().unwrap(), events)
    }

    /// How many sessions the user has at Keycloak.
    pub fn sessions(&self) -> usize {
        keycloak().open_sessions(self.realm, &self.browser.username()).unwrap()
    }

    pub fn wait_for_sessions(&self, count: usize) {
        let began = Instant::now();
        while self.sessions() != count {
            assert!(began.elapsed() < PATIENCE, "{} sessions, not {count}", self.sessions());
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn end_sessions(&self) {
        keycloak().end_sessions(self.realm, &self.browser.username()).unwrap();
    }
}

/// Waits until a session ends.
pub fn end_reason(events: &mpsc::Receiver<Event>) -> EndReason {
    loop {
        if let Event::SessionEnded(reason) = events.recv_timeout(PATIENCE).expect("the session ends") {
            return reason;
        }
    }
}

/// A browser without a window, and who sits at it.
#[derive(Clone)]
pub struct Visitor(Arc<Mutex<State>>);

struct State {
    pages: Pages,
    username: String,
    role: Option<String>,
    opened: usize,
    last: String,
}

impl Visitor {
    fn new(username: &str) -> Self {
        let pages = Pages::new(keycloak().ca_file());
        Self(Arc::new(Mutex::new(State {
            pages,
            username: username.into(),
            role: None,
            opened: 0,
            last: String::new(),
        })))
    }

    pub fn username(&self) -> String {
        self.0.lock().unwrap().username.clone()
    }

    /// Another user sits down.
    pub fn becomes(&self, username: &str) {
        username.clone_into(&mut self.0.lock().unwrap().username);
    }

    /// From now on this role is chosen on the provider's page.
    pub fn chooses(&self, role: &str) {
        self.0.lock().unwrap().role = Some(role.into());
    }

    /// How many pages programs have opened.
    pub fn opened(&self) -> usize {
        self.0.lock().unwrap().opened
    }

    /// The text of the last page. Waits until it is there.
    pub fn last_page(&self) -> String {
        self.0.lock().unwrap().last.clone()
    }
}

impl Browser for Visitor {
    fn open(&self, page: &LoginPage<'_>, _: &CancelToken) -> Result<Opened> {
        let (visitor, address) = (self.clone(), page.address.to_owned());
        // Locked before the login goes on, so that `last_page` is this login's.
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let mut state = visitor.0.lock().unwrap();
            tell.send(()).unwrap();
            state.opened += 1;
            let (username, role) = (state.username.clone(), state.role.clone());
            let last = state.pages.log_in(&address, &username, &password(&username), role.as_deref());
            state.last = last.map_or_else(|error| error.to_string(), |page| page.text);
        });
        told.recv().unwrap();
        Ok(Opened::default())
    }
}

/// What a token says. Programs must not read an access token; a test may.
pub fn payload(token: &str) -> serde_json::Value {
    use base64::Engine;
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
