//! What an engine has the agent do, and what it does itself.

use tracing::warn;

use super::Engine;
use crate::agent::{Remote, Undone};
use crate::error::Result;

impl Engine {
    /// The agent, when it is to be asked: what this process has itself comes first.
    pub(super) fn remote(&self) -> Option<&Remote> {
        let remote = self.remote.as_ref()?;
        let mut state = self.inner.lock();
        self.inner.catch_up(&mut state);
        (state.session.is_none() && state.login.is_none()).then_some(remote)
    }

    /// Has the agent do it; without an agent does it `here`, unless the settings require one.
    pub(super) fn remote_or<T>(
        &self,
        there: impl FnOnce(&Remote) -> std::result::Result<T, Undone>,
        here: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let Some(remote) = self.remote() else { return here() };
        match there(remote) {
            Ok(done) => Ok(done),
            Err(Undone::Failed(error)) => Err(error),
            Err(Undone::Away(away)) if remote.required => Err(away.error),
            Err(Undone::Away(away)) => {
                if !away.is_normal {
                    warn!(error = %away.error, "this process goes on without the agent");
                }
                here()
            }
        }
    }

    /// Has the agent end the session; without an agent does it `here`.
    pub(super) fn destroy_there_or(&self, here: impl FnOnce() -> Result<()>) -> Result<()> {
        match self.remote().map(Remote::destroy) {
            None => here(),
            Some(Ok(())) => Ok(()),
            // No agent has no session.
            Some(Err(Undone::Away(away))) if away.is_normal => Ok(()),
            // Whether the session is over on the broker, nobody knows.
            Some(Err(undone)) => Err(undone.into()),
        }
    }
}
