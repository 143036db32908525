//! What the node does with a request. No network here.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::contract::Template;
use super::keys::DidKey;
use super::login::ApiLogin;
use super::misbehaviour::Misbehaviour;
use super::presentation::{self, Fault, SELF_SIGNED};
use super::session::{self, Begun, Sessions, Status};
use super::time::{now, parse_duration, parse_rfc3339};
use super::user_token::UserTokens;
use super::{Credential, Organization, Version, page};
use crate::http::HttpRequest;

/// How long a contract is valid when the request does not say.
const CONTRACT_SECONDS: i64 = 60 * 60;

/// Which of its addresses a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Internal,
    Public,
}

/// The node's state.
pub(super) struct Node {
    pub(super) version: Version,
    pub(super) organizations: Vec<Organization>,
    pub(super) sessions: Sessions,
    pub(super) user_tokens: UserTokens,
    pub(super) api_login: Option<ApiLogin>,
    /// Answers the page as the user would, as soon as a session begins.
    pub(super) auto_accept: Option<bool>,
    /// Where its public address is.
    pub(super) public_url: String,
    /// Signs for the employer that [`Misbehaviour::OtherEmployer`] names.
    pub(super) other: DidKey,
    /// When it began: before, none of its organisations existed.
    pub(super) began: i64,
}

impl Node {
    /// Answers `request`; `None` closes the connection.
    pub(super) fn answer(&mut self, side: Side, request: &HttpRequest, bad: Option<&Misbehaviour>) -> Option<Answer> {
        let path = request.path().to_owned();
        let unified = self.version == Version::V5;
        let internal = side == Side::Internal && (path.starts_with("/internal/") || path == "/status");
        let public = side == Side::Public || unified;
        if internal && path != "/status" && self.api_login.as_ref().is_some_and(|login| !login.admits(request)) {
            return Some(Answer::text(401, "Unauthorized"));
        }
        let body = if internal && matches!(request.method.as_str(), "PUT" | "POST") {
            match read_body(request, &path) {
                Ok(body) => body,
                Err(answer) => return Some(answer),
            }
        } else {
            Value::Null
        };
        let v1 = path.strip_prefix("/internal/auth/v1/").filter(|_| internal);
        let v2 = path.strip_prefix("/internal/auth/v2/").filter(|_| internal && self.version == Version::V6);
        let page = path.strip_prefix("/public/auth/v1/means/employeeid/").filter(|_| public);
        Some(match (request.method.as_str(), v1, v2, page) {
            ("GET", ..) if internal && path == "/status" => Answer::text(200, "OK"),
            ("PUT", Some("contract/drawup"), ..) => self.draw_up(&body, bad).unwrap_or_else(|answer| answer),
            ("POST", Some("signature/session"), ..) => return self.begin(&body),
            ("PUT", Some("signature/verify"), ..) => self.verify(&body),
            ("POST", Some("request-access-token"), ..) => self.request_access_token(&body),
            ("POST", Some("jwt-grant"), ..) => self.jwt_grant(&body),
            ("POST", Some("accesstoken/introspect"), ..) => self.introspect(request),
            ("HEAD", Some("accesstoken/verify"), ..) => self.check_access_token(request),
            ("GET", Some(rest), ..) if rest.starts_with("signature/session/") => {
                self.poll(rest.trim_start_matches("signature/session/"), bad)
            }
            ("POST", _, Some(rest), _) if rest.ends_with("/request-user-access-token") => {
                let subject = rest.trim_end_matches("/request-user-access-token");
                self.request_user_token(subject, &body)
            }
            ("GET", _, Some(rest), _) if rest.starts_with("accesstoken/") => {
                self.user_tokens.poll(rest.trim_start_matches("accesstoken/"))
            }
            ("GET", _, _, Some(id)) => self.page(id),
            ("POST", _, _, Some(id)) => self.submit(id, request),
            ("POST", ..) if internal && path == "/internal/vdr/v1/did" => self.make_did(),
            ("POST", ..) if internal && path == "/internal/vcr/v2/issuer/vc" => self.issue(&body),
            ("POST", ..) if internal && path == "/internal/vcr/v2/verifier/trust" => self.trust(&body),
            ("POST", ..) if internal && path.starts_with("/internal/didman/v1/did/") => {
                let rest = path.trim_start_matches("/internal/didman/v1/did/");
                self.offer(rest.split('/').next().unwrap_or_default(), &body)
            }
            ("POST", ..) if public && path == "/n2n/auth/v1/accesstoken" => self.access_token_for_node(request),
            ("GET", ..) if public && path.starts_with("/oauth2/") => self.user_tokens.redirect(request),
            _ => Answer::failed(404, "Not Found"),
        })
    }

    fn draw_up(&self, body: &Value, bad: Option<&Misbehaviour>) -> Result<Answer, Answer> {
        let refused = |status, detail: String| Answer::problem(status, "DrawUpContract failed", detail);
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let mut from = match body["validFrom"].as_str() {
            None => now(),
            Some(text) => {
                parse_rfc3339(text).map_err(|error| refused(400, format!("could not parse validFrom: {error}")))?
            }
        };
        let duration = match body["validDuration"].as_str() {
            None => CONTRACT_SECONDS,
            Some(text) => {
                let parsed = parse_duration(text);
                parsed.map_err(|error| refused(400, format!("could not parse validDuration: {error}")))?
            }
        };
        let template = Template::find(text("language"), text("type"), text("version")).ok_or_else(|| {
            refused(404, "no contract found for given combination of type, version, and language".into())
        })?;
        let did = text("legalEntity");
        check_did(did, self.version)
            .map_err(|error| refused(400, format!("invalid value '{did}' for param legalEntity: {error}")))?;
        let could_not = |reason: &str| refused(400, format!("could not draw up contract: {reason}"));
        let inline = &body["organizationCredential"]["credentialSubject"];
        let inline = if inline.is_array() { &inline[0]["organization"] } else { &inline["organization"] };
        let organization = self.organization(did);
        let (name, city) = match (inline["name"].as_str(), inline["city"].as_str(), organization) {
            (Some(name), Some(city), _) => (name, city),
            (_, _, Some(organization)) if from >= self.began => match organization.credential {
                Credential::Trusted => (organization.name.as_str(), organization.city.as_str()),
                Credential::Untrusted | Credential::None => {
                    let reason =
                        "could not find a NutsOrganizationCredential for this legalEntity issued by a trusted issuer";
                    return Err(could_not(reason));
                }
            },
            _ => return Err(could_not("no valid organization credential at provided validFrom date")),
        };
        if let Some(Misbehaviour::ContractFrom(ahead)) = bad {
            from += ahead;
        }
        let to = from + if duration == 0 { CONTRACT_SECONDS } else { duration };
        let message = template.render(name, city, from, to);
        let (language, kind, version) = (template.language(), template.kind(), template.version());
        Ok(Answer::json(200, &json!({"language": language, "message": message, "type": kind, "version": version})))
    }

    fn begin(&mut self, body: &Value) -> Option<Answer> {
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let none = Map::new();
        let params = body["params"].as_object().unwrap_or(&none);
        let means = text("means");
        match self.sessions.begin(means, text("payload"), params, self.version) {
            Begun::Crash => None,
            Begun::Refused(reason) => Some(Answer::problem(
                400,
                "CreateSignSession failed",
                format!("unable to create sign challenge: {reason}"),
            )),
            Begun::Session { id, page } => {
                if let (Some(accept), Some(session)) = (self.auto_accept, self.sessions.get(&id)) {
                    session.status = if accept { Status::Completed } else { Status::Cancelled };
                }
                let url = page.then(|| format!("{}/public/auth/v1/means/employeeid/{id}", self.public_url));
                Some(Answer::json(201, &session::pointer(means, &id, url.as_deref())))
            }
        }
    }

    fn poll(&mut self, id: &str, bad: Option<&Misbehaviour>) -> Answer {
        let failed = |status, reason: &str| {
            let detail = format!("failed to get session status for {id}, reason: {reason}");
            Answer::problem(status, "GetSignSessionStatus failed", detail)
        };
        let Some(session) = self.sessions.get(id) else { return failed(404, "session not found") };
        if let Some(Misbehaviour::PollStatus(status)) = bad {
            return Answer::json(200, &json!({"status": status}));
        }
        let mut answer = json!({"status": session.status.name()});
        match session.status {
            Status::Completed => {
                session.status = Status::Requested;
                let session = session.clone();
                let Some(key) = self.key_of(&session.employer) else {
                    return failed(
                        500,
                        "failed to create VerifiablePresentation: issue VC failed: failed to sign credential: could not \
                         resolve an assertionKey for issuer: unable to find the DID document",
                    );
                };
                answer["verifiablePresentation"] = self.present(session.statement, key, bad);
            }
            Status::Requested | Status::Expired | Status::Cancelled | Status::Errored => self.sessions.remove(id),
            Status::Created | Status::InProgress | Status::None => {}
        }
        Answer::json(200, &answer)
    }

    /// Makes the presentation of `statement`, as `bad` spoils it.
    fn present(&self, mut statement: presentation::Statement, key: &DidKey, bad: Option<&Misbehaviour>) -> Value {
        let mut time = SystemTime::now();
        let mut key = key;
        match bad {
            Some(Misbehaviour::OtherEmployer) => key = &self.other,
            Some(Misbehaviour::OtherEmployee(field, text)) => match field.as_str() {
                "identifier" => statement.identifier.clone_from(text),
                "initials" => statement.initials.clone_from(text),
                "familyName" => statement.family_name.clone_from(text),
                _ => statement.role = Some(text.clone()),
            },
            Some(Misbehaviour::OtherContract(text)) => statement.contract.clone_from(text),
            Some(Misbehaviour::OtherTime(ago)) => {
                let distance = Duration::from_secs(ago.unsigned_abs());
                time = if *ago < 0 { time + distance } else { time - distance };
            }
            _ => {}
        }
        let mut presentation = presentation::sign(&statement, key, self.version, time);
        match bad {
            Some(Misbehaviour::Tampered) => {
                presentation["verifiableCredential"]["credentialSubject"]["member"]["identifier"] = "tampered".into();
            }
            Some(Misbehaviour::Lists) => {
                for name in ["verifiableCredential", "proof"] {
                    presentation[name] = vec![presentation[name].take()].into();
                }
            }
            _ => {}
        }
        presentation
    }

    fn verify(&self, body: &Value) -> Answer {
        let refused = |detail: String| Answer::problem(400, "VerifySignature failed", detail);
        if let Err(answer) = self.check_presentation(&body["verifiablePresentation"], "VerifiablePresentation") {
            return answer;
        }
        let time = match body["checkTime"].as_str().map(parse_rfc3339) {
            None => now(),
            Some(Ok(time)) => time,
            Some(Err(error)) => return refused(format!("could not parse checkTime: {error}")),
        };
        match self.verified(&body["verifiablePresentation"], time) {
            Err(Fault::Request(reason)) => refused(format!("unable to verify the verifiable presentation: {reason}")),
            Err(Fault::Invalid(_)) => Answer::json(200, &json!({"validity": false})),
            Ok(verified) => {
                let map = |pairs: &[(&'static str, String)]| -> Map<String, Value> {
                    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect()
                };
                Answer::json(
                    200,
                    &json!({
                        "credentials": map(verified.contract.parameters()),
                        "issuerAttributes": map(&verified.attributes),
                        "validity": true,
                        "vpType": SELF_SIGNED,
                    }),
                )
            }
        }
    }

    /// Verifies `presentation`, and that its signer is the organisation of its contract.
    pub(super) fn verified(&self, presentation: &Value, time: i64) -> Result<presentation::Verified, Fault> {
        let verified = presentation::verify(presentation, time, self.version, |did| self.key_of(did))?;
        let signer = self.organization(presentation::signer(presentation));
        let named = signer.is_some_and(|organization| {
            organization.credential == Credential::Trusted && verified.contract.get("legal_entity") == organization.name
        });
        if named {
            Ok(verified)
        } else {
            Err(Fault::Invalid("verification error: no trusted organization credential".into()))
        }
    }

    /// Refuses a presentation that is a text.
    pub(super) fn check_presentation(&self, presentation: &Value, field: &str) -> Result<(), Answer> {
        let Value::String(_) = presentation else { return Ok(()) };
        let offset = presentation.to_string().len();
        Err(Answer::failed(
            400,
            match self.version {
                Version::V5 => format!(
                    "Unmarshal type error: expected=map[string]interface {{}}, got=string, field={field}, offset={offset}"
                ),
                Version::V6 => "invalid JWT".into(),
            },
        ))
    }

    fn page(&mut self, id: &str) -> Answer {
        let Some(session) = self.sessions.get(id) else { return Answer::failed(404, "session not found") };
        if session.status != Status::Created {
            return Answer::html(page::status(session.status));
        }
        session.status = Status::InProgress;
        Answer::html(page::form(session))
    }

    fn submit(&mut self, id: &str, request: &HttpRequest) -> Answer {
        let Some(session) = self.sessions.get(id) else { return Answer::failed(404, "session not found") };
        let form = read_form(&request.body);
        match session.submit(value(&form, "secret"), value(&form, "accept")) {
            Ok(()) => Answer::redirect(format!("./{id}")),
            Err(reason) => Answer::failed(404, reason),
        }
    }

    pub(super) fn organization(&self, did: &str) -> Option<&Organization> {
        self.organizations.iter().find(|organization| organization.key.did() == did)
    }

    pub(super) fn key_of(&self, did: &str) -> Option<&DidKey> {
        let known = self.organization(did).map(|organization| &organization.key);
        known.or_else(|| (did == self.other.did()).then_some(&self.other))
    }
}

/// Refuses what is no DID, in the node's words.
pub(super) fn check_did(did: &str, version: Version) -> Result<(), &'static str> {
    let mut parts = did.splitn(3, ':');
    let valid =
        parts.next() == Some("did") && parts.next().is_some_and(|method| !method.is_empty()) && parts.next().is_some();
    match (valid, version) {
        (true, _) => Ok(()),
        (false, Version::V5) => Err("invalid DID: input length is less than 7"),
        (false, Version::V6) if did.is_empty() => Err("invalid DID: DID must start with 'did:'"),
        (false, Version::V6) => Err("invalid DID"),
    }
}

/// The body as JSON; forms are read where they are wanted.
fn read_body(request: &HttpRequest, path: &str) -> Result<Value, Answer> {
    let content_type = request.header("Content-Type").unwrap_or_default();
    if path.ends_with("/introspect") {
        let form = content_type.starts_with("application/x-www-form-urlencoded");
        return if form { Ok(Value::Null) } else { Err(Answer::failed(415, "Unsupported Media Type")) };
    }
    if request.body.is_empty() {
        return Ok(Value::Null);
    }
    if !content_type.starts_with("application/json") {
        return Err(Answer::failed(415, "Unsupported Media Type"));
    }
    serde_json::from_slice(&request.body).map_err(|error| {
        let detail = match error.is_eof() {
            true => "unexpected EOF".to_owned(),
            false => format!("Syntax error: offset={}, error={error}", error.column()),
        };
        Answer::failed(400, detail)
    })
}

/// The fields of a form.
pub(super) fn read_form(body: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body);
    let fields = text.split('&').filter_map(|field| field.split_once('='));
    fields.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

pub(super) fn value<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter().find(|field| field.0 == name).map(|field| field.1.as_str())
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap_or_default(), rest.next().unwrap_or_default()];
                let digits = std::str::from_utf8(&digits).unwrap_or_default();
                bytes.push(u8::from_str_radix(digits, 16).unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
