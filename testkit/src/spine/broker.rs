//! Processes requests: issues challenges, opens and ends sessions.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::assertion::Assertion;
use super::form::{Checked, Form, Parameters};
use super::log::Outcome;
use super::message::{Answer, Request, escaped};
use super::misbehaviour::Endpoint;
use super::refusal::Refusal;
use super::role::Role;
use super::session_service::{self, SessionAnswer};
use super::verify::Verifier;
use crate::bounded::Bounded;
use crate::http::HttpRequest;

/// What the broker sends and enforces; see [`SpineBuilder`](super::SpineBuilder).
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) roles: Vec<Role>,
    pub(crate) display_name: String,
    pub(crate) session_minutes: u64,
    pub(crate) max_session_minutes: u64,
    pub(crate) session_lifetime: Option<Duration>,
    pub(crate) challenge_lifetime: Duration,
    pub(crate) capacity: usize,
    pub(crate) strict: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            roles: Role::generate(3),
            display_name: "TEST USER".into(),
            session_minutes: 600,
            max_session_minutes: 600,
            session_lifetime: None,
            challenge_lifetime: Duration::from_secs(300),
            capacity: 1_000,
            strict: false,
        }
    }
}

pub(crate) struct Broker {
    pub(crate) settings: Settings,
    verifier: Verifier,
    challenges: Bounded<Challenge>,
    sessions: Bounded<Session>,
}

struct Challenge {
    signature: String,
    log_session_id: String,
    device_id: String,
    issued: Instant,
    used: bool,
}

/// The session of a logged-in user.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) uid: String,
    pub(crate) role: Option<String>,
    pub(crate) begun: Instant,
    pub(crate) used: Instant,
    log_session_id: String,
    device_id: String,
}

/// The body of a response that can still be changed.
#[derive(Debug)]
pub(crate) enum Content {
    Message(Answer),
    Html(String),
    Assertion(Assertion),
    Session(SessionAnswer),
}

impl Content {
    /// Removes the field of this name: a parameter, or an attribute of the assertion or the session.
    pub(crate) fn remove(&mut self, name: &str) {
        match self {
            Self::Message(answer) => answer.remove(name),
            Self::Assertion(assertion) => assertion.remove(name),
            Self::Session(answer) => answer.remove(name),
            Self::Html(_) => {}
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self {
            Self::Message(answer) => answer.set(name, value),
            Self::Assertion(assertion) => assertion.set(name, value),
            Self::Session(answer) => answer.set(name, value),
            Self::Html(_) => {}
        }
    }

    pub(crate) fn repeat(&mut self, name: &str) {
        match self {
            Self::Message(answer) => answer.repeat(name),
            Self::Assertion(assertion) => assertion.repeat(name),
            Self::Session(answer) => answer.repeat(name),
            Self::Html(_) => {}
        }
    }
}

/// The result of a request.
pub(crate) struct Processed {
    pub(crate) content: Content,
    pub(crate) outcome: Outcome,
    pub(crate) warnings: Vec<Refusal>,
}

impl Broker {
    pub(crate) fn new(settings: Settings, verifier: Verifier) -> Self {
        let (challenges, sessions) = (Bounded::new(settings.capacity), Bounded::new(settings.capacity));
        Self { settings, verifier, challenges, sessions }
    }

    /// Returns a request's parameters for the log, as far as they can be parsed.
    pub(crate) fn parameters(endpoint: Endpoint, request: &HttpRequest) -> Parameters {
        match endpoint {
            Endpoint::SelectRole | Endpoint::RoleAssertion => {
                Form::default().read_query(request.query()).unwrap_or_default()
            }
            Endpoint::SessionService => session_service::parameters(&request.body),
            _ => Request::read(&request.body).map_or_else(|_| Vec::new(), |message| message.parameters().to_vec()),
        }
    }

    /// Checks and processes a request. `base_url` is the URL that the client used.
    pub(crate) fn process(
        &mut self,
        endpoint: Endpoint,
        request: &HttpRequest,
        peer: IpAddr,
        base_url: &str,
    ) -> Processed {
        let form = &mut Form::new(self.settings.strict);
        let done = match endpoint {
            Endpoint::Activate => self.activate(request, form, peer, base_url),
            Endpoint::Validate => self.validate(request, form, peer, base_url),
            Endpoint::SelectRole => self.select_role(request, form),
            Endpoint::RoleAssertion => self.role_assertion(request, form),
            Endpoint::Logout => self.log_out(request, form, peer),
            Endpoint::SessionService => self.session_service(request, form),
        };
        let warnings = std::mem::take(&mut form.warnings);
        match done {
            Ok((content, outcome)) => Processed { content, outcome, warnings },
            Err(refusal) => Processed { warnings, ..Self::refuse(endpoint, refusal, base_url) },
        }
    }

    /// Builds a refusal. No capture shows one, so its form is assumed.
    pub(crate) fn refuse(endpoint: Endpoint, refusal: Refusal, base_url: &str) -> Processed {
        let reason = refusal.to_string();
        let content = match endpoint {
            Endpoint::Activate | Endpoint::Validate => Content::Message(
                common(base_url).with("error", reason).with("auth_method", "3").with("app_url", "NHST"),
            ),
            Endpoint::SelectRole | Endpoint::Logout => {
                Content::Html(format!("<HTML><STATUS>ERROR</STATUS><REASON>{}</REASON></HTML>", escaped(&reason)))
            }
            Endpoint::RoleAssertion => Content::Assertion(Assertion::refusing(&reason)),
            Endpoint::SessionService => Content::Session(SessionAnswer::refusing(&reason)),
        };
        Processed { content, outcome: Outcome::Refused(refusal), warnings: Vec::new() }
    }

    fn activate(
        &mut self,
        request: &HttpRequest,
        form: &mut Form,
        peer: IpAddr,
        base_url: &str,
    ) -> Checked<(Content, Outcome)> {
        form.check_method(request)?;
        form.check_user_agent(request)?;
        let message = Request::read(&request.body)?;
        form.check_common(&message, "ACTIVATION", peer)?;
        message.need_value("auth_method", "3")?;
        message.need_value("app_url", "NHST")?;
        let log_session_id = message.need("log_session_id")?;
        let challenge = STANDARD.encode(random::<48>());
        let signature = STANDARD.encode(random::<16>());
        let answer = Answer::default()
            .with("gas_version", "5.2.7")
            .with("signature", &*signature)
            .with("server_ip", "192.168.118.105")
            .with("ssp_url", "")
            .with("app_url", "NHST")
            .with("log_session_id", log_session_id)
            .with("service", "ACTIVATION")
            .with("error_url", format!("{base_url}/login/error"))
            .with("ticket", "")
            .with("auth_method", "3")
            .with("reply_url", format!("{base_url}{}", Endpoint::Validate.path()))
            .with("challenge", &*challenge)
            .with("download_gac_url", "http://www.gemauth.com/authclient")
            .with("latest_gac_version", "3.9.1");
        let issued = Challenge {
            signature,
            log_session_id: log_session_id.into(),
            device_id: message.need("device_id")?.into(),
            issued: Instant::now(),
            used: false,
        };
        self.challenges.insert(challenge.clone(), issued);
        Ok((Content::Message(answer), Outcome::Challenge(challenge)))
    }

    fn validate(
        &mut self,
        request: &HttpRequest,
        form: &mut Form,
        peer: IpAddr,
        base_url: &str,
    ) -> Checked<(Content, Outcome)> {
        form.check_method(request)?;
        form.check_user_agent(request)?;
        let message = Request::read(&request.body)?;
        form.check_common(&message, "AUTHENTICATION", peer)?;
        for (name, value) in [("auth_method", "3"), ("app_url", "NHST"), ("card_type", "p11"), ("mobility", "0")] {
            message.need_value(name, value)?;
        }
        let (log_session_id, device_id) = (message.need("log_session_id")?, message.need("device_id")?);
        let (text, uid) = (message.need("challenge")?, message.need("uid")?);
        let challenge = self.challenges.get_mut(text).ok_or(Refusal::UnknownChallenge)?;
        if std::mem::replace(&mut challenge.used, true) {
            return Err(Refusal::ChallengeUsed);
        }
        if challenge.issued.elapsed() > self.settings.challenge_lifetime {
            return Err(Refusal::ChallengeExpired);
        }
        same("signature", message.need("signature")?, &challenge.signature)?;
        form.check_same("log_session_id", log_session_id, &challenge.log_session_id)?;
        form.check_same("device_id", device_id, &challenge.device_id)?;
        let response = message.need("response")?;
        form.check(message.response_encoding() == Some("base64"), Refusal::Wrong("response"))?;
        self.verifier.verify(response, text, uid, form)?;

        let (ticket, now) = (new_ticket(), Instant::now());
        let session = Session {
            uid: uid.into(),
            role: None,
            begun: now,
            used: now,
            log_session_id: log_session_id.into(),
            device_id: device_id.into(),
        };
        self.sessions.insert(ticket.clone(), session);
        let mut answer = Answer::default()
            .with("log_session_id", log_session_id)
            .with("error_url", format!("{base_url}/login/error"))
            .with("server_ip", "192.168.118.105")
            .with("cn", &*self.settings.display_name);
        for (number, role) in self.settings.roles.iter().enumerate() {
            answer = answer.with_role(number, role);
        }
        let answer = answer
            .with("gas_version", "5.2.7")
            .with("sso_ticket", &*ticket)
            .with("sso_domain", ".nis.nhs.uk")
            .with("sso_session_url", "http://192.168.62.13:8093/sessionmanager/session/update")
            .with("sso_max_session_time", self.settings.max_session_minutes.to_string())
            .with("sso_keep_alive", "false")
            .with("sso_session_time", self.settings.session_minutes.to_string())
            .with("sso_logout_url", format!("{base_url}{}", Endpoint::Logout.path()))
            .with("auth_method", "3")
            .with("app_url", "NHST")
            .with("service", "AUTHENTICATION");
        Ok((Content::Message(answer), Outcome::Ticket(ticket)))
    }

    fn select_role(&mut self, request: &HttpRequest, form: &mut Form) -> Checked<(Content, Outcome)> {
        let version = form.check_user_agent(request)?;
        let query = form.read_query(request.query())?;
        let need = |name| need_query(&query, name);
        match need("gacVersion") {
            Ok(other) => form.check(other == format!("GACv{version}"), Refusal::Wrong("gacVersion"))?,
            Err(missing) => form.differs(missing)?,
        }
        for name in ["ssbMode", "fallbackStatus"] {
            match need(name) {
                Ok("0") => {}
                Ok(_) => return Err(Refusal::Wrong(name)),
                Err(missing) => form.differs(missing)?,
            }
        }
        let role = need("selectedRoleUid")?;
        let known = self.settings.roles.iter().any(|other| other.id == role);
        let session = self.session(need("token")?).ok_or(Refusal::UnknownTicket)?;
        if !known {
            return Err(Refusal::UnknownRole);
        }
        session.role = Some(role.into());
        Ok((Content::Html(OK_PAGE.into()), Outcome::Done))
    }

    fn role_assertion(&mut self, request: &HttpRequest, form: &mut Form) -> Checked<(Content, Outcome)> {
        let query = form.read_query(request.query())?;
        let ticket = need_query(&query, "token")?;
        let session = self.session(ticket).ok_or(Refusal::UnknownTicket)?.clone();
        Ok((Content::Assertion(Assertion::new(ticket, &session, &self.settings)), Outcome::Done))
    }

    fn session_service(&mut self, request: &HttpRequest, form: &mut Form) -> Checked<(Content, Outcome)> {
        form.check_method(request)?;
        let answer = session_service::answer(self, &request.body)?;
        Ok((Content::Session(answer), Outcome::Done))
    }

    fn log_out(&mut self, request: &HttpRequest, form: &mut Form, peer: IpAddr) -> Checked<(Content, Outcome)> {
        form.check_method(request)?;
        form.check_user_agent(request)?;
        let message = Request::read(&request.body)?;
        form.check_common(&message, "LOGOUT", peer)?;
        let ticket = message.need("sso_ticket")?;
        let session = self.session(ticket).ok_or(Refusal::UnknownTicket)?;
        form.check_same("log_session_id", message.need("log_session_id")?, &session.log_session_id)?;
        form.check_same("device_id", message.need("device_id")?, &session.device_id)?;
        same("uid", message.need("uid")?, &session.uid)?;
        self.sessions.remove(ticket);
        Ok((Content::Html(OK_PAGE.into()), Outcome::Done))
    }

    /// Returns the open session of this ticket.
    pub(crate) fn session(&mut self, ticket: &str) -> Option<&mut Session> {
        self.end_old_sessions();
        self.sessions.get_mut(ticket)
    }

    /// How long a session may last, and how long it may be idle.
    pub(crate) fn limits(&self) -> (Duration, Duration) {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let life = self.settings.session_lifetime;
        (life.unwrap_or(minutes(self.settings.max_session_minutes)), minutes(self.settings.session_minutes))
    }

    pub(crate) fn end_session(&mut self, ticket: &str) -> bool {
        self.sessions.remove(ticket).is_some()
    }

    pub(crate) fn end_all_sessions(&mut self) {
        self.sessions.retain(|_| false);
    }

    pub(crate) fn open_sessions(&mut self) -> usize {
        self.end_old_sessions();
        self.sessions.len()
    }

    fn end_old_sessions(&mut self) {
        let (life, idle) = self.limits();
        self.sessions.retain(|session| session.begun.elapsed() < life && session.used.elapsed() < idle);
    }
}

const OK_PAGE: &str = "<HTML><STATUS>OK</STATUS></HTML>";

fn common(base_url: &str) -> Answer {
    Answer::default()
        .with("gas_version", "5.2.7")
        .with("server_ip", "192.168.118.105")
        .with("error_url", format!("{base_url}/login/error"))
}

fn same(name: &'static str, value: &str, before: &str) -> Checked<()> {
    if value == before { Ok(()) } else { Err(Refusal::NotTheSame(name)) }
}

fn need_query<'a>(query: &'a [(String, String)], name: &'static str) -> Checked<&'a str> {
    query.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str()).ok_or(Refusal::Missing(name))
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "OpenSSL's generator fails only where the system has no entropy")]
    openssl::rand::rand_bytes(&mut bytes).expect("random bytes");
    bytes
}

/// A ticket of the captured form, with each of the characters that must be escaped.
fn new_ticket() -> String {
    let text = STANDARD.encode(random::<31>());
    format!("AQIC5w{}+{}/{}=@AAJTSQACMDE=#", &text[..14], &text[14..25], &text[25..39])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_has_the_captured_form() {
        let captured = "AQIC5wM2LY4SfcwrRGMHiyxMR3suYWqcF+B1j56GJ4xGut4=@AAJTSQACMDE=#";
        let ticket = new_ticket();
        assert_eq!(ticket.len(), captured.len());
        assert!("+/=@#".chars().all(|special| ticket.contains(special)), "{ticket}");
    }
}
