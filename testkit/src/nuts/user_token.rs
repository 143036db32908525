//! Access tokens of users by the second version of the API, which nodes of version 6 have as an experiment.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::Answer;
use super::keys::{base64url, random};
use super::node::Node;
use crate::http::HttpRequest;

/// How long such a token is good for.
const TOKEN_SECONDS: u64 = 900;

/// The browser's way to one token.
struct Way {
    /// Where the browser ends.
    redirect_uri: String,
    scope: String,
    token_type: String,
    /// How many redirects it has followed.
    steps: u32,
}

/// Tokens that are on their way, by the ids of their sessions.
#[derive(Default)]
pub(super) struct UserTokens(BTreeMap<String, Way>);

impl Node {
    pub(super) fn request_user_token(&mut self, subject: &str, body: &Value) -> Answer {
        let refused = |detail: &str| Answer::problem(400, "RequestUserAccessToken failed", detail);
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        if self.organization(subject).is_none() && !self.organizations.iter().any(|known| known.subject() == subject) {
            return Answer::problem(404, "RequestUserAccessToken failed", "subject not found");
        }
        if !text(&body["authorization_server"]).is_some_and(|url| url.starts_with("http")) {
            return refused("invalid authorization_server: no http(s) URL");
        }
        let user = &body["preauthorized_user"];
        for field in ["id", "name", "role"] {
            if text(&user[field]).is_none() {
                return refused(&format!("missing preauthorized_user.{field}"));
            }
        }
        let Some(redirect_uri) = text(&body["redirect_uri"]) else { return refused("missing redirect_uri") };
        let token_type = text(&body["token_type"]).unwrap_or_else(|| "DPoP".into());
        let id = base64url(random::<16>());
        let way = Way { redirect_uri, scope: text(&body["scope"]).unwrap_or_default(), token_type, steps: 0 };
        self.user_tokens.0.insert(id.clone(), way);
        let page = format!("{}/oauth2/{subject}/user?token={id}", self.public_url);
        if self.auto_accept == Some(true)
            && let Some(way) = self.user_tokens.0.get_mut(&id)
        {
            way.steps = 3;
        }
        Answer::json(200, &json!({"redirect_uri": page, "session_id": id}))
    }
}

impl UserTokens {
    /// Sends the browser on: to the authorizer, back, and to the program's address.
    pub(super) fn redirect(&mut self, request: &HttpRequest) -> Answer {
        let token = request.query().strip_prefix("token=").unwrap_or_default();
        let Some(way) = self.0.get_mut(token) else { return Answer::failed(404, "session not found") };
        let base = request.path().rsplit_once('/').map_or("", |parts| parts.0);
        let expected = ["user", "authorize", "callback"].get(way.steps as usize);
        if expected.is_none_or(|step| !request.path().ends_with(step)) {
            return Answer::failed(400, "invalid_request - invalid or expired token");
        }
        way.steps += 1;
        Answer::redirect(match way.steps {
            1 => format!("{base}/authorize?token={token}"),
            2 => format!("{base}/callback?token={token}"),
            _ => way.redirect_uri.clone(),
        })
    }

    pub(super) fn poll(&mut self, id: &str) -> Answer {
        match self.0.get(id) {
            None => Answer::problem(404, "RetrieveAccessToken failed", "session not found"),
            Some(way) if way.steps < 3 => Answer::json(200, &json!({"access_token": "", "token_type": ""})),
            Some(way) => {
                let token = base64url(random::<32>());
                let (scope, kind) = (way.scope.as_str(), way.token_type.as_str());
                let answer = json!({
                    "access_token": token,
                    "expires_in": TOKEN_SECONDS,
                    "scope": scope,
                    "token_type": kind,
                });
                self.0.remove(id);
                Answer::json(200, &answer)
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

impl super::Organization {
    /// What the second version of the API calls it.
    pub(super) fn subject(&self) -> &str {
        self.name.as_str()
    }
}
