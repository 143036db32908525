//! The outcome of a login, and the session at the service that granted it.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Limits, Role, User};
use crate::cancel::CancelToken;
use crate::card::Certificate;
use crate::error::Result;
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
    pub(crate) limits: Limits,
    /// The card the session is bound to; unknown for a session of the agent.
    pub(crate) card: Option<Certificate>,
    pub(crate) card_watched: bool,
    pub(crate) service: Arc<dyn ServiceSession>,
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

    /// Ends the session at the service.
    ///
    /// # Errors
    ///
    /// [`ServerNotAvailable`](crate::ErrorKind::ServerNotAvailable) if another try may succeed.
    fn log_out(&self, call: &Call<'_>) -> Result<()>;
}

/// The limits of one call to a service.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) deadline: Instant,
    pub(crate) cancel: &'a CancelToken,
}

impl<'a> Call<'a> {
    pub(crate) fn within(time: Duration, cancel: &'a CancelToken) -> Self {
        Self { deadline: Instant::now() + time, cancel }
    }

    /// Returns the remaining time.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
