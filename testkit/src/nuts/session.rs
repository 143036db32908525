//! Signing sessions: from the request to sign a contract to the presentation.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Version;
use super::contract::Contract;
use super::keys::{hex, random};
use super::presentation::Statement;
use super::time::{now, parse_rfc3339};

/// How long the user may take.
const SECONDS_TO_SIGN: i64 = 600;

/// How far the user has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Created,
    InProgress,
    Completed,
    Requested,
    Cancelled,
    Errored,
    Expired,
    /// What a form without the user's choice leaves.
    None,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Requested => "vp-requested",
            Self::Cancelled => "cancelled",
            Self::Errored => "errored",
            Self::Expired => "expired",
            Self::None => "",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct SigningSession {
    pub(super) status: Status,
    pub(super) secret: String,
    pub(super) employer: String,
    pub(super) statement: Statement,
    expires: i64,
}

/// All sessions, by their ids.
#[derive(Default)]
pub(super) struct Sessions(BTreeMap<String, SigningSession>);

/// The outcome of a request to sign.
pub(super) enum Begun {
    /// The session's id, and whether it has a page.
    Session { id: String, page: bool },
    /// Refused, with the node's words.
    Refused(String),
    /// The node fails, and closes the connection.
    Crash,
}

impl Sessions {
    pub(super) fn begin(&mut self, means: &str, payload: &str, params: &Map<String, Value>, version: Version) -> Begun {
        let checked = if payload.is_empty() {
            Err("can not sign an empty message".to_owned())
        } else {
            match means {
                "employeeid" => Contract::parse(payload).and_then(|_| check_params(params)),
                "dummy" if version == Version::V5 => Ok(()),
                _ => Err("unknown signing means".into()),
            }
        };
        if let Err(reason) = checked {
            return Begun::Refused(reason);
        }
        let page = means == "employeeid";
        let employer = match &params.get("employer") {
            _ if !page => String::new(),
            Some(Value::String(did)) => match super::node::check_did(did, version) {
                // The error of version 6 does not depend on the text here.
                Err(_) => {
                    let reason = version.pick("invalid DID: input length is less than 7", "invalid DID");
                    return Begun::Refused(format!("failed to parse employer param as DID: {reason}"));
                }
                Ok(()) => did.clone(),
            },
            _ => return Begun::Crash,
        };
        let employee = params.get("employee").cloned().unwrap_or_default();
        let text = |name: &str| employee[name].as_str().map(str::to_owned);
        let id = hex(&random::<16>());
        let expires = params.get("ExpiresAt").and_then(Value::as_str).and_then(|text| parse_rfc3339(text).ok());
        let session = SigningSession {
            status: Status::Created,
            secret: hex(&random::<16>()),
            employer,
            statement: Statement {
                identifier: text("identifier").unwrap_or_default(),
                initials: text("initials").unwrap_or_default(),
                family_name: text("familyName").unwrap_or_default(),
                role: text("roleName"),
                contract: payload.to_owned(),
            },
            expires: expires.unwrap_or(now() + SECONDS_TO_SIGN),
        };
        self.0.insert(id.clone(), session);
        Begun::Session { id, page }
    }

    pub(super) fn get(&mut self, id: &str) -> Option<&mut SigningSession> {
        self.0.get_mut(id)
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// How many wait for their user, or for the client that began them.
    pub(super) fn count(&self) -> usize {
        use Status::{Completed, Created, InProgress, None};
        self.0.values().filter(|session| matches!(session.status, Created | InProgress | Completed | None)).count()
    }
}

impl SigningSession {
    /// Processes the page's form; an error has the node's text.
    pub(super) fn submit(&mut self, secret: Option<&str>, accept: Option<&str>) -> Result<(), &'static str> {
        if now() > self.expires {
            self.status = Status::Expired;
            return Err("session expired");
        }
        if self.status != Status::InProgress {
            return Err("no session with status in-progress found");
        }
        self.status = match (secret == Some(&self.secret), accept) {
            (false, _) => Status::Errored,
            (true, Some("true")) => Status::Completed,
            (true, Some("false")) => Status::Cancelled,
            (true, _) => Status::None,
        };
        Ok(())
    }
}

fn check_params(params: &Map<String, Value>) -> Result<(), String> {
    let missing = |what: &str| Err(format!("could not draw up contract: invalid session params: {what}"));
    if !params.contains_key("employer") {
        return missing("missing employer");
    }
    let Some(employee) = params.get("employee") else { return missing("missing employee") };
    for field in ["identifier", "initials", "familyName"] {
        if employee[field].as_str().is_none_or(str::is_empty) {
            return missing(&format!("missing/invalid employee {field}"));
        }
    }
    Ok(())
}

/// What the node answers to the request that began the session.
pub(super) fn pointer(means: &str, id: &str, url: Option<&str>) -> Value {
    let mut pointer = json!({"sessionID": id});
    if let Some(url) = url {
        pointer["url"] = url.into();
    }
    json!({"means": means, "sessionID": id, "sessionPtr": pointer})
}
