//! The ticket engine: the four operations of the Ticket API, one login at a time.

mod builder;
mod events;
mod login_flight;
mod monitor;
mod service_calls;
mod ssb;
mod state;
#[cfg(test)]
mod tests;
mod ticket_cell;

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::agent::{Remote, RemoteError};
use crate::card::events::CardWatch;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::secret::Ticket;
use crate::session::{EndReason, Session};

pub use crate::session::Status;
pub use builder::EngineBuilder;
pub use events::Event;
use service_calls::nobody_is_logged_in;
use state::Inner;
use ticket_cell::Found;

/// How long to wait for a thread that has nothing left to do.
const SETTLING: Duration = Duration::from_millis(250);

/// How long threads that tell the broker of ended sessions may go on when an engine is dropped.
const GRACE: Duration = Duration::from_millis(500);

/// Logs users in and keeps their session, or has the agent do so. One for a process is enough.
///
/// It starts no thread and opens nothing before the first login. While there is a session, a thread
/// watches its card and its time, where there is anything to watch; others run for a moment when a
/// session ends or the listener is told. Dropping the engine ends them all, waits for that, and
/// leaves a session on the broker to its limits.
///
/// In a child of `fork()` there is no session, and the parent's goes on.
///
/// All methods may be called from any thread at any time.
///
/// ```no_run
/// use ticketapi::{Config, Engine};
///
/// # fn main() -> ticketapi::Result<()> {
/// let engine = Engine::builder(Config::load()?).build()?;
/// let ticket = engine.get_ticket()?; // logs the user in if there is no session
/// println!("{} bytes", ticket.expose().len());
/// engine.destroy_ticket()
/// # }
/// ```
pub struct Engine {
    inner: Arc<Inner>,
    /// The agent, where the settings want it: asked for what this process does not have itself.
    remote: Option<Remote>,
}

impl Engine {
    /// An engine with the settings of this computer; see [`Config::load`](crate::Config::load).
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration).
    pub fn new() -> Result<Self> {
        EngineBuilder::new(crate::Config::load()?).build()
    }

    /// An engine with other settings, prompts or cards.
    pub fn builder(config: crate::Config) -> EngineBuilder {
        EngineBuilder::new(config)
    }

    /// The ticket of the session; with none, logs the user in; with a locked one, has the user unlock
    /// it.
    ///
    /// Blocks for as long as the user takes. Threads that ask while a login is under way wait for
    /// that login and share its outcome.
    ///
    /// # Errors
    ///
    /// Every [`ErrorKind`], as the login fails.
    pub fn get_ticket(&self) -> Result<Ticket> {
        self.remote_or(|remote| remote.ticket(false), || Ok(self.here(false)?.ticket().clone()))
    }

    /// The ticket of the session. Never prompts, and never uses the card or the network.
    ///
    /// # Errors
    ///
    /// [`TicketNotAvailable`](ErrorKind::TicketNotAvailable) when there is no session or it is
    /// locked, also while a first login is under way.
    pub fn get_ticket_no_auth(&self) -> Result<Ticket> {
        self.remote_or(Remote::ticket_no_auth, || {
            let mut state = self.inner.lock();
            let session = self.inner.ask(&mut state);
            session.map(|session| session.ticket().clone()).ok_or_else(|| state.no_ticket())
        })
    }

    /// Logs the user in again and returns the new ticket. Blocks and shares as
    /// [`Engine::get_ticket`] does.
    ///
    /// The session that was there is ended when the new one has begun; when the login fails, it
    /// goes on.
    ///
    /// # Errors
    ///
    /// As [`Engine::get_ticket`].
    pub fn get_new_ticket(&self) -> Result<Ticket> {
        Ok(self.log_in_again()?.ticket().clone())
    }

    /// Ends the session, here and on the broker, as taking the card out does, and cancels a login
    /// that is under way. Succeeds when there is none.
    ///
    /// # Errors
    ///
    /// The session is over here in any case; an error tells that the broker could not be told.
    pub fn destroy_ticket(&self) -> Result<()> {
        self.destroy_there_or(|| self.destroy_here())
    }

    /// The session that is live, if one is; not one that is locked. Waits for nobody but the agent,
    /// where there is one, and does not count as use.
    pub fn session(&self) -> Option<Arc<Session>> {
        self.live_session().ok()
    }

    /// As [`Engine::session`], with the reason why there is none.
    ///
    /// # Errors
    ///
    /// As [`Engine::get_ticket_no_auth`].
    #[doc(hidden)]
    pub fn live_session(&self) -> Result<Arc<Session>> {
        self.remote_or(Remote::session, || self.own_session().ok_or_else(|| self.inner.lock().no_ticket()))
    }

    /// As [`Engine::session`], but of this process alone: not the agent's. Does not block.
    #[doc(hidden)]
    pub fn own_session(&self) -> Option<Arc<Session>> {
        let mut state = self.inner.lock();
        self.inner.catch_up(&mut state);
        let live = state.session.as_ref().filter(|kept| kept.life.locked().is_none());
        live.map(|kept| Arc::clone(&kept.session))
    }

    /// How it stands. Waits for nobody but the agent, where there is one, and does not count as use.
    pub fn status(&self) -> Status {
        let there = self.remote().and_then(|remote| remote.status().ok());
        there.unwrap_or_else(|| self.own_status())
    }

    /// As [`Engine::status`], but of this process alone: not the agent's. Does not block.
    #[doc(hidden)]
    pub fn own_status(&self) -> Status {
        self.inner.status()
    }

    /// Whether there is a session that is this process's own and not the agent's: it is over when the
    /// process ends. Does not block.
    #[doc(hidden)]
    pub fn keeps_session(&self) -> bool {
        matches!(self.own_status(), Status::Live { .. } | Status::Locked { .. })
    }

    /// Gives the ticket of the live session to `reader`; `None` when there is no session or it is
    /// locked. As [`Engine::get_ticket_no_auth`], but mostly without a lock or an allocation where the
    /// session is this process's own: any number of threads may ask at once.
    pub fn with_ticket<T>(&self, reader: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.read_ticket(reader).ok()
    }

    /// As [`Engine::with_ticket`], with the reason why there is no ticket.
    ///
    /// # Errors
    ///
    /// As [`Engine::get_ticket_no_auth`].
    #[doc(hidden)]
    pub fn read_ticket<T>(&self, reader: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let inner = &self.inner;
        let mut reader = Some(reader);
        let mut read = |bytes: &[u8]| reader.take().map(|reader| reader(bytes));
        let own = match inner.ticket.read(|| inner.parts.tick(), &mut read) {
            Found::Ticket(result) => result,
            Found::Nothing => None,
            Found::Elsewhere => {
                inner.ask(&mut inner.lock()).and_then(|session| read(session.ticket().expose().as_bytes()))
            }
        };
        match own {
            Some(result) => Ok(result),
            // The reader was not called, so it is there.
            None => read(self.get_ticket_no_auth()?.expose().as_bytes()).ok_or_else(nobody_is_logged_in),
        }
    }

    /// As [`Engine::with_ticket`], before [`Engine::get_ticket`]: `None` also where that has to ask the
    /// agent or, by the setting `check_session`, the broker.
    #[doc(hidden)]
    pub fn with_ticket_at_hand<T>(&self, reader: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let inner = &self.inner;
        if !inner.parts.settings.check_session.is_zero() {
            return None;
        }
        match inner.ticket.read(|| inner.parts.tick(), reader) {
            Found::Ticket(result) => Some(result),
            Found::Nothing | Found::Elsewhere => None,
        }
    }

    /// The live session; with none, logs the user in. As [`Engine::get_ticket`].
    ///
    /// # Errors
    ///
    /// As [`Engine::get_ticket`].
    pub fn log_in(&self) -> Result<Arc<Session>> {
        self.remote_or(
            |remote| {
                remote.ticket(false)?;
                remote.session()
            },
            || self.here(false),
        )
    }

    /// Logs the user in, whether or not there is a session. As [`Engine::get_new_ticket`].
    ///
    /// # Errors
    ///
    /// As [`Engine::get_ticket`].
    pub fn log_in_again(&self) -> Result<Arc<Session>> {
        self.remote_or(
            |remote| {
                remote.ticket(true)?;
                remote.session()
            },
            || self.here(true),
        )
    }

    /// As [`Engine::log_in`], in this process, and with a card that is in a reader: none is waited for,
    /// so nobody is told to put one in.
    ///
    /// # Errors
    ///
    /// As [`Engine::get_ticket`].
    #[doc(hidden)]
    pub fn log_in_with_card_there(&self) -> Result<Arc<Session>> {
        self.inner.session_or_login(false, Duration::ZERO)
    }

    /// Watches the readers, for a program that wants to know of cards while nobody is logged in; for as
    /// long as there is a session, its own is watched anyway (see [`EngineBuilder::listener`]). `None` where
    /// there are no readers. Starts a process, and ends it when the watch is dropped.
    ///
    /// # Errors
    ///
    /// [`NotInstalled`](ErrorKind::NotInstalled) when the watching cannot be started.
    pub fn watch_cards(&self) -> Result<Option<Box<dyn CardWatch>>> {
        self.inner.parts.reader.watch()
    }

    /// Cancels the login that is under way, if one is, and questions to the broker; a live session
    /// goes on. Who waits for one of them gets [`Cancelled`](ErrorKind::Cancelled).
    pub fn cancel_login(&self) {
        self.inner.lock().cancel_login();
        if let Some(remote) = &self.remote {
            remote.cancel();
        }
    }

    /// Ends every thread of this engine and its connections to the agent, for a host that does not want
    /// any for now; the session goes on. What happens to its card is kept for [`Engine::wake`], and
    /// nobody must ask for the ticket before that. Blocks for up to half a second while ended sessions
    /// are told to the broker.
    #[doc(hidden)]
    pub fn rest(&self) {
        self.inner.rest(GRACE);
        if let Some(remote) = &self.remote {
            remote.disconnect();
        }
    }

    /// Goes on after [`Engine::rest`]: when it returns, a session whose card was taken out meanwhile
    /// has ended.
    #[doc(hidden)]
    pub fn wake(&self) {
        self.inner.wake();
    }
}

impl Engine {
    /// The agent, when it is to be asked: what this process has itself comes first.
    fn remote(&self) -> Option<&Remote> {
        let remote = self.remote.as_ref()?;
        let mut state = self.inner.lock();
        self.inner.catch_up(&mut state);
        (state.session.is_none() && state.login.is_none()).then_some(remote)
    }

    /// Has the agent do it; without an agent does it `here`, unless the settings require one.
    fn remote_or<T>(
        &self,
        there: impl FnOnce(&Remote) -> std::result::Result<T, RemoteError>,
        here: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let Some(remote) = self.remote() else { return here() };
        match there(remote) {
            Ok(done) => Ok(done),
            Err(RemoteError::Failed(error)) => Err(error),
            Err(RemoteError::Unavailable(away)) if remote.required => Err(away.error),
            Err(RemoteError::Unavailable(away)) => {
                if !away.is_normal {
                    warn!(error = %away.error, "this process goes on without the agent");
                }
                here()
            }
        }
    }

    /// Has the agent end the session; without an agent does it `here`.
    fn destroy_there_or(&self, here: impl FnOnce() -> Result<()>) -> Result<()> {
        match self.remote().map(Remote::destroy) {
            None => here(),
            Some(Ok(())) => Ok(()),
            // No agent has no session.
            Some(Err(RemoteError::Unavailable(away))) if away.is_normal => Ok(()),
            // Whether the session is over on the broker, nobody knows.
            Some(Err(undone)) => Err(undone.into()),
        }
    }

    fn here(&self, anew: bool) -> Result<Arc<Session>> {
        self.inner.session_or_login(anew, self.inner.parts.settings.card_wait)
    }

    fn destroy_here(&self) -> Result<()> {
        let session = {
            let mut state = self.inner.lock();
            state.cancel_login();
            let session = self.inner.take_session(&mut state, EndReason::Destroyed);
            self.inner.tend(&mut state);
            session
        };
        let told = session.map_or(Ok(()), |session| self.inner.end_on_broker(&session));
        // With the session, the thread that kept it is gone.
        self.inner.threads.settle(SETTLING);
        told
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.inner.rest(GRACE);
        let parked = self.inner.lock().parked.take();
        drop(parked);
    }
}
