//! The questions that only the SSB answers. Besides the builder, no other file of the engine names a
//! service.

use super::Engine;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::service::ssb::{RoleAssertion, SessionInfo, SsbSession};

impl Engine {
    /// Asks the broker whose the live session is, and for every role of that user.
    ///
    /// Blocks until the answer is there, at the longest for the setting `request_timeout`;
    /// [`Engine::cancel_login`] and [`destroy_ticket`](crate::Engine::destroy_ticket) end it
    /// earlier. Any number of threads may ask at once. Never prompts. Source: the broker's
    /// `/saml/RoleAssertion`.
    ///
    /// # Errors
    ///
    /// [`TicketNotAvailable`](ErrorKind::TicketNotAvailable) when there is no session, or the broker
    /// says that it is over; then it is over here too. With every other error it goes on:
    /// [`ServerNotAvailable`](ErrorKind::ServerNotAvailable), [`Tls`](ErrorKind::Tls),
    /// [`BadAnswer`](ErrorKind::BadAnswer), [`Cancelled`](ErrorKind::Cancelled).
    pub fn role_assertion(&self) -> Result<RoleAssertion> {
        self.ask(SsbSession::role_assertion)
    }

    /// Asks the broker how the live session is: whether it is alive, and for how long. With `reset`,
    /// its time without use begins anew, there and not here.
    ///
    /// Blocks and ends as [`Engine::role_assertion`] does. Source: the broker's
    /// `/amserver/sessionservice`, for which no answer of a real broker was ever seen.
    ///
    /// # Errors
    ///
    /// As [`Engine::role_assertion`]; every state but valid means that the session is over.
    pub fn session_state(&self, reset: bool) -> Result<SessionInfo> {
        self.ask(|session: &SsbSession, call| session.state(reset, call))
    }
}
