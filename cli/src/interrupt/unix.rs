//! Termination signals.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The requests to end.
pub(super) struct Ends(Signals);

impl Ends {
    pub(super) fn new() -> io::Result<Self> {
        Signals::new([SIGHUP, SIGINT, SIGTERM]).map(Self)
    }

    /// Waits for the first. Returns `false` if there will be none.
    pub(super) fn wait(&mut self) -> bool {
        self.0.forever().next().is_some()
    }

    /// Returns the exit code of a program that was asked again.
    pub(super) fn again(&mut self) -> Option<i32> {
        self.0.pending().next().map(|signal| 128 + signal)
    }
}
