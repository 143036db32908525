//! Calls that only the SSB answers. Besides the builder and `nuts`, no other file of the engine names a service.

use super::Engine;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::service::ssb::{RoleAssertion, SessionInfo, SsbSession};

impl Engine {
    /// Asks the broker whose session it is, and for all roles of that user.
    ///
    /// Blocks until the answer arrives, at most for `request_timeout`;
    /// [`Engine::cancel_login`] and [`destroy_ticket`](crate::Engine::destroy_ticket) end it earlier. Any
    /// number of threads may call it at once. Never prompts. Source: the broker's
    /// `/saml/RoleAssertion`.
    ///
    /// # Errors
    ///
    /// [`TicketNotAvailable`](ErrorKind::TicketNotAvailable) if there is no session, or if the broker says that
    /// it is over, which also ends it here. With any other error it continues:
    /// [`ServerNotAvailable`](ErrorKind::ServerNotAvailable), [`Tls`](ErrorKind::Tls),
    /// [`BadAnswer`](ErrorKind::BadAnswer), [`Cancelled`](ErrorKind::Cancelled).
    pub fn role_assertion(&self) -> Result<RoleAssertion> {
        self.call_service(SsbSession::role_assertion)
    }

    /// Asks the broker for the session's state and remaining time. `reset` restarts the broker's idle timer,
    /// not the one here.
    ///
    /// Blocks and ends as [`Engine::role_assertion`]. Source: the broker's
    /// `/amserver/sessionservice`; no answer of a real broker has been seen.
    ///
    /// # Errors
    ///
    /// As [`Engine::role_assertion`]; every state but valid means that the session is over.
    pub fn session_state(&self, reset: bool) -> Result<SessionInfo> {
        self.call_service(|session: &SsbSession, call| session.state(reset, call))
    }
}
