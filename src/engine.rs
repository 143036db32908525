//! The ticket engine: the four operations of the Ticket API, one login at a time.

mod builder;
mod events;
mod exchange;
mod login_flight;
mod monitor;
#[cfg(feature = "nuts")]
mod nuts;
mod outcome;
mod service_calls;
#[cfg(feature = "sign")]
mod sign;
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
use crate::os::privilege::own_user;
use crate::secret::Ticket;
use crate::session::{Context, Contexts, EndReason, Session};

pub use crate::session::Status;
pub use builder::EngineBuilder;
#[cfg(feature = "nuts")]
#[doc(hidden)]
pub use builder::examine_node;
#[doc(hidden)]
pub use builder::server;
#[cfg(feature = "oidc")]
#[doc(hidden)]
pub use builder::{Examination, examination};
pub use events::Event;
use service_calls::nobody_is_logged_in;
use state::Inner;
use ticket_cell::{Lending, Lookup};

/// How long to wait for a thread that is about to end.
const ENDING_TIME: Duration = Duration::from_millis(250);

/// How long a dropped engine lets threads finish ending sessions on the broker.
const GRACE: Duration = Duration::from_millis(500);

/// Logs users in and holds their session, or uses the agent for that. One per process is enough.
///
/// It starts no thread and opens nothing before the first login. While there is a session, a monitor thread
/// watches its card and limits, if there is anything to watch; other threads run briefly when a session
/// ends or for the listener. Dropping the engine ends and joins them all, and leaves a session on the
/// broker to its limits.
///
/// In a child of `fork()` there is no session; the parent's continues.
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
    /// The agent, if the settings use it. This process's own session comes first.
    remote: Option<Remote>,
}

impl Engine {
    /// Creates an engine with this computer's settings; see [`Config::load`](crate::Config::load).
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration).
    pub fn new() -> Result<Self> {
        EngineBuilder::new(crate::Config::load()?).build()
    }

    /// Returns a builder, for other settings, prompts or cards.
    pub fn builder(config: crate::Config) -> EngineBuilder {
        EngineBuilder::new(config)
    }

    /// Returns the session's ticket. Without a session it logs the user in; a locked session is unlocked by
    /// its user first.
    ///
    /// Blocks for as long as the user takes. Calls during a login wait for that login and share its outcome.
    ///
    /// # Errors
    ///
    /// Every [`ErrorKind`], depending on how the login fails.
    pub fn get_ticket(&self) -> Result<Ticket> {
        self.remote_or(|remote| remote.ticket(false), || Ok(self.here(false)?.ticket().clone()))
    }

    /// Returns the session's ticket. Never prompts; uses neither card nor network.
    ///
    /// # Errors
    ///
    /// [`TicketNotAvailable`](ErrorKind::TicketNotAvailable) if there is no session or it is locked, also
    /// during a first login; and if the ticket expires within 5 seconds because it could not be renewed yet, which
    /// [`Engine::get_ticket`] tries again.
    pub fn get_ticket_no_auth(&self) -> Result<Ticket> {
        self.remote_or(Remote::ticket_no_auth, || {
            let mut state = self.inner.lock();
            let session = self.inner.use_session(&mut state);
            session.map(|session| session.ticket().clone()).ok_or_else(|| state.no_ticket())
        })
    }

    /// Logs the user in again and returns the new ticket. Blocks and shares its outcome as
    /// [`Engine::get_ticket`] does.
    ///
    /// The old session ends when the new one has started. If the login fails, the old one continues.
    ///
    /// # Errors
    ///
    /// As [`Engine::get_ticket`].
    pub fn get_new_ticket(&self) -> Result<Ticket> {
        self.remote_or(|remote| remote.ticket(true), || Ok(self.here(true)?.ticket().clone()))
    }

    /// Ends the session, here and on the broker, as removing the card does, and cancels a login in progress.
    /// Succeeds if there is no session.
    ///
    /// # Errors
    ///
    /// The session ends here in any case; an error means that the broker could not be informed.
    pub fn destroy_ticket(&self) -> Result<()> {
        self.destroy_there_or(|| self.destroy_here())
    }

    /// Returns the live session; `None` if there is none, it is locked, or its ticket has expired and could not be
    /// renewed yet. Blocks only on the agent; does not
    /// reset the idle timer.
    pub fn session(&self) -> Option<Arc<Session>> {
        self.live_session().ok()
    }

    /// As [`Engine::session`], with the reason if there is none.
    ///
    /// # Errors
    ///
    /// As [`Engine::get_ticket_no_auth`].
    #[doc(hidden)]
    pub fn live_session(&self) -> Result<Arc<Session>> {
        self.remote_or(Remote::session, || self.own_session().ok_or_else(|| self.inner.lock().no_ticket()))
    }

    /// As [`Engine::session`], for this process only, not the agent. Does not block.
    pub(crate) fn own_session(&self) -> Option<Arc<Session>> {
        let mut state = self.inner.lock();
        self.inner.catch_up(&mut state);
        let live = state.session.as_ref().filter(|kept| kept.life.gives_ticket());
        live.map(|kept| Arc::clone(&kept.session))
    }

    /// Returns the session's state. Blocks only on the agent; does not reset the idle timer.
    pub fn status(&self) -> Status {
        let there = |remote: &Remote| remote.status();
        self.remote_or(there, || Ok(self.own_status())).unwrap_or(Status::Unknown)
    }

    /// As [`Engine::status`], for this process only, not the agent. Does not block.
    #[doc(hidden)]
    pub fn own_status(&self) -> Status {
        self.inner.status()
    }

    /// Returns `true` if this process, not the agent, holds the session. Such a session ends with the
    /// process. Does not block.
    #[doc(hidden)]
    pub fn keeps_session(&self) -> bool {
        matches!(self.own_status(), Status::Live { .. } | Status::Locked { .. })
    }

    /// Passes the live session's ticket to `reader`; `None` if there is no session or it is locked. As
    /// [`Engine::get_ticket_no_auth`], but mostly without a lock or an allocation if this process holds the
    /// session: any number of threads may call it at once.
    pub fn with_ticket<T>(&self, reader: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.read(Lending::Any, reader).ok()
    }

    /// As [`Engine::with_ticket`], with the reason if there is no ticket. The reader must not use the engine.
    ///
    /// # Errors
    ///
    /// As [`Engine::get_ticket_no_auth`].
    #[doc(hidden)]
    pub fn read_ticket<T>(&self, reader: impl FnOnce(&[u8]) -> T) -> Result<T> {
        self.read(Lending::Brief, reader)
    }

    #[inline]
    fn read<T>(&self, lending: Lending, reader: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let inner = &self.inner;
        let mut reader = Some(reader);
        let mut read = |bytes: &[u8]| reader.take().map(|reader| reader(bytes));
        let own = match inner.ticket.read(lending, || inner.parts.tick(), &mut read) {
            Lookup::Ticket(result) => result,
            Lookup::Nothing => None,
            Lookup::Elsewhere => {
                // The reader may use the engine, so the lock is not held any more.
                let session = inner.use_session(&mut inner.lock());
                session.and_then(|session| read(session.ticket().expose().as_bytes()))
            }
        };
        match own {
            Some(result) => Ok(result),
            // The reader was not called, so it is still here.
            None => read(self.get_ticket_no_auth()?.expose().as_bytes()).ok_or_else(nobody_is_logged_in),
        }
    }

    /// As [`Engine::with_ticket`], for use before [`Engine::get_ticket`]: also `None` if that has to ask the
    /// agent or, because of `check_session`, the broker. The reader must not use the engine.
    #[doc(hidden)]
    pub fn with_ticket_at_hand<T>(&self, reader: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let inner = &self.inner;
        if !inner.parts.settings.check_session.is_zero() {
            return None;
        }
        match inner.ticket.read(Lending::Brief, || inner.parts.tick(), reader) {
            Lookup::Ticket(result) => Some(result),
            Lookup::Nothing | Lookup::Elsewhere => None,
        }
    }

    /// Returns the live session. Without one it logs the user in. As [`Engine::get_ticket`].
    ///
    /// # Errors
    ///
    /// As [`Engine::get_ticket`].
    pub fn log_in(&self) -> Result<Arc<Session>> {
        self.remote_or(|remote| remote.log_in(false), || self.here(false))
    }

    /// Logs the user in, whether or not there is a session. As [`Engine::get_new_ticket`].
    ///
    /// # Errors
    ///
    /// As [`Engine::get_ticket`].
    pub fn log_in_again(&self) -> Result<Arc<Session>> {
        self.remote_or(|remote| remote.log_in(true), || self.here(true))
    }

    /// Has the user of the live session choose another role, and returns the session with that role and its ticket,
    /// which every program of the session gets from then on. Never logs anybody in.
    ///
    /// Blocks for as long as the user takes; [`Engine::cancel_login`] ends it. Meanwhile the session continues. If the
    /// change fails, it keeps its role and its ticket.
    ///
    /// # Errors
    ///
    /// [`NotImplemented`](ErrorKind::NotImplemented) if the service has no change of role;
    /// [`TicketNotAvailable`](ErrorKind::TicketNotAvailable) if there is no session or it is locked;
    /// [`Refused`](ErrorKind::Refused) also if another user has logged in for it.
    pub fn change_role(&self) -> Result<Arc<Session>> {
        self.remote_or(Remote::change_role, || self.inner.change_role())
    }

    /// Switches the live session to `context`, and returns the session with the ticket of that context, which every
    /// program of the session gets from then on. Never prompts.
    ///
    /// Blocks until the service answers, at most for `request_timeout`. If the switch fails, the session keeps its
    /// context and its ticket.
    ///
    /// # Errors
    ///
    /// [`InvalidParameter`](ErrorKind::InvalidParameter), see [`Context::check`];
    /// [`NotImplemented`](ErrorKind::NotImplemented) if the service has no contexts;
    /// [`TicketNotAvailable`](ErrorKind::TicketNotAvailable) if there is no session or it is locked;
    /// [`Refused`](ErrorKind::Refused) if the user may not work in this context.
    pub fn switch_context(&self, context: &Context) -> Result<Arc<Session>> {
        context.check()?;
        self.remote_or(|remote| remote.switch_context(context), || self.inner.switch_context(context))
    }

    /// Asks the service which contexts the user may switch to. Never prompts.
    ///
    /// # Errors
    ///
    /// [`NotImplemented`](ErrorKind::NotImplemented) if the service has no contexts;
    /// [`TicketNotAvailable`](ErrorKind::TicketNotAvailable) if there is no session or it is locked, or if the service
    /// says that it is over, which also ends it here. With any other error it continues.
    pub fn contexts(&self) -> Result<Contexts> {
        self.remote_or(Remote::contexts, || self.inner.call_own_service(|session, call| session.contexts(call)))
    }

    /// Asks the service what it says about the user, and returns its answer as JSON. Never prompts.
    ///
    /// # Errors
    ///
    /// As [`Engine::contexts`].
    pub fn claims(&self) -> Result<String> {
        self.remote_or(Remote::claims, || self.inner.call_own_service(|session, call| session.claims(call)))
    }

    /// Returns what identifies the service and this program's settings for it: agents share their session with
    /// programs of the same.
    #[doc(hidden)]
    pub fn service_id(&self) -> String {
        self.inner.parts.service.id()
    }

    /// As [`Engine::log_in`], in this process and only with a card that is already in a reader: it does not
    /// wait for one or ask for it.
    ///
    /// # Errors
    ///
    /// As [`Engine::get_ticket`].
    #[doc(hidden)]
    pub fn log_in_with_card_there(&self) -> Result<Arc<Session>> {
        self.inner.session_or_login(false, Duration::ZERO)
    }

    /// Watches the readers, for programs that need card events while nobody is logged in. During a session the
    /// engine watches anyway (see [`EngineBuilder::listener`]). `None` if there are no readers. Starts a
    /// process that ends when the watch is dropped.
    ///
    /// # Errors
    ///
    /// [`NotInstalled`](ErrorKind::NotInstalled) if the watch cannot be started.
    pub fn watch_cards(&self) -> Result<Option<Box<dyn CardWatch>>> {
        self.inner.parts.reader.watch()
    }

    /// Cancels a login in progress, and calls to the broker; a live session continues. The cancelled calls
    /// return [`Cancelled`](ErrorKind::Cancelled).
    pub fn cancel_login(&self) {
        self.inner.lock().cancel_login();
        if let Some(remote) = &self.remote {
            remote.cancel();
        }
    }

    /// Ends all threads of this engine and its connections to the agent, for a host that wants none for now.
    /// The session continues. Card events are kept for [`Engine::wake`]; do not ask for the ticket before
    /// that. Blocks up to half a second while ended sessions are reported to the broker.
    #[doc(hidden)]
    pub fn rest(&self) {
        self.inner.rest(GRACE);
        if let Some(remote) = &self.remote {
            remote.disconnect();
        }
    }

    /// Resumes after [`Engine::rest`]. When it returns, a session whose card was removed meanwhile has
    /// ended.
    #[doc(hidden)]
    pub fn wake(&self) {
        self.inner.wake();
    }
}

impl Engine {
    /// Returns the agent, unless this process has a session or a login of its own.
    fn remote(&self) -> Option<&Remote> {
        let remote = self.remote.as_ref()?;
        let mut state = self.inner.lock();
        self.inner.catch_up(&mut state);
        (state.session.is_none() && state.login.is_none()).then_some(remote)
    }

    /// Runs `there` with the agent; without an agent runs `here`, unless the settings require one.
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

    /// Lets the agent end the session; without an agent runs `here`.
    fn destroy_there_or(&self, here: impl FnOnce() -> Result<()>) -> Result<()> {
        match self.remote().map(Remote::destroy) {
            None => here(),
            Some(Ok(())) => Ok(()),
            // Without an agent there is no session.
            Some(Err(RemoteError::Unavailable(away))) if away.is_normal => Ok(()),
            // It is unknown whether the session has ended on the broker.
            Some(Err(undone)) => Err(undone.into()),
        }
    }

    fn here(&self, anew: bool) -> Result<Arc<Session>> {
        own_user()?;
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
        // The monitor ends with the session.
        self.inner.threads.join_ending(ENDING_TIME);
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
