//! What the tests of the whole product share: a simulator, a card, and a user who answers prompts.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

#[cfg(unix)]
pub mod memory;
pub mod readers;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl::pkcs12::Pkcs12;
use tempfile::TempDir;
use ticketapi::cancel::CancelToken;
use ticketapi::card::Absence;
use ticketapi::prompt::{Notice, PinProblem, PinRequest, Prompter, text};
use ticketapi::ssb::Role;
use ticketapi::{Config, Engine, Error, ErrorKind, Pin, Result, Stage};
use ticketapi_testkit::{CardSpec, Spine, SpineBuilder, TestCa};

pub const UID: &str = "123456789012";
pub const PIN: &str = "4821";

/// A broker, a software card that it accepts, and the settings for a login.
pub struct Desk {
    pub spine: Spine,
    pub ca: TestCa,
    pub config: Config,
    pub folder: TempDir,
}

impl Desk {
    pub fn new() -> Self {
        Self::with(|spine| spine)
    }

    pub fn with(set_up: impl FnOnce(SpineBuilder) -> SpineBuilder) -> Self {
        let ca = TestCa::new().unwrap();
        let spine = set_up(Spine::builder().strict().card_ca(&ca)).start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let card = folder.path().join("card.p12");
        ca.issue(&CardSpec::new(UID)).unwrap().write_pkcs12(&card, PIN).unwrap();
        let mut config = Config::default();
        config.set("base_url", &spine.url()).unwrap();
        config.set("card_wait", "0").unwrap();
        // Not the agent of the developer's desktop.
        config.set("agent", "never").unwrap();
        // The simulator removes its own copy when it ends.
        let ca_file = folder.path().join("ca.pem");
        std::fs::copy(spine.ca_file(), &ca_file).unwrap();
        config.ca_file = Some(ca_file);
        config.software_card = Some(card);
        Self { spine, ca, config, folder }
    }

    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.config.set(key, value).unwrap();
        self
    }

    pub fn engine(&self, user: &User) -> Engine {
        Engine::builder(self.config.clone()).prompter(user.clone()).build().unwrap()
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A software card that is fast to use: with a short key, and without stretching of the PIN.
    pub fn quick_card(&self, spec: &CardSpec) -> std::path::PathBuf {
        let card = self.ca.issue(&spec.clone().key_bits(1024)).unwrap();
        let mut builder = Pkcs12::builder();
        builder.key_iter(1).mac_iter(1).pkey(card.key()).cert(card.certificate());
        let file = self.path("quick.p12");
        std::fs::write(&file, builder.build2(PIN).unwrap().to_der().unwrap()).unwrap();
        file
    }
}

type Ask<T> = Box<dyn FnMut(&CancelToken) -> Result<T> + Send>;

/// A user who answers prompts as the test says, and records them.
#[derive(Clone, Default)]
pub struct User(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    pins: VecDeque<String>,
    last_try: bool,
    pin_ask: Option<Arc<Mutex<Ask<Pin>>>>,
    role_ask: Option<Arc<Mutex<Ask<usize>>>>,
    asked: Vec<Asked>,
    told: Vec<String>,
    notices: Arc<()>,
}

/// A prompt that was shown to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Pin(Option<PinProblem>),
    LastTry,
    OnReader,
    Role(usize),
    InsertCard,
}

impl User {
    /// A user who knows the PIN and chooses the first role.
    pub fn new() -> Self {
        Self::typing(&[PIN; 10])
    }

    /// A user who types these PINs, then cancels.
    pub fn typing(pins: &[&str]) -> Self {
        let user = Self::default();
        user.0.lock().unwrap().pins = pins.iter().map(|&pin| pin.to_owned()).collect();
        user
    }

    /// From now on the user types these PINs, then cancels.
    pub fn types(&self, pins: &[&str]) {
        self.0.lock().unwrap().pins = pins.iter().map(|&pin| pin.to_owned()).collect();
    }

    /// Agrees to use the last try.
    pub fn using_the_last_try(self) -> Self {
        self.0.lock().unwrap().last_try = true;
        self
    }

    /// Answers the PIN prompt with `ask`.
    pub fn asked_for_pin(self, ask: impl FnMut(&CancelToken) -> Result<Pin> + Send + 'static) -> Self {
        self.0.lock().unwrap().pin_ask = Some(Arc::new(Mutex::new(Box::new(ask))));
        self
    }

    /// Answers the role prompt with `ask`.
    pub fn asked_for_role(self, ask: impl FnMut(&CancelToken) -> Result<usize> + Send + 'static) -> Self {
        self.0.lock().unwrap().role_ask = Some(Arc::new(Mutex::new(Box::new(ask))));
        self
    }

    pub fn choosing(self, index: usize) -> Self {
        self.asked_for_role(move |_| Ok(index))
    }

    /// The prompts so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.0.lock().unwrap().asked.clone()
    }

    pub fn pins_asked(&self) -> usize {
        self.asked().iter().filter(|asked| matches!(asked, Asked::Pin(_))).count()
    }

    /// The texts that the user was shown so far.
    pub fn told(&self) -> Vec<String> {
        self.0.lock().unwrap().told.clone()
    }

    /// The number of notices that are open now.
    pub fn notices(&self) -> usize {
        Arc::strong_count(&self.0.lock().unwrap().notices) - 1
    }

    fn note(&self, asked: Asked, told: String) {
        let mut state = self.0.lock().unwrap();
        state.asked.push(asked);
        state.told.push(told);
    }

    fn notice(&self) -> Notice {
        Notice::new(Arc::clone(&self.0.lock().unwrap().notices))
    }
}

impl Prompter for User {
    fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin> {
        let problem = text::problem(request).map(|problem| problem + "\n").unwrap_or_default();
        self.note(Asked::Pin(request.problem), problem + &text::enter_pin(request));
        let ask = self.0.lock().unwrap().pin_ask.clone();
        if let Some(ask) = ask {
            return (ask.lock().unwrap())(cancel);
        }
        self.0.lock().unwrap().pins.pop_front().map(Pin::new).ok_or_else(|| Error::cancelled(Stage::Pin))
    }

    fn use_last_try(&self, request: &PinRequest<'_>, _: &CancelToken) -> Result<bool> {
        self.note(Asked::LastTry, text::last_try(request));
        Ok(self.0.lock().unwrap().last_try)
    }

    fn role(&self, roles: &[Role], cancel: &CancelToken) -> Result<usize> {
        self.note(Asked::Role(roles.len()), text::CHOOSE_ROLE.to_owned());
        let ask = self.0.lock().unwrap().role_ask.clone();
        ask.map_or(Ok(0), |ask| (ask.lock().unwrap())(cancel))
    }

    fn enter_pin_on_reader(&self, request: &PinRequest<'_>, _: &CancelToken) -> Notice {
        self.note(Asked::OnReader, text::enter_pin_on_reader(request));
        self.notice()
    }

    fn insert_card(&self, absence: &Absence, _: &CancelToken) -> Notice {
        self.note(Asked::InsertCard, text::insert_card(absence));
        self.notice()
    }
}

/// Writes an executable shell script.
#[cfg(unix)]
pub fn script(file: &Path, body: &str) {
    ticketapi_testkit::write_script(file, body).unwrap();
}

pub fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind().clone()
}

/// Long enough for anything that does not hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Counts the open descriptors of this process.
pub fn descriptors() -> usize {
    std::fs::read_dir(Path::new("/proc/self/fd")).unwrap().count()
}

/// The resources of this process, apart from memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub descriptors: usize,
    pub threads: usize,
    /// The child processes, including zombies.
    pub children: String,
}

impl Held {
    pub fn now() -> Self {
        let tasks: Vec<_> = std::fs::read_dir("/proc/self/task").unwrap().flatten().collect();
        let children = tasks.iter().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        Self { descriptors: descriptors(), threads: tasks.len(), children: children.collect() }
    }
}

/// Counts the calls of this function of a scripted module, in the module's log.
pub fn times_called(calls: &Path, function: &str) -> usize {
    std::fs::read_to_string(calls).map_or(0, |calls| calls.lines().filter(|&call| call == function).count())
}
