//! What the provider got and what it answered, without secrets.

use std::fmt;
use std::time::Duration;

use super::misbehaviour::Endpoint;
use crate::http::{HttpRequest, decode_form};
use crate::log::{find, printable, shortened};

/// A request, or a connection that never became one. Secrets are in it by length and a short hash only.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Since the provider was started.
    pub at: Duration,
    /// The connection's number, from 1.
    pub connection: u64,
    /// The HTTP method, empty where no request came.
    pub method: String,
    /// The path, without its query.
    pub path: String,
    /// The headers, names as they came, save `Cookie`.
    pub headers: Vec<(String, String)>,
    /// The endpoint, where the path is one.
    pub endpoint: Option<Endpoint>,
    /// The parameters of the query and the form in their order, decoded.
    pub parameters: Vec<(String, String)>,
    /// What was answered. The entry is made before the answer is sent.
    pub answer: Outcome,
}

/// What the provider answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// What was asked for.
    Done,
    /// A page for the user.
    Page,
    /// A redirect with a code.
    Code,
    /// Tokens.
    Tokens,
    /// A session ended.
    Ended,
    /// The request was refused with this error and description.
    Refused(String, String),
    /// The provider misbehaved as requested, with this name.
    Misbehaved(String),
    /// The HTTP request itself was bad; the status says how.
    BadRequest(u16),
    /// The TLS handshake failed, or the first bytes were no HTTP, for this reason.
    NoConnection(String),
}

/// Parameters whose values are secrets.
const SECRETS: [&str; 9] = [
    "client_assertion",
    "client_secret",
    "code",
    "code_verifier",
    "id_token_hint",
    "password",
    "refresh_token",
    "token",
    "access_token",
];

impl Entry {
    pub(crate) fn new(
        at: Duration,
        connection: u64,
        request: &HttpRequest,
        endpoint: Option<Endpoint>,
        answer: Outcome,
    ) -> Self {
        let mut parameters = decode_form(request.query());
        parameters.extend(decode_form(std::str::from_utf8(&request.body).unwrap_or_default()));
        for (_, value) in parameters.iter_mut().filter(|pair| SECRETS.contains(&pair.0.as_str())) {
            *value = shortened(value);
        }
        let mut headers = request.headers.clone();
        headers.retain(|header| !header.0.eq_ignore_ascii_case("Cookie"));
        for (_, value) in headers.iter_mut().filter(|header| header.0.eq_ignore_ascii_case("Authorization")) {
            *value = match value.split_once(' ') {
                Some((scheme, rest)) => format!("{scheme} {}", shortened(rest)),
                None => shortened(value),
            };
        }
        let path = request.path().into();
        Self { at, connection, method: request.method.clone(), path, headers, endpoint, parameters, answer }
    }

    pub(crate) fn without_request(connection: u64, at: Duration, answer: Outcome) -> Self {
        Self { answer, ..Self::new(at, connection, &HttpRequest::default(), None, Outcome::Done) }
    }

    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        find(&self.parameters, |other| other == name)
    }

    /// The value of a header; its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, |other| other.eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:10.3} connection {}", self.at.as_secs_f64(), self.connection)?;
        if !self.method.is_empty() {
            write!(f, " {} {}", self.method, printable(&self.path))?;
        }
        if let Some(authorization) = self.header("Authorization") {
            write!(f, " Authorization: {}", printable(authorization))?;
        }
        for (name, value) in &self.parameters {
            write!(f, " {}={}", printable(name), printable(value))?;
        }
        write!(f, " -> {}", self.answer)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("OK"),
            Self::Page => f.write_str("a page"),
            Self::Code => f.write_str("a code"),
            Self::Tokens => f.write_str("tokens"),
            Self::Ended => f.write_str("the session has ended"),
            Self::Refused(error, description) => {
                write!(f, "REFUSED: {}: {}", printable(error), printable(description))
            }
            Self::Misbehaved(name) => write!(f, "misbehaved: {}", printable(name)),
            Self::BadRequest(status) => write!(f, "HTTP {status}"),
            Self::NoConnection(reason) => write!(f, "no request: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_shows_no_secret_and_stays_on_one_line() {
        let request = HttpRequest {
            method: "POST".into(),
            target: "/token?state=a%0Ab".into(),
            headers: vec![("Authorization".into(), "Basic c2VjcmV0".into()), ("Cookie".into(), "s=c2VjcmV0".into())],
            body: b"code=c2VjcmV0&client_secret=c2VjcmV0&scope=openid".into(),
            keep_alive: true,
        };
        let entry = Entry::new(Duration::ZERO, 1, &request, Some(Endpoint::Token), Outcome::Tokens);
        assert!(!format!("{entry:?}{entry}").contains("c2VjcmV0"), "{entry:?}");
        assert!(!entry.to_string().contains('\n'), "{entry}");
        assert_eq!(entry.parameter("scope"), Some("openid"));
    }
}
