//! The log of requests and responses.

use std::fmt;
use std::time::Duration;

use super::misbehaviour::Endpoint;
use super::refusal::Refusal;
use crate::log::{find, printable, shortened};

/// A request, or a connection that failed before one.
///
/// The fields contain everything as received, including tickets, for tests to compare. The printed form
/// ([`fmt::Display`]) replaces secrets by their length and a short hash.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Time since the simulator's start.
    pub at: Duration,
    /// The connection's number, from 1.
    pub connection: u64,
    /// The HTTP method; empty if no request arrived.
    pub method: String,
    /// The path, without its query.
    pub path: String,
    /// The headers, with their names as received.
    pub headers: Vec<(String, String)>,
    /// The endpoint, if the path belongs to one.
    pub endpoint: Option<Endpoint>,
    /// The parameters of the message or query, in order, decoded.
    pub parameters: Vec<(String, String)>,
    /// The response. The entry is made before it is sent.
    pub answer: Outcome,
    /// What a [strict](crate::SpineBuilder::strict) simulator would have refused.
    pub warnings: Vec<Refusal>,
}

/// The simulator's response to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A challenge.
    Challenge(String),
    /// A ticket, for a new session.
    Ticket(String),
    /// A role was selected, a session ended, or an assertion sent.
    Done,
    /// The request was refused.
    Refused(Refusal),
    /// The simulator misbehaved as requested, with this name.
    Misbehaved(String),
    /// The HTTP request was bad; the status shows how.
    BadRequest(u16),
    /// The TLS handshake failed, or the first bytes were not HTTP, for this reason.
    NoConnection(String),
}

impl Entry {
    pub(crate) fn without_request(connection: u64, at: Duration, answer: Outcome) -> Self {
        Self {
            at,
            connection,
            method: String::new(),
            path: String::new(),
            headers: Vec::new(),
            endpoint: None,
            parameters: Vec::new(),
            answer,
            warnings: Vec::new(),
        }
    }

    /// Returns the value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        find(&self.parameters, |other| other == name)
    }

    /// Returns the value of a header, whose name is compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, |other| other.eq_ignore_ascii_case(name))
    }

    /// Returns why the request was refused, if it was.
    pub fn refusal(&self) -> Option<&Refusal> {
        match &self.answer {
            Outcome::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:10.3} connection {}", self.at.as_secs_f64(), self.connection)?;
        if !self.method.is_empty() {
            write!(f, " {} {}", self.method, printable(&self.path))?;
        }
        for (name, value) in &self.parameters {
            match name.as_str() {
                "sso_ticket" | "token" | "challenge" | "signature" | "response" => {
                    write!(f, " {name}={}", shortened(value))?;
                }
                _ => write!(f, " {}={}", printable(name), printable(value))?,
            }
        }
        write!(f, " -> {}", self.answer)?;
        for warning in &self.warnings {
            write!(f, "; WARNING: {}", printable(&warning.to_string()))?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Challenge(challenge) => write!(f, "challenge {}", shortened(challenge)),
            Self::Ticket(ticket) => write!(f, "ticket {}", shortened(ticket)),
            Self::Done => f.write_str("OK"),
            Self::Refused(refusal) => write!(f, "REFUSED: {}", printable(&refusal.to_string())),
            Self::Misbehaved(name) => write!(f, "misbehaved: {name}"),
            Self::BadRequest(status) => write!(f, "HTTP {status}"),
            Self::NoConnection(reason) => write!(f, "no request: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_form_shows_no_ticket_and_stays_on_one_line() {
        let entry = Entry {
            at: Duration::from_millis(1_500),
            connection: 1,
            method: "GET".into(),
            path: "/saml/RoleAssertion".into(),
            headers: Vec::new(),
            endpoint: Some(Endpoint::RoleAssertion),
            parameters: vec![("token".into(), "AQIC5wM2LY4S".into()), ("ssbMode".into(), "0\n1".into())],
            answer: Outcome::Ticket("AQIC5wM2LY4S".into()),
            warnings: vec![Refusal::NotEscaped("to\nken".into()), Refusal::UserAgent],
        };
        let line = entry.to_string();
        assert!(!line.contains("AQIC"), "{line}");
        assert!(!line.contains('\n'), "{line}");
        assert!(line.contains("ssbMode=0\\n1"), "{line}");
        assert!(line.contains("; WARNING: the URL") && line.contains("; WARNING: the header"), "{line}");
    }
}
