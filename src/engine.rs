//! The ticket engine: the four operations of the Ticket API, one login at a time.

mod assertion;
mod builder;
mod cell;
mod elsewhere;

use std::sync::{Arc, PoisonError};
use std::thread;

use tracing::{info, warn};

use crate::agent::Remote;
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::login::Login;
use crate::secret::Ticket;
use crate::session::Session;
use crate::sync::{Condvar, Mutex, MutexGuard, ThreadId, current_thread};

use assertion::{Questions, nobody_is_logged_in};
pub use builder::EngineBuilder;
use builder::Parts;
use cell::{Found, TicketCell};

/// The four operations of the Ticket API. [`Engine`] carries them out in this process; another
/// implementation may hand them to one that serves several.
///
/// All of them may be called from any thread at any time.
pub trait TicketApi: Send + Sync {
    /// The ticket of the session; with none, logs the user in.
    ///
    /// Blocks for as long as the user takes. Threads that ask while a login is under way wait for
    /// that login and share its outcome.
    ///
    /// Where the setting `check_session` is not 0, one caller in that many minutes first asks the
    /// broker whether the session is alive, and logs in anew when it is over. When the broker cannot
    /// be asked, which takes `request_timeout` at the longest, the session goes on.
    ///
    /// # Errors
    ///
    /// Every [`ErrorKind`], as the login fails.
    fn get_ticket(&self) -> Result<Ticket>;

    /// The ticket of the session. Never prompts, and never uses the card or the network.
    ///
    /// # Errors
    ///
    /// [`TicketNotAvailable`](ErrorKind::TicketNotAvailable) when there is no session, also while
    /// a first login is under way.
    fn get_ticket_no_auth(&self) -> Result<Ticket>;

    /// Logs the user in again and returns the new ticket. Blocks and shares as
    /// [`TicketApi::get_ticket`] does.
    ///
    /// The session that was there is ended when the new one has begun; when the login fails, it
    /// goes on.
    ///
    /// # Errors
    ///
    /// As [`TicketApi::get_ticket`].
    fn get_new_ticket(&self) -> Result<Ticket>;

    /// Ends the session, here and on the broker, as taking the card out does, and cancels a login
    /// that is under way. Succeeds when there is none.
    ///
    /// # Errors
    ///
    /// The session is over here in any case; an error tells that the broker could not be told.
    fn destroy_ticket(&self) -> Result<()>;
}

/// Logs users in and keeps their session, or has the agent do so. One for a process is enough.
///
/// It starts no thread of its own and opens nothing before the first login.
pub struct Engine {
    parts: Parts,
    /// The agent, where the settings want it: asked for what this process does not have itself.
    remote: Option<Remote>,
    state: Mutex<State>,
    /// The ticket of `state.session`; written under its lock.
    ticket: TicketCell,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    login: Option<Arc<Attempt>>,
    questions: Questions,
}

/// A login that is under way, and what came of it.
struct Attempt {
    thread: ThreadId,
    cancel: CancelToken,
    outcome: Mutex<Option<Result<Arc<Session>>>>,
    ended: Condvar,
}

impl Engine {
    /// An engine with the settings of this computer; see [`Config::load`](crate::Config::load).
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration).
    pub fn new() -> Result<Self> {
        EngineBuilder::new(crate::Config::load()?).build()
    }

    /// An engine with other settings, prompts or cards.
    pub fn builder(config: crate::Config) -> EngineBuilder {
        EngineBuilder::new(config)
    }

    /// The session that is live, if one is. Waits for nobody but the agent, where there is one.
    pub fn session(&self) -> Option<Arc<Session>> {
        self.own_session().or_else(|| self.remote()?.session().ok())
    }

    /// The live session of this process, if it has one: not the agent's. Does not block.
    pub fn own_session(&self) -> Option<Arc<Session>> {
        self.lock().session.clone()
    }

    /// Gives the ticket of the live session to `reader`; `None` when there is no session. As
    /// [`TicketApi::get_ticket_no_auth`], but without a lock or an allocation where the session is
    /// this process's own: any number of threads may ask at once.
    pub fn with_ticket<T>(&self, reader: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let mut reader = Some(reader);
        let found = self.ticket.read(|bytes| reader.take().map(|reader| reader(bytes)));
        match found {
            Found::Nothing => {
                let ticket = self.remote()?.ticket_no_auth().ok()?;
                Some(reader?(ticket.expose().as_bytes()))
            }
            Found::Ticket(result) => result,
            Found::Elsewhere => Some(reader?(self.own_session()?.ticket().expose().as_bytes())),
        }
    }

    /// The live session; with none, logs the user in. As [`TicketApi::get_ticket`].
    ///
    /// # Errors
    ///
    /// As [`TicketApi::get_ticket`].
    pub fn log_in(&self) -> Result<Arc<Session>> {
        self.remote_or(
            |remote| {
                remote.ticket(false)?;
                remote.session()
            },
            || self.session_or_login(false),
        )
    }

    /// Logs the user in, whether or not there is a session. As [`TicketApi::get_new_ticket`].
    ///
    /// # Errors
    ///
    /// As [`TicketApi::get_ticket`].
    pub fn log_in_again(&self) -> Result<Arc<Session>> {
        self.remote_or(
            |remote| {
                remote.ticket(true)?;
                remote.session()
            },
            || self.session_or_login(true),
        )
    }

    /// Cancels the login that is under way, if one is, and questions to the broker; a live session
    /// goes on. Who waits for one of them gets [`Cancelled`](ErrorKind::Cancelled).
    pub fn cancel_login(&self) {
        self.lock().cancel_login();
        if let Some(remote) = &self.remote {
            remote.cancel();
        }
    }

    fn session_or_login(&self, anew: bool) -> Result<Arc<Session>> {
        loop {
            let mut state = self.lock();
            if let Some(attempt) = &state.login {
                let attempt = Arc::clone(attempt);
                let cancelled = attempt.cancel.is_cancelled();
                drop(state);
                if attempt.thread == current_thread().id() {
                    let detail = "a prompt of the login that is under way asked for a ticket";
                    return Err(Error::new(ErrorKind::LoginUnderWay, Stage::Session, detail));
                }
                let outcome = attempt.outcome();
                if cancelled {
                    // It was over before this caller asked.
                    continue;
                }
                return outcome;
            }
            if let Some(session) = state.session.clone().filter(|_| !anew) {
                if self.is_alive(&session, state)? {
                    return Ok(session);
                }
                continue;
            }
            let attempt = Arc::new(Attempt::begin());
            state.login = Some(Arc::clone(&attempt));
            drop(state);
            return self.run(attempt);
        }
    }

    /// Logs in on this thread, and tells everybody who waits.
    fn run(&self, attempt: Arc<Attempt>) -> Result<Arc<Session>> {
        let finish = Finish { engine: self, attempt };
        let cancel = &finish.attempt.cancel;
        info!("login begins");
        let parts = &self.parts;
        let login =
            Login { config: &parts.config, reader: parts.reader.as_ref(), prompter: parts.prompter.as_ref(), cancel };
        let session = login.run(parts.broker());
        if let Err(error) = &session {
            warn!(%error, "login failed");
        }
        finish.with(session.map(Arc::new))
    }

    /// Ends `session` on the broker, over a connection of its own.
    fn end_on_broker(&self, session: &Session) -> Result<()> {
        self.parts.broker().log_out(&session.broker, &CancelToken::new())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TicketApi for Engine {
    fn get_ticket(&self) -> Result<Ticket> {
        self.remote_or(|remote| remote.ticket(false), || Ok(self.session_or_login(false)?.ticket().clone()))
    }

    fn get_ticket_no_auth(&self) -> Result<Ticket> {
        self.remote_or(Remote::ticket_no_auth, || match &self.lock().session {
            Some(session) => Ok(session.ticket().clone()),
            None => Err(nobody_is_logged_in()),
        })
    }

    fn get_new_ticket(&self) -> Result<Ticket> {
        self.remote_or(|remote| remote.ticket(true), || Ok(self.session_or_login(true)?.ticket().clone()))
    }

    fn destroy_ticket(&self) -> Result<()> {
        self.destroy_there_or(|| self.destroy_here())
    }
}

impl Engine {
    fn destroy_here(&self) -> Result<()> {
        let session = {
            let mut state = self.lock();
            state.cancel_login();
            self.ticket.set(None);
            state.session.take()
        };
        match session {
            Some(session) => self.end_on_broker(&session),
            None => Ok(()),
        }
    }
}

impl State {
    /// Under the engine's lock, so that a login that ends just now does not keep its session.
    fn cancel_login(&mut self) {
        self.questions.cancel();
        if let Some(attempt) = &self.login {
            attempt.cancel.cancel();
        }
    }
}

impl Attempt {
    /// A login on this thread.
    fn begin() -> Self {
        Self {
            thread: current_thread().id(),
            cancel: CancelToken::new(),
            outcome: Mutex::new(None),
            ended: Condvar::new(),
        }
    }

    /// Waits for the end of the login.
    fn outcome(&self) -> Result<Arc<Session>> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = &*outcome {
                return result.clone();
            }
            outcome = self.ended.wait(outcome).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Ends a login for everybody who waits for it, also when the login panics.
struct Finish<'a> {
    engine: &'a Engine,
    attempt: Arc<Attempt>,
}

impl Finish<'_> {
    fn with(self, result: Result<Arc<Session>>) -> Result<Arc<Session>> {
        let (result, over) = self.settle(result);
        if let Some(session) = over
            && let Err(error) = self.engine.end_on_broker(&session)
        {
            warn!(%error, "the session could not be ended on the broker");
        }
        result
    }

    /// Keeps the session and wakes who waits. Returns the outcome, and the session that is now over.
    fn settle(&self, result: Result<Arc<Session>>) -> (Result<Arc<Session>>, Option<Arc<Session>>) {
        let mut state = self.engine.lock();
        state.login = None;
        let (result, over) = match result {
            Ok(session) if !self.attempt.cancel.is_cancelled() => {
                self.engine.ticket.set(Some(session.ticket()));
                let over = state.session.replace(Arc::clone(&session));
                state.questions.answered();
                (Ok(session), over)
            }
            Ok(session) => (Err(Error::cancelled(Stage::Session)), Some(session)),
            Err(error) => (Err(error), None),
        };
        drop(state);
        *self.attempt.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(result.clone());
        self.attempt.ended.notify_all();
        (result, over)
    }
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let defect = Error::new(ErrorKind::Internal, Stage::Session, "the login ended in a defect of ticketapi");
            let _ = self.settle(Err(defect));
        }
    }
}
