//! A session at a provider: its tokens, their renewal, and their end.

use std::mem;
use std::sync::{Arc, MutexGuard as StdMutexGuard, PoisonError};
use std::time::Duration;

use tracing::{debug, warn};

use super::client_auth::ClientAuth;
use super::ehealth_dk;
use super::homes::Home;
use super::id_token::{Expected, IdToken};
use super::provider::{Provider, Shared, now};
use super::secret::Secret;
use super::token::{Ending, NoTokens, Tokens};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::secret::Ticket;
use crate::service::choices::{ServiceKind, TicketKind};
use crate::service::{Call, Expiry, Renewal, Replacement, ServiceSession, not_implemented};
use crate::session::rules::MARGIN;
use crate::session::{Context, Contexts};
use crate::sync::Mutex;

/// A session at a provider.
#[derive(Debug)]
pub(crate) struct OidcSession {
    shared: Arc<Shared>,
    /// The user; unknown for a session of another process.
    pub(super) subject: Option<String>,
    /// Held while tokens are exchanged, so that no two exchanges cross.
    exchange: Mutex<()>,
    kept: Mutex<Kept>,
}

/// The tokens of a session, and their times.
#[derive(Debug, Default)]
pub(super) struct Kept {
    access: Option<Secret>,
    refresh: Refresh,
    /// The text of the last ID token: what ends the session.
    id_token: Option<Secret>,
    /// The provider's id of the browser session.
    pub(super) session: Option<String>,
    pub(super) home: Option<Arc<Home>>,
    /// What the tickets are for: each renewal asks for it again.
    pub(super) context: Context,
    pub(super) auth_time: Option<i64>,
    /// When the user logged in, at the latest, by the system's clock.
    pub(super) logged_in: Duration,
    /// When this began, by the system's clock, and how long it lasts.
    expiry: Option<(Duration, Expiry)>,
    access_ends: Option<Duration>,
}

/// A refresh token is sent once: of two requests with the same one the provider may take the second for a theft, and
/// end the session.
#[derive(Debug, Default)]
enum Refresh {
    /// There is none.
    #[default]
    None,
    /// It was not used yet.
    Unused(Secret),
    /// It was sent, and it is unknown whether it was used.
    Unclear,
}

impl Kept {
    /// Keeps the tokens of an answer.
    pub(super) fn new(shared: &Shared, tokens: &Tokens, id_token: &IdToken) -> Self {
        let id = id_token.session.as_deref().or(tokens.session.as_deref());
        Self {
            id_token: Some(id_token.text.clone()),
            session: id_token.session.clone(),
            home: Some(shared.homes.live_in(id, &id_token.subject)),
            auth_time: id_token.auth_time,
            logged_in: SystemClock.now(),
            ..Self::of(shared, tokens, Some(id_token))
        }
    }

    fn of(shared: &Shared, tokens: &Tokens, id_token: Option<&IdToken>) -> Self {
        let began = SystemClock.now();
        Self {
            access: Some(tokens.access.clone()),
            refresh: tokens.refresh.clone().map_or(Refresh::None, Refresh::Unused),
            expiry: expiry(shared, tokens, id_token).map(|expiry| (began, expiry)),
            access_ends: tokens.expires_in.map(|time| began.saturating_add(time)),
            ..Self::default()
        }
    }

    /// Returns the rest of the ticket's life.
    pub(super) fn expiry(&self) -> Option<Expiry> {
        let (began, Expiry { after, renewable }) = self.expiry?;
        let gone = SystemClock.now().saturating_sub(began);
        let renewable = renewable.map(|time| time.saturating_sub(gone));
        Some(Expiry { after: after.saturating_sub(gone), renewable })
    }

    fn ending(&self) -> Ending {
        let refresh = match &self.refresh {
            Refresh::Unused(token) => Some(token.clone()),
            Refresh::None | Refresh::Unclear => None,
        };
        let (id_token, access) = (self.id_token.clone(), self.access.clone());
        Ending { id_token, access, refresh, session: self.session.clone(), home: self.home.clone() }
    }
}

/// Returns how long the ticket lasts, and whether it can be renewed.
fn expiry(shared: &Shared, tokens: &Tokens, id_token: Option<&IdToken>) -> Option<Expiry> {
    let id_token = id_token.map(|token| seconds(token.expires.saturating_sub(now())));
    let after = match shared.settings.ticket {
        // Renewed together: the provider is asked with the access token.
        TicketKind::IdToken if tokens.refresh.is_some() => [id_token, tokens.expires_in].into_iter().flatten().min(),
        TicketKind::IdToken => id_token,
        TicketKind::AccessToken => tokens.expires_in,
    }?;
    let renewable = tokens.refresh.as_ref().map(|_| tokens.refresh_expires_in.unwrap_or(shared.settings.max_session));
    Some(Expiry { after, renewable })
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or_default())
}

/// Returns the token that is the ticket.
pub(super) fn ticket(shared: &Shared, tokens: &Tokens, id_token: Option<&IdToken>) -> Option<Ticket> {
    match shared.settings.ticket {
        TicketKind::AccessToken => Some(tokens.access.to_ticket()),
        TicketKind::IdToken => id_token.map(|token| token.text.to_ticket()),
    }
}

impl OidcSession {
    pub(super) fn new(shared: &Arc<Shared>, subject: String, kept: Kept) -> Self {
        let (exchange, kept) = (Mutex::default(), Mutex::new(kept));
        Self { shared: Arc::clone(shared), subject: Some(subject), exchange, kept }
    }

    /// A session of another process, of which only the ticket is known.
    pub(super) fn of_ticket(shared: &Arc<Shared>, ticket: &Ticket) -> Self {
        let access =
            (shared.settings.ticket == TicketKind::AccessToken).then(|| Secret::new(ticket.expose().to_owned()));
        let kept = Kept { access, ..Kept::default() };
        Self { shared: Arc::clone(shared), subject: None, exchange: Mutex::default(), kept: Mutex::new(kept) }
    }

    pub(super) fn kept<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        look(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes other tokens of the same user, and returns what ends the old ones.
    pub(super) fn replace(&self, kept: Kept) -> Ending {
        let _turn = self.turn();
        let old = self.kept(|old| {
            let context = old.context.clone();
            mem::replace(old, Kept { context, ..kept })
        });
        old.ending()
    }

    /// Returns what ends the session.
    pub(super) fn ending(&self) -> Ending {
        self.kept(|kept| kept.ending())
    }

    fn turn(&self) -> StdMutexGuard<'_, ()> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the access token, as long as it lasts.
    fn access(&self) -> Result<Secret> {
        let unknown = |detail: &str| Error::new(ErrorKind::NotImplemented, Stage::Session, detail);
        self.kept(|kept| match (&kept.access, kept.access_ends) {
            (Some(_), Some(end)) if end <= SystemClock.now() => {
                Err(unknown("the access token, with which the provider is asked about the session, has expired"))
            }
            (Some(access), _) => Ok(access.clone()),
            (None, _) => Err(unknown("the provider cannot be asked with this ticket about the session")),
        })
    }

    fn is_of_back_end(&self) -> bool {
        matches!(self.shared.settings.client_auth, ClientAuth::BackEnd(_))
    }

    /// Exchanges the refresh token for new tokens.
    fn refresh(&self, context: &[(&str, &str)], call: &Call<'_>) -> Result<(Ticket, Option<Expiry>, Provider)> {
        let stage = Stage::Session;
        let _turn = self.turn();
        // First whatever may fail before the token is sent.
        let mut provider = Provider::known(&self.shared, call)?;
        let proof = provider.proof()?;
        let token = self.kept(|kept| match mem::replace(&mut kept.refresh, Refresh::Unclear) {
            Refresh::Unused(token) => Ok(token),
            Refresh::None => {
                kept.refresh = Refresh::None;
                Err(Error::new(ErrorKind::Refused, stage, "the provider has given no refresh token for the session"))
            }
            Refresh::Unclear => {
                let detail = "the refresh token was sent already, and how that ended is not known";
                // The ticket works until it expires. Then the session is over.
                let is_usable = kept.expiry().is_none_or(|expiry| expiry.after > MARGIN);
                let kind = if is_usable { ErrorKind::ServerNotAvailable } else { ErrorKind::Refused };
                Err(Error::new(kind, stage, detail))
            }
        })?;
        let put_back = |token: Secret| self.kept(|kept| kept.refresh = Refresh::Unused(token));

        let fields = [&[("grant_type", "refresh_token"), ("refresh_token", token.expose())], context].concat();
        let mut sent = false;
        let answer = match provider.tokens(stage, &fields, &proof, &mut sent, call) {
            Ok(answer) => answer,
            Err(error) => {
                if !sent {
                    put_back(token);
                }
                return Err(error);
            }
        };
        let server = provider.token_server().to_string();
        let tokens = match answer {
            Ok(tokens) => tokens,
            Err(no) => {
                match &no {
                    NoTokens::Refused(error)
                        if error.code == "invalid_grant" && is_over(&error.description, context) =>
                    {
                        self.kept(|kept| kept.refresh = Refresh::None);
                    }
                    // Refused before it was used.
                    NoTokens::Refused(_) | NoTokens::Unavailable(429) => put_back(token),
                    NoTokens::Unavailable(_) | NoTokens::Malformed(..) | NoTokens::Incomplete(..) => {}
                }
                return Err(no.into_error(&server, stage));
            }
        };

        let id_token = match &tokens.id {
            None => None,
            Some(token) => {
                let expected = Expected {
                    issuer: &provider.metadata.issuer.clone(),
                    client_id: &self.shared.settings.client_id,
                    now: now(),
                    since: None,
                    nonce: None,
                    access_token: Some(&tokens.access),
                    acr_values: &[],
                    login_since: None,
                    subject: self.subject.as_deref(),
                };
                let checked = provider.check_id_token(token, &expected, stage, call)?;
                let refused = |why| {
                    let detail = format!("the new ID token of {server} is refused: {why}");
                    Error::new(ErrorKind::BadAnswer, stage, detail)
                };
                Some(checked.map_err(refused)?)
            }
        };
        let kept = Kept::of(&self.shared, &tokens, id_token.as_ref());
        let expiry = kept.expiry();
        self.kept(|old| {
            let Kept { id_token: old_id_token, session, home, context, auth_time, logged_in, .. } = mem::take(old);
            let id_token = id_token.as_ref().map(|token| token.text.clone()).or(old_id_token);
            *old = Kept { id_token, session, home, context, auth_time, logged_in, ..kept };
        });
        debug!(expiry = ?expiry.map(|expiry| expiry.after), "tokens renewed");
        let ticket = ticket(&self.shared, &tokens, id_token.as_ref()).ok_or_else(|| {
            let detail = format!("{server} renews without an ID token, which is the ticket");
            Error::new(ErrorKind::Refused, stage, detail)
        })?;
        Ok((ticket, expiry, provider))
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused | ErrorKind::Configuration | ErrorKind::BadAnswer)
}

/// Whether a refresh token that was refused with `invalid_grant` can never be used again. A context that is not the
/// user's is refused in the same way, before the token is used.
fn is_over(description: &str, context: &[(&str, &str)]) -> bool {
    let about_context = ["context", "care team", "member of"];
    let description = description.to_lowercase();
    context.is_empty() || !about_context.iter().any(|words| description.contains(words))
}

impl ServiceSession for OidcSession {
    fn check(&self, call: &Call<'_>) -> Result<()> {
        self.claims(call).map(drop)
    }

    fn log_out(&self, call: &Call<'_>) -> Result<()> {
        // A renewal in progress may receive tokens, which have to end too.
        let _turn = self.turn();
        let ending = self.ending();
        Provider::known(&self.shared, call)?.end(&ending, call)?;
        self.kept(|kept| *kept = Kept::default());
        Ok(())
    }

    fn renew(&self, call: &Call<'_>) -> Result<Option<Renewal>> {
        if self.kept(|kept| matches!(kept.refresh, Refresh::None)) {
            return Ok(None);
        }
        let context = self.kept(|kept| kept.context.clone());
        match self.refresh(&ehealth_dk::parameters(&context), call) {
            Ok((ticket, expiry, _)) => Ok(Some(Renewal { ticket, expiry })),
            // A supplier's server need not know how to renew.
            Err(error) if self.is_of_back_end() && is_refusal(&error) => {
                warn!(%error, "the supplier's server does not renew the ticket");
                self.kept(|kept| kept.refresh = Refresh::None);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn switch_context(&self, context: &Context, call: &Call<'_>) -> Result<Replacement> {
        if self.shared.settings.kind != ServiceKind::EhealthDk {
            return Err(not_implemented("contexts"));
        }
        let (ticket, expiry, mut provider) = self.refresh(&ehealth_dk::parameters(context), call)?;
        self.kept(|kept| kept.context = context.clone());
        // The context is in effect already; this only reads its roles.
        let roles =
            self.access().and_then(|access| provider.user_info(&access, self.subject.as_deref(), Stage::Session, call));
        let roles = roles.unwrap_or_else(|error| {
            warn!(%error, "the roles in the new context are not known");
            None
        });
        Ok(Replacement { ticket, expiry, roles: roles.map(|info| info.roles).unwrap_or_default(), role: None })
    }

    fn contexts(&self, call: &Call<'_>) -> Result<Contexts> {
        let settings = &self.shared.settings;
        if settings.kind != ServiceKind::EhealthDk {
            return Err(not_implemented("contexts"));
        }
        let url = settings.issuer.with_path_added(ehealth_dk::CONTEXTS);
        let answer = Provider::known(&self.shared, call)?.resource(&url, &self.access()?, call)?;
        ehealth_dk::read_contexts(&answer.body).map_err(|why| {
            let detail = format!("the contexts at {url} cannot be read: {why}");
            Error::new(ErrorKind::BadAnswer, Stage::Session, detail)
        })
    }

    fn claims(&self, call: &Call<'_>) -> Result<String> {
        let access = self.access()?;
        let subject = self.subject.as_deref();
        let info = Provider::known(&self.shared, call)?.user_info(&access, subject, Stage::Session, call)?;
        match info {
            Some(info) => Ok(info.text.expose().to_owned()),
            None => Err(not_implemented("claims about the user")),
        }
    }
}
