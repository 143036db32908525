//! What the tests of OpenID logins share: a provider, a browser, and the settings to log in with.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use tempfile::TempDir;
use ticketapi::cancel::CancelToken;
use ticketapi::engine::EngineBuilder;
use ticketapi::prompt::{Browser, LoginPage, Opened};
use ticketapi::{Config, Engine, Error, ErrorKind, Result, Stage};
use ticketapi_testkit::OidcProvider;
use ticketapi_testkit::oidc::OidcBuilder;

use crate::support::{PATIENCE, User};

/// A provider, and the settings to log in there.
pub struct House {
    pub provider: OidcProvider,
    pub config: Config,
    pub folder: TempDir,
    pub browser: TestBrowser,
}

impl House {
    /// A provider of no special kind.
    pub fn new() -> Self {
        Self::with("oidc", |provider| provider)
    }

    pub fn cis2(set_up: impl FnOnce(OidcBuilder) -> OidcBuilder) -> Self {
        Self::with("cis2", |provider| set_up(provider.cis2()))
    }

    pub fn ehealth_dk() -> Self {
        Self::with("ehealth_dk", OidcBuilder::ehealth_dk)
    }

    /// A provider for the service of this name.
    pub fn with(service: &str, set_up: impl FnOnce(OidcBuilder) -> OidcBuilder) -> Self {
        let provider = set_up(OidcProvider::builder()).start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        // The provider takes its own copy along when it ends.
        let ca_file = folder.path().join("ca.pem");
        std::fs::copy(provider.ca_file(), &ca_file).unwrap();
        let mut config = Config::default();
        for (key, value) in [
            ("service", service),
            ("issuer", &provider.issuer()),
            ("client_id", &provider.client_id()),
            // Not those of the developer's desktop.
            ("agent", "never"),
            ("bind_card", "false"),
            ("proxy", "none"),
            ("login_timeout", "20"),
        ] {
            config.set(key, value).unwrap();
        }
        config.ca_file = Some(ca_file);
        let browser = TestBrowser::new(std::fs::read(provider.ca_file()).unwrap());
        Self { provider, config, folder, browser }
    }

    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.config.set(key, value).unwrap();
        self
    }

    pub fn engine(&self) -> Engine {
        self.engine_for(&User::new())
    }

    pub fn engine_for(&self, user: &User) -> Engine {
        self.builder_for(user).build().unwrap()
    }

    pub fn builder_for(&self, user: &User) -> EngineBuilder {
        Engine::builder(self.config.clone()).prompter(user.clone()).browser(self.browser.clone())
    }

    /// Panics if one of these texts shows a secret that the provider has seen.
    pub fn assert_shows_no_secret(&self, texts: &[String]) {
        for secret in self.provider.secrets().iter().filter(|secret| secret.len() > 8) {
            for text in texts {
                assert!(!text.contains(secret.as_str()), "a secret is shown in {text}");
            }
        }
    }
}

/// What the browser does with a page.
type Act = dyn Fn(&TestBrowser, &str) + Send + Sync;

/// A browser without a window: it opens the page and follows redirects, to the end of the login too.
#[derive(Clone)]
pub struct TestBrowser(Arc<Shared>);

struct Shared {
    ca: Vec<u8>,
    act: Mutex<Arc<Act>>,
    log: Mutex<Log>,
    /// The provider's.
    cookies: Mutex<Vec<String>>,
}

#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The addresses that programs have opened.
    pub opened: Vec<String>,
    /// The addresses of this computer that the browser was sent to.
    pub redirects: Vec<String>,
    /// What those showed.
    pub pages: Vec<String>,
}

impl TestBrowser {
    fn new(ca: Vec<u8>) -> Self {
        let act: Arc<Act> = Arc::new(|browser, address| browser.follow(address));
        Self(Arc::new(Shared { ca, act: Mutex::new(act), log: Mutex::default(), cookies: Mutex::default() }))
    }

    /// From now on does this with each page.
    pub fn acts(&self, act: impl Fn(&Self, &str) + Send + Sync + 'static) {
        *self.0.act.lock().unwrap() = Arc::new(act);
    }

    /// Opens a page at the provider, and returns where that sends the browser.
    pub fn redirect_of(&self, address: &str) -> Option<String> {
        location(&self.get(address))
    }

    /// Opens a page, follows its redirects, and keeps what is shown at the end.
    pub fn follow(&self, address: &str) {
        let mut address = address.to_owned();
        while let Some(next) = self.redirect_of(&address) {
            if next.starts_with("http://") {
                return self.end(&next);
            }
            address = next;
        }
    }

    /// Follows a redirect to this computer.
    pub fn end(&self, address: &str) {
        self.0.log.lock().unwrap().redirects.push(address.to_owned());
        let page = self.get(address);
        self.0.log.lock().unwrap().pages.push(page);
    }

    /// Returns the answer to a GET, or nothing if nobody answers.
    pub fn get(&self, address: &str) -> String {
        let (scheme, rest) = address.split_once("://").unwrap();
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let cookies = if scheme == "https" { self.0.cookies.lock().unwrap().join("; ") } else { String::new() };
        let cookies = if cookies.is_empty() { cookies } else { format!("Cookie: {cookies}\r\n") };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{cookies}Connection: close\r\n\r\n");
        let Ok(mut stream) = TcpStream::connect(host) else { return String::new() };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        if scheme == "https" {
            let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
            connector.set_verify(SslVerifyMode::PEER);
            let ca = openssl::x509::X509::from_pem(&self.0.ca).unwrap();
            connector.cert_store_mut().add_cert(ca).unwrap();
            let name = host.split(':').next().unwrap();
            let Ok(mut stream) = connector.build().connect(name, stream) else { return String::new() };
            drop(stream.write_all(request.as_bytes()));
            drop(stream.read_to_end(&mut answer));
        } else {
            drop(stream.write_all(request.as_bytes()));
            drop(stream.read_to_end(&mut answer));
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let mut cookies = self.0.cookies.lock().unwrap();
        for cookie in headers(&answer, "set-cookie").filter(|_| scheme == "https") {
            let pair = cookie.split(';').next().unwrap().to_owned();
            cookies.retain(|old| old.split('=').next() != pair.split('=').next());
            cookies.push(pair);
        }
        answer
    }

    /// Forgets who has logged in at the provider.
    pub fn forget(&self) {
        self.0.cookies.lock().unwrap().clear();
    }

    pub fn log(&self) -> Log {
        self.0.log.lock().unwrap().clone()
    }

    /// Waits until the browser shows this many pages at the end of logins.
    pub fn pages(&self, count: usize) -> Vec<String> {
        let began = Instant::now();
        loop {
            let pages = self.log().pages;
            if pages.len() >= count {
                return pages;
            }
            assert!(began.elapsed() < PATIENCE, "{} of {count} pages", pages.len());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Browser for TestBrowser {
    fn open(&self, page: &LoginPage<'_>, _: &CancelToken) -> Result<Opened> {
        self.0.log.lock().unwrap().opened.push(page.address.to_owned());
        let (browser, address) = (self.clone(), page.address.to_owned());
        let act = Arc::clone(&*self.0.act.lock().unwrap());
        std::thread::spawn(move || act(&browser, &address));
        Ok(Opened::default())
    }
}

/// A browser that is not there.
pub struct NoBrowser;

impl Browser for NoBrowser {
    fn open(&self, _: &LoginPage<'_>, _: &CancelToken) -> Result<Opened> {
        Err(Error::new(ErrorKind::NoPrompter, Stage::Browser, "there is no browser"))
    }
}

fn location(answer: &str) -> Option<String> {
    headers(answer, "location").next().map(str::to_owned)
}

fn headers<'a>(answer: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(move |(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Returns the value of a parameter in an address, as it is written.
pub fn parameter<'a>(address: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = address.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}
