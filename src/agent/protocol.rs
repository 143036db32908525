//! What programs and the agent say to each other; docs/agent-protocol.md is the same for people.
//!
//! A message is its length (four bytes, little-endian), its kind (two bytes, likewise), and its
//! fields as postcard. The length counts kind and fields.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Stage};
use crate::secret::{SecretBytes, Ticket, secret_buffer};
use crate::service::{Grant, IdentityService};
use crate::session::{Limits, Role, Session, Status, User};

/// The version of the messages. Sides of different versions do not work together.
pub const VERSION: u32 = 1;

/// The longest message: kind and fields.
pub const MAX_MESSAGE: usize = 64 << 10;

/// The bytes of the length.
pub const PREFIX: usize = 4;

/// The bytes of the kind.
const KIND: usize = 2;

/// The first message of each side. An agent that does not work with the program closes the
/// connection after its own.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's version of the messages: the first field in all versions.
    pub version: u32,
    /// The address of the broker that the sender is set to; empty in a program that takes any.
    pub broker: String,
}

impl Hello {
    /// Of this version.
    pub fn new(broker: impl Into<String>) -> Self {
        Self { version: VERSION, broker: broker.into() }
    }

    /// Reads one of any version: only the version of another one is understood.
    fn decode(fields: &[u8]) -> postcard::Result<Self> {
        let version = postcard::from_bytes(fields)?;
        if version == VERSION { postcard::from_bytes(fields) } else { Ok(Self { version, broker: String::new() }) }
    }
}

/// What a program asks. One request at a time on a connection; closing it takes the request back.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Always the first.
    Hello(Hello),
    /// The ticket of the session; nobody is asked.
    TicketNoAuth,
    /// The ticket of the session; with none, the agent logs the user in.
    Ticket,
    /// The ticket of a new session.
    NewTicket,
    /// End the session, and a login that is under way.
    Destroy,
    /// The session itself.
    Session {
        /// The number of the session that the program knows already; 0 for none.
        known: u64,
    },
    /// Some of the user's roles.
    Roles {
        /// The session they belong to.
        session: u64,
        /// The first one wanted.
        from: u32,
    },
    /// How the agent is.
    Status,
}

/// What the agent answers.
#[derive(Debug, PartialEq)]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello(Hello),
    /// The ticket.
    Ticket(Ticket),
    /// It is done.
    Done,
    /// The session.
    Session(SessionData),
    /// The session is the one that the program knows.
    Unchanged,
    /// As many roles, from the one that was asked for on, as one message holds.
    Roles(Vec<Role>),
    /// How the agent is.
    Status(StatusData),
    /// The answer takes its time: sent every [`WAITING`] until it comes.
    Waiting,
    /// It failed.
    Failed(Failure),
}

/// How often a program that waits for a login hears that the agent is still there.
pub const WAITING: Duration = Duration::from_secs(5);

/// A session, but for its roles, which may not fit into one message.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionData {
    /// Tells this session from others of the same agent; never 0.
    pub number: u64,
    /// Its ticket.
    #[serde(with = "ticket")]
    pub ticket: Ticket,
    /// The user's id.
    pub uid: String,
    /// The user's name.
    pub name: String,
    /// How many roles the user has.
    pub roles: u32,
    /// The number of the chosen role.
    pub role: Option<u32>,
    /// It ends after this time without use.
    pub idle: Option<Duration>,
    /// It ends after this time in any case.
    pub total: Option<Duration>,
    /// Whether the reader of its card can be watched.
    pub card_watched: bool,
}

/// How an agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StatusData {
    /// Its process.
    pub pid: u32,
    /// The version of the program.
    pub program: String,
    /// Whether there is a session, and it is not locked.
    pub session: bool,
    /// Whether a login is under way.
    pub login: bool,
    /// How many programs are connected, the one that asks among them.
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

/// An [`Error`] on its way.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    stage: Stage,
    kind: ErrorKind,
    detail: String,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        // A detail that does not fit would cost the program the whole answer.
        let detail = error.detail().chars().take(MAX_MESSAGE / 8).collect();
        Self { stage: error.stage(), kind: error.kind().clone(), detail }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::new(failure.kind, failure.stage, failure.detail)
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

/// Why a message is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is longer than [`MAX_MESSAGE`], or too short to have a kind.
    #[error("a message of {0} bytes")]
    Length(usize),
    /// There is no such kind.
    #[error("a message of the unknown kind {0}")]
    Kind(u16),
    /// The fields are not those of its kind.
    #[error("a message of kind {0} with other fields than it has")]
    Fields(u16),
}

impl Request {
    /// The message.
    pub fn encode(&self) -> SecretBytes {
        let message = match self {
            Self::Hello(hello) => write(0, hello),
            Self::TicketNoAuth => write(1, &()),
            Self::Ticket => write(2, &()),
            Self::NewTicket => write(3, &()),
            Self::Destroy => write(4, &()),
            Self::Session { known } => write(5, known),
            Self::Roles { session, from } => write(6, &(session, from)),
            Self::Status => write(7, &()),
        };
        // None of them comes near the longest message.
        message.unwrap_or_default()
    }

    /// Reads what follows the length.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let (kind, fields) = split(message)?;
        let bad = |_| Malformed::Fields(kind);
        Ok(match kind {
            0 => Self::Hello(Hello::decode(fields).map_err(bad)?),
            1 => Self::TicketNoAuth,
            2 => Self::Ticket,
            3 => Self::NewTicket,
            4 => Self::Destroy,
            5 => Self::Session { known: postcard::from_bytes(fields).map_err(bad)? },
            6 => {
                let (session, from) = postcard::from_bytes(fields).map_err(bad)?;
                Self::Roles { session, from }
            }
            7 => Self::Status,
            kind => return Err(Malformed::Kind(kind)),
        })
    }
}

impl Reply {
    /// The message; where it would be too long, a failure that says so.
    pub fn encode(&self) -> SecretBytes {
        let message = match self {
            Self::Hello(hello) => write(0, hello),
            Self::Ticket(ticket) => write(1, ticket.expose()),
            Self::Done => write(2, &()),
            Self::Session(session) => write(3, session),
            Self::Unchanged => write(4, &()),
            Self::Roles(roles) => write(5, roles),
            Self::Status(status) => write(6, status),
            Self::Waiting => write(7, &()),
            Self::Failed(failure) => write(8, failure),
        };
        message.unwrap_or_else(|| {
            let detail = "the answer does not fit into a message of the agent";
            let failure = Failure::from(&Error::new(ErrorKind::Internal, Stage::Session, detail));
            write(8, &failure).unwrap_or_else(|| secret_buffer(0))
        })
    }

    /// Reads what follows the length.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let (kind, fields) = split(message)?;
        let bad = |_| Malformed::Fields(kind);
        Ok(match kind {
            0 => Self::Hello(Hello::decode(fields).map_err(bad)?),
            1 => Self::Ticket(Ticket::new(postcard::from_bytes::<&str>(fields).map_err(bad)?.to_owned())),
            2 => Self::Done,
            3 => Self::Session(postcard::from_bytes(fields).map_err(bad)?),
            4 => Self::Unchanged,
            5 => Self::Roles(postcard::from_bytes(fields).map_err(bad)?),
            6 => Self::Status(postcard::from_bytes(fields).map_err(bad)?),
            7 => Self::Waiting,
            8 => Self::Failed(postcard::from_bytes(fields).map_err(bad)?),
            kind => return Err(Malformed::Kind(kind)),
        })
    }

    /// Those of `roles`, from number `from` on, that fit into one message.
    pub fn roles(roles: &[Role], from: usize) -> Self {
        let mut room = MAX_MESSAGE - KIND - 3;
        let fitting = roles.iter().skip(from).take_while(|role| {
            let size = postcard::experimental::serialized_size(role).unwrap_or(usize::MAX);
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        });
        Self::Roles(fitting.cloned().collect())
    }
}

/// The length of a message, as its first four bytes tell it.
///
/// # Errors
///
/// [`Malformed::Length`].
pub fn length(prefix: [u8; PREFIX]) -> Result<usize, Malformed> {
    let length = u32::from_le_bytes(prefix) as usize;
    if (KIND..=MAX_MESSAGE).contains(&length) { Ok(length) } else { Err(Malformed::Length(length)) }
}

fn split(message: &[u8]) -> Result<(u16, &[u8]), Malformed> {
    let (kind, fields) = message.split_first_chunk::<KIND>().ok_or(Malformed::Length(message.len()))?;
    Ok((u16::from_le_bytes(*kind), fields))
}

/// The message in a buffer that never moves; `None` where it is too long.
fn write<T: Serialize + ?Sized>(kind: u16, fields: &T) -> Option<SecretBytes> {
    let length = KIND + postcard::experimental::serialized_size(fields).ok()?;
    let prefix = u32::try_from(length).ok().filter(|_| length <= MAX_MESSAGE)?.to_le_bytes();
    let mut message = secret_buffer(PREFIX + length);
    message.extend_from_slice(&prefix);
    message.extend_from_slice(&kind.to_le_bytes());
    message.resize(PREFIX + length, 0);
    postcard::to_slice(fields, &mut message[PREFIX + KIND..]).ok()?;
    Some(message)
}

impl SessionData {
    /// All of `session` but its roles.
    pub fn new(number: u64, session: &Session) -> Self {
        let role = session.role().and_then(|chosen| session.roles().iter().position(|role| std::ptr::eq(role, chosen)));
        Self {
            number,
            ticket: session.ticket().clone(),
            uid: session.user().uid.clone(),
            name: session.user().name.clone(),
            roles: session.roles().len() as u32,
            role: role.map(|index| index as u32),
            idle: session.limits().idle,
            total: session.limits().total,
            card_watched: session.card_watched(),
        }
    }

    /// The session with its roles, at `service`.
    pub(crate) fn into_session(self, roles: Vec<Role>, service: &dyn IdentityService) -> Session {
        let user = User { uid: self.uid, name: self.name };
        Session::from(Grant {
            service: service.session(&user, &self.ticket),
            user,
            role: self.role.map(|index| index as usize).filter(|&index| index < roles.len()),
            roles,
            ticket: self.ticket,
            expiry: None,
            limits: Limits { idle: self.idle, total: self.total },
            card: None,
            card_watched: self.card_watched,
        })
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
                ticket: Ticket::new("AQIC5w".into()),
                uid: "555000000001".into(),
                name: "TEST USER".into(),
                roles: of,
                role: chosen,
                idle: None,
                total: None,
                card_watched: true,
            };
            let roles = (0..of).map(|number| Role::new(&number.to_string(), "RX1", "")).collect();
            let session = data.into_session(roles, &crate::service::ssb::SsbService::for_tests());
            assert_eq!(session.role().map(|role| &*role.id), role, "{chosen:?} of {of}");
        }
    }
}
