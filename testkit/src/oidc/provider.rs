//! The provider's own state, and its answers before they are HTTP.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use openssl::error::ErrorStack;
use serde_json::{Map, Value, json};

use super::authorize::Asked;
use super::client::{Client, Doorkeeper, OAuthError};
use super::jose::{Algorithm, Key, left_half, random_text};
use super::log::Outcome;
use super::misbehaviour::Endpoint;
use super::user::User;
use crate::bounded::Bounded;
use crate::error::Result;
use crate::http::HttpRequest;

/// Where the endpoints are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Paths {
    Cis2,
    #[default]
    Keycloak,
}

impl Paths {
    /// What follows the issuer in an endpoint's address.
    pub(crate) fn of(self, endpoint: Endpoint) -> &'static str {
        match (self, endpoint) {
            (_, Endpoint::Discovery) => "/.well-known/openid-configuration",
            (Self::Cis2, Endpoint::Jwks) => "/connect/jwk_uri",
            (Self::Cis2, Endpoint::Authorize) => "/authorize",
            (Self::Cis2, Endpoint::Page) => "/authorize/page",
            (Self::Cis2, Endpoint::Token | Endpoint::Refresh) => "/access_token",
            (Self::Cis2, Endpoint::UserInfo) => "/userinfo",
            (Self::Cis2, Endpoint::EndSession) => "/connect/endSession",
            (Self::Cis2, Endpoint::Revocation) => "/token/revoke",
            (Self::Keycloak, Endpoint::Jwks) => "/protocol/openid-connect/certs",
            (Self::Keycloak, Endpoint::Authorize) => "/protocol/openid-connect/auth",
            (Self::Keycloak, Endpoint::Page) => "/protocol/openid-connect/auth/page",
            (Self::Keycloak, Endpoint::Token | Endpoint::Refresh) => "/protocol/openid-connect/token",
            (Self::Keycloak, Endpoint::UserInfo) => "/protocol/openid-connect/userinfo",
            (Self::Keycloak, Endpoint::EndSession) => "/protocol/openid-connect/logout",
            (Self::Keycloak, Endpoint::Revocation) => "/protocol/openid-connect/revoke",
            (_, Endpoint::Contexts) => "/resource/ehealth-connect/contexts",
        }
    }
}

/// The provider's settings, which [`OidcBuilder`](super::OidcBuilder) describes.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) paths: Paths,
    pub(crate) issuer_path: String,
    pub(crate) issuer: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) signed_user_info: bool,
    pub(crate) refresh_tokens: bool,
    pub(crate) rotates_refresh_tokens: bool,
    pub(crate) issuer_in_redirect: bool,
    pub(crate) session_ids: bool,
    pub(crate) pages: bool,
    pub(crate) without: HashSet<Endpoint>,
    pub(crate) acr_values: Vec<String>,
    pub(crate) token_lifetime: Duration,
    pub(crate) session_lifetime: Duration,
    pub(crate) session_idle: Duration,
    pub(crate) code_lifetime: Duration,
    pub(crate) token_padding: usize,
    pub(crate) methods: Vec<String>,
    pub(crate) clock_ahead: i64,
    pub(crate) capacity: usize,
}

/// The user's login at the provider, and what clients got for it.
pub(crate) struct Session {
    pub(crate) sid: String,
    pub(crate) sub: String,
    pub(crate) auth_time: i64,
    pub(crate) acr: String,
    pub(crate) selected_role: Option<String>,
    pub(crate) begun: Instant,
    pub(crate) used: Instant,
    pub(crate) ended: bool,
    /// A client has tokens.
    pub(crate) handed_out: bool,
    pub(crate) access: Vec<AccessToken>,
    pub(crate) refresh: Vec<RefreshToken>,
    pub(crate) id_tokens: Vec<String>,
}

pub(crate) struct AccessToken {
    pub(crate) value: String,
    pub(crate) scope: Vec<String>,
    pub(crate) client_id: String,
    pub(crate) context: Map<String, Value>,
    pub(crate) expires: Instant,
}

pub(crate) struct RefreshToken {
    pub(crate) value: String,
    pub(crate) scope: Vec<String>,
    pub(crate) client_id: String,
    pub(crate) used: bool,
}

pub(crate) struct Code {
    pub(crate) value: String,
    pub(crate) asked: Asked,
    pub(crate) sid: String,
    pub(crate) issued: Instant,
    pub(crate) used: bool,
}

pub(crate) struct Provider {
    pub(crate) settings: Settings,
    pub(crate) issuer: String,
    pub(crate) keys: Vec<Key>,
    encryption_key: Key,
    next_key: u32,
    pub(crate) doorkeeper: Doorkeeper,
    pub(crate) users: HashMap<String, User>,
    /// The user in front of the browser.
    pub(crate) present: String,
    /// What they choose on the role page, when nobody sees one.
    pub(crate) chosen_role: Option<String>,
    pub(crate) sessions: VecDeque<Session>,
    pub(crate) codes: VecDeque<Code>,
    pub(crate) pending: Bounded<Asked>,
    /// Codes and refresh tokens that came, and may have been used.
    pub(crate) sent: Bounded<()>,
    pub(crate) sent_twice: HashMap<Endpoint, usize>,
    pub(crate) secrets: VecDeque<String>,
}

/// An answer before it is HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) content: Content,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Content {
    Json(Map<String, Value>),
    /// A token endpoint's answer, and the claims of the ID token that belongs to it.
    Tokens {
        body: Map<String, Value>,
        claims: Map<String, Value>,
        sid: String,
    },
    /// UserInfo as a signed token.
    Signed(Map<String, Value>),
    Redirect {
        uri: String,
        parameters: Vec<(String, String)>,
    },
    Html(String),
    Nothing,
}

impl Answer {
    pub(crate) fn new(content: Content, outcome: Outcome) -> Self {
        Self { status: 200, headers: Vec::new(), content, outcome }
    }

    pub(crate) fn json(value: Value) -> Self {
        let members = if let Value::Object(members) = value { members } else { Map::new() };
        Self::new(Content::Json(members), Outcome::Done)
    }

    pub(crate) fn page(status: u16, title: &str, body: &str) -> Self {
        let text = format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
             <body><h1>{title}</h1>\n{body}\n</body></html>\n"
        );
        Self { status, ..Self::new(Content::Html(text), Outcome::Page) }
    }

    /// A page that the client never hears of.
    pub(crate) fn error_page(error: &str, description: &str) -> Self {
        let outcome = Outcome::Refused(error.into(), description.into());
        Self { outcome, ..Self::page(400, "We are sorry", &format!("<p>{}</p>", escaped(description))) }
    }
}

impl From<OAuthError> for Answer {
    fn from(error: OAuthError) -> Self {
        let body = json!({ "error": error.error, "error_description": error.description });
        let mut answer = Self {
            status: error.status,
            outcome: Outcome::Refused(error.error, error.description),
            ..Self::json(body)
        };
        if error.status == 401 {
            answer.headers.push(("WWW-Authenticate", "Basic realm=\"simulator\"".into()));
        }
        answer
    }
}

/// Escapes the characters that have a meaning in HTML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

impl Provider {
    pub(crate) fn new(settings: Settings, base_url: &str, clients: Vec<Client>, users: Vec<User>) -> Result<Self> {
        let issuer = settings.issuer.clone().unwrap_or_else(|| format!("{base_url}{}", settings.issuer_path));
        let present = users.first().map(|user| user.sub.clone()).unwrap_or_default();
        Ok(Self {
            issuer,
            keys: vec![Key::new(settings.algorithm, 1)?],
            encryption_key: Key::new(Algorithm::Rs256, 0)?,
            next_key: 2,
            doorkeeper: Doorkeeper::new(clients, settings.methods.clone(), settings.capacity * 10),
            users: users.into_iter().map(|user| (user.sub.clone(), user)).collect(),
            present,
            chosen_role: None,
            sessions: VecDeque::new(),
            codes: VecDeque::new(),
            pending: Bounded::new(settings.capacity),
            sent: Bounded::new(settings.capacity * 10),
            sent_twice: HashMap::new(),
            secrets: VecDeque::new(),
            settings,
        })
    }

    /// The path of the issuer's address.
    pub(crate) fn issuer_path(&self) -> &str {
        let rest = self.issuer.split_once("://").map_or("", |parts| parts.1);
        rest.find('/').map_or("", |slash| &rest[slash..])
    }

    pub(crate) fn address_of(&self, endpoint: Endpoint) -> String {
        format!("{}{}", self.issuer, self.settings.paths.of(endpoint))
    }

    /// Unix time by the provider's clock.
    pub(crate) fn now(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
        now + self.settings.clock_ahead
    }

    /// Keeps what no output may show.
    pub(crate) fn keep_secret(&mut self, secret: &str) {
        if self.secrets.len() >= self.settings.capacity * 10 {
            self.secrets.pop_front();
        }
        self.secrets.push_back(secret.into());
    }

    /// Signs with another key from now on. The JWKS continues to list the earlier keys.
    pub(crate) fn rotate_keys(&mut self) -> Result<()> {
        self.keys.push(Key::new(self.settings.algorithm, self.next_key)?);
        self.next_key += 1;
        Ok(())
    }

    pub(crate) fn key(&self) -> &Key {
        // There is one from the beginning, and the last is never taken away.
        &self.keys[self.keys.len() - 1]
    }

    pub(crate) fn is_alive(&self, session: &Session) -> bool {
        !session.ended
            && session.begun.elapsed() < self.settings.session_lifetime
            && session.used.elapsed() < self.settings.session_idle
    }

    pub(crate) fn open_sessions(&self) -> usize {
        self.sessions.iter().filter(|session| session.handed_out && self.is_alive(session)).count()
    }

    pub(crate) fn session(&self, sid: &str) -> Option<&Session> {
        self.sessions.iter().rev().find(|session| session.sid == sid && self.is_alive(session))
    }

    pub(crate) fn session_mut(&mut self, sid: &str) -> Option<&mut Session> {
        self.sessions.iter_mut().rev().find(|session| session.sid == sid)
    }

    /// Ends a session; whether it was open.
    pub(crate) fn end_session(&mut self, sid: &str) -> bool {
        let open = self.session(sid).is_some();
        if let Some(session) = self.session_mut(sid) {
            session.ended = true;
        }
        open
    }

    /// Logs the user in, in the browser's session if it is theirs.
    pub(crate) fn log_in(
        &mut self,
        sub: &str,
        before: Option<&str>,
        acr: String,
    ) -> std::result::Result<String, ErrorStack> {
        let now = self.now();
        let same = before.filter(|sid| self.session(sid).is_some_and(|session| session.sub == sub));
        if let Some(session) = same.and_then(|sid| self.session_mut(sid)) {
            (session.auth_time, session.used, session.acr) = (now, Instant::now(), acr);
            return Ok(session.sid.clone());
        }
        let sid = random_text(18)?;
        let selected_role = self.users.get(sub).and_then(|user| user.selected_role.clone());
        if self.sessions.len() >= self.settings.capacity {
            self.sessions.pop_front();
        }
        self.sessions.push_back(Session {
            sid: sid.clone(),
            sub: sub.into(),
            auth_time: now,
            acr,
            selected_role,
            begun: Instant::now(),
            used: Instant::now(),
            ended: false,
            handed_out: false,
            access: Vec::new(),
            refresh: Vec::new(),
            id_tokens: Vec::new(),
        });
        Ok(sid)
    }

    /// Carries a request out.
    pub(crate) fn process(
        &mut self,
        endpoint: Endpoint,
        request: &HttpRequest,
    ) -> std::result::Result<Answer, ErrorStack> {
        match endpoint {
            Endpoint::Discovery => Ok(Answer::json(self.metadata())),
            Endpoint::Jwks => self.jwks(),
            Endpoint::Authorize => self.authorize(request),
            Endpoint::Page => self.page_sent(request),
            Endpoint::Token => self.exchange(request),
            Endpoint::Refresh => self.refresh(request),
            Endpoint::UserInfo => Ok(self.user_info(request)),
            Endpoint::EndSession => Ok(self.end_by_request(request)),
            Endpoint::Revocation => Ok(self.revoke(request)),
            Endpoint::Contexts => Ok(self.contexts(request)),
        }
    }

    fn metadata(&self) -> Value {
        let algorithms = Algorithm::ALL.map(Algorithm::name);
        let mut metadata = json!({
            "issuer": self.issuer,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.settings.algorithm.name()],
            "scopes_supported": ["openid", "profile", "email"],
            "claims_supported": ["sub", "iss", "auth_time", "name", "acr"],
            "token_endpoint_auth_methods_supported": self.settings.methods,
            "token_endpoint_auth_signing_alg_values_supported": algorithms,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": self.settings.issuer_in_redirect,
            "acr_values_supported": self.settings.acr_values,
        });
        for (name, endpoint) in ENDPOINT_MEMBERS {
            if !self.settings.without.contains(&endpoint) {
                metadata[name] = json!(self.address_of(endpoint));
            }
        }
        metadata
    }

    fn jwks(&self) -> std::result::Result<Answer, ErrorStack> {
        let mut encryption_key = self.encryption_key.public_jwk()?;
        encryption_key["use"] = json!("enc");
        encryption_key["alg"] = json!("RSA-OAEP");
        let mut keys = vec![encryption_key];
        for key in self.keys.iter().rev() {
            keys.push(key.public_jwk()?);
        }
        Ok(Answer::json(json!({ "keys": keys })))
    }

    /// Tokens for a session: the answer, and the claims of the ID token.
    pub(crate) fn issue(
        &mut self,
        sid: &str,
        client_id: &str,
        scope: &[String],
        nonce: Option<&str>,
        context: Map<String, Value>,
    ) -> std::result::Result<Answer, ErrorStack> {
        let (now, lifetime, capacity) = (self.now(), self.settings.token_lifetime, self.settings.capacity);
        let Some(session) = self.session(sid) else {
            return Ok(OAuthError::new("invalid_grant", "Session not active").into());
        };
        let exp = now + lifetime.as_secs().cast_signed();
        let mut claims = Map::new();
        claims.insert("iss".into(), json!(self.issuer));
        claims.insert("sub".into(), json!(session.sub));
        claims.insert("azp".into(), json!(client_id));
        claims.insert("iat".into(), json!(now));
        claims.insert("exp".into(), json!(exp));
        if self.settings.session_ids {
            claims.insert("sid".into(), json!(sid));
        }
        claims.insert("auth_time".into(), json!(session.auth_time));
        claims.insert("acr".into(), json!(session.acr));
        if self.settings.token_padding > 0 {
            claims.insert("padding".into(), json!("A".repeat(self.settings.token_padding)));
        }
        let amr = self.users.get(&session.sub).map(|user| user.amr.clone()).unwrap_or_default();
        let idle =
            self.settings.session_lifetime.saturating_sub(session.begun.elapsed()).min(self.settings.session_idle);

        let mut access_claims = claims.clone();
        access_claims.insert("jti".into(), json!(random_text(18)?));
        access_claims.insert("typ".into(), json!("Bearer"));
        access_claims.insert("scope".into(), json!(scope.join(" ")));
        if !context.is_empty() {
            access_claims.insert("context".into(), Value::Object(context.clone()));
        }
        let access_token = self.key().sign(&access_claims)?;
        claims.insert("at_hash".into(), json!(left_half(self.settings.algorithm, &access_token)?));
        claims.insert("aud".into(), json!(client_id));
        claims.insert("amr".into(), json!(amr));
        claims.insert("jti".into(), json!(random_text(18)?));
        if let Some(nonce) = nonce {
            claims.insert("nonce".into(), json!(nonce));
        }

        let mut body = Map::new();
        body.insert("access_token".into(), json!(access_token));
        // Signed when the answer is written.
        body.insert("id_token".into(), Value::Null);
        body.insert("token_type".into(), json!("Bearer"));
        body.insert("expires_in".into(), json!(lifetime.as_secs()));
        body.insert("scope".into(), json!(scope.join(" ")));
        if self.settings.session_ids {
            body.insert("session_state".into(), json!(sid));
        }
        let refresh_token = if self.settings.refresh_tokens { Some(random_text(96)?) } else { None };
        if let Some(refresh_token) = &refresh_token {
            body.insert("refresh_token".into(), json!(refresh_token));
            body.insert("refresh_expires_in".into(), json!(idle.as_secs()));
        }
        self.keep_secret(&access_token);
        if let Some(session) = self.session_mut(sid) {
            let (scope, client_id) = (scope.to_vec(), client_id.to_owned());
            if let Some(value) = refresh_token.clone() {
                let (scope, client_id) = (scope.clone(), client_id.clone());
                push(&mut session.refresh, RefreshToken { value, scope, client_id, used: false }, capacity);
            }
            let expires = Instant::now() + lifetime;
            push(
                &mut session.access,
                AccessToken { value: access_token, scope, client_id, context, expires },
                capacity,
            );
            (session.used, session.handed_out) = (Instant::now(), true);
        }
        if let Some(refresh_token) = refresh_token {
            self.keep_secret(&refresh_token);
        }
        Ok(Answer::new(Content::Tokens { body, claims, sid: sid.into() }, Outcome::Tokens))
    }
}

/// Adds to a list that drops its oldest elements.
pub(crate) fn push<T>(list: &mut Vec<T>, element: T, capacity: usize) {
    if list.len() >= capacity {
        list.remove(0);
    }
    list.push(element);
}

/// The members of the metadata that are addresses.
pub(crate) const ENDPOINT_MEMBERS: [(&str, Endpoint); 6] = [
    ("authorization_endpoint", Endpoint::Authorize),
    ("token_endpoint", Endpoint::Token),
    ("userinfo_endpoint", Endpoint::UserInfo),
    ("jwks_uri", Endpoint::Jwks),
    ("end_session_endpoint", Endpoint::EndSession),
    ("revocation_endpoint", Endpoint::Revocation),
];
