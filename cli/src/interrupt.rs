//! Ctrl-C and its kin: end what is under way in good order, and at once when asked twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{process, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use ticketapi::{Error, ErrorKind, Result, Stage};

/// A login that has not begun yet cannot be cancelled, so it is tried until the program ends.
const AGAIN: Duration = Duration::from_millis(20);

/// Whether the user has asked to end.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on `cancel` is called, until the program ends, when a signal asks to end.
    pub fn watch(cancel: impl Fn() + Send + 'static) -> Result<Self> {
        let cannot = |error: std::io::Error| {
            Error::new(ErrorKind::Internal, Stage::Configuration, "signals cannot be waited for").because(error)
        };
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(cannot)?;
        let interrupt = Self(Arc::default());
        let asked = interrupt.clone();
        let wait = move || {
            if signals.forever().next().is_none() {
                return;
            }
            asked.0.store(true, Ordering::SeqCst);
            loop {
                cancel();
                thread::sleep(AGAIN);
                if let Some(signal) = signals.pending().next() {
                    process::exit(128 + signal);
                }
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(cannot)?;
        Ok(interrupt)
    }

    /// Whether it was asked to end.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
