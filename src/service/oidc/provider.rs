//! Requests to a provider, for one login or one call about a session.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{debug, warn};

use super::client_auth::{ClientAuth, Proof};
use super::discovery::{self, MAX_METADATA, Metadata};
use super::homes::{EndsAnother, Homes};
use super::id_token::{BadIdToken, Expected, IdToken, UnverifiedIdToken};
use super::jws::BadJws;
use super::keys::KeySet;
use super::secret::Secret;
use super::settings::OidcSettings;
use super::token::{self, Ending, NoTokens, Tokens};
use super::user_info::{self, BadUserInfo, MAX_USER_INFO, UserInfo};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::http::form::escape;
use crate::http::{Client, HttpRequest, HttpResponse, Origin, Url, form};
use crate::service::Call;
use crate::sync::Mutex;

/// How long metadata and keys are kept.
const KEPT: Duration = Duration::from_secs(3600);

/// The longest key set that is read.
const MAX_KEYS: usize = 1 << 20;

const JSON: &str = "application/json";

/// What all logins and sessions of one service share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: OidcSettings,
    known: Mutex<Known>,
    pub(super) homes: Homes,
}

/// What the provider has said about itself, and when.
#[derive(Debug, Default)]
struct Known {
    metadata: Option<(Duration, Arc<Metadata>)>,
    keys: Option<(Duration, Arc<KeySet>)>,
}

impl Shared {
    pub(super) fn new(settings: OidcSettings) -> Self {
        Self { settings, known: Mutex::default(), homes: Homes::default() }
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn fresh<T>(known: Option<&(Duration, Arc<T>)>) -> Option<Arc<T>> {
    let (since, known) = known?;
    (SystemClock.now().saturating_sub(*since) < KEPT).then(|| Arc::clone(known))
}

/// A provider and the connections to it.
pub(super) struct Provider {
    pub(super) shared: Arc<Shared>,
    pub(super) metadata: Arc<Metadata>,
    client: Client,
}

impl Provider {
    /// Asks the provider about itself, for a login.
    pub(super) fn discover(shared: &Arc<Shared>, call: &Call<'_>) -> Result<Self> {
        let stage = Stage::Activation;
        let settings = &shared.settings;
        let mut client = Client::new(settings.https.clone());
        let url = settings.issuer.with_path_added(discovery::PATH);
        let request = HttpRequest::get(url.clone()).accept(JSON).limit(MAX_METADATA);
        let answer = client.send(stage, &request, call)?;
        if answer.status != 200 {
            return Err(unexpected(&url, answer.status, stage, "its metadata"));
        }
        let metadata = Metadata::read(&answer.body, settings.issuer.as_str()).map_err(|why| {
            let detail = format!("the metadata of the provider at {url} cannot be used: {why}");
            Error::new(ErrorKind::BadAnswer, stage, detail)
        })?;
        let metadata = Arc::new(metadata);
        shared.known(|known| known.metadata = Some((SystemClock.now(), Arc::clone(&metadata))));
        debug!(issuer = %settings.issuer, "metadata read");
        Ok(Self { shared: Arc::clone(shared), metadata, client })
    }

    /// As [`Provider::discover`], but asks only if the last answer is old: for calls about a session.
    pub(super) fn known(shared: &Arc<Shared>, call: &Call<'_>) -> Result<Self> {
        match shared.known(|known| fresh(known.metadata.as_ref())) {
            Some(metadata) => {
                let client = Client::new(shared.settings.https.clone());
                Ok(Self { shared: Arc::clone(shared), metadata, client })
            }
            None => Self::discover(shared, call),
        }
    }

    pub(super) fn settings(&self) -> &OidcSettings {
        &self.shared.settings
    }

    /// Returns the proof of which client this is.
    pub(super) fn proof(&self) -> Result<Proof> {
        let settings = self.settings();
        settings.client_auth.proof(&settings.client_id, &self.metadata, now())
    }

    /// Sends a request for tokens. `sent` becomes true when the provider may have seen it.
    ///
    /// # Errors
    ///
    /// If no response arrives; a refusal by the provider is a value.
    pub(super) fn tokens(
        &mut self,
        stage: Stage,
        fields: &[(&str, &str)],
        proof: &Proof,
        sent: &mut bool,
        call: &Call<'_>,
    ) -> Result<std::result::Result<Tokens, NoTokens>> {
        let url = self.token_url().clone();
        let (request, fields) = authenticated(&self.shared.settings.client_id, url.clone(), fields, proof);
        let request = request.or_any_part();
        let (answer, incomplete) = self.client.send_for_any_part(
            stage,
            url.origin(),
            |_| {
                *sent = true;
                Ok(request)
            },
            call,
        )?;
        if let Some(error) = incomplete {
            return Ok(Err(NoTokens::Incomplete(error, Box::new(Ending::salvaged(&answer.body)))));
        }
        let secrets: Vec<_> =
            fields.iter().filter(|(name, _)| SECRET.contains(name)).map(|(_, value)| *value).collect();
        Ok(token::read(answer.status, &answer.body, &secrets))
    }

    /// Returns the server that issues tokens.
    pub(super) fn token_server(&self) -> &Origin {
        self.token_url().origin()
    }

    fn token_url(&self) -> &Url {
        match &self.settings().client_auth {
            ClientAuth::BackEnd(url) => url,
            _ => &self.metadata.token,
        }
    }

    /// Checks an ID token; asks for the keys again, once, if it is signed with an unknown one.
    pub(super) fn check_id_token(
        &mut self,
        token: &UnverifiedIdToken,
        expected: &Expected<'_>,
        stage: Stage,
        call: &Call<'_>,
    ) -> Result<std::result::Result<IdToken, BadIdToken>> {
        self.with_keys(stage, call, |keys| {
            let checked = token.check(keys, expected);
            let unknown = matches!(checked, Err(BadIdToken::Jws(BadJws::UnknownKey)));
            (checked, unknown)
        })
    }

    /// Asks for the provider's keys, unless they are kept.
    pub(super) fn fetch_keys(&mut self, stage: Stage, call: &Call<'_>) -> Result<()> {
        match self.shared.known(|known| fresh(known.keys.as_ref())) {
            Some(_) => Ok(()),
            None => self.request_keys(stage, call).map(drop),
        }
    }

    fn request_keys(&mut self, stage: Stage, call: &Call<'_>) -> Result<Arc<KeySet>> {
        let url = &self.metadata.keys;
        let request = HttpRequest::get(url.clone()).accept(JSON).limit(MAX_KEYS);
        let answer = self.client.send(stage, &request, call)?;
        if answer.status != 200 {
            return Err(unexpected(url, answer.status, stage, "its keys"));
        }
        let keys = KeySet::read(&answer.body).map_err(|why| {
            Error::new(ErrorKind::BadAnswer, stage, format!("the keys of the provider at {url} cannot be read: {why}"))
        })?;
        let keys = Arc::new(keys);
        self.shared.known(|known| known.keys = Some((SystemClock.now(), Arc::clone(&keys))));
        Ok(keys)
    }

    /// Runs `check` with the kept keys, and again with new ones if it knows too few.
    fn with_keys<T>(&mut self, stage: Stage, call: &Call<'_>, check: impl Fn(&KeySet) -> (T, bool)) -> Result<T> {
        if let Some(keys) = self.shared.known(|known| fresh(known.keys.as_ref())) {
            let (checked, unknown) = check(&keys);
            if !unknown {
                return Ok(checked);
            }
        }
        let keys = self.request_keys(stage, call)?;
        Ok(check(&keys).0)
    }

    /// Asks who the user is, and checks that it is `subject`. `None` from a provider without UserInfo.
    ///
    /// # Errors
    ///
    /// [`Refused`](ErrorKind::Refused) if the access token is not valid (any more).
    pub(super) fn user_info(
        &mut self,
        access: &Secret,
        subject: Option<&str>,
        stage: Stage,
        call: &Call<'_>,
    ) -> Result<Option<UserInfo>> {
        let Some(url) = self.metadata.user_info.clone() else { return Ok(None) };
        let request = HttpRequest::get(url.clone())
            .bearer(access.expose())
            .accept("application/json, application/jwt")
            .limit(MAX_USER_INFO);
        let answer = self.client.send(stage, &request, call)?;
        match answer.status {
            200 => {}
            401 => {
                let detail = format!("{} does not accept the session's access token (any more)", url.origin());
                return Err(Error::new(ErrorKind::Refused, stage, detail));
            }
            status => return Err(unexpected(&url, status, stage, "UserInfo")),
        }
        let metadata = Arc::clone(&self.metadata);
        let client_id = self.settings().client_id.clone();
        let expected = user_info::Expected { issuer: &metadata.issuer, client_id: &client_id, subject };
        let read = if is_jwt(&answer) {
            self.with_keys(stage, call, |keys| {
                let read = UserInfo::from_jwt(&answer.body, keys, &expected);
                let unknown = matches!(read, Err(BadUserInfo::Jws(BadJws::UnknownKey)));
                (read, unknown)
            })?
        } else {
            UserInfo::from_json(&answer.body, &expected)
        };
        read.map(Some).map_err(|why| {
            Error::new(ErrorKind::BadAnswer, stage, format!("what {url} says about the user cannot be used: {why}"))
        })
    }

    /// Sends a GET with the access token, and returns the JSON that it is answered with.
    pub(super) fn resource(&mut self, url: &Url, access: &Secret, call: &Call<'_>) -> Result<HttpResponse> {
        let stage = Stage::Session;
        let request = HttpRequest::get(url.clone()).bearer(access.expose()).accept(JSON);
        let answer = self.client.send(stage, &request, call)?;
        match answer.status {
            200 => Ok(answer),
            401 => {
                let detail = format!("{} does not accept the session's access token (any more)", url.origin());
                Err(Error::new(ErrorKind::Refused, stage, detail))
            }
            status => Err(unexpected(url, status, stage, "this")),
        }
    }

    /// Ends the session with these tokens, and revokes them. If another session lives in the provider's session, that
    /// goes on, and this one ends with it at the latest.
    ///
    /// # Errors
    ///
    /// If the session may live on.
    pub(super) fn end(&mut self, ending: &Ending, call: &Call<'_>) -> Result<()> {
        let ends_another = self.shared.homes.ends_another(ending, ending.home.as_ref());
        if ends_another != EndsAnother::No {
            if ends_another == EndsAnother::Maybe {
                self.shared.homes.postpone(ending);
            }
            // The revocation of its refresh token would end the provider's session too.
            let access_alone = Ending { access: ending.access.clone(), ..Ending::default() };
            return self.revoke(&access_alone, call).unwrap_or(Ok(()));
        }
        self.end_alone(ending, call)?;
        let mut postponed = self.shared.homes.take_postponed(ending.home.as_ref());
        while let Some(ending) = postponed.pop() {
            if let Err(error) = self.end_alone(&ending, &call.share(postponed.len() + 1)) {
                debug!(%error, "a session from before could not be ended at the provider, or is over");
            }
        }
        Ok(())
    }

    fn end_alone(&mut self, ending: &Ending, call: &Call<'_>) -> Result<()> {
        let revocations = self.revocation().map_or(0, |_| ending.tokens().count());
        let ended = self.end_session(ending, &call.share(1 + revocations));
        let revoked = self.revoke(ending, call);
        match (ended, revoked) {
            // Without its refresh token the session cannot continue.
            (Some(Err(error)), Some(Err(_)) | None) => Err(error),
            (None, Some(Err(error))) => Err(error),
            (Some(Err(error)), Some(Ok(()))) => {
                warn!(%error, "the session could not be ended at the provider; its tokens are revoked");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Returns `None` if the provider has no endpoint for it.
    fn end_session(&mut self, ending: &Ending, call: &Call<'_>) -> Option<Result<()>> {
        let stage = Stage::Session;
        let url = self.metadata.end_session.clone()?;
        let client_id = self.settings().client_id.clone();
        let request = match (&ending.id_token, &ending.refresh) {
            (Some(hint), _) => {
                let fields = [("id_token_hint", hint.expose()), ("client_id", &*client_id)];
                HttpRequest::get(url.with_query(&fields))
            }
            (None, Some(refresh)) => {
                let proof = match self.proof() {
                    Ok(proof) => proof,
                    Err(error) => return Some(Err(error)),
                };
                authenticated(&client_id, url.clone(), &[("refresh_token", refresh.expose())], &proof).0
            }
            (None, None) => return None,
        };
        let answer = match self.client.send(stage, &request.without_error_body(), call) {
            Ok(answer) => answer,
            Err(error) => return Some(Err(error)),
        };
        Some(match answer.status {
            // A redirect leads to a page that no user would see.
            200..=399 => Ok(()),
            status => Err(unexpected(&url, status, stage, "the end of the session")),
        })
    }

    /// Returns the endpoint that revokes tokens.
    fn revocation(&self) -> Option<&Url> {
        // The client's secret is with the supplier.
        let is_of_back_end = matches!(self.settings().client_auth, ClientAuth::BackEnd(_));
        self.metadata.revocation.as_ref().filter(|_| !is_of_back_end)
    }

    /// Revokes the refresh token and the access token. Returns `None` if the provider has no endpoint for it.
    fn revoke(&mut self, ending: &Ending, call: &Call<'_>) -> Option<Result<()>> {
        let url = self.revocation()?.clone();
        let mut result = None;
        let count = ending.tokens().count();
        for (index, (kind, token)) in ending.tokens().enumerate() {
            let revoked = self.revoke_one(&url, kind, token, &call.share(count - index));
            // The first one decides: without its refresh token the session cannot continue.
            result = result.or(Some(revoked));
        }
        result
    }

    fn revoke_one(&mut self, url: &Url, kind: &str, token: &Secret, call: &Call<'_>) -> Result<()> {
        let stage = Stage::Session;
        let proof = self.proof()?;
        let fields = [("token", token.expose()), ("token_type_hint", kind)];
        let (request, _) = authenticated(&self.shared.settings.client_id, url.clone(), &fields, &proof);
        let answer = self.client.send(stage, &request.without_error_body(), call)?;
        if answer.status == 200 { Ok(()) } else { Err(unexpected(url, answer.status, stage, "the end of its tokens")) }
    }
}

/// Fields of requests that no error text may show.
const SECRET: [&str; 5] = ["code", "code_verifier", "refresh_token", "client_secret", "client_assertion"];

/// Returns the time in seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Returns a request with the proof of which client this is, and all fields of its form.
fn authenticated<'a>(
    client_id: &'a str,
    url: Url,
    fields: &[(&'a str, &'a str)],
    proof: &'a Proof,
) -> (HttpRequest, Vec<(&'a str, &'a str)>) {
    let fields: Vec<_> = fields.iter().copied().chain(proof.fields(client_id)).collect();
    let request = HttpRequest::post_form(url, form(&fields)).accept(JSON);
    let request = match proof {
        // Both are form-encoded first (RFC 6749, 2.3.1).
        Proof::Basic(secret) => request.basic(&escape(client_id), &escape(secret.expose())),
        Proof::Id | Proof::Post(_) | Proof::Assertion(_) => request,
    };
    (request, fields)
}

fn is_jwt(answer: &HttpResponse) -> bool {
    answer.content_type.is_some() && answer.is_of("application/jwt")
}

fn unexpected(url: &Url, status: u16, stage: Stage, what: &str) -> Error {
    let server = url.origin();
    match status {
        429 | 500..=599 => {
            let detail = format!("{server} cannot answer now (HTTP status {status})");
            Error::new(ErrorKind::ServerNotAvailable, stage, detail)
        }
        _ => {
            let detail = format!("{server} answers with HTTP status {status} when it is asked for {what}");
            Error::new(ErrorKind::BadAnswer, stage, detail)
        }
    }
}
