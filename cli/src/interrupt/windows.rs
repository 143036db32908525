//! Ctrl-C, Ctrl-Break, and the end of the console or of the desktop session.

use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};

use ticketapi_platform::logon::on_control;

/// `STATUS_CONTROL_C_EXIT`, with which programs end that handle nothing.
const CONTROL_C: u32 = 0xC000_013A;

/// The requests to end.
pub(super) struct Ends(Receiver<()>);

impl Ends {
    pub(super) fn new() -> io::Result<Self> {
        let (request, requests) = mpsc::channel();
        let request = Mutex::new(request);
        on_control(move || {
            let _ = request.lock().map(|request| request.send(()));
        })?;
        Ok(Self(requests))
    }

    /// Waits for the first. Returns `false` if there will be none.
    pub(super) fn wait(&mut self) -> bool {
        self.0.recv().is_ok()
    }

    /// Returns the exit code of a program that was asked again.
    pub(super) fn again(&mut self) -> Option<i32> {
        self.0.try_recv().is_ok().then_some(CONTROL_C.cast_signed())
    }
}
