//! Slow operations, each on its own thread: logins and logouts.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;

use ticketapi::engine::Status;
use ticketapi::session::{Context, Contexts, Session};
use ticketapi::{Engine, Error, ErrorKind, Result, Stage};

use crate::os::Waker;

/// How many threads may run. Only changes to different contexts need more than a few.
const THREADS: usize = 16;

/// A thread's operation. Programs that request the same at the same time share one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Log the user in; with `anew` even if there is a session.
    Login {
        anew: bool,
    },
    /// Log the user in with the card that was just inserted, without a program's request.
    Offer,
    /// End the session.
    Destroy,
    /// Have the user choose another role.
    ChangeRole,
    SwitchContext(Context),
    Contexts,
    Claims,
}

impl Kind {
    fn is_login(&self) -> bool {
        matches!(self, Self::Login { .. } | Self::Offer)
    }

    /// Whether the user is asked.
    fn prompts(&self) -> bool {
        self.is_login() || *self == Self::ChangeRole
    }

    fn thread_name(&self) -> &'static str {
        match self {
            Self::Login { .. } => "Login",
            Self::Offer => "Offer",
            Self::Destroy => "Destroy",
            Self::ChangeRole => "ChangeRole",
            Self::SwitchContext(_) => "SwitchContext",
            Self::Contexts => "Contexts",
            Self::Claims => "Claims",
        }
    }
}

/// What an operation has achieved.
pub(crate) enum Success {
    Session(Arc<Session>),
    Destroyed,
    Contexts(Contexts),
    Claims(String),
}

/// The result of an ended thread.
pub(crate) struct Ended {
    pub(crate) kind: Kind,
    /// `None` for an offered login whose card had left: a program's login would have waited for the card.
    pub(crate) result: Option<Result<Success>>,
    /// The clients that wait for it.
    pub(crate) waiting: Vec<u64>,
}

/// A running thread.
struct Job {
    number: u64,
    kind: Kind,
    waiting: Vec<u64>,
    /// The user wants the operation, whoever else waits.
    offered: bool,
    /// Nobody waits any more: it was cancelled.
    cancelled: bool,
}

impl Job {
    fn is_wanted(&self) -> bool {
        self.offered || !self.waiting.is_empty()
    }
}

/// The threads and the programs that wait for them.
pub(crate) struct Jobs {
    engine: Arc<Engine>,
    running: Vec<Job>,
    next: u64,
    ended: mpsc::Receiver<(u64, Result<Success>)>,
    report: mpsc::Sender<(u64, Result<Success>)>,
    wake: Waker,
}

impl Jobs {
    /// `wake` wakes the server whenever a thread ends.
    pub(crate) fn new(engine: Arc<Engine>, wake: Waker) -> Self {
        let (report, ended) = mpsc::channel();
        Self { engine, running: Vec::new(), next: 0, ended, report, wake }
    }

    /// Returns `true` if a PIN prompt for a login may be shown now.
    pub(crate) fn login_is_under_way(&self) -> bool {
        self.running.iter().any(|job| job.kind.is_login())
    }

    pub(crate) fn are_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Makes `client` wait for the thread of `kind`, and starts it if none runs. Returns `false` if the
    /// request must be repeated: the last one was cancelled and has not ended yet, or too many threads run.
    pub(crate) fn wait(&mut self, kind: Kind, client: Option<u64>) -> io::Result<bool> {
        if kind == Kind::Destroy {
            // Destroying ends logins for those who wait now, not for later requests.
            self.running.iter_mut().filter(|job| job.kind.prompts()).for_each(|job| job.cancelled = true);
        }
        let engine = &self.engine;
        let is_shared = |job: &Job| match (&kind, &job.kind) {
            // With a session, that thread only checks or renews it.
            (Kind::Login { anew: true }, Kind::Login { anew: false }) => {
                !matches!(engine.own_status(), Status::Live { .. })
            }
            (kind, other) => kind == other || kind.is_login() && other.is_login(),
        };
        let full = self.running.len() >= THREADS && kind != Kind::Destroy;
        match self.running.iter_mut().find(|job| is_shared(job)) {
            Some(job) if job.cancelled => return Ok(false),
            Some(job) => job.waiting.extend(client),
            None if full => return Ok(false),
            None => self.start(kind, client)?,
        }
        Ok(true)
    }

    fn start(&mut self, kind: Kind, client: Option<u64>) -> io::Result<()> {
        self.next += 1;
        let number = self.next;
        let (engine, report, wake) = (Arc::clone(&self.engine), self.report.clone(), self.wake.try_clone()?);
        let work = {
            let kind = kind.clone();
            move || {
                let result = catch_unwind(AssertUnwindSafe(|| work(&kind, &engine)));
                // The server may have ended.
                let _ = report.send((number, result.unwrap_or_else(|_| Err(defect()))));
                wake.wake();
            }
        };
        thread::Builder::new().name(kind.thread_name().to_owned()).spawn(work)?;
        let offered = kind == Kind::Offer;
        self.running.push(Job { number, kind, waiting: client.into_iter().collect(), offered, cancelled: false });
        Ok(())
    }

    /// Removes a disconnected `client`. Cancels a login that nobody else waits for.
    pub(crate) fn leave(&mut self, client: u64) {
        self.running.iter_mut().for_each(|job| job.waiting.retain(|&waiting| waiting != client));
        self.cancel_unwanted();
    }

    /// The engine has one prompt at a time, which may be that of any of these threads.
    fn cancel_unwanted(&mut self) {
        let prompting = || self.running.iter().filter(|job| job.kind.prompts() && !job.cancelled);
        if prompting().next().is_none() || prompting().any(Job::is_wanted) {
            return;
        }
        self.running.iter_mut().filter(|job| job.kind.prompts()).for_each(|job| job.cancelled = true);
        self.engine.cancel_login();
    }

    /// Takes a thread that has ended.
    pub(crate) fn next_ended(&mut self) -> Option<Ended> {
        let (number, result) = self.ended.try_recv().ok()?;
        let job = self.running.remove(self.running.iter().position(|job| job.number == number)?);
        self.cancel_unwanted();
        let absent = [ErrorKind::NoCard, ErrorKind::CardNotSupported, ErrorKind::ReaderNotAvailable];
        let result = match result {
            Err(error) if job.kind == Kind::Offer && absent.contains(error.kind()) => None,
            result => Some(result),
        };
        Some(Ended { kind: job.kind, result, waiting: job.waiting })
    }
}

fn work(kind: &Kind, engine: &Engine) -> Result<Success> {
    match kind {
        Kind::Login { anew: false } => engine.log_in().map(Success::Session),
        Kind::Login { anew: true } => engine.log_in_again().map(Success::Session),
        Kind::Offer => engine.log_in_with_card_there().map(Success::Session),
        Kind::Destroy => engine.destroy_ticket().map(|()| Success::Destroyed),
        Kind::ChangeRole => engine.change_role().map(Success::Session),
        Kind::SwitchContext(context) => engine.switch_context(context).map(Success::Session),
        Kind::Contexts => engine.contexts().map(Success::Contexts),
        Kind::Claims => engine.claims().map(Success::Claims),
    }
}

fn defect() -> Error {
    Error::new(ErrorKind::Internal, Stage::Session, "a thread of the agent ended in a defect of ticketapi")
}
