//! What the client asks for by itself: tokens, UserInfo, contexts, and the end of sessions.

use std::time::Instant;

use openssl::error::ErrorStack;
use serde_json::{Map, Value, json};

use super::authorize::verifier_matches;
use super::client::{Client, OAuthError, form_of};
use super::log::Outcome;
use super::misbehaviour::Endpoint;
use super::provider::{AccessToken, Answer, Content, Provider, Session};
use super::user::User;
use crate::http::{HttpRequest, decode_form};

/// The parameters of a refresh that ask for a context.
const CONTEXT: [&str; 4] = ["organization_id", "care_team_id", "patient_id", "episode_of_care_id"];

type Form = [(String, String)];

fn value<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str())
}

impl Provider {
    /// Notes what came before anything is done with it, even nothing.
    pub(crate) fn note_secrets(&mut self, endpoint: Endpoint, request: &HttpRequest) {
        let form = form_of(request);
        for name in ["code_verifier", "client_secret", "client_assertion"] {
            if let Some(secret) = value(&form, name) {
                self.keep_secret(secret);
            }
        }
        let single = match endpoint {
            Endpoint::Token => value(&form, "code"),
            Endpoint::Refresh => value(&form, "refresh_token"),
            _ => None,
        };
        let Some(secret) = single else { return };
        if self.sent.contains(secret) {
            *self.sent_twice.entry(endpoint).or_default() += 1;
        } else {
            self.sent.insert(secret.into(), ());
        }
    }

    fn admit(&mut self, request: &HttpRequest, form: &Form) -> Result<Client, OAuthError> {
        let (audience, now) = (self.address_of(Endpoint::Token), self.now());
        self.doorkeeper.admit(request, form, &audience, now)
    }

    /// The token endpoint, for a code.
    pub(crate) fn exchange(&mut self, request: &HttpRequest) -> Result<Answer, ErrorStack> {
        let form = form_of(request);
        let client = match self.admit(request, &form) {
            Ok(client) => client,
            Err(error) => return Ok(error.into()),
        };
        if value(&form, "grant_type") != Some("authorization_code") {
            return Ok(OAuthError::new("unsupported_grant_type", "Unsupported grant_type").into());
        }
        let lifetime = self.settings.code_lifetime;
        let code = self.codes.iter_mut().rev().find(|code| Some(code.value.as_str()) == value(&form, "code"));
        let Some(code) = code.filter(|code| code.asked.client_id == client.id) else {
            return Ok(OAuthError::new("invalid_grant", "Code not valid").into());
        };
        if code.used {
            // RFC 6749, section 4.1.2: the tokens of the first exchange die.
            let sid = code.sid.clone();
            self.end_session(&sid);
            return Ok(OAuthError::new("invalid_grant", "Code not valid").into());
        }
        code.used = true;
        if code.issued.elapsed() > lifetime {
            return Ok(OAuthError::new("invalid_grant", "Code is expired").into());
        }
        if value(&form, "redirect_uri") != Some(&code.asked.redirect_uri) {
            return Ok(OAuthError::new("invalid_grant", "Incorrect redirect_uri").into());
        }
        if !verifier_matches(code.asked.challenge.as_deref(), value(&form, "code_verifier")) {
            return Ok(OAuthError::new("invalid_grant", "PKCE verification failed: Code mismatch").into());
        }
        let (sid, asked) = (code.sid.clone(), code.asked.clone());
        let context = self.context(&sid, &form);
        self.issue(&sid, &client.id, &asked.scope, asked.nonce.as_deref(), context)
    }

    /// The token endpoint, for a refresh token.
    pub(crate) fn refresh(&mut self, request: &HttpRequest) -> Result<Answer, ErrorStack> {
        let form = form_of(request);
        let sent = value(&form, "refresh_token").unwrap_or_default().to_owned();
        let client = match self.admit(request, &form) {
            Ok(client) => client,
            Err(error) => {
                // It was not processed, and may be sent again.
                self.sent.remove(&sent);
                return Ok(error.into());
            }
        };
        let refuse = |why: &str| Ok(OAuthError::new("invalid_grant", why).into());
        let holder = self.sessions.iter().rev().find_map(|session| {
            let token = session.refresh.iter().find(|token| token.value == sent && token.client_id == client.id)?;
            Some((session.sid.clone(), token.scope.clone(), token.used))
        });
        let Some((sid, scope, used)) = holder else { return refuse("Invalid refresh token") };
        let Some(session) = self.session(&sid) else { return refuse("Session not active") };
        if self.users.get(&session.sub).is_none_or(|user| user.disabled) {
            return refuse("User disabled");
        }
        if used && self.settings.rotates_refresh_tokens {
            self.end_session(&sid);
            return refuse("Stale token");
        }
        if let Some(problem) = self.users.get(&session.sub).and_then(|user| context_problem(user, &form)) {
            self.sent.remove(&sent);
            return refuse(problem);
        }
        let context = self.context(&sid, &form);
        let tokens = self.session_mut(&sid).into_iter().flat_map(|session| &mut session.refresh);
        for token in tokens.filter(|token| token.value == sent) {
            token.used = true;
        }
        self.issue(&sid, &client.id, &scope, None, context)
    }

    /// The context of the new access token: as asked, or the only care team.
    fn context(&self, sid: &str, form: &Form) -> Map<String, Value> {
        let mut context = Map::new();
        for name in CONTEXT {
            if let Some(text) = value(form, name).filter(|text| !text.is_empty()) {
                context.insert(name.into(), json!(text));
            }
        }
        let Some(user) = self.session(sid).and_then(|session| self.users.get(&session.sub)) else { return context };
        if let ([only], true) = (user.care_teams.as_slice(), context.is_empty()) {
            context.insert("care_team_id".into(), only["id"].clone());
        }
        let team = user.care_teams.iter().find(|team| Some(&team["id"]) == context.get("care_team_id"));
        if let (Some(team), false) = (team, context.contains_key("organization_id")) {
            context.insert("organization_id".into(), team["affiliation"].clone());
        }
        context
    }

    /// The session and the token of an `Authorization: Bearer`.
    fn bearer(&self, request: &HttpRequest) -> Result<(&Session, &AccessToken, &User), Box<Answer>> {
        let refuse = |status: u16, error: &str, why: &str| {
            let outcome = Outcome::Refused(error.into(), why.into());
            let header = format!("Bearer realm=\"simulator\", error=\"{error}\", error_description=\"{why}\"");
            let body = json!({ "error": error, "error_description": why });
            let headers = vec![("WWW-Authenticate", header)];
            Box::new(Answer { status, headers, outcome, ..Answer::json(body) })
        };
        let invalid = || refuse(401, "invalid_token", "Token verification failed");
        let sent = request.header("Authorization").and_then(|header| header.strip_prefix("Bearer "));
        let sent = sent.ok_or_else(invalid)?;
        let found = self
            .sessions
            .iter()
            .rev()
            .find_map(|session| Some((session, session.access.iter().find(|token| token.value == sent)?)));
        let (session, token) = found.ok_or_else(invalid)?;
        let user = self.users.get(&session.sub).filter(|user| !user.disabled).ok_or_else(invalid)?;
        if !self.is_alive(session) || token.expires <= Instant::now() {
            return Err(invalid());
        }
        if !token.scope.iter().any(|scope| scope == "openid") {
            return Err(refuse(403, "insufficient_scope", "Missing openid scope"));
        }
        Ok((session, token, user))
    }

    pub(crate) fn user_info(&self, request: &HttpRequest) -> Answer {
        let (session, token, user) = match self.bearer(request) {
            Ok(found) => found,
            Err(refusal) => return *refusal,
        };
        let mut claims = user.claims.clone();
        claims.insert("sub".into(), json!(user.sub));
        claims.insert("name".into(), json!(user.name));
        claims.insert("preferred_username".into(), json!(user.username));
        if let (Some(roles), true) = (&user.nrbac, token.scope.iter().any(|scope| scope == "nationalrbacaccess")) {
            claims.insert("nhsid_nrbac_roles".into(), roles.to_json());
        }
        if let Some(role) = &session.selected_role {
            claims.insert("selected_roleid".into(), json!(role));
        }
        let here = |list: &[Value], name: &str| {
            let place = list.iter().find(|place| Some(&place["id"]) == token.context.get(name));
            place.map(|place| place["roles"].clone())
        };
        let roles = here(&user.care_teams, "care_team_id").or_else(|| here(&user.organizations, "organization_id"));
        if let Some(roles) = roles.or_else(|| user.role_names.as_ref().map(|names| json!(names))) {
            claims.insert("roles".into(), roles);
        }
        if self.settings.signed_user_info {
            claims.insert("iss".into(), json!(self.issuer));
            claims.insert("aud".into(), json!(token.client_id));
            return Answer::new(Content::Signed(claims), Outcome::Done);
        }
        Answer::json(Value::Object(claims))
    }

    pub(crate) fn contexts(&self, request: &HttpRequest) -> Answer {
        match self.bearer(request) {
            Ok((_, _, user)) => Answer::json(user.contexts()),
            Err(refusal) => *refusal,
        }
    }

    /// The end of a session: a GET by its ID token, or a POST by its refresh token.
    pub(crate) fn end_by_request(&mut self, request: &HttpRequest) -> Answer {
        let ended = || Answer { outcome: Outcome::Ended, ..Answer::page(200, "You are logged out", "") };
        let form = if request.method == "POST" { form_of(request) } else { decode_form(request.query()) };
        if let Some(token) = value(&form, "refresh_token") {
            let client = match self.admit(request, &form) {
                Ok(client) => client,
                Err(error) => return error.into(),
            };
            let holder = self.sessions.iter().rev().find(|session| {
                session.refresh.iter().any(|other| other.value == token && other.client_id == client.id)
            });
            return match holder.map(|session| session.sid.clone()) {
                Some(sid) if self.end_session(&sid) => {
                    Answer { status: 204, ..Answer::new(Content::Nothing, Outcome::Ended) }
                }
                _ => OAuthError::new("invalid_grant", "Invalid refresh token").into(),
            };
        }
        let Some(hint) = value(&form, "id_token_hint") else {
            let body = "<form method=\"post\"><button id=\"kc-logout\">Log out</button></form>";
            return Answer::page(200, "Do you want to log out?", body);
        };
        let holder = self.sessions.iter().rev().find(|session| session.id_tokens.iter().any(|other| other == hint));
        let Some(sid) = holder.map(|session| session.sid.clone()) else {
            return Answer::error_page("invalid_request", "Invalid parameter: id_token_hint");
        };
        self.end_session(&sid);
        let Some(uri) = value(&form, "post_logout_redirect_uri") else { return ended() };
        let parameters =
            value(&form, "state").map(|state| ("state".to_owned(), state.to_owned())).into_iter().collect();
        Answer::new(Content::Redirect { uri: uri.into(), parameters }, Outcome::Ended)
    }

    /// RFC 7009. Revoking a refresh token ends its session, and so does revoking the only access token.
    pub(crate) fn revoke(&mut self, request: &HttpRequest) -> Answer {
        let form = form_of(request);
        let client = match self.admit(request, &form) {
            Ok(client) => client,
            Err(error) => return error.into(),
        };
        let token = value(&form, "token").unwrap_or_default();
        let mut outcome = Outcome::Done;
        let sessions = self.sessions.iter_mut().rev();
        for session in sessions {
            let by_refresh = session.refresh.iter().any(|other| other.value == token && other.client_id == client.id);
            let before = session.access.len();
            session.access.retain(|other| other.value != token || other.client_id != client.id);
            let by_access = session.access.len() < before && session.refresh.is_empty() && session.access.is_empty();
            if by_refresh || by_access {
                session.ended = true;
                outcome = Outcome::Ended;
            }
        }
        Answer::new(Content::Nothing, outcome)
    }
}

/// Why this context is not for this user.
fn context_problem(user: &User, form: &Form) -> Option<&'static str> {
    let asked = |name: &str| value(form, name).filter(|text| !text.is_empty());
    let among = |list: &[Value], id: &str| list.iter().any(|place| place["id"] == id);
    let (team, organization) = (asked("care_team_id"), asked("organization_id"));
    if team.is_none() && (asked("patient_id").is_some() || asked("episode_of_care_id").is_some()) {
        return Some("Invalid context");
    }
    if team.is_some_and(|id| !among(&user.care_teams, id)) {
        return Some("Not a member of Care team");
    }
    let affiliation = |id: &str| user.care_teams.iter().any(|team| team["affiliation"] == id);
    organization.is_some_and(|id| !among(&user.organizations, id) && !affiliation(id)).then_some("Invalid context")
}
