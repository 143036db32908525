//! What takes time, on threads that end with it: logins, and telling the broker that one is over.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;

use ticketapi::agent::protocol::{Failure, Reply};
use ticketapi::{Engine, Error, ErrorKind, Result, Stage, TicketApi as _};

/// What a thread does. Programs that want the same at the same time wait for the same thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Log the user in, `anew` also where there is a session.
    Login { anew: bool },
    /// Log the user in with the card that was just put in, for nobody in particular.
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

/// A thread at work.
struct Job {
    waiting: Vec<u64>,
    /// The user wants it, whoever else waits.
    offered: bool,
    /// Nobody waits any more: it has been told to stop.
    cancelled: bool,
}

/// The threads, and who waits for them.
pub(crate) struct Jobs {
    engine: Arc<Engine>,
    running: [Option<Job>; 2],
    ended: mpsc::Receiver<(Kind, Result<Reply>)>,
    report: mpsc::Sender<(Kind, Result<Reply>)>,
    wake: UnixStream,
}

impl Jobs {
    /// `wake` gets a byte whenever a thread has ended.
    pub(crate) fn new(engine: Arc<Engine>, wake: UnixStream) -> Self {
        let (report, ended) = mpsc::channel();
        Self { engine, running: [None, None], ended, report, wake }
    }

    /// Whether somebody may be asked for a PIN just now.
    pub(crate) fn login_is_under_way(&self) -> bool {
        self.running[Kind::slot(Kind::Login { anew: false })].is_some()
    }

    pub(crate) fn are_running(&self) -> bool {
        self.running.iter().any(Option::is_some)
    }

    /// Has `client` wait for the thread that does `kind`, which is started where there is none.
    /// False where it has to come again: the last login was cancelled, and has not ended yet.
    pub(crate) fn wait(&mut self, kind: Kind, client: Option<u64>) -> io::Result<bool> {
        if kind == Kind::Destroy
            && let Some(login) = &mut self.running[0]
        {
            // It ends for those who wait for it, and not for those who come after.
            login.cancelled = true;
        }
        match &mut self.running[kind.slot()] {
            Some(job) if job.cancelled => return Ok(false),
            Some(job) => job.waiting.extend(client),
            empty => {
                let (engine, report, wake) = (Arc::clone(&self.engine), self.report.clone(), self.wake.try_clone()?);
                thread::Builder::new().name(format!("{kind:?}")).spawn(move || {
                    let result = catch_unwind(AssertUnwindSafe(|| work(kind, &engine)));
                    // The server may have gone, and then nobody wants to know.
                    let _ = report.send((kind, result.unwrap_or_else(|_| Err(defect()))));
                    let _ = (&wake).write(&[0]);
                })?;
                *empty =
                    Some(Job { waiting: client.into_iter().collect(), offered: kind == Kind::Offer, cancelled: false });
            }
        }
        Ok(true)
    }

    /// `client` has gone. A login that nobody else waits for is cancelled.
    pub(crate) fn leave(&mut self, kind: Kind, client: u64) {
        let Some(job) = &mut self.running[kind.slot()] else { return };
        job.waiting.retain(|&waiting| waiting != client);
        if job.waiting.is_empty() && !job.offered && !job.cancelled && matches!(kind, Kind::Login { .. }) {
            job.cancelled = true;
            self.engine.cancel_login();
        }
    }

    /// A thread that has ended: what came of it, and who waits for that. Nothing came of an offer
    /// whose card was not there any more: a program's login would have waited for it.
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
