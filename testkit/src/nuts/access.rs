//! Access tokens between nodes: grants, tokens and introspection.

use serde_json::{Value, json};

use super::answer::Answer;
use super::keys::{DidKey, uuid};
use super::node::{Node, read_form, value};
use super::presentation::Fault;
use super::time::now;
use super::{Credential, Version};
use crate::http::HttpRequest;

/// How long an access token is good for.
const TOKEN_SECONDS: i64 = 60;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

impl Node {
    /// Asks the authorizer's node, which is this one, for an access token.
    pub(super) fn request_access_token(&self, body: &Value) -> Answer {
        let refused = |status, detail: String| Answer::problem(status, "RequestAccessToken failed", detail);
        let grant = match self.grant(body) {
            Ok(grant) => grant,
            Err(Grantless::Answer(answer)) => return answer,
            Err(Grantless::Refused(reason)) => return refused(400, reason),
        };
        match self.access_token(&grant) {
            Ok(answer) => Answer::json(200, &answer),
            Err(_) => refused(
                503,
                "remote server/nuts node returned error creating access token: server returned HTTP 400 (expected: 200)".into(),
            ),
        }
    }

    pub(super) fn jwt_grant(&self, body: &Value) -> Answer {
        match self.grant(body) {
            Ok(grant) => {
                let endpoint = self.endpoint();
                Answer::json(200, &json!({"authorization_server_endpoint": endpoint, "bearer_token": grant}))
            }
            Err(Grantless::Answer(answer)) => answer,
            Err(Grantless::Refused(reason)) => Answer::problem(400, "CreateJwtGrant failed", reason),
        }
    }

    fn grant(&self, body: &Value) -> Result<String, Grantless> {
        self.check_presentation(&body["identity"], "identity").map_err(Grantless::Answer)?;
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let refused = |reason: &str| Grantless::Refused(reason.to_owned());
        let no_document = "unable to find the DID document";
        let endpoint = "could not fetch authorizer's 'oauth' endpoint from compound service: ";
        let requester = self.organization(text("requester")).ok_or_else(|| refused(no_document))?;
        let authorizer =
            self.organization(text("authorizer")).ok_or_else(|| refused(&format!("{endpoint}{no_document}")))?;
        if !authorizer.services.iter().any(|service| service == text("service")) {
            return Err(refused(&format!(
                "{endpoint}referenced service does not resolve to a single endpoint URL: unable to resolve compound \
                 service: service not found in DID Document"
            )));
        }
        Ok(self.sign_grant(&requester.key, text("authorizer"), text("service"), &body["identity"]))
    }

    pub(super) fn sign_grant(&self, requester: &DidKey, authorizer: &str, service: &str, identity: &Value) -> String {
        let now = now();
        let claims = json!({
            "aud": self.endpoint(),
            "exp": now + 5,
            "iat": now,
            "iss": requester.did(),
            "jti": uuid(),
            "purposeOfUse": service,
            "sub": authorizer,
            "usi": identity,
            "vcs": [],
        });
        requester.jwt("JWT", &claims)
    }

    fn endpoint(&self) -> String {
        format!("{}/n2n/auth/v1/accesstoken", self.public_url)
    }

    pub(super) fn access_token_for_node(&self, request: &HttpRequest) -> Answer {
        let form = read_form(&request.body);
        if value(&form, "grant_type") != Some(GRANT_TYPE) {
            return Answer::oauth("unsupported_grant_type", &format!("grant_type must be: '{GRANT_TYPE}'"));
        }
        let assertion = value(&form, "assertion").unwrap_or_default();
        if assertion.split('.').count() != 3 {
            return Answer::oauth("invalid_grant", "Assertion must be a valid encoded jwt");
        }
        match self.access_token(assertion) {
            Ok(answer) => Answer::json(200, &answer),
            Err(reason) => Answer::oauth("invalid_request", &reason),
        }
    }

    /// Makes the access token of a grant; an error has the node's text.
    fn access_token(&self, grant: &str) -> Result<Value, String> {
        let signed = self.organizations.iter().find_map(|known| Some((known, known.key.claims(grant)?)));
        let (requester, claims) = signed.ok_or("jwt bearer token validation failed: invalid signature")?;
        let authorizer = self.organization(claims["sub"].as_str().unwrap_or_default()).ok_or("invalid jwt.subject")?;
        if requester.credential != Credential::Trusted {
            return Err("requester has no trusted organization VC".into());
        }
        let now = now();
        let mut token = json!({
            "aud": [""],
            "exp": now + TOKEN_SECONDS,
            "iat": now,
            "iss": authorizer.key.did(),
            "service": claims["purposeOfUse"],
            "sub": requester.key.did(),
        });
        match &claims["usi"] {
            Value::Null => {}
            Value::String(_) => {
                let reason = match self.version {
                    Version::V5 => "json: cannot unmarshal string into Go value of type map[string]interface {}",
                    Version::V6 => "invalid JWT",
                };
                return Err(format!("cannot unmarshal identity presentation: {reason}"));
            }
            identity => {
                let verified = self.verified(identity, now).map_err(|fault| {
                    let (Fault::Request(reason) | Fault::Invalid(reason)) = fault;
                    format!("identity validation failed: {reason}")
                })?;
                (token["email"], token["prefix"]) = ("".into(), "".into());
                for (name, value) in verified.attributes {
                    token[if name == "familyname" { "family_name" } else { name }] = value.into();
                }
            }
        }
        let token = authorizer.key.jwt("at+jwt", &token);
        Ok(json!({"access_token": token, "expires_in": TOKEN_SECONDS, "token_type": "bearer"}))
    }

    pub(super) fn introspect(&self, request: &HttpRequest) -> Answer {
        let form = read_form(&request.body);
        let Some(mut claims) = self.claims(value(&form, "token").unwrap_or_default()) else {
            return Answer::json(200, &json!({"active": false}));
        };
        claims["active"] = true.into();
        claims["aud"] = claims["aud"][0].take();
        Answer::json(200, &claims)
    }

    pub(super) fn check_access_token(&self, request: &HttpRequest) -> Answer {
        match request.header("Authorization") {
            None => Answer::failed(
                400,
                "Invalid format for parameter Authorization: query parameter 'Authorization' is required",
            ),
            Some(header) => {
                let token = header.split_once(' ').filter(|parts| parts.0.eq_ignore_ascii_case("bearer"));
                Answer::empty(if token.and_then(|parts| self.claims(parts.1)).is_some() { 200 } else { 403 })
            }
        }
    }

    /// The claims of an access token that is good.
    fn claims(&self, token: &str) -> Option<Value> {
        let claims = self.organizations.iter().find_map(|known| known.key.claims(token))?;
        let good = claims["exp"].as_i64()? > now() && claims["service"].is_string();
        good.then_some(claims)
    }
}

/// Why there is no grant.
enum Grantless {
    Answer(Answer),
    /// With the node's words.
    Refused(String),
}
