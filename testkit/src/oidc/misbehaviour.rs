//! What bad providers do, by name.

use std::time::Duration;

use serde_json::{Value, json};

use super::jose::Forgery;
use crate::error::{Error, Result};

/// An endpoint of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `GET /.well-known/openid-configuration`
    Discovery,
    /// The provider's public keys.
    Jwks,
    /// The address that the browser opens.
    Authorize,
    /// Where the login page and the role page send their forms.
    Page,
    /// The token endpoint, for a code.
    Token,
    /// The token endpoint, for a refresh token.
    Refresh,
    /// UserInfo
    UserInfo,
    /// The end of a session.
    EndSession,
    /// The revocation of a token.
    Revocation,
    /// eHealth's contexts.
    Contexts,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Discovery,
        Self::Jwks,
        Self::Authorize,
        Self::Page,
        Self::Token,
        Self::Refresh,
        Self::UserInfo,
        Self::EndSession,
        Self::Revocation,
        Self::Contexts,
    ];

    /// The name on the program's command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Jwks => "jwks",
            Self::Authorize => "authorize",
            Self::Page => "page",
            Self::Token => "token",
            Self::Refresh => "refresh",
            Self::UserInfo => "userinfo",
            Self::EndSession => "end-session",
            Self::Revocation => "revocation",
            Self::Contexts => "contexts",
        }
    }

    /// The endpoint with this name.
    pub fn from_name(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|endpoint| endpoint.name() == name);
        found.ok_or_else(|| Error::Usage(format!("no endpoint is called {name:?}; there are {names}")))
    }

    /// Whether the user's browser sends the requests, not the client.
    pub fn is_the_browsers(self) -> bool {
        matches!(self, Self::Authorize | Self::Page)
    }
}

/// Something a provider should not do.
///
/// Where a client gets no token from the token endpoint for its code, no session is left behind, as it
/// could not end it. With all others the session begins, so that a test can see whether it is ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// Answers with this HTTP status and a page in HTML.
    Status(u16),
    /// Answers 302 with this `Location`.
    Redirect(String),
    /// Answers 200 with these bytes of this content type.
    Body(String, Vec<u8>),
    /// Announces the answer's length and closes in the middle of it.
    Truncated,
    /// Announces the answer's length and closes before this member of the JSON.
    CutBefore(String),
    /// Resets the connection instead of answering.
    Reset,
    /// Never answers, and keeps the connection open.
    NoAnswer,
    /// Sends the answer at one byte a second.
    OneByteASecond,
    /// Sends an answer without end.
    Endless,
    /// Answers well, but this much later.
    Delay(Duration),
    /// Answers well and closes the connection.
    Close,
    /// Refuses with this OAuth error: by a redirect at [`Endpoint::Authorize`], else with 400, or 401 for
    /// `invalid_client` and `invalid_token`.
    Error(String),
    /// Answers the browser with a page that leads nowhere.
    NoRedirect,
    /// Gives this member of the JSON answer, parameter of the redirect, or claim of a signed UserInfo this value.
    With(String, Value),
    /// Leaves it out.
    Without(String),
    /// Sends it twice.
    Twice(String),
    /// Adds a member of this many bytes to the JSON answer.
    Padded(usize),
    /// Gives this claim of the ID token this value.
    Claim(String, Value),
    /// Gives this claim of the ID token the time that is so many seconds ahead; negative is past.
    ClaimIn(String, i64),
    /// Leaves this claim of the ID token out.
    WithoutClaim(String),
    /// Forges the ID token, or a signed UserInfo.
    Forged(Forgery),
    /// Lists each endpoint at this origin (scheme, host, port) in place of the issuer's.
    EndpointsAt(String),
    /// Lists this many other keys before its own in the JWKS.
    Keys(usize),
    /// Names no key in the JWKS.
    WithoutKeyIds,
}

/// Each name that [`Misbehaviour::from_name`] takes, with what it does. A name that ends in a colon and a word
/// takes an argument, or a default without one.
pub const MISBEHAVIOURS: &[(&str, &str)] = &[
    ("redirect:URL", "HTTP 302 to URL"),
    ("status:N", "HTTP status N, such as 404 or 500"),
    ("empty-body", "200 with nothing in it"),
    ("html", "200 with a page in HTML"),
    ("truncated", "half an answer, then the connection closes"),
    ("cut-before:NAME", "the answer breaks off before NAME"),
    ("reset", "the connection is reset"),
    ("no-answer", "nothing comes"),
    ("one-byte-a-second", "the answer comes at one byte a second"),
    ("endless", "the answer does not end"),
    ("delay:MILLISECONDS", "the answer comes later"),
    ("close", "the connection closes after the answer"),
    ("error:ERROR", "the OAuth error ERROR (default access_denied)"),
    ("no-redirect", "a page that leads nowhere"),
    ("with:NAME=VALUE", "NAME in the answer, redirect or UserInfo has VALUE (JSON or text)"),
    ("without:NAME", "NAME is left out there"),
    ("twice:NAME", "NAME comes twice there"),
    ("padded:BYTES", "the JSON has BYTES more (default 1 MiB)"),
    ("nested", "200,000 arrays, one in the other"),
    ("mac-token", "token_type is MAC"),
    ("claim:NAME=VALUE", "the ID token's NAME has VALUE (JSON or text)"),
    ("claim-in:NAME=SECONDS", "the ID token's NAME is a time SECONDS ahead"),
    ("without-claim:NAME", "the ID token has no NAME"),
    ("wrong-iss", "the ID token is another issuer's"),
    ("wrong-aud", "the ID token is for another client"),
    ("wrong-azp", "the ID token is for two clients, and was issued to the other"),
    ("expired", "the ID token expired two minutes ago"),
    ("future-iat", "the ID token is issued an hour ahead"),
    ("wrong-nonce", "the ID token belongs to another login"),
    ("wrong-at-hash", "the ID token belongs to another access token"),
    ("wrong-acr", "the ID token tells of a weaker login"),
    ("old-auth-time", "the ID token tells of a login an hour ago"),
    ("other-sub", "the ID token is another user's"),
    ("alg-none", "the token has alg none and no signature"),
    ("no-signature", "the token has no signature"),
    ("hs256-secret", "the token has an HMAC made with the client's secret"),
    ("hs256-public-key", "the token has an HMAC made with the public key"),
    ("unknown-kid", "the token names a key that is not in the JWKS"),
    ("wrong-key", "another key than the named one signed the token"),
    ("bad-signature", "one bit of the token's signature differs"),
    ("no-kid", "the token names no key"),
    ("embedded-key", "the token brings its own key"),
    ("critical", "the token has an unknown critical extension"),
    ("http-endpoints", "discovery lists endpoints with http"),
    ("endpoints-at:ORIGIN", "discovery lists endpoints at ORIGIN"),
    ("keys:N", "the JWKS has N other keys too (default 1000)"),
    ("no-key-ids", "the JWKS names no key"),
];

impl Misbehaviour {
    /// The misbehaviour with one of the names of [`MISBEHAVIOURS`], as `name` or `name:argument`.
    pub fn from_name(text: &str) -> Result<Self> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let or = |default: &str| argument.unwrap_or(default).to_owned();
        let number = |default: usize| match argument {
            Some(digits) => digits.parse().map_err(|_| Error::Usage(format!("{name}: {digits:?} is not a number"))),
            None => Ok(default),
        };
        let pair = || {
            let parts = argument.and_then(|argument| argument.split_once('='));
            parts.ok_or_else(|| Error::Usage(format!("{name} takes NAME=VALUE")))
        };
        let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        let claim = |name: &str, value: Value| Self::Claim(name.into(), value);
        Ok(match name {
            "redirect" => Self::Redirect(or("https://elsewhere.invalid/")),
            "status" => {
                let valid = u16::try_from(number(500)?).ok().filter(|status| (200..=599).contains(status));
                Self::Status(valid.ok_or_else(|| Error::Usage(format!("{text} is not an HTTP status")))?)
            }
            "empty-body" => Self::Body("application/json".into(), Vec::new()),
            "html" => Self::html(),
            "truncated" => Self::Truncated,
            "cut-before" => Self::CutBefore(or("scope")),
            "reset" => Self::Reset,
            "no-answer" => Self::NoAnswer,
            "one-byte-a-second" => Self::OneByteASecond,
            "endless" => Self::Endless,
            "delay" => Self::Delay(Duration::from_millis(number(1_000)? as u64)),
            "close" => Self::Close,
            "error" => Self::Error(or("access_denied")),
            "no-redirect" => Self::NoRedirect,
            "with" => pair().map(|(name, text)| Self::With(name.into(), value(text)))?,
            "without" => Self::Without(or("id_token")),
            "twice" => Self::Twice(or("state")),
            "padded" => Self::Padded(number(1 << 20)?),
            "nested" => Self::Body("application/json".into(), format!("{{\"a\":{}", "[".repeat(200_000)).into()),
            "mac-token" => Self::With("token_type".into(), json!("MAC")),
            "claim" => pair().map(|(name, text)| claim(name, value(text)))?,
            "claim-in" => {
                let (name, seconds) = pair()?;
                let seconds = seconds.parse();
                Self::ClaimIn(name.into(), seconds.map_err(|_| Error::Usage(format!("{text}: no number")))?)
            }
            "without-claim" => Self::WithoutClaim(or("nonce")),
            "wrong-iss" => claim("iss", json!("https://elsewhere.invalid")),
            "wrong-aud" => claim("aud", json!("another-client")),
            "wrong-azp" => claim("azp", json!("another-client")),
            "expired" => Self::ClaimIn("exp".into(), -120),
            "future-iat" => Self::ClaimIn("iat".into(), 3_600),
            "wrong-nonce" => claim("nonce", json!("another-nonce")),
            "wrong-at-hash" => claim("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
            "wrong-acr" => claim("acr", json!("AAL1_USERPASS")),
            "old-auth-time" => Self::ClaimIn("auth_time".into(), -3_600),
            "other-sub" => claim("sub", json!("somebody-else")),
            "alg-none" => Self::Forged(Forgery::AlgorithmNone),
            "no-signature" => Self::Forged(Forgery::NoSignature),
            "hs256-secret" => Self::Forged(Forgery::HmacWithSecret),
            "hs256-public-key" => Self::Forged(Forgery::HmacWithPublicKey),
            "unknown-kid" => Self::Forged(Forgery::UnknownKey),
            "wrong-key" => Self::Forged(Forgery::WrongKey),
            "bad-signature" => Self::Forged(Forgery::BadSignature),
            "no-kid" => Self::Forged(Forgery::NoKeyId),
            "embedded-key" => Self::Forged(Forgery::EmbeddedKey),
            "critical" => Self::Forged(Forgery::CriticalExtension),
            "http-endpoints" => Self::EndpointsAt("http://elsewhere.invalid".into()),
            "endpoints-at" => Self::EndpointsAt(or("https://elsewhere.invalid")),
            "keys" => Self::Keys(number(1_000)?),
            "no-key-ids" => Self::WithoutKeyIds,
            _ => return Err(Error::Usage(format!("no misbehaviour is called {name:?}; --help lists them"))),
        })
    }

    /// A page in HTML, as portals of hotels and proxies put in the way.
    pub fn html() -> Self {
        let page = b"<!DOCTYPE html>\n<html><head><title>Welcome<body><p>Please log in to the network<br></html>";
        Self::Body("text/html".into(), page.into())
    }

    /// A few words for the log.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Body(content_type, body) => format!("a body of {} bytes, {content_type}", body.len()),
            _ => format!("{self:?}"),
        }
    }

    /// Returns `true` if the request is not processed.
    pub(crate) fn is_instead(&self) -> bool {
        matches!(
            self,
            Self::Status(_)
                | Self::Redirect(_)
                | Self::Body(..)
                | Self::Reset
                | Self::NoAnswer
                | Self::Endless
                | Self::Error(_)
                | Self::NoRedirect
        )
    }

    /// Whether the client cannot read the answer to what was carried out.
    pub(crate) fn spoils_all(&self) -> bool {
        matches!(self, Self::Truncated | Self::OneByteASecond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_listed_is_known() {
        for (name, _) in MISBEHAVIOURS {
            let example = match name.split_once(':') {
                Some((name, "NAME=VALUE")) => format!("{name}:a=b"),
                Some((name, "NAME=SECONDS")) => format!("{name}:a=-5"),
                Some((name, _)) => name.to_owned(),
                None => (*name).to_owned(),
            };
            assert!(Misbehaviour::from_name(&example).is_ok(), "{example}");
        }
        assert!(Misbehaviour::from_name("kindness").is_err());
    }

    #[test]
    fn values_are_json_or_text() {
        assert_eq!(
            Misbehaviour::from_name("with:expires_in=-1").unwrap(),
            Misbehaviour::With("expires_in".into(), json!(-1))
        );
        assert_eq!(Misbehaviour::from_name("claim:acr=x:y").unwrap(), Misbehaviour::Claim("acr".into(), json!("x:y")));
        assert!(Misbehaviour::from_name("with:expires_in").is_err());
    }
}
