//! Progress on a terminal while the user waits.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::sync::Mutex;

use ticketapi::cancel::CancelToken;
use ticketapi::card::Absence;
use ticketapi::prompt::{
    Browser, LoginPage, Notice, Opened, PinRequest, Prompter, SystemBrowser, SystemPrompter, text,
};
use ticketapi::ssb::Role;
use ticketapi::{Config, Pin, Result};

use crate::show::printable;

const CLEAR_LINE: &str = "\r\x1b[2K";

/// One line at the bottom of the terminal, removed when its last clone is dropped.
#[derive(Clone)]
pub struct Progress(Option<Arc<Line>>);

struct Line(Mutex<String>);

impl Progress {
    /// Starts empty. Shows nothing if standard error is not a terminal.
    pub fn new() -> Self {
        Self(stderr().is_terminal().then(|| Arc::new(Line(Mutex::default()))))
    }

    /// Replaces the line's text.
    pub fn say(&self, text: &str) {
        if let Some(line) = &self.0 {
            line.show(text);
        }
    }

    /// Removes the line, so that other output can follow.
    pub fn clear(&self) {
        self.say("");
    }

    fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    fn said(&self) -> String {
        self.0.as_ref().and_then(|line| Some(line.0.lock().ok()?.clone())).unwrap_or_default()
    }
}

impl Line {
    fn show(&self, text: &str) {
        let Ok(mut shown) = self.0.lock() else { return };
        if !shown.is_empty() || !text.is_empty() {
            // A closed terminal is no reason to end.
            let _ = write!(stderr(), "{CLEAR_LINE}{text}");
        }
        text.clone_into(&mut shown);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.show("");
    }
}

/// Shows another text while it lives.
struct Meanwhile {
    progress: Progress,
    before: String,
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.progress.say(&self.before);
    }
}

/// Prompts as the settings say, and shows notices in the progress line.
pub struct Telling {
    system: SystemPrompter,
    card_seconds: u64,
    browser_seconds: u64,
    progress: Progress,
}

impl Telling {
    pub fn new(config: &Config, progress: Progress) -> Self {
        let (card_seconds, browser_seconds) = (config.card_wait.as_secs(), config.login_timeout.as_secs());
        Self { system: SystemPrompter::new(config), card_seconds, browser_seconds, progress }
    }

    fn meanwhile(&self, text: &str) -> Meanwhile {
        let before = self.progress.said();
        self.progress.say(text);
        Meanwhile { progress: self.progress.clone(), before }
    }
}

impl Prompter for Telling {
    fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin> {
        // A pinentry may write on this terminal.
        let _quiet = self.meanwhile("");
        self.system.pin(request, cancel)
    }

    fn use_last_try(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<bool> {
        let _quiet = self.meanwhile("");
        self.system.use_last_try(request, cancel)
    }

    fn role(&self, roles: &[Role], cancel: &CancelToken) -> Result<usize> {
        let _quiet = self.meanwhile("");
        self.system.role(roles, cancel)
    }

    fn enter_pin_on_reader(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Notice {
        if !self.progress.is_shown() {
            return self.system.enter_pin_on_reader(request, cancel);
        }
        Notice::new(self.meanwhile(&printable(&text::enter_pin_on_reader(request))))
    }

    fn insert_card(&self, absence: &Absence, cancel: &CancelToken) -> Notice {
        if !self.progress.is_shown() {
            return self.system.insert_card(absence, cancel);
        }
        let text = printable(&text::insert_card(absence));
        Notice::new(self.meanwhile(&format!("{text} (waiting for {} s) …", self.card_seconds)))
    }

    fn browser_opened(&self, page: &LoginPage<'_>, cancel: &CancelToken) -> Notice {
        if !self.progress.is_shown() {
            return self.system.browser_opened(page, cancel);
        }
        Notice::new(self.meanwhile(&format!("Waiting for the login in the browser, for {} s …", self.browser_seconds)))
    }
}

/// Opens pages as the settings say, with no progress in the way of an address that is printed.
pub struct Clearing {
    system: SystemBrowser,
    progress: Progress,
}

impl Clearing {
    pub fn new(config: &Config, progress: Progress) -> Self {
        Self { system: SystemBrowser::new(config.browser.clone()), progress }
    }
}

impl Browser for Clearing {
    fn open(&self, page: &LoginPage<'_>, cancel: &CancelToken) -> Result<Opened> {
        self.progress.clear();
        self.system.open(page, cancel)
    }
}
