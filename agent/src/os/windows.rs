//! Windows: a named pipe, and the events of the desktop session.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ticketapi::agent::socket::{Unusable, place};
use ticketapi::{Config, Error, ErrorKind, Result, Stage};
use ticketapi_platform::logon::{self, DesktopEvent};
use ticketapi_platform::named::{self, Connection, Occupied, Port};
use tracing::{debug, info, warn};

use super::{Ready, Wait, Watched, failed};

/// A program's connection. No call waits.
pub(crate) struct Stream(Connection);

impl Stream {
    /// Reads available bytes; returns 0 at the end.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) while nothing is there.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.receive(buffer)
    }

    /// Sends the first of `bytes`, and returns how many.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) while there is no room.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes)
    }
}

/// What a connection is waited for. Its end always counts.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    End,
    Bytes,
    Room,
}

/// Wakes the poller, from any thread.
pub(crate) struct Waker(Arc<Port>);

impl Waker {
    pub(crate) fn wake(&self) {
        self.0.wake();
    }

    #[expect(clippy::unnecessary_wraps, reason = "other systems have no room for another descriptor at times")]
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(Arc::clone(&self.0)))
    }
}

/// Stops the agent, from any thread.
#[derive(Debug)]
pub struct Stopper {
    port: Arc<Port>,
    stopped: Arc<AtomicBool>,
}

impl Stopper {
    /// Has the agent end its session and then itself. Its second call changes nothing.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.port.wake();
    }

    #[expect(clippy::unnecessary_wraps, reason = "other systems have no room for another descriptor at times")]
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { port: Arc::clone(&self.port), stopped: Arc::clone(&self.stopped) })
    }
}

/// Waits for everything that the agent reacts to.
pub(crate) struct Poller {
    port: Arc<Port>,
    stopped: Arc<AtomicBool>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<(Self, Waker, Stopper)> {
        let (port, stopped) = (Arc::new(Port::new()?), Arc::<AtomicBool>::default());
        let stopper = Stopper { port: Arc::clone(&port), stopped: Arc::clone(&stopped) };
        Ok((Self { port: Arc::clone(&port), stopped }, Waker(port), stopper))
    }

    /// Waits until one of these is ready or woken, or until the time. May return early.
    pub(crate) fn wait<'a>(
        &mut self,
        mut what: Wait<'_>,
        clients: impl Iterator<Item = Watched<'a>>,
    ) -> io::Result<Ready> {
        let clients: Vec<_> = clients.collect();
        let mut look = || Ready {
            stop: what.stop && self.stopped.load(Ordering::Acquire),
            listener: what.listener.as_mut().is_some_and(|listener| listener.0.is_ready()),
            clients: clients.iter().filter(|client| is_ready(client)).map(|client| client.id).collect(),
        };
        let ready = look();
        if ready.stop || ready.listener || !ready.clients.is_empty() {
            return Ok(ready);
        }
        // Looking has begun what will be reported.
        self.port.wait(what.until)?;
        Ok(look())
    }
}

fn is_ready(client: &Watched<'_>) -> bool {
    let connection = &client.stream.0;
    match client.interest {
        Interest::End => connection.is_closed(),
        Interest::Bytes => connection.is_readable(),
        Interest::Room => connection.can_send() || connection.is_closed(),
    }
}

/// The pipe that programs connect to. It prevents a second agent.
pub(crate) struct Listener(named::Listener);

impl Listener {
    /// Creates the pipe that the settings name.
    pub(crate) fn open(config: &Config, poller: &Poller) -> Result<Self> {
        let path = place(&config.into())?;
        let listener = named::Listener::open(&path, Arc::clone(&poller.port)).map_err(|occupied| {
            let unusable = match occupied {
                Occupied::Running(process) => {
                    let process = process.map_or_else(String::new, |process| format!(" (process {process})"));
                    let detail = format!("an agent is running already{process}");
                    return Error::new(ErrorKind::AgentRunning, Stage::Session, detail);
                }
                Occupied::NoPipe => Unusable::NoPipe(path),
                Occupied::Taken => Unusable::Taken(path),
                Occupied::System(error) => Unusable::Refused(path, error),
            };
            failed(format!("the agent cannot listen: {unusable}"))
        })?;
        Ok(Self(listener))
    }

    /// Accepts the next program of the same user; `None` if none waits.
    pub(crate) fn accept(&mut self) -> io::Result<Option<Stream>> {
        loop {
            match self.0.accept() {
                Ok(connection) => return Ok(connection.map(Stream)),
                // It has left, or may not be examined.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => warn!("a program was turned away"),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Other programs of the user cannot be kept from this one's memory here: they have its rights.
pub(crate) fn harden() {
    ticketapi_platform::module::harden_program();
}

/// Has Ctrl-C, and the end of the console, of the desktop session and of the computer, stop the agent. Locking the
/// desk and suspending the computer end nothing; the limits of a session count this time.
pub(crate) fn stop_with_desktop(stopper: &Stopper) -> io::Result<()> {
    let interrupted = stopper.try_clone()?;
    logon::on_control(move || interrupted.stop())?;
    let (stopper, waker) = (stopper.try_clone()?, Waker(Arc::clone(&stopper.port)));
    let watched = logon::watch(move |event| match event {
        DesktopEvent::Ends => stopper.stop(),
        DesktopEvent::Resumed => {
            info!("the computer was suspended");
            waker.wake();
        }
        DesktopEvent::Locked => debug!("the desk was locked"),
        DesktopEvent::Unlocked => debug!("the desk was unlocked"),
    });
    if let Err(error) = watched {
        warn!(%error, "the end of the desktop session cannot be noticed before it ends this process");
    }
    Ok(())
}
