//! The broker's answers as HTTP, or as a misbehaviour spoils them.

use std::time::Duration;

use super::broker::{Broker, Content, Processed};
use super::log::{Entry, Outcome};
use super::misbehaviour::{Endpoint, Misbehaviour};
use super::refusal::Refusal;
use crate::http::{self, HttpRequest};
use crate::server::{Application, Incoming, Manner, Nothing, Reply};

impl Application for Broker {
    type Endpoint = Endpoint;
    type Misbehaviour = Misbehaviour;
    type Entry = Entry;

    /// With a message, GET may stand for POST, save to a strict broker.
    fn endpoint(&self, request: &HttpRequest) -> Result<Endpoint, u16> {
        let endpoint = endpoint_at(request.path()).ok_or(404_u16)?;
        let message_by_get = request.method == "GET" && !request.body.is_empty();
        if request.method == endpoint.method() || message_by_get && !self.settings.strict {
            Ok(endpoint)
        } else {
            Err(405)
        }
    }

    fn answer(
        &mut self,
        incoming: &Incoming<'_>,
        endpoint: Result<Endpoint, u16>,
        misbehaviour: Option<Misbehaviour>,
    ) -> (Reply, Entry) {
        let request = incoming.request;
        let at = endpoint_at(request.path());
        let mut entry = Entry {
            at: incoming.at,
            connection: incoming.connection,
            method: request.method.clone(),
            path: request.path().into(),
            headers: request.headers.clone(),
            endpoint: at,
            parameters: at.map(|endpoint| Broker::parameters(endpoint, request)).unwrap_or_default(),
            answer: Outcome::Done,
            warnings: Vec::new(),
        };
        let reply = match (endpoint, misbehaviour) {
            (Err(status), _) => {
                entry.answer = Outcome::BadRequest(status);
                Reply::empty(status)
            }
            (Ok(endpoint), Some(misbehaviour)) => misbehave(self, &misbehaviour, endpoint, incoming, &mut entry),
            (Ok(endpoint), None) => {
                let processed = self.process(endpoint, request, incoming.peer.ip(), &incoming.base_url);
                entry.answer = processed.outcome;
                entry.warnings = processed.warnings;
                good(processed.content, &incoming.base_url)
            }
        };
        (reply, entry)
    }

    fn no_request(connection: u64, at: Duration, why: Nothing) -> Entry {
        match why {
            Nothing::NoConnection(reason) => Entry::without_request(connection, at, Outcome::NoConnection(reason)),
            Nothing::Bad(status) => Entry::without_request(connection, at, Outcome::BadRequest(status)),
        }
    }
}

fn endpoint_at(path: &str) -> Option<Endpoint> {
    Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path)
}

const XML: &[(&str, &str)] = &[("Content-Type", "text/xml;charset=UTF-8")];
const HTML: &[(&str, &str)] = &[("Content-Type", "text/html;charset=UTF-8")];

fn good(content: Content, base_url: &str) -> Reply {
    let (headers, body) = match content {
        Content::Message(answer) => (XML, answer.write(base_url)),
        Content::Html(text) => (HTML, text),
        Content::Assertion(assertion) => (XML, assertion.write()),
        Content::Session(answer) => (XML, answer.write()),
    };
    Reply::new(http::head(200, headers, Some(body.len()), false), body.as_bytes())
}

/// The answer as `misbehaviour` spoils it.
fn misbehave(
    broker: &mut Broker,
    misbehaviour: &Misbehaviour,
    endpoint: Endpoint,
    incoming: &Incoming<'_>,
    entry: &mut Entry,
) -> Reply {
    let base_url = incoming.base_url.as_str();
    entry.answer = Outcome::Misbehaved(misbehaviour.label());
    let manner = match misbehaviour {
        Misbehaviour::Status(status) => {
            let page = format!("<html><body><h1>{status}</h1></body></html>\n");
            return Reply::new(
                http::head(*status, &[("Content-Type", "text/html")], Some(page.len()), false),
                page.as_bytes(),
            );
        }
        Misbehaviour::Redirect(location) => {
            return Reply::new(
                http::head(302, &[("Content-Type", "text/html"), ("Location", location)], Some(0), false),
                b"",
            );
        }
        Misbehaviour::Body(body) => {
            return Reply::new(http::head(200, XML, Some(body.len()), false), body);
        }
        Misbehaviour::Refuse(reason) => {
            let processed = Broker::refuse(endpoint, Refusal::Requested(reason.clone()), base_url);
            entry.answer = processed.outcome;
            return good(processed.content, base_url);
        }
        Misbehaviour::Endless => {
            let head = http::head(200, XML, None, true);
            return Reply { manner: Manner::Endless, ..Reply::new(head, b"<gpOBJECT>\n") };
        }
        Misbehaviour::NoAnswer => Some(Manner::Silent),
        Misbehaviour::Reset => Some(Manner::Reset),
        _ => None,
    };
    if let Some(manner) = manner {
        return Reply { manner, ..Reply::new(String::new(), b"") };
    }

    let Processed { mut content, outcome, warnings } =
        broker.process(endpoint, incoming.request, incoming.peer.ip(), base_url);
    entry.warnings = warnings;
    let loses_answer = misbehaviour.loses_answer();
    match outcome {
        Outcome::Ticket(ticket) if loses_answer => drop(broker.end_session(&ticket)),
        Outcome::Refused(_) => entry.answer = outcome,
        _ if !loses_answer => entry.answer = outcome,
        _ => {}
    }
    match misbehaviour {
        Misbehaviour::Without(name) => content.remove(name),
        Misbehaviour::With(name, value) => content.set(name, value),
        Misbehaviour::Twice(name) => content.repeat(name),
        _ => {}
    }
    let mut reply = good(content, base_url);
    match misbehaviour {
        Misbehaviour::Truncated => reply.manner = Manner::Cut(reply.bytes.len() - reply.bytes.len() / 4),
        Misbehaviour::OneByteASecond => reply.manner = Manner::OneByteASecond,
        Misbehaviour::Delay(delay) => reply.delay = *delay,
        Misbehaviour::Close => reply.close = true,
        _ => {}
    }
    reply
}
