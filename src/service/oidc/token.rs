//! What the token endpoint answers: tokens, or an OAuth error (RFC 6749, 5.1 and 5.2).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::homes::Home;
use super::id_token::UnverifiedIdToken;
use super::json::{self, Loose, Seconds};
use super::secret::{Secret, quotes};
use crate::error::{Error, ErrorKind, Stage};
use crate::printable;

/// The tokens of one answer.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) access: Secret,
    pub(super) id: Option<UnverifiedIdToken>,
    pub(super) refresh: Option<Secret>,
    /// The provider's id of the session, as it says without a signature.
    pub(super) session: Option<String>,
    /// The access token's lifetime, if the provider sends it.
    pub(super) expires_in: Option<Duration>,
    /// The refresh token's lifetime, if the provider sends it.
    pub(super) refresh_expires_in: Option<Duration>,
}

/// A response without usable tokens.
#[derive(Debug)]
pub(super) enum NoTokens {
    /// An OAuth error.
    Refused(OAuthError),
    /// The server cannot answer now.
    Unavailable(u16),
    /// Anything else, such as a page. Tokens in it are good for ending what has begun.
    Malformed(&'static str, Box<Ending>),
    /// The answer is too large, or breaks off. Tokens in what has come of it are good for the same.
    Incomplete(Error, Box<Ending>),
}

/// What ends a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) id_token: Option<Secret>,
    pub(super) access: Option<Secret>,
    pub(super) refresh: Option<Secret>,
    /// The provider's id of the session.
    pub(super) session: Option<String>,
    /// The session there that this one lives in, once it is known for sure.
    pub(super) home: Option<Arc<Home>>,
}

/// An OAuth error, fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OAuthError {
    pub(super) code: String,
    pub(super) description: String,
}

/// The longest code and description that are shown, in characters.
const LONGEST_CODE: usize = 40;
const LONGEST_DESCRIPTION: usize = 200;
/// A longer word may be a token.
const LONGEST_WORD: usize = 40;

#[derive(Deserialize)]
struct TokenResponse<'a> {
    access_token: Option<Secret>,
    token_type: Option<String>,
    id_token: Option<Secret>,
    refresh_token: Option<Secret>,
    #[serde(borrow, default)]
    session_state: Loose<'a>,
    #[serde(default)]
    expires_in: Option<Seconds>,
    #[serde(default)]
    refresh_expires_in: Option<Seconds>,
}

#[derive(Deserialize)]
struct ErrorResponse<'a> {
    #[serde(borrow, default)]
    error: Loose<'a>,
    #[serde(borrow, default)]
    error_description: Loose<'a>,
}

/// Reads an answer. `sent` are the secrets of the request, which no error text may show.
pub(super) fn read(status: u16, body: &[u8], sent: &[&str]) -> Result<Tokens, NoTokens> {
    let malformed = |why| NoTokens::Malformed(why, Box::default());
    match status {
        200 => read_tokens(body).map_err(|why| NoTokens::Malformed(why, Box::new(Ending::salvaged(body)))),
        300..=399 => Err(malformed("it answers with a redirect")),
        400..=499 => {
            let error = json::read::<ErrorResponse<'_>>(body).ok().filter(|answer| answer.error.get().is_some());
            let error =
                error.map(|answer| OAuthError::new(answer.error.or_empty(), answer.error_description.or_empty(), sent));
            Err(match error {
                Some(error) if matches!(&*error.code, "temporarily_unavailable" | "server_error" | "slow_down") => {
                    NoTokens::Unavailable(status)
                }
                Some(error) => NoTokens::Refused(error),
                None if matches!(status, 408 | 425 | 429) => NoTokens::Unavailable(status),
                None => malformed("it refuses without an OAuth error"),
            })
        }
        500..=599 => Err(NoTokens::Unavailable(status)),
        _ => Err(malformed("it answers with an unknown status")),
    }
}

fn read_tokens(body: &[u8]) -> Result<Tokens, &'static str> {
    let answer: TokenResponse<'_> = json::read(body).map_err(|_| "its answer is not the JSON of a token endpoint")?;
    let access = answer.access_token.filter(is_token).ok_or("its answer has no access token")?;
    // Others, such as MAC, cannot be sent as they are.
    if !answer.token_type.is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err("the type of its access token is not Bearer");
    }
    let span = |seconds: Option<Seconds>| {
        let Seconds(seconds) = seconds?;
        u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
    };
    Ok(Tokens {
        access,
        id: answer.id_token.map(UnverifiedIdToken),
        refresh: answer.refresh_token.filter(is_token),
        session: answer.session_state.get().map(str::to_owned),
        expires_in: span(answer.expires_in),
        // Keycloak writes 0 for one without an end.
        refresh_expires_in: span(answer.refresh_expires_in),
    })
}

impl Ending {
    /// Returns the tokens that can be revoked, with their kinds, the most important first.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (&'static str, &Secret)> {
        let tokens = [("refresh_token", &self.refresh), ("access_token", &self.access)];
        tokens.into_iter().filter_map(|(kind, token)| Some((kind, token.as_ref()?)))
    }

    /// Returns the tokens in an answer that is not as it should be, up to where it is no JSON. Of two the last counts.
    pub(super) fn salvaged(body: &[u8]) -> Self {
        struct Members<'a>(&'a mut Ending);

        impl<'de> Visitor<'de> for Members<'_> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the answer of a token endpoint")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
                while let Some(name) = members.next_key::<Cow<'_, str>>()? {
                    let value: Loose<'_> = members.next_value()?;
                    let token = || value.get().map(|text| Secret::new(text.to_owned())).filter(is_token);
                    match &*name {
                        "id_token" => self.0.id_token = token(),
                        "access_token" => self.0.access = token(),
                        "refresh_token" => self.0.refresh = token(),
                        "session_state" => self.0.session = value.get().map(str::to_owned),
                        _ => {}
                    }
                }
                Ok(())
            }
        }

        let mut ending = Self::default();
        // It fails where the JSON does.
        let _ = serde_json::Deserializer::from_slice(body).deserialize_map(Members(&mut ending));
        ending
    }
}

/// What a header can carry.
fn is_token(token: &Secret) -> bool {
    !token.expose().is_empty() && token.expose().bytes().all(|byte| matches!(byte, b'!'..=b'~'))
}

impl OAuthError {
    /// Makes an error of a provider fit to be shown. A description that quotes a secret is left out.
    pub(super) fn new(code: &str, description: &str, secrets: &[&str]) -> Self {
        let quoting = |text: &str| secrets.iter().any(|secret| quotes(text, secret));
        let code = if quoting(code) { String::new() } else { words(code, LONGEST_CODE) };
        let description = if quoting(description) { String::new() } else { words(description, LONGEST_DESCRIPTION) };
        Self { code, description }
    }

    /// Returns the error of a program that `server` has refused.
    pub(super) fn into_error(self, server: &str, stage: Stage) -> Error {
        let Self { code, description } = &self;
        let reason = if description.is_empty() { code.clone() } else { format!("{description} ({code})") };
        match &**code {
            "invalid_client" | "unauthorized_client" => {
                let detail = format!(
                    "{server} does not accept this program: {reason}; check client_id, client_auth and the secret or key"
                );
                Error::new(ErrorKind::Configuration, stage, detail)
            }
            "invalid_scope" => {
                let detail = format!("{server} does not give this program what the setting scope asks for: {reason}");
                Error::new(ErrorKind::Configuration, stage, detail)
            }
            "access_denied" | "login_required" | "interaction_required" | "consent_required" => {
                let detail = format!("the user did not log in at {server}: {reason}");
                Error::new(ErrorKind::Refused, stage, detail)
            }
            "server_error" | "temporarily_unavailable" => {
                let detail = format!("{server} cannot log anybody in now: {reason}");
                Error::new(ErrorKind::ServerNotAvailable, stage, detail)
            }
            _ => Error::new(ErrorKind::Refused, stage, format!("{server} refused: {reason}")),
        }
    }
}

impl NoTokens {
    pub(super) fn into_error(self, server: &str, stage: Stage) -> Error {
        match self {
            Self::Refused(error) => error.into_error(server, stage),
            Self::Unavailable(status) => {
                let detail = format!("{server} cannot answer now (HTTP status {status})");
                Error::new(ErrorKind::ServerNotAvailable, stage, detail)
            }
            Self::Incomplete(error, _) => error,
            Self::Malformed(why, _) => {
                Error::new(ErrorKind::BadAnswer, stage, format!("{server} does not give out tokens: {why}"))
            }
        }
    }
}

/// One line of `text`, without words so long that they may be tokens.
fn words(text: &str, limit: usize) -> String {
    let words = text.split_whitespace().map(|word| if word.len() > LONGEST_WORD { "…" } else { word });
    printable::clean(&words.collect::<Vec<_>>().join(" "), limit)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer() -> Value {
        json!({
            "access_token": "at-1", "token_type": "Bearer", "expires_in": 300, "refresh_token": "rt-1",
            "refresh_expires_in": 1800, "id_token": "a.b.c", "scope": "openid",
        })
    }

    fn read_with(member: &str, value: Value) -> Result<Tokens, NoTokens> {
        let mut answer = answer();
        answer[member] = value;
        read(200, answer.to_string().as_bytes(), &[])
    }

    #[test]
    fn an_answer_holds_tokens_and_their_times() {
        let tokens = read_with("scope", json!(["any"])).unwrap();
        assert_eq!((tokens.access.expose(), tokens.refresh.unwrap().expose()), ("at-1", "rt-1"));
        assert_eq!(tokens.id.unwrap().0.expose(), "a.b.c");
        assert_eq!(tokens.expires_in, Some(Duration::from_secs(300)));
        assert_eq!(tokens.refresh_expires_in, Some(Duration::from_secs(1800)));
    }

    #[test]
    fn odd_times_are_unknown_and_a_text_is_a_number() {
        for (value, expected) in [
            (json!(null), None),
            (json!(0), None),
            (json!(-1), None),
            (json!("3600"), Some(3600)),
            (json!(1.5), Some(1)),
        ] {
            assert_eq!(read_with("expires_in", value).unwrap().expires_in, expected.map(Duration::from_secs));
        }
    }

    #[test]
    fn an_answer_without_a_bearer_token_is_malformed() {
        for (member, value) in [
            ("access_token", json!(null)),
            ("access_token", json!("")),
            ("access_token", json!("a\r\nb")),
            ("access_token", json!(1)),
            ("token_type", json!("MAC")),
            ("token_type", json!(null)),
        ] {
            assert!(matches!(read_with(member, value.clone()), Err(NoTokens::Malformed(..))), "{member} {value}");
        }
        assert!(read_with("token_type", json!("bearer")).is_ok());
    }

    #[test]
    fn tokens_of_a_malformed_answer_can_end_the_session() {
        let twice = answer().to_string().replacen('{', r#"{"access_token":"x","#, 1);
        for body in [twice, answer().to_string().replace("Bearer", "MAC")] {
            let Err(NoTokens::Malformed(_, ending)) = read(200, body.as_bytes(), &[]) else { panic!("{body}") };
            let texts =
                [ending.id_token, ending.access, ending.refresh].map(|token| token.unwrap().expose().to_owned());
            assert_eq!(texts, ["a.b.c", "at-1", "rt-1"]);
        }
    }

    #[test]
    fn tokens_before_the_place_where_an_answer_breaks_off_can_end_the_session() {
        let whole = r#"{"access_token":"at-1","expires_in":300,"id_token":"a.b.c","refresh_token":"rt-1","x":[1]}"#;
        for (until, expected) in [
            ("\"x\"", [Some("a.b.c"), Some("at-1"), Some("rt-1")]),
            ("t-1\",\"x", [Some("a.b.c"), Some("at-1"), None]),
            ("b.c\",", [None, Some("at-1"), None]),
            ("t-1\",\"e", [None, None, None]),
            ("{", [None, None, None]),
        ] {
            let ending = Ending::salvaged(&whole.as_bytes()[..whole.find(until).unwrap()]);
            let tokens = [&ending.id_token, &ending.access, &ending.refresh];
            assert_eq!(tokens.map(|token| token.as_ref().map(Secret::expose)), expected, "{until}");
        }
    }

    #[test]
    fn each_oauth_error_has_its_kind() {
        for (code, status, kind) in [
            ("invalid_grant", 400, ErrorKind::Refused),
            ("invalid_request", 400, ErrorKind::Refused),
            ("unsupported_grant_type", 400, ErrorKind::Refused),
            ("invalid_client", 401, ErrorKind::Configuration),
            ("unauthorized_client", 400, ErrorKind::Configuration),
            ("invalid_scope", 400, ErrorKind::Configuration),
            ("temporarily_unavailable", 400, ErrorKind::ServerNotAvailable),
        ] {
            let body = json!({"error": code, "error_description": "Code not\u{1b}[2J valid\n"}).to_string();
            let error = read(status, body.as_bytes(), &[]).unwrap_err().into_error("id.example", Stage::Authentication);
            assert_eq!(*error.kind(), kind, "{code}");
            assert!(!error.detail().contains(char::is_control), "{error}");
        }
    }

    #[test]
    fn other_answers_are_no_tokens() {
        let html = "<html><body>eyJhbGciOiJSUzI1NiJ9</body></html>";
        for (status, body, unavailable) in [
            (500, html, true),
            (503, "", true),
            (429, "{}", true),
            (500, r#"{"error":"server_error"}"#, true),
            (200, html, false),
            (302, "", false),
            (401, html, false),
            (404, "{}", false),
            (204, "", false),
        ] {
            let no = read(status, body.as_bytes(), &[]).unwrap_err();
            assert_eq!(matches!(no, NoTokens::Unavailable(_)), unavailable, "{status}");
            assert!(!no.into_error("id.example", Stage::Authentication).to_string().contains("eyJ"));
        }
    }

    #[test]
    fn no_error_shows_a_secret() {
        let secret = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln";
        for description in [
            format!("Invalid token: {secret}"),
            format!("cut {}", &secret[3..15]),
            format!("of another: {}", "x".repeat(41)),
        ] {
            let body = json!({"error": "invalid_grant", "error_description": description}).to_string();
            let error = read(400, body.as_bytes(), &[secret]).unwrap_err().into_error("id.example", Stage::Session);
            assert!(!quotes(error.detail(), secret) && !error.detail().contains("xxx"), "{error}");
            assert!(error.detail().contains("invalid_grant"), "{error}");
        }
    }
}
