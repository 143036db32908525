//! The outcome of a login, and the session at the service that granted it.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Context, Contexts, Limits, Role, User};
use crate::cancel::CancelToken;
use crate::card::Certificate;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::secret::Ticket;

/// What a successful login returns.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) user: User,
    /// In the service's order.
    pub(crate) roles: Vec<Role>,
    /// The index of the chosen role.
    pub(crate) role: Option<usize>,
    pub(crate) ticket: Ticket,
    /// `None` for a ticket that lasts as long as the session.
    pub(crate) expiry: Option<Expiry>,
    pub(crate) limits: Limits,
    /// The card the session is bound to; unknown for a session of the agent.
    pub(crate) card: Option<Certificate>,
    pub(crate) card_watched: bool,
    pub(crate) service: Arc<dyn ServiceSession>,
}

/// The lifetime of a ticket that does not last as long as its session. Both times start when the call that
/// returned the ticket returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry {
    /// The ticket expires after this time.
    pub(crate) after: Duration,
    /// [`ServiceSession::renew`] works within this time, such as the life of the refresh token; `None` if the ticket
    /// cannot be renewed. The session then ends with it.
    pub(crate) renewable: Option<Duration>,
}

/// What a renewal returns.
#[derive(Debug)]
pub(crate) struct Renewal {
    pub(crate) ticket: Ticket,
    pub(crate) expiry: Option<Expiry>,
}

/// What a change of role or context returns. User and limits stay as they were.
#[derive(Debug)]
pub(crate) struct Replacement {
    /// The old one, if the change needed no new one.
    pub(crate) ticket: Ticket,
    pub(crate) expiry: Option<Expiry>,
    /// In the service's order.
    pub(crate) roles: Vec<Role>,
    /// The index of the chosen role.
    pub(crate) role: Option<usize>,
}

/// A session at its service. Each call uses its own connection and may come from any thread.
pub(crate) trait ServiceSession: Any + Debug + Send + Sync {
    /// Asks the service whether the session is alive.
    ///
    /// # Errors
    ///
    /// [`Refused`](crate::ErrorKind::Refused) or [`UserNotValid`](crate::ErrorKind::UserNotValid) if it is
    /// over. Any other error leaves that open.
    fn check(&self, call: &Call<'_>) -> Result<()>;

    /// Ends the session at the service, also if a renewal or a change is in progress: tokens that arrive afterwards
    /// are not kept.
    ///
    /// # Errors
    ///
    /// [`ServerNotAvailable`](crate::ErrorKind::ServerNotAvailable) if another try may succeed.
    fn log_out(&self, call: &Call<'_>) -> Result<()>;

    /// Gets a new ticket; `None` from a service whose tickets do not expire. The engine never calls this twice at
    /// a time, nor together with [`ServiceSession::switch_context`], nor in a child of `fork()`. It may run
    /// together with a change of role, whose ticket then comes first: let each exchange of tokens wait for the other.
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused) or [`UserNotValid`](ErrorKind::UserNotValid) if the service will never renew
    /// it again: the session ends. After any other error the engine tries again.
    fn renew(&self, _call: &Call<'_>) -> Result<Option<Renewal>> {
        Ok(None)
    }

    /// Switches to `context`, which has passed [`Context::check`].
    ///
    /// # Errors
    ///
    /// The session and its ticket stay as they were.
    fn switch_context(&self, _context: &Context, _call: &Call<'_>) -> Result<Replacement> {
        Err(not_implemented("contexts"))
    }

    /// Returns the contexts that the user may switch to.
    fn contexts(&self, _call: &Call<'_>) -> Result<Contexts> {
        Err(not_implemented("contexts"))
    }

    /// Returns what the service says about the user, as JSON.
    fn claims(&self, _call: &Call<'_>) -> Result<String> {
        Err(not_implemented("claims about the user"))
    }
}

/// The error of an operation that a service does not have.
pub(crate) fn not_implemented(operation: &str) -> Error {
    Error::new(ErrorKind::NotImplemented, Stage::Session, format!("the identity service has no {operation}"))
}

/// The limits of one call to a service.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub(crate) deadline: Instant,
    pub(crate) cancel: &'a CancelToken,
}

impl<'a> Call<'a> {
    /// A call that ends after `time`, or when `cancel` is cancelled.
    pub fn within(time: Duration, cancel: &'a CancelToken) -> Self {
        Self { deadline: Instant::now() + time, cancel }
    }

    /// Returns the limits of the next of `count` requests, if one that hangs is to leave the others their time.
    #[cfg(feature = "oidc")]
    pub(crate) fn share(&self, count: usize) -> Self {
        Self::within(self.left() / u32::try_from(count.max(1)).unwrap_or(u32::MAX), self.cancel)
    }

    /// Returns the remaining time.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
