//! The agent's session, as an engine of this process uses it.

use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::AgentUse;
use super::connection::{Connection, NoAnswer, PROMPT};
use super::protocol::{Reply, Request, SessionData, WAITING};
use crate::cancel::CancelToken;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Stage};
use crate::secret::Ticket;
use crate::service::IdentityService;
use crate::session::{Session, Status};

/// The time after which an agent that has a login under way, and says nothing, is given up.
const SILENCE: Duration = WAITING.saturating_mul(3);

/// How many connections are kept for the next question.
const WARM: usize = 4;

/// Why the agent did not do what it was asked.
pub(crate) enum RemoteError {
    /// It tried, and this came of it.
    Failed(Error),
    /// There is no agent that could.
    Unavailable(Unavailable),
}

/// Why there is no agent to ask.
pub(crate) struct Unavailable {
    /// For who needs one.
    pub(crate) error: Error,
    /// Nothing was expected to be there.
    pub(crate) is_normal: bool,
}

/// The agent, which may come and go.
pub(crate) struct Remote {
    place: PathBuf,
    service: Arc<dyn IdentityService>,
    pub(crate) required: bool,
    /// Connections that nobody uses just now.
    warm: Mutex<Vec<Connection>>,
    /// The session as it was when it was last asked for, with its number.
    session: Mutex<Option<(u64, Arc<Session>)>>,
    /// Cancels the logins that wait now.
    logins: Mutex<CancelToken>,
}

impl Remote {
    /// The agent that the settings name; `None` where they want none.
    pub(crate) fn new(config: &Config, service: Arc<dyn IdentityService>) -> crate::Result<Option<Self>> {
        let place = match config.agent {
            AgentUse::Never => return Ok(None),
            AgentUse::Auto => super::socket::place(config).ok(),
            AgentUse::Require => Some(super::socket::place(config)?),
        };
        let Some(place) = place else { return Ok(None) };
        Ok(Some(Self {
            place,
            service,
            required: config.agent == AgentUse::Require,
            warm: Mutex::default(),
            session: Mutex::default(),
            logins: Mutex::default(),
        }))
    }

    /// The ticket of the agent's session; with none, or when it is wanted `anew`, the agent logs the
    /// user in.
    pub(crate) fn ticket(&self, anew: bool) -> Result<Ticket, RemoteError> {
        let cancel = lock(&self.logins).clone();
        let request = if anew { Request::NewTicket } else { Request::Ticket };
        match self.ask_apart(&request, &cancel)? {
            Reply::Ticket(ticket) => Ok(ticket),
            other => Err(unexpected(other)),
        }
    }

    /// The ticket of the agent's session. Nobody is asked.
    pub(crate) fn ticket_no_auth(&self) -> Result<Ticket, RemoteError> {
        match self.ask(&Request::TicketNoAuth)? {
            Reply::Ticket(ticket) => Ok(ticket),
            other => Err(unexpected(other)),
        }
    }

    /// The agent's session. The same as last time, where it is.
    pub(crate) fn session(&self) -> Result<Arc<Session>, RemoteError> {
        let known = lock(&self.session).clone();
        let answer = self.ask(&Request::Session { known: known.as_ref().map_or(0, |(number, _)| *number) });
        let session = match (answer, known) {
            (Ok(Reply::Unchanged), Some((_, session))) => return Ok(session),
            (Ok(Reply::Session(session)), _) => session,
            (Ok(other), _) => return Err(unexpected(other)),
            (Err(undone), _) => {
                *lock(&self.session) = None;
                return Err(undone);
            }
        };
        let number = session.number;
        let session = Arc::new(self.with_roles(session)?);
        *lock(&self.session) = Some((number, Arc::clone(&session)));
        Ok(session)
    }

    /// Asks for the roles, which come in parts.
    fn with_roles(&self, session: SessionData) -> Result<Session, RemoteError> {
        let mut roles = Vec::new();
        while roles.len() < session.roles as usize {
            match self.ask(&Request::Roles { session: session.number, from: roles.len() as u32 })? {
                Reply::Roles(more) if !more.is_empty() => roles.extend(more),
                other => return Err(unexpected(other)),
            }
        }
        Ok(session.into_session(roles, &*self.service))
    }

    /// How it stands with the agent's session.
    pub(crate) fn status(&self) -> Result<Status, RemoteError> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(status.stands),
            other => Err(unexpected(other)),
        }
    }

    /// Ends the session, and a login that is under way, for every program.
    pub(crate) fn destroy(&self) -> Result<(), RemoteError> {
        *lock(&self.session) = None;
        match self.ask_apart(&Request::Destroy, &CancelToken::new())? {
            Reply::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Ends `session` for every program, if it is still the agent's: the broker has ended it.
    pub(crate) fn is_over(&self, session: &Arc<Session>) {
        if self.session().is_ok_and(|live| Arc::ptr_eq(&live, session)) {
            // That the broker cannot be told is no news.
            let _ = self.destroy();
        }
    }

    /// Takes this process's requests for a login back. Other programs may go on waiting for it.
    pub(crate) fn cancel(&self) {
        std::mem::take(&mut *lock(&self.logins)).cancel();
    }

    /// Asks what can be asked twice: over a warm connection, and where that has gone over a new one.
    fn ask(&self, request: &Request) -> Result<Reply, RemoteError> {
        let warm = lock(&self.warm).pop().filter(Connection::is_of_this_process);
        if let Some(mut connection) = warm {
            match connection.ask(request, PROMPT) {
                Err(NoAnswer::Gone) => lock(&self.warm).clear(),
                answer => return self.keep(connection, answer),
            }
        }
        let mut connection = self.open()?;
        let answer = connection.ask(request, PROMPT);
        self.keep(connection, answer)
    }

    /// Asks what takes time, over a connection of its own, that cancelling closes.
    fn ask_apart(&self, request: &Request, cancel: &CancelToken) -> Result<Reply, RemoteError> {
        let mut connection = self.open()?;
        let socket = Arc::clone(connection.socket());
        let _guard = cancel.on_cancel(move || {
            // It fails where the agent has gone, which wakes the thread as well.
            let _ = socket.shutdown(Shutdown::Both);
        });
        let answer = connection.ask(request, SILENCE);
        if answer.is_err() && cancel.is_cancelled() {
            return Err(RemoteError::Failed(Error::cancelled(Stage::Session)));
        }
        answer.map_err(Into::into)
    }

    /// Closes the connections that nobody uses just now.
    pub(crate) fn disconnect(&self) {
        lock(&self.warm).clear();
    }

    fn open(&self) -> Result<Connection, RemoteError> {
        Ok(Connection::open(&self.place, &self.service.id())?)
    }

    fn keep(&self, connection: Connection, answer: Result<Reply, NoAnswer>) -> Result<Reply, RemoteError> {
        let reply = answer?;
        let mut warm = lock(&self.warm);
        if warm.len() < WARM {
            warm.push(connection);
        }
        Ok(reply)
    }
}

/// How the agent is that the settings name, whatever broker it logs in at.
///
/// # Errors
///
/// [`AgentNotAvailable`](ErrorKind::AgentNotAvailable), [`AgentVersion`](ErrorKind::AgentVersion),
/// [`Configuration`](ErrorKind::Configuration).
pub(super) fn status(place: &Path) -> crate::Result<super::AgentStatus> {
    let answer = Connection::open(place, "").and_then(|mut agent| agent.ask(&Request::Status, PROMPT));
    match answer.map_err(RemoteError::from).map(|reply| match reply {
        Reply::Status(status) => Ok(status),
        other => Err(unexpected(other)),
    }) {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(undone)) | Err(undone) => Err(undone.into()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unexpected(reply: Reply) -> RemoteError {
    RemoteError::Failed(match reply {
        Reply::Failed(failure) => failure.into(),
        _ => Error::new(ErrorKind::Internal, Stage::Session, "the ticketapi agent answered something else"),
    })
}

impl From<NoAnswer> for RemoteError {
    fn from(why: NoAnswer) -> Self {
        let kind = match why {
            NoAnswer::Version(_) => ErrorKind::AgentVersion,
            _ => ErrorKind::AgentNotAvailable,
        };
        let is_normal = matches!(why, NoAnswer::Absent(_));
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
