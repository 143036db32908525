//! A live session: whose it is, and what the broker said about it.

pub(crate) mod rules;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::card::Certificate;
use crate::secret::Ticket;
use crate::ssb::{BrokerSession, Role};

/// A session that the broker has begun.
#[derive(Debug)]
pub struct Session {
    pub(crate) user: User,
    pub(crate) roles: Vec<Role>,
    pub(crate) role: Option<usize>,
    pub(crate) limits: Limits,
    pub(crate) broker: BrokerSession,
    /// The card's, which unlocks it; not there for a session of the agent.
    pub(crate) certificate: Option<Certificate>,
    pub(crate) card_watched: bool,
}

/// What card and time do to a session: the setting `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The session ends when its card is taken out.
    Normal,
    /// The session is locked when its card is taken out. The same card and its PIN unlock it.
    SessionLock,
    /// The card may be taken out. From time to time card and PIN are due again; until then the
    /// session is locked.
    Mobility,
}

/// Why a session gives no ticket out until the same card and its PIN are back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LockReason {
    /// The card was taken out, or nobody can see any more whether it is there.
    CardRemoved,
    /// The user's last PIN was too long ago.
    ReauthenticationDue,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// Its card was taken out, or swapped for another.
    Removed,
    /// Nobody could see any more whether its card was there.
    ReaderLost,
    /// It was not used for too long, or it lasted too long.
    Expired,
    /// It was locked, and nobody unlocked it in time.
    NotUnlocked,
    /// A new login took its place, or another user's card was put in.
    Replaced,
    /// The program ended it.
    Destroyed,
    /// The broker had ended it.
    EndedByBroker,
}

/// Who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's id, 12 digits: the common name of the card's certificate.
    pub uid: String,
    /// The user's name as the broker shows it; empty where it gives none.
    pub name: String,
}

/// How long the session may last, as the broker set it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// It ends after this time without use (`sso_session_time`).
    pub idle: Option<Duration>,
    /// It ends after this time in any case (`sso_max_session_time`).
    pub total: Option<Duration>,
}

impl Session {
    /// The SSO ticket.
    pub fn ticket(&self) -> &Ticket {
        self.broker.ticket()
    }

    /// Who is logged in.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// Every role that the user has, in the broker's order.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// The role that was chosen; `None` for a user without roles.
    pub fn role(&self) -> Option<&Role> {
        self.role.map(|index| &self.roles[index])
    }

    /// How long the session may last.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether the reader of its card can be watched: only then is a removal seen. Cards in software
    /// and tokens that are in no PC/SC reader cannot.
    pub fn card_watched(&self) -> bool {
        self.card_watched
    }
}
