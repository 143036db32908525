//! Calls that only a Nuts node answers.

use super::Engine;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::secret::AccessToken;
use crate::service::nuts::NutsSession;
use crate::session::{AssuranceLevel, Employee};

impl Engine {
    /// Sets who logs in, with `service = nuts`. A session of another employee ends, and so does a login that is in
    /// progress for one.
    ///
    /// # Errors
    ///
    /// [`InvalidParameter`](ErrorKind::InvalidParameter) for an employee without a name, and
    /// [`NotImplemented`](ErrorKind::NotImplemented) with another service. The session then stays as it is.
    pub fn set_employee(&self, employee: &Employee) -> Result<()> {
        if !self.inner.parts.service.set_employee(employee)? {
            return Ok(());
        }
        if let Some(remote) = &self.remote {
            // The agent was told who is to log in when the connections were opened.
            remote.disconnect();
        }
        self.destroy_here()
    }

    /// Gets an access token from the node of `authorizer` (a DID), for what its `service` keeps. The node of the
    /// employer asks for it, with the session's presentation.
    ///
    /// Blocks until the answer arrives, at most for `request_timeout`; [`Engine::cancel_login`] and
    /// [`Engine::destroy_ticket`] end it earlier. Any number of threads may call it at once. Never prompts.
    ///
    /// # Errors
    ///
    /// [`TicketNotAvailable`](ErrorKind::TicketNotAvailable) if there is no session; [`Refused`](ErrorKind::Refused),
    /// with the reason if the node gives one; [`ServerNotAvailable`](ErrorKind::ServerNotAvailable),
    /// [`Tls`](ErrorKind::Tls), [`BadAnswer`](ErrorKind::BadAnswer), [`Cancelled`](ErrorKind::Cancelled). The session
    /// continues.
    pub fn access_token(&self, authorizer: &str, service: &str) -> Result<AccessToken> {
        // The outcome within the outcome: a refusal is none of the session.
        self.call_service(|session: &NutsSession, call| Ok(session.access_token(authorizer, service, call)))?
    }

    /// Asks the node what an access token says that others have sent. Returns JSON: `{"active":false}` for one that
    /// is not good (any more). Blocks and fails as [`Engine::access_token`].
    ///
    /// # Errors
    ///
    /// As [`Engine::access_token`].
    pub fn introspect(&self, token: &str) -> Result<String> {
        self.call_service(|session: &NutsSession, call| Ok(session.introspect(token, call)))?
    }

    /// Returns how sure the employer is who the user is; `None` if the node's word for it is not known.
    ///
    /// # Errors
    ///
    /// [`TicketNotAvailable`](ErrorKind::TicketNotAvailable) if there is no session.
    pub fn assurance_level(&self) -> Result<Option<AssuranceLevel>> {
        self.call_service(|session: &NutsSession, _| Ok(session.assurance()))
    }
}
