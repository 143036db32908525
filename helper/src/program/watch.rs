//! Ends the helper when the program that started it has gone, or when a call takes too long: also
//! while a module hangs, and with the card reset.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::alarm;
use ticketapi::card::protocol::Channel;

use super::{process, reset};

/// The program that started the helper keeps the deadline; this is for one that is stopped.
const GRACE: Duration = Duration::from_secs(5);

/// How often the deadline is looked at.
const INTERVAL: u16 = 1000;

/// A thread that watches over this process.
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
            while !has_gone(&socket, PollTimeout::from(INTERVAL))
                && lock(&state).until.is_none_or(|until| Instant::now() < until)
            {}
            let reader = lock(&state).reset.take();
            end(reader);
        })?;
        Ok(watch)
    }

    /// A call into a module begins, which may take that long.
    pub fn busy(&self, limit: Duration) {
        lock(&self.0).until = Instant::now().checked_add(limit.saturating_add(GRACE));
    }

    /// Nothing of a module is running.
    pub fn idle(&self) {
        lock(&self.0).until = None;
    }

    /// From now on somebody may be logged in to the card in `reader`.
    pub fn logged_in(&self, reader: Option<String>) {
        lock(&self.0).reset = reader;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the other end of the socket to go.
pub fn wait_until_gone(socket: &UnixStream) {
    while !has_gone(socket, PollTimeout::NONE) {}
}

fn has_gone(socket: &UnixStream, timeout: PollTimeout) -> bool {
    // Without requested events only a hang-up is reported.
    let mut sockets = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    match poll(&mut sockets, timeout) {
        Ok(0) | Err(Errno::EINTR) => false,
        Ok(_) | Err(_) => true,
    }
}

fn end(reader: Option<String>) -> ! {
    // Starting a process needs memory, and a module may have left the heap in any state.
    alarm::set(2);
    if let Some(reader) = reader {
        // Should it fail, the end of this process is still the best there is.
        let _ = reset::hand_over(&reader);
    }
    process::vanish()
}
