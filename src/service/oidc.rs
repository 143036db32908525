//! An OpenID provider. One login, in reading order: metadata, listener, browser, redirect, code, ID token, UserInfo,
//! role, grant.
//!
//! Not with the crate `openidconnect`: its tokens are strings that it does not wipe and that its errors may quote,
//! it checks neither `iss` of the redirect nor `acr` as CIS2 means it, and it brings its own implementations of RSA,
//! P-384 and Ed25519 along. [`id_token`] follows its model of types: unverified claims cannot be used.

mod again;
mod cis2;
mod client_auth;
mod discovery;
mod ehealth_dk;
mod examination;
mod exchange;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod homes;
mod id_token;
mod jws;
mod keys;
mod loopback;
#[doc(hidden)]
pub mod measured;
mod provider;
mod session;
mod settings;
mod token;
mod user_info;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::base64url::to_base64url;
use super::choices::{RoleSelection, ServiceKind};
use super::secret::Secret;
use super::{
    Call, Desk, Grant, IdentityService, Replacement, ServiceSession, Unlocking, base64url, json, not_implemented,
    private_key, secret,
};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::fork::ForkGuard;
use crate::printable::{self, LONGEST_NAME};
use crate::prompt::LoginPage;
use crate::secret::Ticket;
use crate::session::{Limits, Role, Session, User};

use self::client_auth::random;
use self::discovery::Metadata;
use self::exchange::Exchange;
use self::id_token::{BadIdToken, Expected, IdToken};
use self::loopback::{Loopback, Redirect};
use self::provider::{Provider, Shared, now};
use self::session::{Kept, OidcSession};
use self::token::{Ending, OAuthError, Tokens};
use self::user_info::UserInfo;

pub(crate) use self::client_auth::ClientAuth;
pub use self::examination::Examination;
pub(crate) use self::settings::{OidcSettings, Preset};

/// The longest wait, whatever `login_timeout` is.
const LONGEST_LOGIN: Duration = Duration::from_secs(24 * 3600);

/// An OpenID provider as an identity service.
pub(crate) struct OidcService(Arc<Shared>);

impl OidcService {
    pub(crate) fn new(settings: OidcSettings) -> Self {
        Self(Arc::new(Shared::new(settings)))
    }

    fn settings(&self) -> &OidcSettings {
        &self.0.settings
    }
}

impl IdentityService for OidcService {
    fn id(&self) -> String {
        let OidcSettings { kind, issuer, client_id, ticket, .. } = self.settings();
        format!("{kind} {issuer} {client_id} {ticket:?}")
    }

    fn log_in(&self, desk: &Desk<'_>) -> Result<Grant> {
        Login { shared: &self.0, desk }.run()
    }

    /// By another login of the same user.
    fn unlock<'a>(&'a self, locked: &Session, desk: &Desk<'_>) -> Result<Unlocking<'a>> {
        let login = Login { shared: &self.0, desk };
        login.unlock(locked).map(|replacement| Unlocking::SameUser(Some(replacement)))
    }

    fn change_role(&self, session: &Session, desk: &Desk<'_>) -> Result<Replacement> {
        let login = Login { shared: &self.0, desk };
        match (self.settings().kind, self.settings().role_selection) {
            (ServiceKind::Cis2, RoleSelection::Service) => login.change_role(session),
            (ServiceKind::Cis2, RoleSelection::Own) => login.choose_again(session),
            _ => Err(not_implemented("change of role: log in again")),
        }
    }

    fn session(&self, _user: &User, ticket: &Ticket) -> Arc<dyn ServiceSession> {
        Arc::new(OidcSession::of_ticket(&self.0, ticket))
    }
}

/// One login.
struct Login<'a> {
    shared: &'a Arc<Shared>,
    desk: &'a Desk<'a>,
}

/// What a login asks the provider for.
#[derive(Clone, Copy)]
struct LoginRequest<'a> {
    scope: &'a str,
    /// Whether the user is to log in even if the browser still has a session.
    new_login: bool,
}

/// What belongs to one login alone.
struct Once {
    state: Zeroizing<String>,
    nonce: Zeroizing<String>,
    verifier: Zeroizing<String>,
    redirect_uri: String,
    /// In seconds since 1970.
    began: i64,
}

/// A user who has logged in at the provider.
struct LoggedIn {
    begun: Begun,
    id_token: IdToken,
    info: Option<UserInfo>,
}

impl Login<'_> {
    fn run(&self) -> Result<Grant> {
        let settings = &self.shared.settings;
        // CIS2 shows the page for the role after a new login only.
        let new_login = settings.kind == ServiceKind::Cis2 && settings.role_selection == RoleSelection::Service;
        let request = LoginRequest { scope: &settings.scope, new_login };
        let LoggedIn { mut begun, id_token, info } = self.log_in_at_provider(request, None)?;
        let user = user(settings.kind, &id_token, info.as_ref());
        info!("logged in at the provider");

        let kept = Kept::new(self.shared, &begun.tokens, &id_token);
        let mut expiry = kept.expiry();
        let mut ticket = session::ticket(self.shared, &begun.tokens, Some(&id_token)).ok_or_else(no_id_token)?;
        let session = OidcSession::new(self.shared, id_token.subject.clone(), kept);
        let selected_role = info.as_ref().and_then(|info| info.selected_role.clone());
        let mut roles = info.map(|info| info.roles).unwrap_or_default();
        let card_watched = self.shared.settings.bind_card && self.desk.bind_card()?;

        if settings.context != Default::default() {
            let switched = session.switch_context(&settings.context, &self.call());
            begun.ending = session.ending();
            Replacement { ticket, expiry, roles, .. } = switched?;
        }
        let role = self.take_role(&mut roles, selected_role.as_deref())?;
        self.desk.cancel.check(Stage::RoleSelection)?;
        begun.keep();

        let limit = |time: Duration| Some(time).filter(|time| !time.is_zero());
        let limits = Limits { idle: limit(settings.idle_timeout), total: limit(settings.max_session) };
        Ok(Grant { user, roles, role, ticket, expiry, limits, card: None, card_watched, service: Arc::new(session) })
    }

    /// Lets the user log in in the browser. If it is the user of `session` who logs in again, that session continues
    /// whatever happens.
    fn log_in_at_provider(&self, request: LoginRequest<'_>, session: Option<&OidcSession>) -> Result<LoggedIn> {
        let Self { shared, desk } = self;
        let provider = Provider::discover(shared, &self.call())?;
        // Reports a faulty secret or key before the user logs in.
        provider.proof()?;
        if let Some(session) = session {
            session.wait_for_another_second(desk.cancel)?;
        }
        let loopback = Loopback::bind(&shared.settings.redirect_uri)?;
        let once = Once {
            state: random(),
            nonce: random(),
            verifier: random(),
            redirect_uri: loopback.redirect_uri().to_string(),
            began: now(),
        };

        let metadata = Arc::clone(&provider.metadata);
        let address = self.address(&metadata, request, &once);
        let exchange = Exchange::prepare(desk, provider, &once)?;
        let page = LoginPage::new(&address, &once.redirect_uri);
        let until = Instant::now() + shared.settings.login_timeout.min(LONGEST_LOGIN);
        let opened = desk.browser.open(&page, desk.cancel)?;
        let notice = desk.prompter.browser_opened(&page, desk.cancel);
        (desk.page_opened)();
        info!("waiting for the login in the browser");
        let redirect = loopback.wait(&once.state, until, &opened, desk.cancel)?;
        drop(notice);

        let Redirect { outcome, iss, page } = redirect;
        let logged_in = self.after_redirect(&metadata, exchange, (outcome, iss), &once, request, session);
        page.show(&logged_in);
        logged_in
    }

    /// Returns the address of the provider's page. It holds no secret but `state`.
    fn address(&self, metadata: &Metadata, request: LoginRequest<'_>, once: &Once) -> String {
        let settings = &self.shared.settings;
        let challenge = to_base64url(digest(&SHA256, once.verifier.as_bytes()).as_ref());
        let acr_values = settings.acr_values.join(" ");
        let mut fields = vec![
            ("response_type", "code"),
            ("client_id", &settings.client_id),
            ("redirect_uri", &once.redirect_uri),
            ("scope", request.scope),
            ("state", &once.state),
            ("nonce", &once.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        if !acr_values.is_empty() {
            fields.push(("acr_values", &acr_values));
        }
        if request.new_login {
            fields.push(("prompt", "login"));
        }
        metadata.authorization.with_query(&fields).as_str().to_owned()
    }

    fn after_redirect(
        &self,
        metadata: &Metadata,
        exchange: Exchange<'_>,
        (outcome, iss): (std::result::Result<Zeroizing<String>, loopback::ProviderError>, Option<String>),
        once: &Once,
        request: LoginRequest<'_>,
        session: Option<&OidcSession>,
    ) -> Result<LoggedIn> {
        let stage = Stage::Authentication;
        let server = metadata.authorization.origin().to_string();
        // A code of another provider must not be sent to this one (RFC 9207).
        if iss.as_ref().is_some_and(|iss| *iss != metadata.issuer) || iss.is_none() && metadata.iss_in_redirect {
            let detail = format!("the browser comes back from another provider than {server} (iss)");
            return Err(Error::new(ErrorKind::BadAnswer, stage, detail));
        }
        let code = outcome.map_err(|error| {
            let description = error.description.unwrap_or_default();
            OAuthError::new(&error.error, &description, &[]).into_error(&server, stage)
        })?;
        let mut begun = exchange.run(Secret::from(code))?;
        info!("tokens received");
        let id_token = self.check_id_token(&mut begun, once, request)?;
        if let Some(session) = session {
            begun.is_again(&id_token, session)?;
        }
        let info = self.user_info(&mut begun, &id_token)?;
        Ok(LoggedIn { begun, id_token, info })
    }

    fn check_id_token(&self, begun: &mut Begun, once: &Once, request: LoginRequest<'_>) -> Result<IdToken> {
        let settings = &self.shared.settings;
        let Begun { provider, tokens, .. } = begun;
        let metadata = Arc::clone(&provider.metadata);
        let token = tokens.id.as_ref().ok_or_else(no_id_token)?;
        let expected = Expected {
            issuer: &metadata.issuer,
            client_id: &settings.client_id,
            now: now(),
            since: Some(once.began),
            nonce: Some(&once.nonce),
            access_token: Some(&tokens.access),
            acr_values: &settings.acr_values,
            login_since: request.new_login.then_some(once.began),
            subject: None,
        };
        let checked = provider.check_id_token(token, &expected, Stage::Authentication, &self.call())?;
        checked.map_err(|why| refused(&why))
    }

    /// Asks who the user is. If no role is required, the login continues without an answer.
    fn user_info(&self, begun: &mut Begun, id_token: &IdToken) -> Result<Option<UserInfo>> {
        let Begun { provider, tokens, .. } = begun;
        let stage = Stage::Authentication;
        match provider.user_info(&tokens.access, Some(&id_token.subject), stage, &self.call()) {
            Err(error) if !self.shared.settings.roles.require && *error.kind() != ErrorKind::Cancelled => {
                warn!(%error, "the login goes on without UserInfo");
                Ok(None)
            }
            info => info,
        }
    }

    /// Returns the index of the session's role. Only CIS2's sessions have one; a name of another provider's role is
    /// taken if the settings ask for it.
    fn take_role(&self, roles: &mut Vec<Role>, selected: Option<&str>) -> Result<Option<usize>> {
        let settings = &self.shared.settings.roles;
        self.desk.cancel.check(Stage::RoleSelection)?;
        if let Some(id) = selected {
            if settings.role.as_deref().is_some_and(|role| role != id) {
                let detail = format!("the role {id} was chosen at the provider, and role is set to another one");
                return Err(Error::new(ErrorKind::UserNotValid, Stage::RoleSelection, detail));
            }
            return Ok(Some(position_or_push(roles, id)));
        }
        match self.shared.settings.kind {
            ServiceKind::Cis2 => settings.choose(roles, self.desk),
            _ if settings.role.is_some() => settings.choose(roles, self.desk),
            _ => Ok(None),
        }
    }

    /// Returns the limits of one step.
    fn call(&self) -> Call<'_> {
        Call::within(self.shared.settings.https.request_deadline, self.desk.cancel)
    }
}

/// Returns the index of the role `id`, which the provider may name without having listed it.
fn position_or_push(roles: &mut Vec<Role>, id: &str) -> usize {
    roles.iter().position(|role| role.id == id).unwrap_or_else(|| {
        roles.push(Role::of_job(id, "", "", ""));
        roles.len() - 1
    })
}

fn user(kind: ServiceKind, id_token: &IdToken, info: Option<&UserInfo>) -> User {
    let nhs_uid = || info.and_then(|info| info.nhs_uid.as_ref()).or(id_token.nhs_uid.as_ref());
    let user_name = || info.and_then(|info| info.user_name.as_ref()).or(id_token.user_name.as_ref());
    let uid = if kind == ServiceKind::Cis2 { nhs_uid() } else { user_name() };
    let name = info.and_then(|info| info.name.as_ref()).or(id_token.name.as_ref());
    User {
        uid: printable::clean(uid.unwrap_or(&id_token.subject), LONGEST_NAME),
        name: name.map(|name| printable::name(name)).unwrap_or_default(),
    }
}

/// A session that has begun at the provider. Dropping it ends that session unless the login has succeeded, also when
/// the prompter panics.
struct Begun {
    provider: Provider,
    tokens: Tokens,
    ending: Ending,
    kept: bool,
    owner: ForkGuard,
}

impl Begun {
    fn new(provider: Provider, tokens: Tokens, owner: ForkGuard) -> Self {
        let ending = Ending {
            id_token: tokens.id.as_ref().map(|token| token.0.clone()),
            access: Some(tokens.access.clone()),
            refresh: tokens.refresh.clone(),
            session: tokens.session.clone(),
            home: None,
        };
        Self { provider, tokens, ending, kept: false, owner }
    }

    fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.kept || !self.owner.is_this_process() {
            return;
        }
        end(&mut self.provider, &self.ending);
    }
}

/// Ends the session of a login that failed.
fn end(provider: &mut Provider, ending: &Ending) {
    // Not the login's token: the user may have cancelled it, and the session must end all the same.
    let cancel = CancelToken::new();
    let call = Call::within(provider.settings().https.request_deadline, &cancel);
    if let Err(error) = provider.end(ending, &call) {
        warn!(%error, "the session could not be ended at the provider");
    }
}

fn no_id_token() -> Error {
    Error::new(ErrorKind::BadAnswer, Stage::Authentication, "the provider gives no ID token: scope must hold openid")
}

fn refused(why: &BadIdToken) -> Error {
    let kind = match why {
        BadIdToken::Acr | BadIdToken::NoNewLogin | BadIdToken::OtherUser => ErrorKind::Refused,
        _ => ErrorKind::BadAnswer,
    };
    Error::new(kind, Stage::Authentication, format!("the provider's ID token is refused: {why}"))
}

fn defect(detail: &str) -> Error {
    Error::new(ErrorKind::Internal, Stage::Authentication, detail)
}
