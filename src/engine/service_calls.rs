//! Ending sessions on the broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::state::Inner;
use crate::cancel::CancelToken;
use crate::error::{ErrorKind, Result};
use crate::session::Session;
use crate::ssb::BrokerSession;

/// How long to leave a broker alone that could not be reached.
const PAUSE: Duration = Duration::from_millis(500);

impl Inner {
    /// Ends `session` on the broker, over a connection of its own.
    pub(super) fn end_on_broker(&self, session: &Session) -> Result<()> {
        self.parts.broker().log_out(&session.broker, &CancelToken::new())
    }

    /// Ends `session` on the broker without anybody waiting for it.
    pub(super) fn end_on_broker_meanwhile(self: &Arc<Self>, session: &Arc<Session>) {
        let cancel = CancelToken::new();
        let (inner, session, token) = (Arc::clone(self), session.broker.clone(), cancel.clone());
        if let Err(error) =
            self.threads.spawn("ticketapi-end", cancel, move || inner.end_within_deadline(&session, &token))
        {
            warn!(%error, "the session could not be ended on the broker");
        }
    }

    /// Tries until the time for one request is over: the network may be back before.
    fn end_within_deadline(&self, session: &BrokerSession, cancel: &CancelToken) {
        let until = Instant::now() + self.parts.config.request_timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.parts.broker_within(left).log_out(session, cancel) {
                Ok(()) => return info!("session ended on the broker"),
                Err(error) if *error.kind() != ErrorKind::ServerNotAvailable || left <= PAUSE => {
                    return warn!(%error, "the session could not be ended on the broker");
                }
                Err(_) if cancel.wait(PAUSE) => return warn!("the session was not ended on the broker"),
                Err(_) => {}
            }
        }
    }
}
