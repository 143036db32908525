//! Identity services: who logs users in.
//!
//! The engine knows these traits and no service. A service knows neither the engine nor the
//! configuration: it has settings of its own, which `engine/builder.rs` fills in.

#[cfg(any(feature = "nuts", feature = "oidc", feature = "sign"))]
pub(crate) mod base64url;
#[cfg(any(feature = "nuts", feature = "oidc"))]
mod card_binding;
pub mod choices;
#[cfg(any(feature = "nuts", feature = "oidc"))]
#[cfg_attr(not(feature = "oidc"), expect(dead_code, reason = "parts of it are for OpenID providers"))]
mod json;
#[cfg(feature = "nuts")]
pub(crate) mod nuts;
#[cfg(feature = "oidc")]
pub(crate) mod oidc;
pub(crate) mod pin;
#[cfg(any(feature = "nuts", feature = "oidc"))]
#[cfg_attr(not(feature = "oidc"), expect(dead_code, reason = "parts of it are for OpenID providers"))]
mod private_key;
pub(crate) mod roles;
#[cfg(any(feature = "nuts", feature = "oidc"))]
#[cfg_attr(not(feature = "oidc"), expect(dead_code, reason = "parts of it are for OpenID providers"))]
mod secret;
pub mod ssb;

use std::sync::Arc;
use std::time::Duration;

use crate::cancel::CancelToken;
use crate::card::CardReader;
use crate::card::events::Presence;
use crate::error::Result;
use crate::os::threads::Threads;
use crate::prompt::{Browser, Prompter};
use crate::secret::Ticket;
#[cfg(feature = "nuts")]
use crate::session::Employee;
use crate::session::{Session, User};

pub(crate) use crate::session::grant::{Call, Expiry, Grant, Renewal, Replacement, ServiceSession, not_implemented};

/// A service that users log in at. Its methods may be called from any thread.
pub(crate) trait IdentityService: Send + Sync {
    /// Which service this is, and where. Programs share the logins of an agent with the same id.
    fn id(&self) -> String;

    /// Logs the user in. After an error no session is left at the service, unless it cannot be reached.
    fn log_in(&self, desk: &Desk<'_>) -> Result<Grant>;

    /// Makes the user of a locked session prove their presence again.
    fn unlock<'a>(&'a self, locked: &Session, desk: &Desk<'_>) -> Result<Unlocking<'a>>;

    /// Sets who logs in. Returns `true` if that is another employee than before: a session then is not theirs.
    #[cfg(feature = "nuts")]
    fn set_employee(&self, _employee: &Employee) -> Result<bool> {
        Err(not_implemented("employees: only nuts has"))
    }

    /// Lets the user of an open session choose another role. [`ServiceSession::renew`] may run meanwhile.
    ///
    /// # Errors
    ///
    /// The session and its ticket do not change, not even if another user has logged in.
    fn change_role(&self, _session: &Session, _desk: &Desk<'_>) -> Result<Replacement> {
        Err(not_implemented("change of role: log in again"))
    }

    /// The session of `user` with this ticket, which another process began and ends.
    fn session(&self, user: &User, ticket: &Ticket) -> Arc<dyn ServiceSession>;
}

/// What a login may use.
pub(crate) struct Desk<'a> {
    pub(crate) prompter: &'a dyn Prompter,
    #[cfg_attr(
        not(any(feature = "nuts", feature = "oidc")),
        expect(dead_code, reason = "no service of this build uses it")
    )]
    pub(crate) browser: &'a dyn Browser,
    /// Says that the user has a page to act on, which gives the engine time for what the session will need.
    #[cfg_attr(
        not(any(feature = "nuts", feature = "oidc", test)),
        expect(dead_code, reason = "no service of this build uses it")
    )]
    pub(crate) page_opened: &'a dyn Fn(),
    pub(crate) cards: &'a dyn CardReader,
    /// How long to wait for a card.
    pub(crate) card_wait: Duration,
    /// Records the card that is used, before anything is done with it.
    pub(crate) card_found: &'a dyn Fn(&Presence) -> Result<()>,
    pub(crate) cancel: &'a CancelToken,
    pub(crate) threads: &'a Threads,
}

/// The outcome of unlocking.
pub(crate) enum Unlocking<'a> {
    /// The same user: the session continues, with another ticket if the service has issued one.
    SameUser(Option<Replacement>),
    /// Another user, who can log in after the locked session has ended.
    OtherUser(LogIn<'a>),
}

/// A login that continues with what the user has already proved.
pub(crate) type LogIn<'a> = Box<dyn FnOnce(&Desk<'_>) -> Result<Grant> + 'a>;
