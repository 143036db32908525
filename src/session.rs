//! A live session: its user, and what the identity service said about it.

mod context;
mod employee;
pub(crate) mod grant;
pub(crate) mod rules;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use self::context::{CareTeam, Context, Contexts, Organization};
pub use self::employee::{AssuranceLevel, Employee, UnknownLevel};
use self::grant::{Grant, Replacement};
use crate::secret::Ticket;

/// A session that an identity service has started, as of one moment: after a renewal or a change of role or
/// context, [`Engine::session`](crate::Engine::session) returns another one with the new ticket.
#[derive(Debug)]
pub struct Session {
    pub(crate) grant: Grant,
    expires: Option<SystemTime>,
    login: Arc<Login>,
}

/// The login that started a session. Renewals and changes keep it.
#[derive(Debug, Default)]
#[doc(hidden)]
pub struct Login {
    // Two of no size could have one address.
    _place: u8,
}

/// The effect of the card and of time on a session: the setting `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Removing the card ends the session.
    Normal,
    /// Removing the card locks the session. The same card and its PIN unlock it.
    SessionLock,
    /// The card may be removed. After `reauthentication` the session locks until the card and PIN are
    /// presented again.
    Mobility,
}

/// Why a session is locked: it gives out no ticket until the same card and PIN are presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LockReason {
    /// The card was removed, or its reader can no longer be watched.
    CardRemoved,
    /// The last PIN was too long ago.
    ReauthenticationDue,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// Its card was removed or swapped.
    Removed,
    /// Its reader can no longer be watched.
    ReaderLost,
    /// It was not used for its idle limit.
    Idle,
    /// It reached its maximum duration.
    Expired,
    /// Its ticket expired and could not be renewed (any more).
    TicketExpired,
    /// The identity service refused to renew its ticket.
    RenewalRefused,
    /// It was locked and not unlocked in time.
    NotUnlocked,
    /// A new login replaced it, or another user's card was inserted.
    Replaced,
    /// The program ended it.
    Destroyed,
    /// The broker had ended it.
    EndedByBroker,
}

/// The logged-in user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// The user's id: 12 digits, the common name of the card's certificate.
    pub uid: String,
    /// The user's name as the broker shows it; empty if it sends none.
    pub name: String,
}

/// How long the session may last, as set by the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The session ends after this time without use (`sso_session_time`).
    pub idle: Option<Duration>,
    /// The session ends after this time in any case (`sso_max_session_time`).
    pub total: Option<Duration>,
}

/// A role profile of the user (`nhsjobrole<N>` in the broker's answer).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Role {
    /// Id of the role profile.
    pub id: String,
    /// Code of the organisation; empty if the broker sends none.
    pub organisation_code: String,
    /// Name of the organisation.
    pub organisation: String,
    /// Job role type, such as `Admin & Clerical`.
    pub role_type: String,
    /// Job role sub-type, such as `Admin`.
    pub sub_type: String,
    /// Name of the job role, such as `Registration Authority Agent`. The broker's whole text if it does
    /// not have the usual form, so that the user can still choose the role.
    pub name: String,
}

/// Formats the role as one line, such as `HOSPITAL (RKF): Clinical : Nursing : Nurse`.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, code) = (&self.organisation, &self.organisation_code);
        f.write_str(name)?;
        if !code.is_empty() {
            write!(f, "{}({code})", if name.is_empty() { "" } else { " " })?;
        }
        let mut separator = if name.is_empty() && code.is_empty() { "" } else { ": " };
        for part in [&self.role_type, &self.sub_type, &self.name] {
            if !part.is_empty() {
                write!(f, "{separator}{part}")?;
                separator = " : ";
            }
        }
        Ok(())
    }
}

/// The engine's state; see [`Engine::status`](crate::Engine::status).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Status {
    /// No session.
    #[default]
    LoggedOut,
    /// No session yet; a login is in progress.
    LoggingIn,
    /// A session is live.
    Live {
        /// Whether removing the card ends or locks the session. It does not for cards that no PC/SC reader
        /// shows, or in mode `mobility`.
        card_watched: bool,
    },
    /// A session is locked: it gives out no ticket until the same card and PIN are presented.
    Locked {
        /// The reason.
        why: LockReason,
        /// Time until the session ends unless it is unlocked.
        ends_in: Duration,
    },
    /// It is not known: the agent, which the settings require, does not answer.
    Unknown,
}

impl From<Grant> for Session {
    fn from(grant: Grant) -> Self {
        Self::of(grant, Arc::default())
    }
}

impl Session {
    pub(crate) fn of(grant: Grant, login: Arc<Login>) -> Self {
        let expires = grant.expiry.and_then(|expiry| SystemTime::now().checked_add(expiry.after));
        Self { grant, expires, login }
    }

    /// Returns the same session with another ticket.
    pub(crate) fn with(&self, new: Replacement) -> Self {
        let Replacement { ticket, expiry, roles, role } = new;
        let is_known = ticket == self.grant.ticket;
        let Grant { user, limits, card, card_watched, service, .. } = &self.grant;
        let grant = Grant {
            user: user.clone(),
            roles,
            role,
            ticket,
            expiry,
            limits: *limits,
            card: card.clone(),
            card_watched: *card_watched,
            service: Arc::clone(service),
        };
        let new = Self::of(grant, Arc::clone(&self.login));
        if is_known { Self { expires: self.expires, ..new } } else { new }
    }

    /// Returns the login that started it.
    #[doc(hidden)]
    pub fn login(&self) -> &Arc<Login> {
        &self.login
    }

    /// Returns `true` if the same login started both.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.login, &other.login)
    }

    /// Returns when the ticket expires, by the wall clock; `None` if it is valid as long as the session. The engine
    /// renews it before that.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Returns the ticket.
    pub fn ticket(&self) -> &Ticket {
        &self.grant.ticket
    }

    /// Returns the logged-in user.
    pub fn user(&self) -> &User {
        &self.grant.user
    }

    /// Returns all roles of the user, in the broker's order.
    pub fn roles(&self) -> &[Role] {
        &self.grant.roles
    }

    /// Returns the chosen role; `None` for a user without roles.
    pub fn role(&self) -> Option<&Role> {
        self.grant.role.map(|index| &self.grant.roles[index])
    }

    /// Returns the session's limits.
    pub fn limits(&self) -> Limits {
        self.grant.limits
    }

    /// Returns `true` if the card's reader can be watched. Only then is a removal noticed. Software cards
    /// and tokens outside PC/SC readers cannot be watched.
    pub fn card_watched(&self) -> bool {
        self.grant.card_watched
    }
}
