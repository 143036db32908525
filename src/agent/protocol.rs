//! The messages of programs and the agent; docs/agent-protocol.md describes them for people.
//!
//! Frames are those of [`crate::framing`].

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Stage};
use crate::framing::{ChannelError, decode, encode};
use crate::secret::{SecretBytes, Ticket, secret_buffer};
use crate::service::{Expiry, Grant, IdentityService};
use crate::session::{Context, Contexts, Limits, Login, Role, Session, Status, User};

pub use crate::framing::WireError;

/// The version of the messages. Sides of different versions do not work together.
pub const VERSION: u32 = 1;

/// The longest request.
pub const MAX_REQUEST: usize = 64 << 10;

/// The longest reply. A user may have 10,000 roles.
pub const MAX_REPLY: usize = 8 << 20;

/// The first message of each side. An agent that does not work with the program closes the connection after its own.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's version of the messages: the first field in all versions.
    pub version: u32,
    /// The service that the sender is set to; empty in a program that takes any.
    pub service: String,
}

impl Hello {
    /// Returns one of this version.
    pub fn new(service: impl Into<String>) -> Self {
        Self { version: VERSION, service: service.into() }
    }

    /// Reads one of any version: of another one only the version is understood.
    fn decode(fields: &[u8]) -> Result<Self, ChannelError> {
        let version = decode(fields)?;
        if version == VERSION { decode(fields) } else { Ok(Self { version, service: String::new() }) }
    }
}

/// A program's request. One at a time on a connection; closing it withdraws the request.
///
/// New ones are added at the end: an agent refuses those that it does not know.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Always the first.
    Hello(Hello),
    /// The ticket of the session. Never prompts.
    TicketNoAuth,
    /// The ticket of the session; without one, the agent logs the user in.
    Ticket,
    /// The ticket of a new session.
    NewTicket,
    /// End the session, and a login in progress.
    Destroy,
    /// The session itself. Never prompts.
    Session {
        /// The number of the session that the program knows; 0 for none.
        known: u64,
    },
    /// The state of the agent.
    Status,
    /// The session; without one, or with `anew`, the agent logs the user in.
    LogIn {
        /// Log in also if there is a session.
        anew: bool,
        /// As in [`Request::Session`].
        known: u64,
    },
    /// Have the user choose another role, and return the session.
    ChangeRole,
    /// Switch the session to this context, and return it.
    SwitchContext(Context),
    /// The contexts that the user may switch to.
    Contexts,
    /// What the service says about the user.
    Claims,
    /// Send every change of the session from now on.
    Watch,
}

impl Request {
    const KINDS: u32 = 13;
}

/// The agent's reply.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello(Hello),
    /// The ticket.
    Ticket(#[serde(with = "ticket")] Ticket),
    /// The request has been carried out.
    Done,
    /// The session.
    Session(SessionData),
    /// The session is the one that the program knows.
    Unchanged,
    /// The state of the agent.
    Status(StatusData),
    /// The reply takes time: sent every [`WAITING`] until it comes.
    Waiting,
    /// The request failed.
    Failed(WireError),
    /// The contexts.
    Contexts(Contexts),
    /// The claims, as JSON.
    Claims(String),
    /// A change, sent to programs that watch the session as soon as it happens.
    Changed(Change),
}

impl Reply {
    const KINDS: u32 = 11;
}

/// A change of the agent's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A session has started.
    Begun,
    /// It has another ticket.
    TicketReplaced,
    /// It is locked.
    Locked,
    /// It is unlocked.
    Unlocked,
    /// It has ended.
    Ended,
}

/// How often a program that waits for a login hears that the agent is still there.
pub const WAITING: Duration = Duration::from_secs(5);

/// A session.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionData {
    /// Tells this session, with this ticket and role, from others of the same agent; never 0.
    pub number: u64,
    /// The number of the login that started it. Renewals and changes keep it.
    pub login: u64,
    /// Its ticket.
    #[serde(with = "ticket")]
    pub ticket: Ticket,
    /// The ticket expires after this time.
    pub expires_in: Option<Duration>,
    /// The user's id.
    pub uid: String,
    /// The user's name.
    pub name: String,
    /// The user's roles.
    pub roles: Vec<Role>,
    /// The index of the chosen role.
    pub role: Option<u32>,
    /// It ends after this time without use.
    pub idle: Option<Duration>,
    /// It ends after this time in any case.
    pub total: Option<Duration>,
    /// Whether the reader of its card can be watched.
    pub card_watched: bool,
}

/// The state of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusData {
    /// Its process.
    pub pid: u32,
    /// The version of the program.
    pub program: String,
    /// Whether there is a session that is not locked.
    pub session: bool,
    /// Whether a login is in progress.
    pub login: bool,
    /// How many programs are connected, with the one that asks.
    pub clients: u32,
    /// The session's state.
    pub stands: Status,
}

impl StatusData {
    /// For the agent, which alone makes one.
    #[doc(hidden)]
    pub fn new(pid: u32, program: String, stands: Status, login: bool, clients: u32) -> Self {
        Self { pid, program, session: matches!(stands, Status::Live { .. }), login, clients, stands }
    }
}

mod ticket {
    //! A ticket among the fields of a message.
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::secret::Ticket;

    pub(super) fn serialize<S: Serializer>(ticket: &Ticket, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(ticket.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ticket, D::Error> {
        // Borrowed from the message, which is wiped.
        <&str>::deserialize(deserializer).map(|text| Ticket::new(text.to_owned()))
    }
}

impl Request {
    /// Returns the frame; empty for a request that is too long, which no context is that passed its check.
    pub fn encode(&self) -> SecretBytes {
        encode(self, MAX_REQUEST).unwrap_or_else(|_| secret_buffer(0))
    }

    /// Reads the bytes of a frame.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Malformed`], [`ChannelError::Unknown`].
    pub fn decode(message: &[u8]) -> Result<Self, ChannelError> {
        match split(message)? {
            (0, fields) => Hello::decode(fields).map(Self::Hello),
            (kind, _) if kind >= Self::KINDS => Err(ChannelError::Unknown(kind)),
            _ => decode(message),
        }
    }
}

impl Reply {
    /// Returns the frame; if it would be too long, a failure that says so.
    pub fn encode(&self) -> SecretBytes {
        encode(self, MAX_REPLY).unwrap_or_else(|_| {
            let detail = "the answer does not fit into a message of the agent";
            let failure = WireError::from(&Error::new(ErrorKind::Internal, Stage::Session, detail));
            encode(&Self::Failed(failure), MAX_REPLY).unwrap_or_else(|_| secret_buffer(0))
        })
    }

    /// Reads the bytes of a frame.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Malformed`], [`ChannelError::Unknown`].
    pub fn decode(message: &[u8]) -> Result<Self, ChannelError> {
        match split(message)? {
            (0, fields) => Hello::decode(fields).map(Self::Hello),
            (kind, _) if kind >= Self::KINDS => Err(ChannelError::Unknown(kind)),
            _ => decode(message),
        }
    }
}

/// Returns the number of the message's kind, and its fields.
fn split(message: &[u8]) -> Result<(u32, &[u8]), ChannelError> {
    postcard::take_from_bytes(message).map_err(|_| ChannelError::Malformed(message.len()))
}

impl SessionData {
    /// Describes `session`.
    pub fn new(number: u64, login: u64, session: &Session) -> Self {
        let role = session.role().and_then(|chosen| session.roles().iter().position(|role| std::ptr::eq(role, chosen)));
        let left = |expires: SystemTime| expires.duration_since(SystemTime::now()).unwrap_or_default();
        Self {
            number,
            login,
            ticket: session.ticket().clone(),
            expires_in: session.expires().map(left),
            uid: session.user().uid.clone(),
            name: session.user().name.clone(),
            roles: session.roles().to_vec(),
            role: role.map(|index| index as u32),
            idle: session.limits().idle,
            total: session.limits().total,
            card_watched: session.card_watched(),
        }
    }

    /// Returns the session, at `service`, that `login` started.
    pub(crate) fn into_session(self, service: &dyn IdentityService, login: Arc<Login>) -> Session {
        let user = User { uid: self.uid, name: self.name };
        let grant = Grant {
            service: service.session(&user, &self.ticket),
            user,
            role: self.role.map(|index| index as usize).filter(|&index| index < self.roles.len()),
            roles: self.roles,
            ticket: self.ticket,
            // The agent renews it.
            expiry: self.expires_in.map(|after| Expiry { after, renewable: None }),
            limits: Limits { idle: self.idle, total: self.total },
            card: None,
            card_watched: self.card_watched,
        };
        Session::of(grant, login)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_role_that_is_none_of_the_roles_is_none() {
        for (chosen, of, role) in [(Some(1), 2, Some("1")), (Some(2), 2, None), (None, 2, None), (Some(0), 0, None)] {
            let data = SessionData {
                number: 1,
                login: 1,
                ticket: Ticket::new("AQIC5w".into()),
                expires_in: None,
                uid: "555000000001".into(),
                name: "TEST USER".into(),
                roles: (0..of).map(|number| Role::new(&number.to_string(), "RX1", "")).collect(),
                role: chosen,
                idle: None,
                total: None,
                card_watched: true,
            };
            let session = data.into_session(&crate::service::ssb::SsbService::for_tests(), Arc::default());
            assert_eq!(session.role().map(|role| &*role.id), role, "{chosen:?} of {of}");
        }
    }
}
