//! The agent's session, as an engine of this process uses it.

use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::connection::{Connection, NoReply, PROMPT};
use super::protocol::{Change, Reply, Request, WAITING};
use super::{AgentSettings, AgentUse};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Stage};
use crate::secret::Ticket;
use crate::service::IdentityService;
use crate::session::{Context, Contexts, Session, Status};

/// How long to wait for an agent that is silent during a login.
const SILENCE: Duration = WAITING.saturating_mul(3);

/// How many idle connections are kept.
const WARM: usize = 4;

/// Why the agent did not carry out a request.
pub(crate) enum RemoteError {
    /// It tried and failed.
    Failed(Error),
    /// No agent is available.
    Unavailable(Unavailable),
}

/// Why no agent is available.
pub(crate) struct Unavailable {
    /// The error, if the settings require one.
    pub(crate) error: Error,
    /// Nothing was expected to be there.
    pub(crate) is_normal: bool,
}

/// A session of the agent, and its numbers there.
#[derive(Clone)]
struct Known {
    number: u64,
    login: u64,
    session: Arc<Session>,
}

/// The agent, which may start and end at any time.
pub(crate) struct Remote {
    place: PathBuf,
    service: Arc<dyn IdentityService>,
    pub(crate) required: bool,
    /// Idle connections.
    warm: Mutex<Vec<Connection>>,
    /// The session as last read.
    session: Mutex<Option<Known>>,
    /// Cancels the logins that are waiting.
    logins: Mutex<CancelToken>,
}

impl Remote {
    /// Returns the agent that the settings name; `None` if they name none.
    pub(crate) fn new(settings: &AgentSettings, service: Arc<dyn IdentityService>) -> crate::Result<Option<Self>> {
        let place = match settings.wanted {
            AgentUse::Never => return Ok(None),
            AgentUse::Auto => super::socket::place(settings).ok(),
            AgentUse::Require => Some(super::socket::place(settings)?),
        };
        let Some(place) = place else { return Ok(None) };
        Ok(Some(Self {
            place,
            service,
            required: settings.wanted == AgentUse::Require,
            warm: Mutex::default(),
            session: Mutex::default(),
            logins: Mutex::default(),
        }))
    }

    /// Returns the ticket of the agent's session. Without a session, or with `anew`, the agent logs the
    /// user in.
    pub(crate) fn ticket(&self, anew: bool) -> Result<Ticket, RemoteError> {
        match self.log_in_there(if anew { &Request::NewTicket } else { &Request::Ticket })? {
            Reply::Ticket(ticket) => Ok(ticket),
            other => Err(unexpected(other)),
        }
    }

    /// As [`Remote::ticket`], for the session.
    pub(crate) fn log_in(&self, anew: bool) -> Result<Arc<Session>, RemoteError> {
        let known = lock(&self.session).clone();
        let number = known.as_ref().map_or(0, |known| known.number);
        let reply = self.log_in_there(&Request::LogIn { anew, known: number })?;
        self.read_session(reply, known)
    }

    fn log_in_there(&self, request: &Request) -> Result<Reply, RemoteError> {
        match self.request_cancellable(request)? {
            // An agent without desktop and terminal. The user may be at this program's: a PIN is typed in the
            // process that uses it, and never sent to the agent.
            Reply::Failed(failure) if failure.is(&ErrorKind::NoPrompter) => {
                Err(RemoteError::Unavailable(Unavailable { error: failure.into(), is_normal: false }))
            }
            reply => Ok(reply),
        }
    }

    /// Has the user choose another role.
    pub(crate) fn change_role(&self) -> Result<Arc<Session>, RemoteError> {
        let reply = self.request_cancellable(&Request::ChangeRole)?;
        // Let go of the lock before the reply is kept.
        let known = lock(&self.session).clone();
        self.read_session(reply, known)
    }

    /// Switches the session to `context`.
    pub(crate) fn switch_context(&self, context: &Context) -> Result<Arc<Session>, RemoteError> {
        let reply = self.request_cancellable(&Request::SwitchContext(context.clone()))?;
        // Let go of the lock before the reply is kept.
        let known = lock(&self.session).clone();
        self.read_session(reply, known)
    }

    /// Returns the contexts that the user may switch to.
    pub(crate) fn contexts(&self) -> Result<Contexts, RemoteError> {
        match self.request_cancellable(&Request::Contexts)? {
            Reply::Contexts(contexts) => Ok(contexts),
            other => Err(unexpected(other)),
        }
    }

    /// Returns what the service says about the user.
    pub(crate) fn claims(&self) -> Result<String, RemoteError> {
        match self.request_cancellable(&Request::Claims)? {
            Reply::Claims(claims) => Ok(claims),
            other => Err(unexpected(other)),
        }
    }

    /// Returns the ticket of the agent's session. Never prompts.
    pub(crate) fn ticket_no_auth(&self) -> Result<Ticket, RemoteError> {
        match self.request(&Request::TicketNoAuth)? {
            Reply::Ticket(ticket) => Ok(ticket),
            other => Err(unexpected(other)),
        }
    }

    /// Returns the agent's session: the known one if it has not changed.
    pub(crate) fn session(&self) -> Result<Arc<Session>, RemoteError> {
        let known = lock(&self.session).clone();
        let number = known.as_ref().map_or(0, |known| known.number);
        let reply = self.request(&Request::Session { known: number }).inspect_err(|_| *lock(&self.session) = None)?;
        self.read_session(reply, known)
    }

    /// Keeps the session of `reply` for the next request. `known` is the one that the request named.
    fn read_session(&self, reply: Reply, known: Option<Known>) -> Result<Arc<Session>, RemoteError> {
        let data = match (reply, &known) {
            (Reply::Unchanged, Some(known)) => return Ok(Arc::clone(&known.session)),
            (Reply::Session(data), _) => data,
            (other, _) => return Err(unexpected(other)),
        };
        let (number, login) = (data.number, data.login);
        let same = known.filter(|known| known.login == login);
        let began = same.map_or_else(Arc::default, |known| Arc::clone(known.session.login()));
        let session = Arc::new(data.into_session(&*self.service, began));
        *lock(&self.session) = Some(Known { number, login, session: Arc::clone(&session) });
        Ok(session)
    }

    /// Returns the state of the agent's session.
    pub(crate) fn status(&self) -> Result<Status, RemoteError> {
        match self.request(&Request::Status)? {
            Reply::Status(status) => Ok(status.stands),
            other => Err(unexpected(other)),
        }
    }

    /// Ends the session, and a login in progress, for every program.
    pub(crate) fn destroy(&self) -> Result<(), RemoteError> {
        *lock(&self.session) = None;
        match self.request_apart(&Request::Destroy, &CancelToken::new())? {
            Reply::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Ends `session` for every program if the agent still has it: the broker has ended it.
    pub(crate) fn is_over(&self, session: &Arc<Session>) {
        if self.session().is_ok_and(|live| live.is_same(session)) {
            // The broker need not be informed again.
            let _ = self.destroy();
        }
    }

    /// Withdraws this process's login requests. Other programs may keep waiting for the login.
    pub(crate) fn cancel(&self) {
        std::mem::take(&mut *lock(&self.logins)).cancel();
    }

    /// Sends a repeatable request: over an idle connection, or over a new one if that has been closed.
    fn request(&self, request: &Request) -> Result<Reply, RemoteError> {
        let warm = lock(&self.warm).pop().filter(Connection::is_of_this_process);
        if let Some(mut connection) = warm {
            match connection.request(request, PROMPT) {
                Err(NoReply::Gone) => lock(&self.warm).clear(),
                reply => return self.keep(connection, reply),
            }
        }
        let mut connection = self.open()?;
        let reply = connection.request(request, PROMPT);
        self.keep(connection, reply)
    }

    /// Sends a request that takes time, over its own connection, which cancelling closes.
    fn request_apart(&self, request: &Request, cancel: &CancelToken) -> Result<Reply, RemoteError> {
        let mut connection = self.open()?;
        let socket = Arc::clone(connection.socket());
        let _guard = cancel.on_cancel(move || {
            // Shutting down fails if the agent has ended; the thread wakes all the same.
            let _ = socket.shutdown(Shutdown::Both);
        });
        let reply = connection.request(request, SILENCE);
        if reply.is_err() && cancel.is_cancelled() {
            return Err(RemoteError::Failed(Error::cancelled(Stage::Session)));
        }
        reply.map_err(Into::into)
    }

    /// As [`Remote::request_apart`], until [`Remote::cancel`].
    fn request_cancellable(&self, request: &Request) -> Result<Reply, RemoteError> {
        let cancel = lock(&self.logins).clone();
        self.request_apart(request, &cancel)
    }

    /// Closes the idle connections.
    pub(crate) fn disconnect(&self) {
        lock(&self.warm).clear();
    }

    fn open(&self) -> Result<Connection, RemoteError> {
        Ok(Connection::open(&self.place, &self.service.id())?)
    }

    fn keep(&self, connection: Connection, reply: Result<Reply, NoReply>) -> Result<Reply, RemoteError> {
        let reply = reply?;
        let mut warm = lock(&self.warm);
        if warm.len() < WARM {
            warm.push(connection);
        }
        Ok(reply)
    }
}

/// Returns the status of the agent that the settings name, whatever its broker.
///
/// # Errors
///
/// [`AgentNotAvailable`](ErrorKind::AgentNotAvailable), [`AgentVersion`](ErrorKind::AgentVersion),
/// [`Configuration`](ErrorKind::Configuration).
pub(super) fn status(place: &Path) -> crate::Result<super::AgentStatus> {
    let reply = Connection::open(place, "").and_then(|mut agent| agent.request(&Request::Status, PROMPT));
    match reply.map_err(RemoteError::from).map(|reply| match reply {
        Reply::Status(status) => Ok(status),
        other => Err(unexpected(other)),
    }) {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(undone)) | Err(undone) => Err(undone.into()),
    }
}

/// The changes of the agent's session.
#[doc(hidden)]
pub struct Watch(Connection);

impl Watch {
    pub(super) fn open(place: &Path) -> crate::Result<Self> {
        let mut agent = Connection::open(place, "").map_err(RemoteError::from)?;
        match agent.request(&Request::Watch, PROMPT).map_err(RemoteError::from)? {
            Reply::Done => Ok(Self(agent)),
            other => Err(unexpected(other).into()),
        }
    }

    /// Waits for the next change, without waking up before.
    ///
    /// # Errors
    ///
    /// [`AgentNotAvailable`](ErrorKind::AgentNotAvailable) once the agent has ended, and with it the session.
    pub fn next_change(&self) -> crate::Result<Change> {
        match self.0.next().map_err(RemoteError::from)? {
            Reply::Changed(change) => Ok(change),
            other => Err(unexpected(other).into()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unexpected(reply: Reply) -> RemoteError {
    RemoteError::Failed(match reply {
        Reply::Failed(failure) => failure.into(),
        _ => Error::new(ErrorKind::Internal, Stage::Session, "the ticketapi agent answered something else"),
    })
}

impl From<NoReply> for RemoteError {
    fn from(why: NoReply) -> Self {
        let kind = match why {
            NoReply::Version(_) => ErrorKind::AgentVersion,
            _ => ErrorKind::AgentNotAvailable,
        };
        let is_normal = matches!(why, NoReply::Absent(_));
        Self::Unavailable(Unavailable { error: Error::new(kind, Stage::Session, why.to_string()), is_normal })
    }
}

impl From<RemoteError> for Error {
    fn from(undone: RemoteError) -> Self {
        match undone {
            RemoteError::Failed(error) | RemoteError::Unavailable(Unavailable { error, .. }) => error,
        }
    }
}
