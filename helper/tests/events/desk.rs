//! Two readers, two cards, and watches of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use ticketapi::cancel::CancelToken;
use ticketapi::card::CardReader;
use ticketapi::card::events::{CardEvent, CardWatch, ReaderState, Snapshot, changes};
use ticketapi::card::helper::{DEADLINE, HelperReader, HelperSettings};
use ticketapi::card::pkcs11::CardSettings;
use ticketapi_testkit::artifacts::{helper_program, opensc_module};
use ticketapi_testkit::{CardSpec, Pcscd, PivCard, TestCa, write_script};

pub const READERS: [&str; 2] = ["Virtual PCD 00 00", "Virtual PCD 00 01"];

/// Long enough for anything that does not hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Multiplies repetitions: 1 in `make check`, more for a soak test.
pub fn rounds() -> usize {
    std::env::var("TICKETAPI_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

pub struct Desk {
    // First, so that the cards are removed before the service ends.
    pub cards: [PivCard; 2],
    pub pcscd: Pcscd,
    pub reader: HelperReader,
    folder: TempDir,
}

impl Desk {
    /// A desk with empty readers.
    pub fn new() -> Self {
        Self::with(Pcscd::start().unwrap())
    }

    pub fn without_readers() -> Self {
        Self::with(Pcscd::without_readers().unwrap())
    }

    /// A desk with no reader plugged in.
    pub fn with_usb() -> Self {
        Self::with(Pcscd::start_with_usb().unwrap())
    }

    fn with(pcscd: Pcscd) -> Self {
        let ca = TestCa::new().unwrap();
        let card = || PivCard::new(&ca.issue(&CardSpec::new("123456789012")).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let helper = pcscd.helper_wrapper(&helper_program()).unwrap();
        let program = folder.path().join("helper");
        let recorded = format!(
            "echo \"$1 $$\" >> '{}'\nexec '{}' \"$@\"\n",
            folder.path().join("helpers").display(),
            helper.display()
        );
        write_script(&program, &recorded).unwrap();
        let card_settings = CardSettings { modules: vec![opensc_module().into()], ..CardSettings::default() };
        let reader = HelperReader::new(HelperSettings { program, card: card_settings, deadline: DEADLINE });
        Self { cards: [card(), card()], pcscd, reader, folder }
    }

    pub fn insert(&self, reader: usize) {
        let port = [self.pcscd.port(), self.pcscd.second_port()][reader];
        self.cards[reader].insert(port).unwrap();
    }

    /// The helpers that were started to watch, in order.
    pub fn watchers(&self) -> Vec<Pid> {
        self.helpers("events")
    }

    /// Counts the searches for a card.
    pub fn looks(&self) -> usize {
        self.helpers("").len()
    }

    fn helpers(&self, argument: &str) -> Vec<Pid> {
        let helpers = fs::read_to_string(self.folder.path().join("helpers")).unwrap_or_default();
        let helpers = helpers.lines().filter_map(|line| line.split_once(' ')).filter(|helper| helper.0 == argument);
        helpers.map(|(_, pid)| Pid::from_raw(pid.parse().unwrap())).collect()
    }

    pub fn watch(&self) -> Watch {
        let mut watch = Watch { watch: self.reader.watch().unwrap().unwrap(), last: Snapshot::Down };
        watch.next();
        watch
    }
}

/// A watch, and the state that it last reported.
pub struct Watch {
    pub watch: Box<dyn CardWatch>,
    pub last: Snapshot,
}

impl Watch {
    /// Returns the next events.
    pub fn next(&mut self) -> Vec<CardEvent> {
        let now = self.watch.next(Some(Instant::now() + PATIENCE), &CancelToken::new()).unwrap();
        let before = std::mem::replace(&mut self.last, now.expect("something happens"));
        assert_ne!(self.last, before);
        changes(&before, &self.last)
    }

    /// Waits for `event`.
    pub fn until(&mut self, event: &CardEvent) {
        while !self.next().contains(event) {}
    }

    /// Checks that there are no events for `time`.
    pub fn nothing_for(&mut self, time: Duration) {
        assert_eq!(self.watch.next(Some(Instant::now() + time), &CancelToken::new()).unwrap(), None);
    }

    /// Reads the events that were already reported.
    fn catch_up(&mut self) {
        while let Some(now) = self.watch.next(Some(Instant::now()), &CancelToken::new()).unwrap() {
            self.last = now;
        }
    }

    /// Waits until there is a card in `reader`.
    pub fn until_card(&mut self, reader: usize) {
        self.catch_up();
        while !self.state(reader).card {
            self.next();
        }
    }

    /// Waits until `reader` is empty.
    pub fn until_empty(&mut self, reader: usize) {
        self.catch_up();
        while self.state(reader).card {
            self.next();
        }
    }

    pub fn state(&self, reader: usize) -> &ReaderState {
        let Snapshot::Readers(readers) = &self.last else { panic!("the service is down") };
        readers.iter().find(|state| state.name == READERS[reader]).unwrap()
    }
}

pub fn inserted(reader: usize) -> CardEvent {
    CardEvent::Inserted { reader: READERS[reader].to_owned() }
}

pub fn removed(reader: usize) -> CardEvent {
    CardEvent::Removed { reader: READERS[reader].to_owned() }
}

pub fn signal(pid: Pid, signal: Signal) {
    kill(pid, signal).unwrap();
}

/// Returns `true` if the process exists, or is a zombie.
pub fn is_there(pid: Pid) -> bool {
    proc(pid).exists()
}

pub fn proc(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

pub fn threads(pid: Pid) -> usize {
    fs::read_dir(proc(pid).join("task")).map_or(0, Iterator::count)
}
