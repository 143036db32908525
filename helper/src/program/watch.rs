//! Ends the helper when the program that started it has disconnected, or when a call takes too long. Works even
//! while a module hangs, and resets the card.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use ticketapi::card::protocol::Channel;

use super::{process, reset};

/// The program that started the helper enforces the deadline. This covers a program that is stopped.
const GRACE: Duration = Duration::from_secs(5);

/// How often the deadline is checked.
const INTERVAL: Duration = Duration::from_secs(1);

/// The thread that watches this process.
pub struct Watch(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    until: Option<Instant>,
    reset: Option<String>,
}

impl Watch {
    pub fn start(channel: &Channel) -> io::Result<Self> {
        let state = Arc::<Mutex<State>>::default();
        let watch = Self(Arc::clone(&state));
        let socket = Arc::clone(channel.socket());
        thread::Builder::new().name("watch".to_owned()).spawn(move || {
            while !process::until_closed(&socket, Some(INTERVAL))
                && lock(&state).until.is_none_or(|until| Instant::now() < until)
            {}
            let reader = lock(&state).reset.take();
            end(reader);
        })?;
        Ok(watch)
    }

    /// Starts the deadline of a call into a module.
    pub fn busy(&self, limit: Duration) {
        lock(&self.0).until = Instant::now().checked_add(limit.saturating_add(GRACE));
    }

    /// Ends the deadline: no module code is running.
    pub fn idle(&self) {
        lock(&self.0).until = None;
    }

    /// Sets the reader whose card somebody may be logged in to from now on.
    pub fn logged_in(&self, reader: Option<String>) {
        lock(&self.0).reset = reader;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(reader: Option<String>) -> ! {
    // Starting a process needs memory, and a module may have left the heap in any state. The process ends
    // even if that hangs.
    process::vanish_soon();
    if let Some(reader) = reader {
        // If this fails, ending the process is still the best option.
        let _ = reset::hand_over(&reader);
    }
    process::vanish()
}
