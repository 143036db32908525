//! A session of an employee: the presentation, and what programs do with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::node::{ErrorKindOf, Node, Step, to_json};
use super::presentation::Presentation;
use super::{NutsSettings, now};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::http::{Call, form};
use crate::secret::{AccessToken, SecretBytes, Ticket};
use crate::service::secret::Secret;
use crate::service::{ServiceSession, json};
use crate::session::AssuranceLevel;

/// A session at a node: the node itself keeps none.
pub(crate) struct NutsSession {
    pub(super) settings: Arc<NutsSettings>,
    /// As the node wrote it.
    pub(super) presentation: SecretBytes,
    pub(super) assurance: Option<AssuranceLevel>,
}

impl fmt::Debug for NutsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NutsSession").field("assurance", &self.assurance).finish_non_exhaustive()
    }
}

/// A request for access to what `authorizer` keeps.
#[derive(Serialize)]
struct AccessRequest<'a> {
    authorizer: &'a str,
    requester: &'a str,
    service: &'a str,
    identity: &'a RawValue,
    credentials: [(); 0],
}

#[derive(Deserialize)]
struct AccessAnswer {
    access_token: Secret,
    token_type: String,
    expires_in: Option<u64>,
}

impl NutsSession {
    /// The session with this ticket.
    pub(super) fn of(settings: &Arc<NutsSettings>, ticket: &Ticket, assurance: Option<AssuranceLevel>) -> Self {
        let presentation = super::ticket::presentation(ticket).unwrap_or_default();
        Self { settings: Arc::clone(settings), presentation, assurance }
    }

    /// Asks the node for access to what `service` of `authorizer` keeps.
    pub(crate) fn access_token(&self, authorizer: &str, service: &str, call: &Call<'_>) -> Result<AccessToken> {
        let step = Step { stage: Stage::Session, refusal: "gives no access token", kind: ErrorKindOf::Decision };
        let body = to_json(&AccessRequest {
            authorizer,
            requester: &self.settings.employer,
            service,
            identity: serde_json::from_str(self.text()?).map_err(|_| defect())?,
            credentials: [],
        })?;
        let answer = Node::new(&self.settings).post(step, "/internal/auth/v1/request-access-token", body, call)?;
        read_access_token(&answer.body)
    }

    /// Asks the node what an access token says. Returns JSON.
    pub(crate) fn introspect(&self, token: &str, call: &Call<'_>) -> Result<String> {
        let step =
            Step { stage: Stage::Session, refusal: "does not look at the access token", kind: ErrorKindOf::Decision };
        let path = "/internal/auth/v1/accesstoken/introspect";
        let answer = Node::new(&self.settings).post_form(step, path, form(&[("token", token)]), call)?;
        read_introspection(&answer.body)
    }

    pub(crate) fn assurance(&self) -> Option<AssuranceLevel> {
        self.assurance
    }

    fn text(&self) -> Result<&str> {
        str::from_utf8(&self.presentation).map_err(|_| defect())
    }
}

impl ServiceSession for NutsSession {
    /// The presentation's time is all that can be checked: the node keeps no session.
    fn check(&self, _: &Call<'_>) -> Result<()> {
        let over =
            Presentation::read(&self.presentation).ok().and_then(|read| read.ends()).is_none_or(|ends| ends <= now());
        if over {
            return Err(Error::new(
                ErrorKind::Refused,
                Stage::Session,
                "the contract that the user has signed has ended",
            ));
        }
        Ok(())
    }

    fn log_out(&self, _: &Call<'_>) -> Result<()> {
        Ok(())
    }

    /// The presentation, as other nodes want it in a grant.
    fn claims(&self, _: &Call<'_>) -> Result<String> {
        self.text().map(str::to_owned)
    }
}

/// Reads the access token for what another organisation keeps.
///
/// # Errors
///
/// [`BadAnswer`](ErrorKind::BadAnswer).
pub(super) fn read_access_token(response: &[u8]) -> Result<AccessToken> {
    let bad = |why: &str| {
        Error::new(ErrorKind::BadAnswer, Stage::Session, format!("the node's access token cannot be used: {why}"))
    };
    let read: AccessAnswer = json::read(response).map_err(|error| bad(&error.to_string()))?;
    if !read.token_type.eq_ignore_ascii_case("bearer") || read.access_token.expose().is_empty() {
        return Err(bad("it is not a bearer token"));
    }
    Ok(AccessToken::new(read.access_token.expose(), read.expires_in.map(Duration::from_secs)))
}

/// Checks that what the node says about an access token is JSON, and returns it.
///
/// # Errors
///
/// [`BadAnswer`](ErrorKind::BadAnswer).
pub(super) fn read_introspection(response: &[u8]) -> Result<String> {
    let bad =
        || Error::new(ErrorKind::BadAnswer, Stage::Session, "the node's answer about the access token is not JSON");
    json::read::<IgnoredAny>(response).map_err(|_| bad())?;
    str::from_utf8(response).map(str::to_owned).map_err(|_| bad())
}

fn defect() -> Error {
    Error::new(ErrorKind::Internal, Stage::Session, "the session's ticket is not a presentation")
}
