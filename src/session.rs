//! A live session: whose it is, and what the broker said about it.

pub(crate) mod grant;
pub(crate) mod rules;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::grant::Grant;
use crate::secret::Ticket;

/// A session that an identity service has begun.
#[derive(Debug)]
pub struct Session {
    pub(crate) grant: Grant,
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

/// A role profile of the user (`nhsjobrole<N>` in the broker's answer).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Role {
    /// Id of the role profile.
    pub id: String,
    /// Code of the organisation; empty where the broker gives none.
    pub organisation_code: String,
    /// Name of the organisation.
    pub organisation: String,
    /// Job role type, such as `Admin & Clerical`.
    pub role_type: String,
    /// Job role sub-type, such as `Admin`.
    pub sub_type: String,
    /// Name of the job role, such as `Registration Authority Agent`. The broker's whole text where
    /// it does not have the usual form, so that the user can still choose the role.
    pub name: String,
}

/// The role as one line, such as `HOSPITAL (RKF): Clinical : Nursing : Nurse`.
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

/// How an engine stands; see [`Engine::status`](crate::Engine::status).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Status {
    /// There is no session.
    #[default]
    LoggedOut,
    /// There is no session yet, and a login is under way.
    LoggingIn,
    /// There is a session.
    Live {
        /// Whether taking the card out will end or lock it. It will not with cards that no PC/SC
        /// reader shows, and in the mode `mobility`.
        card_watched: bool,
    },
    /// There is a session that gives no ticket out until the same card and its PIN are back.
    Locked {
        /// Why.
        why: LockReason,
        /// It ends in this time, if nobody unlocks it.
        ends_in: Duration,
    },
}

impl From<Grant> for Session {
    fn from(grant: Grant) -> Self {
        Self { grant }
    }
}

impl Session {
    /// The SSO ticket.
    pub fn ticket(&self) -> &Ticket {
        &self.grant.ticket
    }

    /// Who is logged in.
    pub fn user(&self) -> &User {
        &self.grant.user
    }

    /// Every role that the user has, in the broker's order.
    pub fn roles(&self) -> &[Role] {
        &self.grant.roles
    }

    /// The role that was chosen; `None` for a user without roles.
    pub fn role(&self) -> Option<&Role> {
        self.grant.role.map(|index| &self.grant.roles[index])
    }

    /// How long the session may last.
    pub fn limits(&self) -> Limits {
        self.grant.limits
    }

    /// Whether the reader of its card can be watched: only then is a removal seen. Cards in software
    /// and tokens that are in no PC/SC reader cannot.
    pub fn card_watched(&self) -> bool {
        self.grant.card_watched
    }
}
