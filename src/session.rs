//! A live session: whose it is, and what the broker said about it.

use std::time::Duration;

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
}
