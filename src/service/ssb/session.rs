//! A session on the broker: queries about it, and its end.

use std::sync::Arc;

use super::client::{BrokerSession, Ssb};
use super::{RoleAssertion, SessionInfo, SessionState, SsbSettings};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::service::{Call, ServiceSession};

#[derive(Debug)]
pub(crate) struct SsbSession {
    pub(super) settings: Arc<SsbSettings>,
    pub(super) session: BrokerSession,
}

impl SsbSession {
    /// See [`Engine::role_assertion`](crate::Engine::role_assertion).
    pub(crate) fn role_assertion(&self, call: &Call<'_>) -> Result<RoleAssertion> {
        self.broker(call).role_assertion(&self.session, call.cancel)
    }

    /// See [`Engine::session_state`](crate::Engine::session_state).
    pub(crate) fn state(&self, reset: bool, call: &Call<'_>) -> Result<SessionInfo> {
        let info = self.broker(call).session_state(&self.session, reset, call.cancel)?;
        match info.state {
            SessionState::Valid => Ok(info),
            other => Err(Error::new(
                ErrorKind::Refused,
                Stage::Session,
                format!("the broker says that the session is {}", other.as_str()),
            )),
        }
    }

    fn broker(&self, call: &Call<'_>) -> Ssb {
        self.settings.broker_within(call.left())
    }
}

impl ServiceSession for SsbSession {
    fn check(&self, call: &Call<'_>) -> Result<()> {
        // The role assertion, not the session service: its answers are known.
        self.role_assertion(call).map(drop)
    }

    fn log_out(&self, call: &Call<'_>) -> Result<()> {
        self.broker(call).log_out(&self.session, call.cancel)
    }
}
