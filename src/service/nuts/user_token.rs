//! A login by the second version of the node's API, which nodes of version 6 have as an experiment: the browser
//! follows redirects, without a contract, and the ticket is an access token of another organisation.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracing::info;

use super::landing::Landing;
use super::node::{ErrorKindOf, Node, Step, pause, to_json};
use super::{Login, SIGNING_WINDOW, role};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::http::{Call, Url};
use crate::prompt::LoginPage;
use crate::secret::Ticket;
use crate::service::secret::Secret;
use crate::service::{Expiry, Grant, ServiceSession, json};
use crate::session::{Limits, User};

const V2: &str = "/internal/auth/v2";

/// What such a login asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserTokenSettings {
    /// The node's name of the employer.
    pub(crate) subject: String,
    /// The other organisation's authorization server.
    pub(crate) authorization_server: String,
    pub(crate) scope: String,
}

/// A session whose ticket is all there is of it.
#[derive(Debug)]
pub(super) struct TokenSession;

impl ServiceSession for TokenSession {
    /// The token expires by itself; nobody can be asked.
    fn check(&self, _: &Call<'_>) -> Result<()> {
        Ok(())
    }

    fn log_out(&self, _: &Call<'_>) -> Result<()> {
        Ok(())
    }
}

#[derive(Serialize)]
struct TokenRequest<'a> {
    authorization_server: &'a str,
    scope: &'a str,
    token_type: &'static str,
    preauthorized_user: Preauthorized<'a>,
    redirect_uri: &'a str,
}

#[derive(Serialize)]
struct Preauthorized<'a> {
    id: &'a str,
    name: &'a str,
    role: &'a str,
}

#[derive(Deserialize)]
struct TokenRequested {
    redirect_uri: String,
    session_id: String,
}

/// The token's members are empty while it is pending.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    pub(super) access_token: Secret,
    token_type: String,
    expires_in: Option<u64>,
}

impl Login<'_> {
    pub(super) fn get_user_token(&self, settings: &UserTokenSettings) -> Result<Grant> {
        let mut node = Node::new(self.settings);
        let landing = Landing::open()?;
        let (id, page) = self.request_user_token(&mut node, settings, &landing)?;
        let page = LoginPage::new(page.as_str(), &landing.address);
        let opened = self.desk.browser.open(&page, self.desk.cancel)?;
        let _notice = self.desk.prompter.browser_opened(&page, self.desk.cancel);
        (self.desk.page_opened)();
        let answer = self.wait_for_user_token(&mut node, &id, &landing, opened.failed())?;
        info!("access token received");
        let roles: Vec<_> = self.employee.role.iter().map(|name| role(name)).collect();
        let lasts = answer.expires_in.map(Duration::from_secs);
        let card_watched = self.settings.bind_card && self.desk.bind_card()?;
        self.desk.cancel.check(Stage::Session)?;
        Ok(Grant {
            user: User { uid: self.employee.identifier.clone(), name: self.employee.name() },
            role: (!roles.is_empty()).then_some(0),
            roles,
            ticket: Ticket::new(answer.access_token.expose().to_owned()),
            expiry: lasts.map(|after| Expiry { after, renewable: None }),
            limits: Limits { idle: None, total: lasts },
            card: None,
            card_watched,
            service: std::sync::Arc::new(TokenSession),
        })
    }

    /// Returns the session's id, and the address for the browser.
    fn request_user_token(
        &self,
        node: &mut Node<'_>,
        settings: &UserTokenSettings,
        landing: &Landing,
    ) -> Result<(String, Url)> {
        let step = Step { stage: Stage::Activation, refusal: "asks for no access token", kind: ErrorKindOf::Settings };
        let UserTokenSettings { subject, authorization_server, scope } = settings;
        let Some(role) = &self.employee.role else {
            let detail = "nuts_api = v2 needs the employee's role";
            return Err(Error::new(ErrorKind::Configuration, Stage::Configuration, detail));
        };
        let name = self.employee.name();
        let body = to_json(&TokenRequest {
            authorization_server,
            scope,
            token_type: "Bearer",
            preauthorized_user: Preauthorized { id: &self.employee.identifier, name: &name, role },
            redirect_uri: &landing.address,
        })?;
        let path = format!("{V2}/{subject}/request-user-access-token");
        let answer = node.post(step, &path, body, &node.call(self.desk.cancel))?;
        read_requested(&answer.body)
    }

    fn wait_for_user_token(
        &self,
        node: &mut Node<'_>,
        id: &str,
        landing: &Landing,
        not_shown: &crate::cancel::CancelToken,
    ) -> Result<TokenAnswer> {
        let step = Step { stage: Stage::Browser, refusal: "gives no access token", kind: ErrorKindOf::Decision };
        let deadline = Instant::now() + self.settings.login_timeout.min(SIGNING_WINDOW);
        let path = format!("{V2}/accesstoken/{id}");
        let (mut number, mut answered) = (0, Instant::now());
        loop {
            self.pause(answered + pause(number), deadline, not_shown)?;
            number = if landing.show() { 0 } else { number.saturating_add(1) };
            let answer = node.poll(step, &path, &node.call(self.desk.cancel))?;
            answered = Instant::now();
            let Some(answer) = answer else { continue };
            let Some(answer) = read_token(&answer.body)? else { continue };
            // So that the browser does not have to wait for a page that never comes.
            landing.show();
            return Ok(answer);
        }
    }
}

/// Reads the session's id, and the address for the browser.
///
/// # Errors
///
/// [`BadAnswer`](ErrorKind::BadAnswer).
pub(super) fn read_requested(response: &[u8]) -> Result<(String, Url)> {
    let bad = |why: &str| {
        let detail = format!("the node's session for an access token cannot be used: {why}");
        Error::new(ErrorKind::BadAnswer, Stage::Activation, detail)
    };
    let TokenRequested { redirect_uri, session_id } = json::read(response).map_err(|error| bad(&error.to_string()))?;
    // It becomes a part of an address.
    let is_plain = session_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if session_id.is_empty() || session_id.len() > 128 || !is_plain {
        return Err(bad("its id is not one"));
    }
    let page = Url::parse(&redirect_uri).map_err(|why| bad(&format!("the address for the browser: {why}")))?;
    Ok((session_id, page))
}

/// Reads the access token; `None` while it is pending.
///
/// # Errors
///
/// [`BadAnswer`](ErrorKind::BadAnswer).
pub(super) fn read_token(response: &[u8]) -> Result<Option<TokenAnswer>> {
    let bad = |why: &str| {
        let detail = format!("the node's access token cannot be used: {why}");
        Error::new(ErrorKind::BadAnswer, Stage::Browser, detail)
    };
    let answer: TokenAnswer = json::read(response).map_err(|error| bad(&error.to_string()))?;
    if answer.access_token.expose().is_empty() {
        return Ok(None);
    }
    if !answer.token_type.eq_ignore_ascii_case("Bearer") {
        return Err(bad("it is not a bearer token"));
    }
    Ok(Some(answer))
}
