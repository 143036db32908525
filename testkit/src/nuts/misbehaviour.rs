//! What bad nodes do, by name.

use std::time::Duration;

use crate::error::{Error, Result};

/// An endpoint of the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `PUT /internal/auth/v1/contract/drawup`
    DrawUp,
    /// `POST /internal/auth/v1/signature/session`
    Session,
    /// The page of a session: `/public/auth/v1/means/employeeid/…`
    Page,
    /// `GET /internal/auth/v1/signature/session/…`
    Poll,
    /// `PUT /internal/auth/v1/signature/verify`
    Verify,
    /// `POST /internal/auth/v1/request-access-token`
    AccessToken,
    /// `POST /internal/auth/v1/accesstoken/introspect`
    Introspect,
    /// `POST /internal/auth/v2/…/request-user-access-token`
    UserAccessToken,
    /// `GET /internal/auth/v2/accesstoken/…`
    UserPoll,
    /// `GET /status`
    Status,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::DrawUp,
        Self::Session,
        Self::Page,
        Self::Poll,
        Self::Verify,
        Self::AccessToken,
        Self::Introspect,
        Self::UserAccessToken,
        Self::UserPoll,
        Self::Status,
    ];

    /// The name on the program's command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::DrawUp => "drawup",
            Self::Session => "session",
            Self::Page => "page",
            Self::Poll => "poll",
            Self::Verify => "verify",
            Self::AccessToken => "access-token",
            Self::Introspect => "introspect",
            Self::UserAccessToken => "user-access-token",
            Self::UserPoll => "user-poll",
            Self::Status => "status",
        }
    }

    /// The endpoint with this name.
    pub fn from_name(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|endpoint| endpoint.name() == name)
            .ok_or_else(|| Error::Usage(format!("no endpoint is called {name:?}; there are {names}")))
    }

    /// The endpoint of a request, if it is one of these.
    pub(super) fn of(method: &str, path: &str) -> Option<Self> {
        let v1 = path.strip_prefix("/internal/auth/v1/");
        let v2 = path.strip_prefix("/internal/auth/v2/");
        Some(match (method, v1, v2) {
            ("PUT", Some("contract/drawup"), _) => Self::DrawUp,
            ("POST", Some("signature/session"), _) => Self::Session,
            ("GET", Some(rest), _) if rest.starts_with("signature/session/") => Self::Poll,
            ("PUT", Some("signature/verify"), _) => Self::Verify,
            ("POST", Some("request-access-token"), _) => Self::AccessToken,
            ("POST", Some("accesstoken/introspect"), _) => Self::Introspect,
            ("POST", _, Some(rest)) if rest.ends_with("/request-user-access-token") => Self::UserAccessToken,
            ("GET", _, Some(rest)) if rest.starts_with("accesstoken/") => Self::UserPoll,
            ("GET", ..) if path == "/status" => Self::Status,
            _ if path.starts_with("/public/auth/v1/means/employeeid/") => Self::Page,
            _ => return None,
        })
    }
}

/// Something a node should not do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// Answers with this HTTP status and a problem in JSON.
    Status(u16),
    /// Answers 302 with this `Location`.
    Redirect(String),
    /// Answers 200 with these bytes, of the right content type.
    Body(Vec<u8>),
    /// Answers 200 with a page in HTML.
    Html,
    /// Announces the answer's length and closes in the middle of it.
    Truncated,
    /// Closes the connection instead of answering.
    Closed,
    /// Carries the request out, and closes the connection instead of answering.
    Lost,
    /// Never answers, and keeps the connection open.
    NoAnswer,
    /// Sends an answer without end.
    Endless,
    /// Answers well, but this much later.
    Delay(Duration),
    /// Leaves this member out of the answer's JSON.
    Without(String),
    /// Gives this member of the answer's JSON this text. `a.b` is the member `b` of `a`.
    With(String, String),
    /// At the poll: this status, without a presentation.
    PollStatus(String),
    /// At the poll: a presentation, well signed, of another employer.
    OtherEmployer,
    /// At the poll: a presentation, well signed, with this text as the employee's `identifier`, `initials`,
    /// `familyName` or `roleName`.
    OtherEmployee(String, String),
    /// At the poll: a presentation, well signed, of another contract's text.
    OtherContract(String),
    /// At the poll: a presentation, well signed, made this long ago (or from now, when it is negative), in seconds.
    OtherTime(i64),
    /// At the poll: a presentation whose names are not those that were signed.
    Tampered,
    /// At the poll: lists of one in the presentation where there are values else.
    Lists,
    /// At the drawing up: a contract that is valid from this many seconds from now on.
    ContractFrom(i64),
}

/// Each name that [`Misbehaviour::from_name`] takes, with what it does. A name that ends in a colon
/// takes an argument, or a default without one.
pub const MISBEHAVIOURS: &[(&str, &str)] = &[
    ("status:N", "HTTP status N, such as 401, 429 or 500"),
    ("redirect:URL", "HTTP 302 to URL"),
    ("empty-body", "200 with nothing in it"),
    ("html", "200 with a page in HTML"),
    ("nested", "JSON of depth 10,000"),
    ("truncated", "half an answer, then the connection closes"),
    ("closed", "the connection closes without an answer"),
    ("lost", "as closed, when the request has been carried out"),
    ("no-answer", "nothing comes"),
    ("endless", "the answer does not end"),
    ("delay:MILLISECONDS", "the answer comes later"),
    ("without:MEMBER", "the answer lacks this member"),
    ("with:MEMBER=TEXT", "the answer's member has this text (a.b is b of a)"),
    ("poll-status:WORD", "poll: this status (default: errored)"),
    ("other-employer", "poll: a presentation of another employer"),
    ("other-employee:FIELD=TEXT", "poll: a presentation of another employee (default: identifier=999)"),
    ("other-contract:TEXT", "poll: a presentation of another contract"),
    ("other-time:SECONDS", "poll: a presentation made this long ago (default: two days)"),
    ("tampered", "poll: a presentation that was changed after it was signed"),
    ("lists", "poll: lists of one in the presentation"),
    ("contract-from:SECONDS", "drawup: a contract valid from then on (default: an hour)"),
];

impl Misbehaviour {
    /// The misbehaviour with one of the names of [`MISBEHAVIOURS`], as `name` or `name:argument`.
    pub fn from_name(text: &str) -> Result<Self> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let or = |default: &str| argument.unwrap_or(default).to_owned();
        let number = |default: i64| match argument {
            Some(digits) => digits.parse().map_err(|_| Error::Usage(format!("{name}: {digits:?} is not a number"))),
            None => Ok(default),
        };
        let pair = |default: &str| {
            let text = or(default);
            let parts = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
            parts.ok_or_else(|| Error::Usage(format!("{name} takes MEMBER=TEXT")))
        };
        Ok(match name {
            "status" => {
                let status = number(500)?;
                let valid = u16::try_from(status).ok().filter(|status| (200..=599).contains(status));
                Self::Status(valid.ok_or_else(|| Error::Usage(format!("{status} is not an HTTP status")))?)
            }
            "redirect" => Self::Redirect(or("https://elsewhere.invalid/")),
            "empty-body" => Self::Body(Vec::new()),
            "html" => Self::Html,
            "nested" => Self::nested(10_000),
            "truncated" => Self::Truncated,
            "closed" => Self::Closed,
            "lost" => Self::Lost,
            "no-answer" => Self::NoAnswer,
            "endless" => Self::Endless,
            "delay" => Self::Delay(Duration::from_millis(number(1_000)?.unsigned_abs())),
            "without" => Self::Without(or("sessionID")),
            "with" => {
                let (name, value) = pair("sessionPtr.url=https://elsewhere.invalid/")?;
                Self::With(name, value)
            }
            "poll-status" => Self::PollStatus(or("errored")),
            "other-employer" => Self::OtherEmployer,
            "other-employee" => {
                let (name, value) = pair("identifier=999")?;
                Self::OtherEmployee(name, value)
            }
            "other-contract" => Self::OtherContract(or(
                "EN:PractitionerLogin:v3 I hereby declare to act on behalf of Other located in Elsewhere. This declaration is \
                 valid from Sunday, 1 January 2006 00:00:00 until Sunday, 1 January 2006 01:00:00.",
            )),
            "other-time" => Self::OtherTime(number(2 * 24 * 60 * 60)?),
            "tampered" => Self::Tampered,
            "lists" => Self::Lists,
            "contract-from" => Self::ContractFrom(number(60 * 60)?),
            _ => return Err(Error::Usage(format!("no misbehaviour is called {name:?}; --help lists them"))),
        })
    }

    /// JSON of this depth.
    pub fn nested(depth: usize) -> Self {
        Self::Body(format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_listed_is_known() {
        for (name, _) in MISBEHAVIOURS {
            let name = name.split(':').next().unwrap();
            assert!(Misbehaviour::from_name(name).is_ok(), "{name}");
        }
        assert!(Misbehaviour::from_name("kindness").is_err());
    }
}
