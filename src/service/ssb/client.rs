//! The broker's operations: activate, validate, select a role, query the session, log out.
//!
//! The Identity Agent's `Analytics` header, which describes the computer and its readers, is not sent:
//! the broker does not ask for it.

use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;

use memchr::memmem;
use rand::Rng;
use rand::rngs::OsRng;
use tracing::warn;
use zeroize::Zeroizing;

use super::assertion::{self, RoleAssertion};
use super::message::{self, Activated, Authenticated, Malformed, Rejection};
use super::session_service::{self, SessionInfo};
use super::transport::{GAC_VERSION, Request, Transport};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::http::{CookieJar, form};
use crate::secret::Ticket;
use crate::session::{Role, User};

const ACTIVATE: &str = "/login/authactivate";
const VALIDATE: &str = "/login/authvalidate";
const SELECT_ROLE: &str = "/saml/RoleSelectionGP.jsp";
const ROLE_ASSERTION: &str = "/saml/RoleAssertion";
const SESSION_SERVICE: &str = "/amserver/sessionservice";
const LOG_OUT: &str = "/login/authlogout";

/// The requests of one login, or of one logout.
///
/// Every method sends one request and blocks until its answer arrives; [`Transport`] describes the
/// deadlines, cancelling, and the errors that each of them can return besides its own.
pub struct Ssb {
    transport: Box<dyn Transport>,
    log_session_id: String,
}

/// A challenge from the broker, and what must be sent back with it.
pub struct Activation {
    answer: Activated,
    validate_path: String,
}

impl Activation {
    /// Returns the bytes to sign.
    pub fn challenge(&self) -> &[u8] {
        &self.answer.challenge
    }
}

impl fmt::Debug for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation").field("validate_path", &self.validate_path).finish_non_exhaustive()
    }
}

/// The broker's answer to a signed challenge that it accepts.
#[derive(Debug)]
pub struct Authentication {
    /// The session that the broker has started, and its ticket. It must be ended with
    /// [`Ssb::log_out`].
    pub session: BrokerSession,
    /// The user's name (`cn`); empty if the broker sends none.
    pub user_name: String,
    /// The user's roles, in the broker's order.
    pub roles: Vec<Role>,
    /// Minutes without use after which the session ends (`sso_session_time`).
    pub idle_minutes: Option<u32>,
    /// Minutes after which the session ends in any case (`sso_max_session_time`).
    pub max_minutes: Option<u32>,
}

/// The data for using a session and ending it, even over another connection.
#[derive(Clone, Debug)]
pub struct BrokerSession {
    ticket: Ticket,
    uid: String,
    log_session_id: String,
    logout_path: String,
    cookies: CookieJar,
}

impl BrokerSession {
    /// A session of another login; only its ticket is known.
    pub(super) fn of(user: &User, ticket: &Ticket) -> Self {
        Self {
            ticket: ticket.clone(),
            uid: user.uid.clone(),
            log_session_id: String::new(),
            logout_path: LOG_OUT.to_owned(),
            cookies: CookieJar::default(),
        }
    }

    /// Returns the ticket.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }
}

impl Ssb {
    /// Uses `transport`, which connects with the first request.
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self {
            transport,
            log_session_id: random(10, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"),
        }
    }

    /// Requests a challenge.
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused) with the broker's reason, and
    /// [`BadAnswer`](ErrorKind::BadAnswer).
    pub fn activate(&mut self, cancel: &CancelToken) -> Result<Activation> {
        let message = [
            ("auth_method", "3"),
            ("app_url", "NHST"),
            ("log_session_id", &*self.log_session_id),
            ("service", "ACTIVATION"),
        ];
        let answer = post(&mut *self.transport, Stage::Activation, ACTIVATE, &message, cancel)?;
        let answer = message::read_activation(&answer).map_err(|no| self.explain(no, Stage::Activation, cancel))?;
        let validate_path = self.path(answer.reply_url.as_deref(), "reply_url", VALIDATE);
        Ok(Activation { answer, validate_path })
    }

    /// Sends the signed challenge. `response` is its S/MIME entity in base64; `uid` the user's id as on the
    /// card. On success the broker has started a session.
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused) with the broker's reason,
    /// [`UserNotValid`](ErrorKind::UserNotValid) if that reason is an unknown user, and
    /// [`BadAnswer`](ErrorKind::BadAnswer). If such an answer holds a ticket, its session has been
    /// ended.
    pub fn validate(
        &mut self,
        activation: &Activation,
        uid: &str,
        response: &str,
        cancel: &CancelToken,
    ) -> Result<Authentication> {
        let message = [
            ("auth_method", "3"),
            ("app_url", "NHST"),
            ("log_session_id", &*self.log_session_id),
            ("service", "AUTHENTICATION"),
            ("challenge", &activation.answer.encoded_challenge),
            ("signature", &activation.answer.signature),
            ("uid", uid),
            ("card_type", "p11"),
            ("response", response),
            ("mobility", "0"),
        ];
        let answer = post(&mut *self.transport, Stage::Authentication, &activation.validate_path, &message, cancel)?;
        let Authenticated { ticket, user_name, roles, idle_minutes, max_minutes, logout_url } =
            match message::read_authentication(&answer) {
                Ok(authenticated) => authenticated,
                Err(no) => {
                    self.end_session(&answer, uid);
                    let sent = [&activation.answer.encoded_challenge, &activation.answer.signature, response];
                    return Err(self.explain(or_page(no, &answer, sent), Stage::Authentication, cancel));
                }
            };
        let session = BrokerSession {
            ticket,
            uid: uid.to_owned(),
            log_session_id: self.log_session_id.clone(),
            logout_path: self.path(logout_url.as_deref(), "sso_logout_url", LOG_OUT),
            cookies: self.transport.cookies(),
        };
        let user_name = user_name.unwrap_or_default();
        Ok(Authentication { session, user_name, roles, idle_minutes, max_minutes })
    }

    /// Informs the broker which of the user's roles the session uses.
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused) for every status but OK, and [`BadAnswer`](ErrorKind::BadAnswer).
    pub fn select_role(&mut self, session: &BrokerSession, role_id: &str, cancel: &CancelToken) -> Result<()> {
        let version = format!("GACv{GAC_VERSION}");
        let query = [
            ("token", session.ticket.expose()),
            ("selectedRoleUid", role_id),
            ("ssbMode", "0"),
            ("fallbackStatus", "0"),
            ("gacVersion", &*version),
        ];
        let answer = self.of(session).exchange(
            Stage::RoleSelection,
            &|_| Ok(Request { path: with_query(SELECT_ROLE, &query), message: None }),
            cancel,
        )?;
        self.read_status(&answer, session, Stage::RoleSelection, cancel)
    }

    /// Asks whose session it is, and which roles that user has.
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused) if the session is over, and
    /// [`BadAnswer`](ErrorKind::BadAnswer), also for an answer about another user.
    pub fn role_assertion(&mut self, session: &BrokerSession, cancel: &CancelToken) -> Result<RoleAssertion> {
        let query = [("token", session.ticket.expose())];
        let answer = self.of(session).exchange(
            Stage::Session,
            &|_| Ok(Request { path: with_query(ROLE_ASSERTION, &query), message: None }),
            cancel,
        )?;
        assertion::read_assertion(&answer)
            .and_then(|read| if read.uid == session.uid { Ok(read) } else { Err(Malformed::OtherUser.into()) })
            .map_err(|no| self.explain_without_ticket(no, session, Stage::Session, cancel))
    }

    /// Asks whether the session is alive; `reset` restarts its idle time.
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused) if there is no such session, and
    /// [`BadAnswer`](ErrorKind::BadAnswer), also for an answer about another session or user.
    pub fn session_state(&mut self, session: &BrokerSession, reset: bool, cancel: &CancelToken) -> Result<SessionInfo> {
        let answer = self.of(session).exchange(
            Stage::Session,
            &|_| {
                let message = session_service::write_question(&session.ticket, reset)
                    .map_err(|error| unsendable(error, Stage::Session))?;
                Ok(Request { path: Zeroizing::new(SESSION_SERVICE.to_owned()), message: Some(message) })
            },
            cancel,
        )?;
        let is_of_user = |read: &SessionInfo| read.uid.as_ref().is_none_or(|uid| *uid == session.uid);
        session_service::read_session(&answer, &session.ticket)
            .and_then(|read| if is_of_user(&read) { Ok(read) } else { Err(Malformed::OtherUser.into()) })
            .map_err(|no| self.explain_without_ticket(no, session, Stage::Session, cancel))
    }

    /// Ends the session on the broker.
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused) for every status but OK, and [`BadAnswer`](ErrorKind::BadAnswer).
    pub fn log_out(&mut self, session: &BrokerSession, cancel: &CancelToken) -> Result<()> {
        let message = [
            ("log_session_id", &*session.log_session_id),
            ("service", "LOGOUT"),
            ("uid", &session.uid),
            ("sso_ticket", session.ticket.expose()),
        ];
        let answer = post(self.of(session), Stage::Session, &session.logout_path, &message, cancel)?;
        self.read_status(&answer, session, Stage::Session, cancel)
    }

    /// Ends the session of an unusable answer: nobody else can.
    fn end_session(&mut self, answer: &[u8], uid: &str) {
        let Some(ticket) = message::read_ticket(answer) else { return };
        let session = BrokerSession {
            ticket,
            uid: uid.to_owned(),
            log_session_id: self.log_session_id.clone(),
            logout_path: LOG_OUT.to_owned(),
            cookies: self.transport.cookies(),
        };
        // The user may have cancelled this login; ending it on the broker continues.
        if let Err(left) = self.log_out(&session, &CancelToken::new()) {
            warn!(%left, "the session could not be ended on the broker");
        }
    }

    /// Returns the transport, with the cookies of `session`.
    fn of(&mut self, session: &BrokerSession) -> &mut dyn Transport {
        self.transport.use_cookies(&session.cookies);
        &mut *self.transport
    }

    /// Returns the path for the next message: that of the broker's URL if it leads back to the same broker,
    /// else `default`.
    fn path(&self, url: Option<&str>, parameter: &str, default: &str) -> String {
        let Some(url) = url else { return default.to_owned() };
        self.transport.address().path_of(url).unwrap_or_else(|| {
            warn!(parameter, broker = %self.transport.address(), "the broker sent a URL of another server, which is not used");
            default.to_owned()
        })
    }

    fn read_status(&self, answer: &[u8], session: &BrokerSession, stage: Stage, cancel: &CancelToken) -> Result<()> {
        message::read_status(answer).map_err(|no| self.explain_without_ticket(no, session, stage, cancel))
    }

    /// Keeps a ticket that the broker quotes out of the error.
    fn explain_without_ticket(
        &self,
        rejection: Rejection,
        session: &BrokerSession,
        stage: Stage,
        cancel: &CancelToken,
    ) -> Error {
        let rejection = match rejection {
            Rejection::Refused(reason) if quotes(&reason, session.ticket.expose()) => {
                Rejection::Refused("its reason quotes the ticket".to_owned())
            }
            other => other,
        };
        self.explain(rejection, stage, cancel)
    }

    fn explain(&self, rejection: Rejection, stage: Stage, cancel: &CancelToken) -> Error {
        let broker = self.transport.address();
        match rejection {
            // Cancelling can cut an answer of unknown length short.
            _ if cancel.is_cancelled() => Error::cancelled(stage),
            Rejection::Malformed(why) => {
                Error::new(ErrorKind::BadAnswer, stage, format!("the answer of {broker} cannot be understood: {why}"))
            }
            Rejection::Refused(reason) => {
                let kind = if is_unknown_user(&reason) { ErrorKind::UserNotValid } else { ErrorKind::Refused };
                Error::new(kind, stage, format!("{broker} refused: {reason}"))
            }
        }
    }
}

/// Returns `true` if a refusal means that there is no such user. No capture shows one, so only the
/// plainest words count.
fn is_unknown_user(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    ["unknown user", "user unknown", "user not found", "user does not exist"].iter().any(|say| reason.contains(say))
}

/// Some servers refuse a signed challenge with a page instead of a message. Its words are the reason,
/// unless they quote what was sent.
fn or_page(rejection: Rejection, answer: &[u8], sent: [&str; 3]) -> Rejection {
    let is_page = matches!(rejection, Rejection::Malformed(Malformed::NotAMessage | Malformed::NotXml));
    match message::page_text(answer).filter(|_| is_page) {
        None => rejection,
        Some(words) if sent.iter().any(|value| quotes(&words, value)) => {
            Rejection::Refused("it answers with a page that quotes the login".to_owned())
        }
        Some(words) => Rejection::Refused(format!("it answers with a page: \"{words}\"")),
    }
}

/// Returns `true` if `text` shows a part of the secret; an escaped or cut one counts too.
fn quotes(text: &str, secret: &str) -> bool {
    let secret = secret.as_bytes();
    secret.windows(secret.len().clamp(1, 8)).any(|part| memmem::find(text.as_bytes(), part).is_some())
}

fn post(
    transport: &mut dyn Transport,
    stage: Stage,
    path: &str,
    message: &[(&'static str, &str)],
    cancel: &CancelToken,
) -> Result<Zeroizing<Vec<u8>>> {
    let request = |local: IpAddr| {
        let device_id = format!("{},ClientIP={local}", device_id());
        let parameters = [message, &[("device_id", &*device_id)]].concat();
        // Values from the broker or a checked certificate have no such characters.
        let message = message::write(&parameters).map_err(|error| unsendable(error, stage))?;
        Ok(Request { path: Zeroizing::new(path.to_owned()), message: Some(message) })
    };
    transport.exchange(stage, &request, cancel)
}

fn unsendable(error: message::Unsendable, stage: Stage) -> Error {
    Error::new(ErrorKind::Internal, stage, error.to_string()).because(error)
}

/// Returns eight characters that stay the same for the process.
fn device_id() -> &'static str {
    static DEVICE_ID: OnceLock<String> = OnceLock::new();
    DEVICE_ID.get_or_init(|| random(8, b"abcdefghijklmnopqrstuvwxyz0123456789"))
}

fn random(count: usize, alphabet: &[u8]) -> String {
    (0..count).map(|_| char::from(alphabet[OsRng.gen_range(0..alphabet.len())])).collect()
}

fn with_query(path: &str, query: &[(&str, &str)]) -> Zeroizing<String> {
    let mut target = Zeroizing::new(String::with_capacity(path.len() + 1 + form::size(query)));
    target.push_str(path);
    target.push('?');
    form::push(&mut target, query);
    target
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unescaped(value: &str) -> Vec<u8> {
        let mut bytes = value.bytes();
        let digit = |bytes: &mut std::str::Bytes<'_>| char::from(bytes.next().unwrap()).to_digit(16).unwrap();
        let mut result = Vec::new();
        while let Some(byte) = bytes.next() {
            result.push(if byte == b'%' { (digit(&mut bytes) * 16 + digit(&mut bytes)) as u8 } else { byte });
        }
        result
    }

    #[test]
    fn a_ticket_in_a_url_is_escaped() {
        let ticket = "AQIC5wM2LY4SfcwrRGMHiyxMR3suYWqcF+B1j56GJ4xGut4=@AAJTSQACMDE=#/%";
        assert_eq!(
            *with_query("/x", &[("token", ticket), ("ssbMode", "0")]),
            "/x?token=AQIC5wM2LY4SfcwrRGMHiyxMR3suYWqcF%2BB1j56GJ4xGut4%3D%40AAJTSQACMDE%3D%23%2F%25&ssbMode=0"
        );
    }

    #[test]
    fn a_url_has_its_whole_size_at_once() {
        let value = "=".repeat(1000);
        let target = with_query("/some/path", &[("token", &value), ("uid", &value)]);
        assert_eq!(target.capacity(), target.len());
    }

    #[test]
    fn identifiers_are_made_of_the_letters_that_the_broker_expects() {
        assert_eq!(device_id().len(), 8);
        assert_eq!(device_id(), device_id());
        assert!(device_id().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    }

    proptest! {
        #[test]
        fn any_value_in_a_url_is_read_as_the_same(value in any::<String>()) {
            let target = with_query("/x", &[("a", &value), ("b", "")]);
            let (_, query) = target.split_once("?a=").unwrap();
            let (read, rest) = query.split_once('&').unwrap();
            prop_assert_eq!(rest, "b=");
            prop_assert_eq!(unescaped(read), value.as_bytes());
            prop_assert!(target.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
