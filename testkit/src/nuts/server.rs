//! The node on its ports: requests in, answers out, or spoilt.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::answer::Answer;
use super::misbehaviour::{Endpoint, Misbehaviour};
use super::node::{Node, Side};
use crate::http::{self, HttpRequest};
use crate::server::{Application, Incoming, Manner, Nothing, Reply};

/// One request, as the log keeps it. It holds no body.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Since the start.
    pub at: Duration,
    /// The number of the connection.
    pub connection: u64,
    /// The HTTP method; empty where no request came.
    pub method: String,
    /// The path.
    pub path: String,
    /// Where the simulator can misbehave, if it is one of these places.
    pub endpoint: Option<Endpoint>,
    /// The status of the answer; 0 for a connection that was closed.
    pub status: u16,
    /// Why it was refused, in the node's words, or what was wrong on purpose.
    pub note: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, connection) = (self.at.as_secs_f64(), self.connection);
        write!(f, "{at:9.3} #{connection:<3} {} {}  {}", self.method, self.path, self.status)?;
        if self.note.is_empty() { Ok(()) } else { write!(f, "  {}", self.note) }
    }
}

/// One of the node's two addresses.
pub(super) struct Port {
    pub(super) side: Side,
    pub(super) node: Arc<Mutex<Node>>,
}

pub(super) fn lock(node: &Mutex<Node>) -> MutexGuard<'_, Node> {
    node.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Application for Port {
    type Endpoint = Endpoint;
    type Misbehaviour = Misbehaviour;
    type Entry = Entry;

    fn endpoint(&self, request: &HttpRequest) -> Result<Endpoint, u16> {
        Endpoint::of(&request.method, request.path()).ok_or(404)
    }

    fn answer(
        &mut self,
        incoming: &Incoming<'_>,
        endpoint: Result<Endpoint, u16>,
        misbehaviour: Option<Misbehaviour>,
    ) -> (Reply, Entry) {
        let request = incoming.request;
        let (reply, status, note) = match misbehaviour {
            None => {
                let answer = lock(&self.node).answer(self.side, request, None);
                let (status, note) = described(answer.as_ref());
                (reply(answer, request), status, note)
            }
            Some(misbehaviour) => {
                let (reply, status) = self.misbehave(&misbehaviour, request);
                (reply, status, format!("misbehaves: {misbehaviour:?}"))
            }
        };
        let entry = Entry {
            at: incoming.at,
            connection: incoming.connection,
            method: request.method.clone(),
            path: request.path().into(),
            endpoint: endpoint.ok(),
            status,
            note,
        };
        (reply, entry)
    }

    fn no_request(connection: u64, at: Duration, why: Nothing) -> Entry {
        let (status, note) = match why {
            Nothing::NoConnection(reason) => (0, reason),
            Nothing::Bad(status) => (status, "no HTTP".into()),
        };
        Entry { at, connection, method: String::new(), path: String::new(), endpoint: None, status, note }
    }
}

impl Port {
    /// The answer as `bad` spoils it, and its status.
    fn misbehave(&self, bad: &Misbehaviour, request: &HttpRequest) -> (Reply, u16) {
        let json = |status, body: &[u8]| {
            let headers = [("Content-Type", "application/json")];
            Reply::new(http::head(status, &headers, Some(body.len()), false), body)
        };
        let spoilt = |manner| Reply { manner, ..Reply::new(String::new(), b"") };
        let early = match bad {
            Misbehaviour::Status(401) => Some((reply(Some(Answer::text(401, "Unauthorized")), request), 401)),
            Misbehaviour::Status(status) => {
                let answer = Answer::failed(*status, "the simulator was told to refuse");
                Some((reply(Some(answer), request), *status))
            }
            Misbehaviour::Redirect(location) => Some((reply(Some(Answer::redirect(location.clone())), request), 302)),
            Misbehaviour::Body(body) => Some((json(200, body), 200)),
            Misbehaviour::Html => {
                let page = "<!DOCTYPE html>\n<html><body><p>Please log in to the network</p></body></html>\n";
                Some((reply(Some(Answer::html(page.into())), request), 200))
            }
            Misbehaviour::Closed => Some((spoilt(Manner::Cut(0)), 0)),
            Misbehaviour::NoAnswer => Some((spoilt(Manner::Silent), 0)),
            Misbehaviour::Endless => {
                let head = http::head(200, &[("Content-Type", "application/json")], None, true);
                Some((Reply { manner: Manner::Endless, ..Reply::new(head, b"{") }, 200))
            }
            _ => None,
        };
        if let Some(early) = early {
            return early;
        }
        let mut answer = lock(&self.node).answer(self.side, request, Some(bad));
        if let (Some(answer), Misbehaviour::With(..) | Misbehaviour::Without(_)) = (&mut answer, bad) {
            change(answer, bad);
        }
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        let mut reply = reply(answer, request);
        match bad {
            Misbehaviour::Lost => return (spoilt(Manner::Cut(0)), 0),
            Misbehaviour::Truncated => reply.manner = Manner::Cut(reply.bytes.len() - reply.bytes.len() / 4),
            Misbehaviour::Delay(delay) => reply.delay = *delay,
            _ => {}
        }
        (reply, status)
    }
}

/// Sets or removes a member of the answer's JSON.
fn change(answer: &mut Answer, bad: &Misbehaviour) {
    let Ok(mut json) = serde_json::from_slice::<Value>(&answer.body) else { return };
    let (name, text) = match bad {
        Misbehaviour::With(name, text) => (name, Some(text)),
        Misbehaviour::Without(name) => (name, None),
        _ => return,
    };
    let (parent, last) = name.rsplit_once('.').unwrap_or(("", name));
    let object =
        parent.split('.').filter(|part| !part.is_empty()).try_fold(&mut json, |object, part| object.get_mut(part));
    if let Some(Value::Object(members)) = object {
        match text {
            Some(text) => members.insert(last.to_owned(), text.as_str().into()),
            None => members.remove(last),
        };
    }
    answer.body = format!("{json}\n").into_bytes();
}

fn described(answer: Option<&Answer>) -> (u16, String) {
    let Some(answer) = answer else { return (0, "closed the connection".into()) };
    let json: Value =
        if answer.status < 400 { Value::Null } else { serde_json::from_slice(&answer.body).unwrap_or_default() };
    let reason = json["detail"].as_str().or(json["error_description"].as_str());
    (answer.status, reason.unwrap_or_default().to_owned())
}

fn reply(answer: Option<Answer>, request: &HttpRequest) -> Reply {
    let Some(answer) = answer else { return Reply { manner: Manner::Cut(0), ..Reply::new(String::new(), b"") } };
    let mut headers = Vec::new();
    headers.extend(answer.content_type.map(|kind| ("Content-Type", kind)));
    headers.extend(answer.location.as_deref().map(|location| ("Location", location)));
    if request.method == "HEAD" {
        return Reply::new(http::head(answer.status, &headers, Some(0), false), b"");
    }
    if answer.chunked {
        headers.push(("Transfer-Encoding", "chunked"));
        let chunks = [format!("{:x}\r\n", answer.body.len()).as_bytes(), &answer.body, b"\r\n0\r\n\r\n"].concat();
        return Reply::new(http::head(answer.status, &headers, None, false), &chunks);
    }
    Reply::new(http::head(answer.status, &headers, Some(answer.body.len()), false), &answer.body)
}
