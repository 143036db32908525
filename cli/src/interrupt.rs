//! Ctrl-C and other termination signals: end the login properly, and at once on the second signal.

#[cfg(unix)]
#[path = "interrupt/unix.rs"]
mod system;
#[cfg(windows)]
#[path = "interrupt/windows.rs"]
mod system;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{process, thread};

use ticketapi::{Error, ErrorKind, Result, Stage};

use system::Ends;

/// A login cannot be cancelled before it starts, so cancelling is repeated until the program ends.
const AGAIN: Duration = Duration::from_millis(20);

/// Whether the user asked to end.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Calls `cancel` repeatedly from the first termination signal until the program ends.
    pub fn watch(cancel: impl Fn() + Send + 'static) -> Result<Self> {
        let cannot = |error: std::io::Error| {
            Error::new(ErrorKind::NoResources, Stage::Configuration, "signals cannot be waited for").because(error)
        };
        let mut ends = Ends::new().map_err(cannot)?;
        let interrupt = Self(Arc::default());
        let requested = interrupt.clone();
        let wait = move || {
            if !ends.wait() {
                return;
            }
            requested.0.store(true, Ordering::SeqCst);
            loop {
                cancel();
                thread::sleep(AGAIN);
                if let Some(code) = ends.again() {
                    process::exit(code);
                }
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(cannot)?;
        Ok(interrupt)
    }

    /// Returns `true` after a termination signal.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
