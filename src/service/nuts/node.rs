//! The employer's node: requests to its internal API, and its refusals in words.

use std::io::{self, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::NutsSettings;
use super::node_login::Bearer;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::http::{Call, Client, HttpRequest, HttpResponse, Url};
use crate::printable::clean;
use crate::secret::{SecretBytes, secret_buffer};
use crate::service::json;

/// The longest answer of the node, in bytes.
const LIMIT: usize = 1 << 20;

/// The longest reason of the node's that is shown, in characters.
const LONGEST_REASON: usize = 300;

/// The node, over one connection.
pub(super) struct Node<'a> {
    settings: &'a NutsSettings,
    client: Client,
    bearer: Option<Bearer>,
}

/// What is done at the node, and what its refusal means.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) stage: Stage,
    /// Ends "the node …".
    pub(super) refusal: &'static str,
    /// The kind of error if the node finds fault with the request.
    pub(super) kind: ErrorKindOf,
}

/// Whose fault a refusal is.
#[derive(Clone, Copy)]
pub(super) enum ErrorKindOf {
    /// Of what the settings say.
    Settings,
    /// The node's decision.
    Decision,
}

/// An error of the node's API.
#[derive(Deserialize)]
struct Problem {
    detail: Option<String>,
}

impl<'a> Node<'a> {
    pub(super) fn new(settings: &'a NutsSettings) -> Self {
        Self { settings, client: Client::new(settings.https.clone()), bearer: None }
    }

    pub(super) fn put(&mut self, step: Step, path: &str, body: SecretBytes, call: &Call<'_>) -> Result<HttpResponse> {
        self.put_and(step, path, body, || (), call)
    }

    /// Does `meanwhile` while the node works on it.
    pub(super) fn put_and(
        &mut self,
        step: Step,
        path: &str,
        body: SecretBytes,
        meanwhile: impl FnOnce(),
        call: &Call<'_>,
    ) -> Result<HttpResponse> {
        let request = self.request(HttpRequest::put(self.url(path), "application/json", body))?;
        let answer = self.client.send_and(step.stage, &request, meanwhile, call)?;
        taken(step, answer)
    }

    pub(super) fn post(&mut self, step: Step, path: &str, body: SecretBytes, call: &Call<'_>) -> Result<HttpResponse> {
        let url = self.url(path);
        self.send(step, HttpRequest::post(url, "application/json", body), call)
    }

    pub(super) fn post_form(
        &mut self,
        step: Step,
        path: &str,
        form: SecretBytes,
        call: &Call<'_>,
    ) -> Result<HttpResponse> {
        let url = self.url(path);
        self.send(step, HttpRequest::post_form(url, form), call)
    }

    /// Returns the answer, or `None` while the node is too busy for one.
    pub(super) fn poll(&mut self, step: Step, path: &str, call: &Call<'_>) -> Result<Option<HttpResponse>> {
        let answer = self.answer(step, HttpRequest::get(self.url(path)), call)?;
        if answer.status == 429 {
            return Ok(None);
        }
        taken(step, answer).map(Some)
    }

    /// Fails unless the node says that it is up.
    pub(super) fn status(&mut self, step: Step, call: &Call<'_>) -> Result<()> {
        let answer = self.answer(step, HttpRequest::get(self.url("/status")), call)?;
        if answer.status == 200 && !answer.is_of("text/html") {
            return Ok(());
        }
        taken(step, answer).map(drop)
    }

    fn send(&mut self, step: Step, request: HttpRequest, call: &Call<'_>) -> Result<HttpResponse> {
        let answer = self.answer(step, request, call)?;
        taken(step, answer)
    }

    fn answer(&mut self, step: Step, request: HttpRequest, call: &Call<'_>) -> Result<HttpResponse> {
        let request = self.request(request)?;
        self.client.send(step.stage, &request, call)
    }

    /// Adds what each request to the node has.
    fn request(&mut self, request: HttpRequest) -> Result<HttpRequest> {
        let mut request = request.accept("application/json").limit(LIMIT);
        if let Some(login) = &self.settings.api_login {
            let bearer = match self.bearer.take().filter(Bearer::is_fresh) {
                Some(bearer) => bearer,
                None => login.bearer()?,
            };
            request = request.bearer(bearer.expose());
            self.bearer = Some(bearer);
        }
        Ok(request)
    }

    fn url(&self, path: &str) -> Url {
        self.settings.node.with_path_added(path)
    }

    /// The limits of one request of a login that `cancel` cancels.
    pub(super) fn call<'c>(&self, cancel: &'c crate::cancel::CancelToken) -> Call<'c> {
        Call::within(self.settings.https.request_deadline, cancel)
    }
}

/// Returns an answer with which the node has done what it was asked for.
pub(super) fn taken(step: Step, answer: HttpResponse) -> Result<HttpResponse> {
    let error = |kind, detail: String| Err(Error::new(kind, step.stage, detail));
    let no_node = || {
        let detail = format!("nuts_node: no Nuts node answers there (it answered with status {})", answer.status);
        error(ErrorKind::BadAnswer, detail)
    };
    let refusal = step.refusal;
    match answer.status {
        200 | 201 if answer.is_of("application/json") => Ok(answer),
        401 => {
            let detail = "the node wants a login of programs and does not accept this one: see nuts_token_key and nuts_token_user";
            error(ErrorKind::Configuration, detail.into())
        }
        429 => error(ErrorKind::ServerNotAvailable, format!("the node {refusal}: it is too busy (status 429)")),
        status @ 400..=599 => {
            let Some(reason) = reason(&answer) else { return no_node() };
            let kind = match (status, step.kind) {
                // The employer is another node's.
                (500, _) if reason.contains("could not resolve an assertionKey for issuer") => ErrorKind::Configuration,
                // So a node says that another one has refused.
                (503, ErrorKindOf::Decision) => ErrorKind::Refused,
                (500.., _) => ErrorKind::ServerNotAvailable,
                (_, ErrorKindOf::Settings) => ErrorKind::Configuration,
                (_, ErrorKindOf::Decision) => ErrorKind::Refused,
            };
            error(kind, format!("the node {refusal}: {reason}"))
        }
        _ => no_node(),
    }
}

/// The node's words about its refusal, fit to be shown. They have no more of a session than its existence.
fn reason(answer: &HttpResponse) -> Option<String> {
    if !answer.is_of("application/problem+json") {
        return None;
    }
    let problem: Problem = json::read(&answer.body).ok()?;
    // Cleaned first: what hides in a text must not hide a secret either.
    let detail = clean(&problem.detail.unwrap_or_default(), LIMIT);
    let words = detail.split(' ').map(|word| if is_secret(word) { "…" } else { word });
    Some(clean(&words.collect::<Vec<_>>().join(" "), LONGEST_REASON))
}

/// Ids of sessions, and parts of signed texts.
fn is_secret(word: &str) -> bool {
    let id = word.trim_matches(|c: char| c.is_ascii_punctuation());
    word.contains("eyJ") || id.len() >= 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `value` as JSON, in a buffer that is wiped.
pub(super) fn to_json(value: &impl Serialize) -> Result<SecretBytes> {
    let write = |to: &mut dyn Write| {
        serde_json::to_writer(to, value).map_err(|error| {
            Error::new(ErrorKind::Internal, Stage::Session, "a request could not be written").because(error)
        })
    };
    // A buffer that grows leaves copies behind.
    let mut size = Size(0);
    write(&mut size)?;
    let mut body = secret_buffer(size.0);
    write(&mut *body)?;
    Ok(body)
}

/// How much is written to it.
struct Size(usize);

impl Write for Size {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long to wait before the poll with this number: from 100 ms to 1 s.
pub(super) fn pause(poll: u32) -> Duration {
    Duration::from_millis(100).saturating_mul(1 << poll.min(4)).min(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, kind: &str, body: &str) -> HttpResponse {
        let body = body.as_bytes().to_vec().into();
        HttpResponse { status, content_type: Some(kind.into()), www_authenticate: None, retry_after: None, body }
    }

    fn error(step: ErrorKindOf, status: u16, kind: &str, body: &str) -> (ErrorKind, String) {
        let step = Step { stage: Stage::Activation, refusal: "refuses", kind: step };
        let error = taken(step, answer(status, kind, body)).unwrap_err();
        (error.kind().clone(), error.detail().to_owned())
    }

    #[test]
    fn the_node_s_reason_is_shown_without_ids_and_signed_texts() {
        use ErrorKindOf::{Decision, Settings};
        let problem = "application/problem+json";
        let id = "0123456789abcdef0123456789abcdef";
        let body =
            format!(r#"{{"detail":"session {id}, of \u202eey\u202eJhbGciOiJ: not\nfound","status":404,"title":"x"}}"#);
        for (step, status, kind) in [
            (Settings, 400, ErrorKind::Configuration),
            (Settings, 404, ErrorKind::Configuration),
            (Decision, 404, ErrorKind::Refused),
            (Decision, 503, ErrorKind::Refused),
            (Settings, 503, ErrorKind::ServerNotAvailable),
            (Decision, 500, ErrorKind::ServerNotAvailable),
        ] {
            let expected = (kind, "the node refuses: session … of … not found".into());
            assert_eq!(error(step, status, problem, &body), expected, "{status}");
        }
        assert_eq!(error(Decision, 401, "text/plain", "Unauthorized").0, ErrorKind::Configuration);
        assert_eq!(error(Decision, 429, problem, "{}").0, ErrorKind::ServerNotAvailable);
        for (status, kind, body) in
            [(404, "text/html", "<html>"), (200, "text/html", "<html>"), (302, problem, ""), (400, problem, "x")]
        {
            assert_eq!(error(Settings, status, kind, body).0, ErrorKind::BadAnswer, "{status} {kind}");
        }
    }

    #[test]
    fn polls_begin_soon_and_get_rarer() {
        let pauses: Vec<_> = (0..7).map(|poll| pause(poll).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000, 1000]);
        assert_eq!(pause(u32::MAX), Duration::from_secs(1));
    }
}
