//! What the browser sees: the address that it opens, the login page, the role page, and the redirect.

use std::time::Instant;

use openssl::error::ErrorStack;

use super::client::form_of;
use super::jose::{base64url, random_text};
use super::log::Outcome;
use super::misbehaviour::Endpoint;
use super::provider::{Answer, Code, Content, Provider, escaped};
use crate::http::{HttpRequest, decode_form};

/// The name of the browser's cookie.
const COOKIE: &str = "OIDC_SIMULATOR";

/// A request for a login that was found to be in order.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) state: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) scope: Vec<String>,
    pub(crate) challenge: Option<String>,
    acr_values: Vec<String>,
    prompt: Vec<String>,
    max_age: Option<i64>,
    /// The session of the browser's cookie.
    sid: Option<String>,
}

impl Asked {
    fn asks_for_role(&self) -> bool {
        self.scope.iter().any(|scope| scope == "selectedrole" || scope == "changedrole")
    }
}

impl Provider {
    /// The URL that a client opens in the browser.
    pub(crate) fn authorize(&mut self, request: &HttpRequest) -> Result<Answer, ErrorStack> {
        let parameters = if request.method == "POST" { form_of(request) } else { decode_form(request.query()) };
        let value = |name: &str| parameters.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone());
        let words = |name: &str| -> Vec<String> {
            value(name).unwrap_or_default().split(' ').filter(|word| !word.is_empty()).map(Into::into).collect()
        };
        let client = value("client_id").and_then(|id| self.doorkeeper.find(&id).cloned());
        let Some(client) = client else {
            return Ok(Answer::error_page("invalid_client", "Client not found."));
        };
        let redirect_uri = value("redirect_uri").unwrap_or_default();
        if !client.takes_redirect(&redirect_uri) {
            return Ok(Answer::error_page("invalid_request", "Invalid parameter: redirect_uri"));
        }
        let asked = Asked {
            redirect_uri,
            state: value("state"),
            nonce: value("nonce"),
            scope: words("scope"),
            challenge: value("code_challenge"),
            acr_values: words("acr_values"),
            prompt: words("prompt"),
            max_age: value("max_age").and_then(|text| text.parse().ok()),
            sid: cookie(request).filter(|sid| self.session(sid).is_some()),
            client_id: client.id.clone(),
        };
        let public = matches!(client.authentication, super::client::Authentication::None);
        let method = value("code_challenge_method");
        let well_formed = |challenge: &String| challenge.len() == 43 && challenge.bytes().all(is_base64url);
        let problem = if let Some(name) = repeated(&parameters) {
            Some(("invalid_request", format!("duplicated parameter: {name}")))
        } else if value("response_type").as_deref() != Some("code") {
            Some(("unsupported_response_type", "response_type has to be code".into()))
        } else if value("response_mode").is_some_and(|mode| mode != "query") {
            Some(("invalid_request", "response_mode has to be query".into()))
        } else if public && asked.challenge.is_none() {
            Some(("invalid_request", "Missing parameter: code_challenge_method".into()))
        } else if asked.challenge.is_some() && method.as_deref() != Some("S256") {
            Some(("invalid_request", "code_challenge_method has to be S256".into()))
        } else if asked.challenge.as_ref().is_some_and(|challenge| !well_formed(challenge)) {
            Some(("invalid_request", "code_challenge is not a SHA-256 digest".into()))
        } else if asked.scope.iter().any(|scope| scope == "selectedrole")
            && !asked.prompt.iter().any(|prompt| prompt == "login")
        {
            Some(("invalid_request", "selectedrole needs prompt=login".into()))
        } else {
            None
        };
        if let Some((error, description)) = problem {
            return Ok(self.refuse_by_redirect(&asked, error, &description));
        }
        self.ask_for_login(asked)
    }

    /// Shows the login page if it is needed, or else continues.
    fn ask_for_login(&mut self, asked: Asked) -> Result<Answer, ErrorStack> {
        let has = |prompt: &str| asked.prompt.iter().any(|other| other == prompt);
        let session = asked.sid.as_deref().and_then(|sid| self.session(sid));
        let age = session.map(|session| self.now() - session.auth_time);
        // As Keycloak: max_age=0 asks again only after a second.
        let too_old = matches!((asked.max_age, age), (Some(max), Some(age)) if age > max);
        let fresh = has("login") || too_old || asked.scope.iter().any(|scope| scope == "changedrole");
        match asked.sid.clone() {
            None if has("none") => Ok(self.refuse_by_redirect(&asked, "login_required", "")),
            Some(sid) if !fresh => self.ask_for_role(asked, &sid),
            Some(_) if has("none") => Ok(self.refuse_by_redirect(&asked, "login_required", "")),
            _ if self.settings.pages => self.login_page(asked, None),
            before => {
                let sub = self.present.clone();
                self.logged_in(asked, &sub, before.as_deref())
            }
        }
    }

    fn logged_in(&mut self, asked: Asked, sub: &str, before: Option<&str>) -> Result<Answer, ErrorStack> {
        let Some(user) = self.users.get(sub) else { return Ok(Answer::error_page("access_denied", "Unknown user")) };
        if user.disabled {
            return Ok(Answer::error_page("access_denied", "Account is disabled, contact your administrator."));
        }
        let known = |value: &&String| self.settings.acr_values.contains(value);
        let first = asked.acr_values.iter().find(known).or(self.settings.acr_values.first());
        let acr = user.acr.clone().or(first.cloned()).unwrap_or_else(|| "1".into());
        let sid = self.log_in(sub, before, acr)?;
        self.ask_for_role(asked, &sid)
    }

    /// Shows the role page if it is needed, or else continues.
    fn ask_for_role(&mut self, asked: Asked, sid: &str) -> Result<Answer, ErrorStack> {
        let change = asked.scope.iter().any(|scope| scope == "changedrole");
        let session = self.session(sid);
        let chosen = session.and_then(|session| session.selected_role.clone());
        let user = session.and_then(|session| self.users.get(&session.sub));
        let roles: Vec<String> =
            user.map(super::User::nrbac_ids).unwrap_or_default().iter().map(ToString::to_string).collect();
        let needed = asked.asks_for_role() && (change || chosen.is_none());
        let role = match roles.as_slice() {
            _ if !needed => chosen,
            [] => None,
            [only] => Some(only.clone()),
            _ if self.settings.pages => return self.role_page(asked, sid, None),
            [first, ..] => Some(self.chosen_role.clone().unwrap_or_else(|| first.clone())),
        };
        self.finish(&asked, sid, role)
    }

    /// Sends the browser back with a code.
    fn finish(&mut self, asked: &Asked, sid: &str, role: Option<String>) -> Result<Answer, ErrorStack> {
        if let Some(session) = self.session_mut(sid) {
            session.selected_role = role;
        }
        let value = format!("{}.{}", random_text(24)?, random_text(12)?);
        self.keep_secret(&value);
        if self.codes.len() >= self.settings.capacity {
            self.codes.pop_front();
        }
        let asked = asked.clone();
        let mut parameters = vec![("code".to_owned(), value.clone())];
        if self.settings.session_ids {
            parameters.insert(0, ("session_state".to_owned(), sid.to_owned()));
        }
        self.add_common(&asked, &mut parameters);
        let uri = asked.redirect_uri.clone();
        self.codes.push_back(Code { value, asked, sid: sid.into(), issued: Instant::now(), used: false });
        let mut answer = Answer::new(Content::Redirect { uri, parameters }, Outcome::Code);
        let secure = if self.issuer.starts_with("https") { "; Secure; SameSite=None" } else { "" };
        answer.headers.push(("Set-Cookie", format!("{COOKIE}={sid}; Path=/; HttpOnly{secure}")));
        Ok(answer)
    }

    fn add_common(&self, asked: &Asked, parameters: &mut Vec<(String, String)>) {
        if let Some(state) = &asked.state {
            parameters.insert(0, ("state".into(), state.clone()));
        }
        if self.settings.issuer_in_redirect {
            parameters.push(("iss".into(), self.issuer.clone()));
        }
    }

    fn refuse_by_redirect(&self, asked: &Asked, error: &str, description: &str) -> Answer {
        let mut parameters = vec![("error".to_owned(), error.to_owned())];
        if !description.is_empty() {
            parameters.push(("error_description".into(), description.into()));
        }
        self.add_common(asked, &mut parameters);
        let content = Content::Redirect { uri: asked.redirect_uri.clone(), parameters };
        Answer::new(content, Outcome::Refused(error.into(), description.into()))
    }

    /// What [`Misbehaviour::Error`](super::Misbehaviour::Error) does in the browser.
    pub(crate) fn error_redirect(&self, request: &HttpRequest, error: &str) -> Option<Answer> {
        let parameters = decode_form(request.query());
        let value = |name: &str| parameters.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone());
        let asked = Asked {
            client_id: value("client_id")?,
            redirect_uri: value("redirect_uri")?,
            state: value("state"),
            nonce: None,
            scope: Vec::new(),
            challenge: None,
            acr_values: Vec::new(),
            prompt: Vec::new(),
            max_age: None,
            sid: None,
        };
        let known = self.doorkeeper.find(&asked.client_id)?.takes_redirect(&asked.redirect_uri);
        known.then(|| self.refuse_by_redirect(&asked, error, "As the simulator was told"))
    }

    fn login_page(&mut self, asked: Asked, problem: Option<&str>) -> Result<Answer, ErrorStack> {
        let fixed =
            asked.sid.as_deref().and_then(|sid| self.session(sid)).and_then(|session| self.users.get(&session.sub));
        let who = match fixed {
            Some(user) => format!(
                "<p>{} <button name=\"restart\" value=\"1\" id=\"reset-login\">Restart login</button></p>",
                escaped(&user.username)
            ),
            None => "<p><label>User <input id=\"username\" name=\"username\" autofocus></label></p>".into(),
        };
        let problem = problem.map(|text| format!("<p id=\"problem\">{text}</p>\n")).unwrap_or_default();
        let action = self.put_aside(asked)?;
        let body = format!(
            "{problem}<form id=\"kc-form-login\" method=\"post\" action=\"{action}\">\n{who}\n\
             <p><label>Password <input id=\"password\" name=\"password\" type=\"password\"></label></p>\n\
             <p><button id=\"kc-login\" name=\"login\" value=\"1\">Log in</button>\n\
             <button id=\"cancel\" name=\"cancel\" value=\"1\">Cancel</button></p></form>"
        );
        Ok(Answer::page(200, "Log in", &body))
    }

    fn role_page(&mut self, mut asked: Asked, sid: &str, problem: Option<&str>) -> Result<Answer, ErrorStack> {
        asked.sid = Some(sid.into());
        let user = self.session(sid).and_then(|session| self.users.get(&session.sub));
        let roles = user.and_then(|user| user.nrbac.as_ref()).map(super::user::Nrbac::roles).unwrap_or_default();
        let mut list = String::new();
        for role in roles {
            let text = |name: &str| escaped(role[name].as_str().unwrap_or_default());
            list.push_str(&format!(
                "<li><button name=\"roleid\" value=\"{}\">{} {}</button></li>\n",
                text("person_roleid"),
                text("role_name"),
                text("org_name")
            ));
        }
        let search = if roles.len() > 5 { "<p><input id=\"cis2-search\" aria-label=\"Search\"></p>\n" } else { "" };
        let problem = problem.map(|text| format!("<p id=\"problem\">{text}</p>\n")).unwrap_or_default();
        let action = self.put_aside(asked)?;
        let body = format!(
            "{problem}<form id=\"cis2-role-form\" method=\"post\" action=\"{action}\">\n{search}\
             <ul id=\"cis2-roles\">\n{list}</ul>\n\
             <p><button id=\"cancel\" name=\"cancel\" value=\"1\">Cancel</button></p></form>"
        );
        Ok(Answer::page(200, "Choose a role", &body))
    }

    /// Keeps the request until its page is sent; returns where to.
    fn put_aside(&mut self, asked: Asked) -> Result<String, ErrorStack> {
        let number = random_text(18)?;
        let stage = if asked.sid.is_some() { "again" } else { "first" };
        self.pending.insert(number.clone(), asked);
        Ok(format!("{}?{stage}={number}", self.address_of(Endpoint::Page)))
    }

    /// A page's form.
    pub(crate) fn page_sent(&mut self, request: &HttpRequest) -> Result<Answer, ErrorStack> {
        let number = request.query().split_once('=').map(|pair| pair.1).unwrap_or_default();
        let Some(mut asked) = self.pending.remove(number) else {
            return Ok(Answer::error_page("invalid_request", "The page has expired. Begin again in the program."));
        };
        let form = form_of(request);
        let value = |name: &str| form.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str());
        if value("cancel").is_some() {
            return Ok(self.refuse_by_redirect(&asked, "access_denied", "The user cancelled the login"));
        }
        if value("restart").is_some() {
            asked.sid = None;
            return self.login_page(asked, None);
        }
        if let Some(role) = value("roleid") {
            let sid = asked.sid.clone().unwrap_or_default();
            let user = self.session(&sid).and_then(|session| self.users.get(&session.sub));
            if !user.is_some_and(|user| user.nrbac_ids().contains(&role)) {
                return self.role_page(asked, &sid, Some("This is not one of your roles."));
            }
            return self.finish(&asked, &sid, Some(role.into()));
        }
        let fixed = asked.sid.as_deref().and_then(|sid| self.session(sid)).map(|session| session.sub.clone());
        let user = match (&fixed, value("username")) {
            (Some(sub), _) => self.users.get(sub),
            (None, Some(name)) => self.users.values().find(|user| user.username == name),
            (None, None) => None,
        };
        match user.filter(|user| value("password") == Some(&user.password())).map(|user| user.sub.clone()) {
            Some(sub) => {
                let before = asked.sid.clone();
                self.logged_in(asked, &sub, before.as_deref())
            }
            None => self.login_page(asked, Some("Invalid username or password.")),
        }
    }
}

fn cookie(request: &HttpRequest) -> Option<String> {
    let pairs = request.header("Cookie")?.split("; ");
    pairs.filter_map(|pair| pair.split_once('=')).find(|pair| pair.0 == COOKIE).map(|pair| pair.1.into())
}

fn repeated(parameters: &[(String, String)]) -> Option<&str> {
    let again = |index: &usize| parameters[..*index].iter().any(|other| other.0 == parameters[*index].0);
    (0..parameters.len()).find(again).map(|index| parameters[index].0.as_str())
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Whether this verifier is the one of the challenge.
pub(crate) fn verifier_matches(challenge: Option<&str>, verifier: Option<&str>) -> bool {
    match (challenge, verifier) {
        (Some(challenge), Some(verifier)) => {
            // RFC 7636, section 4.1.
            let well_formed = (43..=128).contains(&verifier.len())
                && verifier.bytes().all(|byte| is_base64url(byte) || byte == b'.' || byte == b'~');
            well_formed && base64url(&openssl::sha::sha256(verifier.as_bytes())) == challenge
        }
        (None, None) => true,
        _ => false,
    }
}
