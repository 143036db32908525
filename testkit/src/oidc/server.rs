//! The provider's answers as HTTP, or as a misbehaviour spoils them.

use std::time::Duration;

use openssl::error::ErrorStack;
use serde_json::{Map, Value, json};

use super::client::{OAuthError, form_of};
use super::jose::{Forgery, base64url};
use super::log::{Entry, Outcome};
use super::misbehaviour::{Endpoint, Misbehaviour};
use super::provider::{Answer, Content, ENDPOINT_MEMBERS, Provider, push};
use crate::http::{self, HttpRequest, encode_form};
use crate::server::{Application, Incoming, Manner, Nothing, Reply};

impl Application for Provider {
    type Endpoint = Endpoint;
    type Misbehaviour = Misbehaviour;
    type Entry = Entry;

    fn endpoint(&self, request: &HttpRequest) -> Result<Endpoint, u16> {
        let rest = request.path().strip_prefix(self.issuer_path()).ok_or(404_u16)?;
        let mut endpoints = Endpoint::ALL.into_iter().filter(|endpoint| !self.settings.without.contains(endpoint));
        let endpoint = endpoints.find(|endpoint| self.settings.paths.of(*endpoint) == rest).ok_or(404_u16)?;
        let post = request.method == "POST";
        let takes = match endpoint {
            Endpoint::Authorize | Endpoint::UserInfo | Endpoint::EndSession => post || request.method == "GET",
            Endpoint::Page | Endpoint::Token | Endpoint::Refresh | Endpoint::Revocation => post,
            Endpoint::Discovery | Endpoint::Jwks | Endpoint::Contexts => request.method == "GET",
        };
        if !takes {
            return Err(405);
        }
        let renews = || form_of(request).iter().any(|pair| pair.0 == "grant_type" && pair.1 == "refresh_token");
        Ok(if endpoint == Endpoint::Token && renews() { Endpoint::Refresh } else { endpoint })
    }

    fn answer(
        &mut self,
        incoming: &Incoming<'_>,
        endpoint: Result<Endpoint, u16>,
        misbehaviour: Option<Misbehaviour>,
    ) -> (Reply, Entry) {
        let (reply, outcome) = match endpoint {
            Err(status) => (Reply::empty(status), Outcome::BadRequest(status)),
            Ok(endpoint) => {
                self.note_secrets(endpoint, incoming.request);
                let answered = match &misbehaviour {
                    Some(misbehaviour) => self.misbehave(endpoint, incoming.request, misbehaviour),
                    None => self.behave(endpoint, incoming.request),
                };
                answered.unwrap_or_else(|error| {
                    (Reply::empty(500), Outcome::Refused("server_error".into(), format!("openssl: {error}")))
                })
            }
        };
        (reply, Entry::new(incoming.at, incoming.connection, incoming.request, endpoint.ok(), outcome))
    }

    fn no_request(connection: u64, at: Duration, why: Nothing) -> Entry {
        Entry::without_request(
            connection,
            at,
            match why {
                Nothing::NoConnection(reason) => Outcome::NoConnection(reason),
                Nothing::Bad(status) => Outcome::BadRequest(status),
            },
        )
    }
}

impl Provider {
    fn behave(&mut self, endpoint: Endpoint, request: &HttpRequest) -> Result<(Reply, Outcome), ErrorStack> {
        let answer = self.process(endpoint, request)?;
        self.write(answer, None)
    }

    fn misbehave(
        &mut self,
        endpoint: Endpoint,
        request: &HttpRequest,
        misbehaviour: &Misbehaviour,
    ) -> Result<(Reply, Outcome), ErrorStack> {
        let mut outcome = Outcome::Misbehaved(misbehaviour.label());
        if misbehaviour.is_instead() {
            return Ok((self.reply_instead(endpoint, request, misbehaviour)?, outcome));
        }
        let mut answer = self.process(endpoint, request)?;
        if let Outcome::Refused(..) = &answer.outcome {
            outcome = answer.outcome.clone();
        }
        let lost = misbehaviour.spoils_all() && endpoint == Endpoint::Token;
        if let (Content::Tokens { sid, .. }, true) = (&answer.content, lost) {
            let sid = sid.clone();
            self.end_session(&sid);
        }
        self.spoil(&mut answer, misbehaviour);
        let forgery = if let Misbehaviour::Forged(forgery) = misbehaviour { Some(*forgery) } else { None };
        let (mut reply, _) = self.write(answer, forgery)?;
        match misbehaviour {
            Misbehaviour::Twice(name) => repeat_member(&mut reply.bytes, name),
            Misbehaviour::CutBefore(name) => reply.manner = Manner::Cut(place_of_member(&reply.bytes, name)),
            Misbehaviour::Truncated => reply.manner = Manner::Cut(reply.bytes.len() - reply.bytes.len() / 4),
            Misbehaviour::OneByteASecond => reply.manner = Manner::OneByteASecond,
            Misbehaviour::Delay(delay) => reply.delay = *delay,
            Misbehaviour::Close => reply.close = true,
            _ => {}
        }
        Ok((reply, outcome))
    }

    /// What is sent where the request is not carried out.
    fn reply_instead(
        &mut self,
        endpoint: Endpoint,
        request: &HttpRequest,
        misbehaviour: &Misbehaviour,
    ) -> Result<Reply, ErrorStack> {
        let html = [("Content-Type", "text/html;charset=UTF-8")];
        Ok(match misbehaviour {
            Misbehaviour::Status(status) => {
                let page = format!("<html><body><h1>{status}</h1></body></html>\n");
                Reply::new(http::head(*status, &html, Some(page.len()), false), page.as_bytes())
            }
            Misbehaviour::Redirect(location) => {
                Reply::new(http::head(302, &[html[0], ("Location", location)], Some(0), false), b"")
            }
            Misbehaviour::Body(content_type, body) => {
                let head = http::head(200, &[("Content-Type", content_type)], Some(body.len()), false);
                Reply::new(head, body)
            }
            Misbehaviour::Error(error) if endpoint.is_the_browsers() => {
                let answer = self.error_redirect(request, error);
                let answer = answer.unwrap_or_else(|| Answer::error_page(error, "As the simulator was told"));
                self.write(answer, None)?.0
            }
            Misbehaviour::Error(error) => {
                let status = if ["invalid_client", "invalid_token"].contains(&error.as_str()) { 401 } else { 400 };
                let error = OAuthError { status, ..OAuthError::new(error, "As the simulator was told") };
                self.write(error.into(), None)?.0
            }
            Misbehaviour::NoRedirect => {
                let text = "<p id=\"problem\">Something has gone wrong. There is nothing that you can do here.</p>";
                self.write(Answer::page(200, "We are sorry", text), None)?.0
            }
            Misbehaviour::Endless => {
                let head = http::head(200, &[("Content-Type", "application/json")], None, true);
                Reply { manner: Manner::Endless, ..Reply::new(head, b"{\n") }
            }
            Misbehaviour::Reset => Reply { manner: Manner::Reset, ..Reply::new(String::new(), b"") },
            _ => Reply { manner: Manner::Silent, ..Reply::new(String::new(), b"") },
        })
    }

    /// Changes an answer before it is signed and written.
    fn spoil(&self, answer: &mut Answer, misbehaviour: &Misbehaviour) {
        if answer.status >= 400 {
            return;
        }
        let members = match &mut answer.content {
            Content::Tokens { claims, body, .. } => {
                match misbehaviour {
                    Misbehaviour::Claim(name, value) if name == "azp" => {
                        // Only then a client has to look at it.
                        claims.insert("aud".into(), json!([claims["aud"], value]));
                        claims.insert("azp".into(), value.clone());
                    }
                    Misbehaviour::Claim(name, value) => drop(claims.insert(name.clone(), value.clone())),
                    Misbehaviour::ClaimIn(name, ahead) => drop(claims.insert(name.clone(), json!(self.now() + ahead))),
                    Misbehaviour::WithoutClaim(name) => drop(claims.remove(name)),
                    _ => {}
                }
                body
            }
            Content::Json(members) | Content::Signed(members) => members,
            Content::Redirect { parameters, .. } => {
                let place = |name: &str| parameters.iter().position(|pair| pair.0 == name);
                match misbehaviour {
                    Misbehaviour::With(name, value) => {
                        let text = value.as_str().map_or_else(|| value.to_string(), Into::into);
                        match place(name) {
                            Some(place) => parameters[place].1 = text,
                            None => parameters.push((name.clone(), text)),
                        }
                    }
                    Misbehaviour::Without(name) => parameters.retain(|pair| pair.0 != *name),
                    Misbehaviour::Twice(name) => {
                        if let Some(pair) = place(name).map(|place| parameters[place].clone()) {
                            parameters.push(pair);
                        }
                    }
                    _ => {}
                }
                return;
            }
            Content::Html(_) | Content::Nothing => return,
        };
        match misbehaviour {
            Misbehaviour::With(name, value) => drop(members.insert(name.clone(), value.clone())),
            Misbehaviour::Without(name) => drop(members.remove(name)),
            Misbehaviour::Padded(bytes) => drop(members.insert("padding".into(), json!("A".repeat(*bytes)))),
            Misbehaviour::EndpointsAt(origin) => {
                let end = self.issuer.len() - self.issuer_path().len();
                for (name, _) in ENDPOINT_MEMBERS {
                    if let Some(Value::String(address)) = members.get_mut(name) {
                        *address = format!("{origin}{}", &address[end..]);
                    }
                }
            }
            Misbehaviour::Keys(count) => add_keys(members, *count),
            Misbehaviour::WithoutKeyIds => {
                let keys = members.get_mut("keys").and_then(Value::as_array_mut);
                for key in keys.into_iter().flatten().filter_map(Value::as_object_mut) {
                    key.remove("kid");
                }
            }
            _ => {}
        }
    }

    /// Signs the tokens, and writes the response.
    fn write(&mut self, answer: Answer, forgery: Option<Forgery>) -> Result<(Reply, Outcome), ErrorStack> {
        let (mut status, mut headers) = (answer.status, answer.headers);
        headers.push(("Cache-Control", "no-store".into()));
        let (content_type, body) = match answer.content {
            Content::Json(members) => ("application/json", Value::Object(members).to_string()),
            Content::Tokens { mut body, claims, sid } => {
                let client = self.doorkeeper.find(claims["azp"].as_str().unwrap_or_default());
                let secret = client.map(|client| client.secret().to_owned()).unwrap_or_default();
                let token = match forgery {
                    Some(forgery) => self.key().forge(&claims, forgery, &secret)?,
                    None => self.key().sign(&claims)?,
                };
                self.keep_secret(&token);
                // A misbehaviour may have put something else there, or nothing.
                if let Some(Value::Null) = body.get("id_token") {
                    body.insert("id_token".into(), json!(token));
                }
                let capacity = self.settings.capacity;
                if let Some(session) = self.session_mut(&sid) {
                    push(&mut session.id_tokens, token, capacity);
                }
                ("application/json", Value::Object(body).to_string())
            }
            Content::Signed(claims) => {
                let client = self.doorkeeper.find(claims["aud"].as_str().unwrap_or_default());
                let secret = client.map(|client| client.secret().to_owned()).unwrap_or_default();
                let token = match forgery {
                    Some(forgery) => self.key().forge(&claims, forgery, &secret)?,
                    None => self.key().sign(&claims)?,
                };
                ("application/jwt", token)
            }
            Content::Redirect { uri, parameters } => {
                status = 302;
                let separator = if uri.contains('?') { '&' } else { '?' };
                let query = encode_form(parameters);
                let location = if query.is_empty() { uri } else { format!("{uri}{separator}{query}") };
                headers.push(("Location", location));
                ("text/html;charset=UTF-8", String::new())
            }
            Content::Html(text) => ("text/html;charset=UTF-8", text),
            Content::Nothing => ("text/plain", String::new()),
        };
        headers.push(("Content-Type", content_type.into()));
        let headers: Vec<(&str, &str)> = headers.iter().map(|header| (header.0, header.1.as_str())).collect();
        Ok((Reply::new(http::head(status, &headers, Some(body.len()), false), body.as_bytes()), answer.outcome))
    }
}

/// Other keys before those of a JWKS. They are no RSA keys that anybody has, but look like some.
fn add_keys(members: &mut Map<String, Value>, count: usize) {
    let others = (0..count).map(|number| {
        let mut modulus = Vec::with_capacity(256);
        for block in 0..8_u8 {
            modulus.extend(openssl::sha::sha256(format!("{number} {block}").as_bytes()));
        }
        modulus[0] |= 0x80;
        modulus[255] |= 1;
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": format!("other-{number}"),
                "n": base64url(&modulus), "e": "AQAB" })
    });
    if let Some(Value::Array(keys)) = members.get_mut("keys") {
        keys.splice(0..0, others);
    }
}

/// Returns where a member of the JSON object begins that an answer ends with.
fn place_of_member(answer: &[u8], name: &str) -> usize {
    let name = json!(name).to_string().into_bytes();
    answer.windows(name.len()).rposition(|bytes| bytes == name).unwrap_or(answer.len() / 2)
}

/// Repeats a member of the JSON object that an answer ends with.
fn repeat_member(answer: &mut Vec<u8>, name: &str) {
    let Some(start) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|end| end + 4) else { return };
    let Ok(Value::Object(members)) = serde_json::from_slice(&answer[start..]) else { return };
    let Some(value) = members.get(name) else { return };
    let again = format!(",{}:{value}}}", json!(name));
    let body = [&answer[start..answer.len() - 1], again.as_bytes()].concat();
    let head = String::from_utf8_lossy(&answer[..start]).into_owned();
    let (old, new) = (answer.len() - start, body.len());
    let head = head.replace(&format!("Content-Length: {old}\r\n"), &format!("Content-Length: {new}\r\n"));
    *answer = [head.as_bytes(), &body].concat();
}
