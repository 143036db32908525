//! Faults of servers, by name.

use std::time::Duration;

use crate::error::{Error, Result};

/// An endpoint of the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /login/authactivate`
    Activate,
    /// `POST /login/authvalidate`
    Validate,
    /// `GET /saml/RoleSelectionGP.jsp`
    SelectRole,
    /// `GET /saml/RoleAssertion`
    RoleAssertion,
    /// `POST /login/authlogout`
    Logout,
    /// `POST /amserver/sessionservice`
    SessionService,
}

impl Endpoint {
    /// All endpoints.
    pub const ALL: [Self; 6] =
        [Self::Activate, Self::Validate, Self::SelectRole, Self::RoleAssertion, Self::Logout, Self::SessionService];

    /// The endpoint's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Validate => "validate",
            Self::SelectRole => "select-role",
            Self::RoleAssertion => "role-assertion",
            Self::Logout => "logout",
            Self::SessionService => "session-service",
        }
    }

    /// Returns the endpoint of this name.
    pub fn from_name(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|endpoint| endpoint.name() == name)
            .ok_or_else(|| Error::Usage(format!("no endpoint is called {name:?}; there are {names}")))
    }

    /// The path of the endpoint's URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::Activate => "/login/authactivate",
            Self::Validate => "/login/authvalidate",
            Self::SelectRole => "/saml/RoleSelectionGP.jsp",
            Self::RoleAssertion => "/saml/RoleAssertion",
            Self::Logout => "/login/authlogout",
            Self::SessionService => "/amserver/sessionservice",
        }
    }

    /// The only method that the endpoint accepts.
    pub fn method(self) -> &'static str {
        match self {
            Self::SelectRole | Self::RoleAssertion => "GET",
            _ => "POST",
        }
    }
}

/// A fault of a server.
///
/// Faults that keep the ticket from the client ([`Misbehaviour::loses_answer`]) leave no session behind, because
/// nobody could end it. With the others the session begins, so that a test can check that the client ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// Responds with this HTTP status and an HTML page.
    Status(u16),
    /// Responds with status 302 and this `Location`.
    Redirect(String),
    /// Responds with status 200 and these bytes.
    Body(Vec<u8>),
    /// Announces the response's length and closes the connection in the middle of it.
    Truncated,
    /// Resets the connection instead of responding.
    Reset,
    /// Never responds, and keeps the connection open.
    NoAnswer,
    /// Sends the response at one byte a second.
    OneByteASecond,
    /// Sends an endless response.
    Endless,
    /// Refuses the request, with this reason.
    Refuse(String),
    /// Omits this parameter from the response. In an assertion it names an attribute, `Status` or `Assertion`; in
    /// a response of the session service an attribute or property of the session, or `Session`.
    Without(String),
    /// Sets this parameter (the first) to this value (the second). In an assertion it may be `Status`.
    With(String, String),
    /// Sends this parameter twice.
    Twice(String),
    /// Responds correctly, but this much later.
    Delay(Duration),
    /// Responds correctly and closes the connection.
    Close,
}

/// Each name that [`Misbehaviour::from_name`] accepts, with its effect. A name that ends in a colon takes an
/// argument, which may have a default.
pub const MISBEHAVIOURS: &[(&str, &str)] = &[
    ("redirect:URL", "HTTP 302 to URL"),
    ("status:N", "HTTP status N, such as 404 or 500"),
    ("empty-body", "200 with an empty body"),
    ("html", "200 with an HTML page"),
    ("truncated", "half a response, then the connection closes"),
    ("reset", "the connection is reset"),
    ("no-answer", "no response"),
    ("one-byte-a-second", "the response is sent at one byte a second"),
    ("endless", "the response does not end"),
    ("entity-bomb", "a response with entities that expand to gigabytes"),
    ("external-entity:URL", "a response with an entity at URL (default file:///etc/passwd)"),
    ("nested", "200,000 nested elements"),
    ("nul", "a response with NUL bytes"),
    ("invalid-utf8", "a response that is not UTF-8"),
    ("no-challenge", "a response without a challenge"),
    ("challenge-not-base64", "a challenge that is not base64"),
    ("challenge-empty", "a challenge of 0 bytes"),
    ("challenge-huge", "a challenge of 1 MiB"),
    ("two-challenges", "the challenge is sent twice"),
    ("no-ticket", "a response without a ticket"),
    ("refusal:REASON", "a refusal with the reason REASON"),
    ("reply-url:URL", "reply_url points to URL"),
    ("logout-url:URL", "sso_logout_url points to URL"),
    ("delay:MILLISECONDS", "the response is sent later"),
    ("close", "the connection closes after the response"),
];

impl Misbehaviour {
    /// Parses `name` or `name:argument`, where the name is one of [`MISBEHAVIOURS`].
    pub fn from_name(text: &str) -> Result<Self> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let or = |default: &str| argument.unwrap_or(default).to_owned();
        let number = |default: u64| match argument {
            Some(digits) => digits.parse().map_err(|_| Error::Usage(format!("{name}: {digits:?} is not a number"))),
            None => Ok(default),
        };
        let elsewhere = "https://elsewhere.invalid/login";
        Ok(match name {
            "redirect" => Self::Redirect(or(elsewhere)),
            "status" => {
                let status = number(500)?;
                let valid = u16::try_from(status).ok().filter(|status| (200..=599).contains(status));
                Self::Status(valid.ok_or_else(|| Error::Usage(format!("{status} is not an HTTP status")))?)
            }
            "empty-body" => Self::Body(Vec::new()),
            "html" => Self::html(),
            "truncated" => Self::Truncated,
            "reset" => Self::Reset,
            "no-answer" => Self::NoAnswer,
            "one-byte-a-second" => Self::OneByteASecond,
            "endless" => Self::Endless,
            "entity-bomb" => Self::entity_bomb(),
            "external-entity" => Self::external_entity(&or("file:///etc/passwd")),
            "nested" => Self::nested(200_000),
            "nul" => Self::Body(message(b"<gpPARAM name=\"challenge\">QUJD\0RA==</gpPARAM>\0")),
            "invalid-utf8" => Self::Body(message(b"<gpPARAM name=\"challenge\">\xff\xfe\xc3\x28</gpPARAM>")),
            "no-challenge" => Self::Without("challenge".into()),
            "challenge-not-base64" => Self::challenge("this is not base64!"),
            "challenge-empty" => Self::challenge(""),
            // 1 MiB of zero bytes in base64.
            "challenge-huge" => Self::challenge(&format!("{}AA==", "AAAA".repeat((1 << 20) / 3))),
            "two-challenges" => Self::Twice("challenge".into()),
            "no-ticket" => Self::Without("sso_ticket".into()),
            "refusal" => Self::Refuse(or("The smartcard has been revoked")),
            "reply-url" => Self::With("reply_url".into(), or(elsewhere)),
            "logout-url" => Self::With("sso_logout_url".into(), or(elsewhere)),
            "delay" => Self::Delay(Duration::from_millis(number(1_000)?)),
            "close" => Self::Close,
            _ => return Err(Error::Usage(format!("no misbehaviour is called {name:?}; --help lists them"))),
        })
    }

    /// An HTML page, as captive portals and proxies send it.
    pub fn html() -> Self {
        Self::Body(
            b"<!DOCTYPE html>\n<html><head><title>Welcome<body><p>Please log in to the network<br></html>".into(),
        )
    }

    /// Nested entities that would expand to some gigabytes.
    pub fn entity_bomb() -> Self {
        let mut text = String::from("<?xml version=\"1.0\"?>\n<!DOCTYPE gpOBJECT [\n<!ENTITY a0 \"AAAAAAAAAA\">\n");
        for level in 1..10 {
            let inner = format!("&a{};", level - 1).repeat(10);
            text.push_str(&format!("<!ENTITY a{level} \"{inner}\">\n"));
        }
        text.push_str("]>\n<gpOBJECT><gpPARAM name=\"challenge\">&a9;</gpPARAM></gpOBJECT>\n");
        Self::Body(text.into_bytes())
    }

    /// An entity to fetch from `url`.
    pub fn external_entity(url: &str) -> Self {
        let text = format!(
            "<?xml version=\"1.0\"?>\n<!DOCTYPE gpOBJECT [<!ENTITY out SYSTEM \"{url}\">]>\n\
             <gpOBJECT><gpPARAM name=\"challenge\">&out;</gpPARAM></gpOBJECT>\n"
        );
        Self::Body(text.into_bytes())
    }

    /// This many nested elements. They are never closed, so that 200,000 stay below 1 MiB and the limit on a
    /// response's size does not hide a missing limit on nesting.
    pub fn nested(depth: usize) -> Self {
        Self::Body(message("<a>".repeat(depth).as_bytes()))
    }

    /// A response to activate with this challenge.
    pub fn challenge(value: &str) -> Self {
        Self::With("challenge".into(), value.into())
    }

    /// A short description for the log.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Body(body) => format!("a body of {} bytes", body.len()),
            Self::With(name, value) => format!("{name} of {} characters", value.len()),
            _ => format!("{self:?}"),
        }
    }

    /// Returns `true` if the client gets no response, or no ticket.
    pub fn loses_answer(&self) -> bool {
        match self {
            Self::Delay(_) | Self::Close | Self::Twice(_) => false,
            Self::Without(name) | Self::With(name, _) => name == "sso_ticket",
            _ => true,
        }
    }
}

fn message(inside: &[u8]) -> Vec<u8> {
    [b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<gpOBJECT>\n", inside, b"\n</gpOBJECT>\n"].concat()
}

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::*;

    #[test]
    fn every_listed_name_is_accepted() {
        for (name, _) in MISBEHAVIOURS {
            let name = name.split(':').next().unwrap();
            assert!(Misbehaviour::from_name(name).is_ok(), "{name}");
        }
        assert!(Misbehaviour::from_name("kindness").is_err());
    }

    #[test]
    fn arguments_follow_a_colon() {
        let redirect = Misbehaviour::from_name("redirect:http://127.0.0.1:1/x").unwrap();
        assert_eq!(redirect, Misbehaviour::Redirect("http://127.0.0.1:1/x".into()));
        assert_eq!(Misbehaviour::from_name("status:404").unwrap(), Misbehaviour::Status(404));
        assert!(Misbehaviour::from_name("status:99").is_err());
    }

    #[test]
    fn the_huge_challenge_is_one_mebibyte() {
        let Misbehaviour::With(_, value) = Misbehaviour::from_name("challenge-huge").unwrap() else { panic!() };
        assert_eq!(base64::engine::general_purpose::STANDARD.decode(value).unwrap().len(), 1 << 20);
    }
}
