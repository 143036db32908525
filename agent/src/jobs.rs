//! Slow operations, each on its own thread: logins and logouts.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;

use ticketapi::agent::protocol::{Failure, Reply};
use ticketapi::{Engine, Error, ErrorKind, Result, Stage};

/// A thread's operation. Programs that request the same at the same time share one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Log the user in; with `anew` even if there is a session.
    Login { anew: bool },
    /// Log the user in with the card that was just inserted, without a program's request.
    Offer,
    /// End the session.
    Destroy,
}

impl Kind {
    fn slot(self) -> usize {
        match self {
            Self::Login { .. } | Self::Offer => 0,
            Self::Destroy => 1,
        }
    }
}

/// A running thread.
struct Job {
    waiting: Vec<u64>,
    /// The user wants the operation, whoever else waits.
    offered: bool,
    /// Nobody waits any more: it was cancelled.
    cancelled: bool,
}

/// The threads and the programs that wait for them.
pub(crate) struct Jobs {
    engine: Arc<Engine>,
    running: [Option<Job>; 2],
    ended: mpsc::Receiver<(Kind, Result<Reply>)>,
    report: mpsc::Sender<(Kind, Result<Reply>)>,
    wake: UnixStream,
}

impl Jobs {
    /// `wake` gets a byte whenever a thread ends.
    pub(crate) fn new(engine: Arc<Engine>, wake: UnixStream) -> Self {
        let (report, ended) = mpsc::channel();
        Self { engine, running: [None, None], ended, report, wake }
    }

    /// Returns `true` if a PIN prompt may be shown now.
    pub(crate) fn login_is_under_way(&self) -> bool {
        self.running[Kind::slot(Kind::Login { anew: false })].is_some()
    }

    pub(crate) fn are_running(&self) -> bool {
        self.running.iter().any(Option::is_some)
    }

    /// Makes `client` wait for the thread of `kind`, and starts it if none runs. Returns `false` if the
    /// request must be repeated: the last login was cancelled and has not ended yet.
    pub(crate) fn wait(&mut self, kind: Kind, client: Option<u64>) -> io::Result<bool> {
        if kind == Kind::Destroy
            && let Some(login) = &mut self.running[0]
        {
            // Destroying ends it for those who wait now, not for later requests.
            login.cancelled = true;
        }
        match &mut self.running[kind.slot()] {
            Some(job) if job.cancelled => return Ok(false),
            Some(job) => job.waiting.extend(client),
            empty => {
                let (engine, report, wake) = (Arc::clone(&self.engine), self.report.clone(), self.wake.try_clone()?);
                thread::Builder::new().name(format!("{kind:?}")).spawn(move || {
                    let result = catch_unwind(AssertUnwindSafe(|| work(kind, &engine)));
                    // The server may have ended; then nobody needs the byte.
                    let _ = report.send((kind, result.unwrap_or_else(|_| Err(defect()))));
                    let _ = (&wake).write(&[0]);
                })?;
                *empty =
                    Some(Job { waiting: client.into_iter().collect(), offered: kind == Kind::Offer, cancelled: false });
            }
        }
        Ok(true)
    }

    /// Removes a disconnected `client`. Cancels a login that nobody else waits for.
    pub(crate) fn leave(&mut self, kind: Kind, client: u64) {
        let Some(job) = &mut self.running[kind.slot()] else { return };
        job.waiting.retain(|&waiting| waiting != client);
        if job.waiting.is_empty() && !job.offered && !job.cancelled && matches!(kind, Kind::Login { .. }) {
            job.cancelled = true;
            self.engine.cancel_login();
        }
    }

    /// Takes a thread that has ended, its result, and the clients that wait for it. An offered login whose card
    /// had left has no result: a program's login would have waited for the card.
    pub(crate) fn next_ended(&mut self) -> Option<(Kind, Option<Reply>, Vec<u64>)> {
        let (kind, result) = self.ended.try_recv().ok()?;
        let waiting = self.running[kind.slot()].take().map(|job| job.waiting).unwrap_or_default();
        let absent = [ErrorKind::NoCard, ErrorKind::CardNotSupported, ErrorKind::ReaderNotAvailable];
        let reply = match result {
            Ok(reply) => Some(reply),
            Err(error) if kind == Kind::Offer && absent.contains(error.kind()) => None,
            Err(error) => Some(Reply::Failed(Failure::from(&error))),
        };
        Some((kind, reply, waiting))
    }
}

fn work(kind: Kind, engine: &Engine) -> Result<Reply> {
    match kind {
        Kind::Login { anew: false } => engine.get_ticket().map(Reply::Ticket),
        Kind::Login { anew: true } => engine.get_new_ticket().map(Reply::Ticket),
        Kind::Offer => engine.log_in_with_card_there().map(|session| Reply::Ticket(session.ticket().clone())),
        Kind::Destroy => engine.destroy_ticket().map(|()| Reply::Done),
    }
}

fn defect() -> Error {
    Error::new(ErrorKind::Internal, Stage::Session, "a thread of the agent ended in a defect of ticketapi")
}
