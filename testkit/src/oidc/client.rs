//! Clients that the provider knows, and how they prove it.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::pkey::{PKey, Public};
use serde_json::Value;

use super::jose::{Algorithm, Key, Parsed, random_text};
use crate::bounded::Bounded;
use crate::error::{Result, write_key};
use crate::http::{HttpRequest, decode_form, percent_decode};

/// A client that is registered with the provider.
#[derive(Clone)]
pub struct Client {
    pub(crate) id: String,
    pub(crate) authentication: Authentication,
    pub(crate) redirect_uris: Vec<String>,
}

#[derive(Clone)]
pub(crate) enum Authentication {
    None,
    Secret(String),
    PrivateKey { key: PKey<Public>, key_id: String, algorithm: Algorithm },
}

impl Client {
    /// A public client, which has to use PKCE.
    pub fn public(id: impl Into<String>) -> Self {
        let redirect_uris = ["127.0.0.1", "[::1]", "localhost"].map(|host| format!("http://{host}/callback"));
        Self { id: id.into(), authentication: Authentication::None, redirect_uris: redirect_uris.into() }
    }

    /// A client with a secret.
    pub fn with_secret(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { authentication: Authentication::Secret(secret.into()), ..Self::public(id) }
    }

    /// A client with a new secret, which is written to a file that others cannot read.
    pub fn with_new_secret(id: impl Into<String>, file: &Path) -> Result<Self> {
        let secret = random_text(24)?;
        write_key(file, format!("{secret}\n"))?;
        Ok(Self::with_secret(id, secret))
    }

    /// A client that signs assertions with this key.
    pub fn with_key(id: impl Into<String>, key: &Key) -> Result<Self> {
        let (key_id, algorithm) = (key.id().into(), key.algorithm());
        let authentication = Authentication::PrivateKey { key: key.public()?, key_id, algorithm };
        Ok(Self { authentication, ..Self::public(id) })
    }

    /// Its redirect URIs; without this call `/callback` on 127.0.0.1, `[::1]` and localhost. Any port is taken for
    /// one without.
    pub fn redirect_uris(mut self, uris: &[&str]) -> Self {
        self.redirect_uris = uris.iter().map(ToString::to_string).collect();
        self
    }

    /// RFC 8252, section 7.3: the port of a loopback address is any where none is registered.
    pub(crate) fn takes_redirect(&self, uri: &str) -> bool {
        self.redirect_uris.iter().any(|registered| registered == uri || without_port(uri).as_ref() == Some(registered))
    }

    /// The key for HMACs that a careless client would take.
    pub(crate) fn secret(&self) -> &str {
        match &self.authentication {
            Authentication::Secret(secret) => secret,
            _ => &self.id,
        }
    }
}

fn without_port(uri: &str) -> Option<String> {
    let rest = uri.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find('/')?);
    let (host, port) = authority.rsplit_once(':')?;
    let loopback = ["127.0.0.1", "[::1]", "localhost"].contains(&host);
    (loopback && port.parse::<u16>().is_ok()).then(|| format!("http://{host}{path}"))
}

/// An error of RFC 6749, section 5.2.
#[derive(Clone, Debug)]
pub(crate) struct OAuthError {
    pub(crate) status: u16,
    pub(crate) error: String,
    pub(crate) description: String,
}

impl OAuthError {
    pub(crate) fn new(error: &str, description: impl Into<String>) -> Self {
        Self { status: 400, error: error.into(), description: description.into() }
    }

    pub(crate) fn client(description: impl Into<String>) -> Self {
        Self::new("invalid_client", description)
    }
}

/// What a client has shown, out of one request.
struct Shown<'a> {
    id: Option<String>,
    basic: Option<(String, String)>,
    secret: Option<&'a str>,
    assertion: Option<&'a str>,
}

/// Checks who sends a request to the token endpoint.
pub(crate) struct Doorkeeper {
    pub(crate) clients: Vec<Client>,
    /// The methods that discovery lists.
    pub(crate) methods: Vec<String>,
    seen: Bounded<()>,
}

impl Doorkeeper {
    pub(crate) fn new(clients: Vec<Client>, methods: Vec<String>, capacity: usize) -> Self {
        Self { clients, methods, seen: Bounded::new(capacity) }
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }

    /// The client that sends this, or why it is refused. `audience` is the token endpoint.
    pub(crate) fn admit(
        &mut self,
        request: &HttpRequest,
        form: &[(String, String)],
        audience: &str,
        now: i64,
    ) -> std::result::Result<Client, OAuthError> {
        let value = |name: &str| form.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str());
        let shown = Shown {
            id: value("client_id").map(Into::into),
            basic: basic_credentials(request)?,
            secret: value("client_secret"),
            assertion: value("client_assertion"),
        };
        let ways = usize::from(shown.basic.is_some())
            + usize::from(shown.secret.is_some())
            + usize::from(shown.assertion.is_some());
        if ways > 1 {
            return Err(OAuthError::new("invalid_request", "more than one client authentication"));
        }
        let subject = shown.assertion.and_then(Parsed::new).and_then(|a| a.claims["sub"].as_str().map(String::from));
        let named = shown.basic.as_ref().map(|basic| basic.0.clone()).or(subject).or_else(|| shown.id.clone());
        let named = named.ok_or_else(|| OAuthError::client("no client_id"))?;
        if shown.id.as_ref().is_some_and(|id| *id != named) {
            return Err(OAuthError::client("two different clients"));
        }
        let client = self.find(&named).cloned().ok_or_else(|| OAuthError::client("unknown client"))?;
        let method = match &shown {
            Shown { basic: Some(_), .. } => "client_secret_basic",
            Shown { secret: Some(_), .. } => "client_secret_post",
            Shown { assertion: Some(_), .. } => "private_key_jwt",
            _ => "none",
        };
        if !self.methods.iter().any(|known| known == method) {
            return Err(OAuthError::client(format!("the method {method} is not supported")));
        }
        match (&client.authentication, shown.basic.as_ref().map(|basic| basic.1.as_str()).or(shown.secret)) {
            (Authentication::None, None) if ways == 0 => {}
            (Authentication::Secret(secret), Some(shown)) if secret == shown => {}
            (Authentication::PrivateKey { .. }, None) if shown.assertion.is_some() => {
                let kind = value("client_assertion_type").unwrap_or_default();
                if kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
                    return Err(OAuthError::client("client_assertion_type is wrong"));
                }
                self.check_assertion(&client, shown.assertion.unwrap_or_default(), audience, now)?;
            }
            _ => {
                return Err(OAuthError {
                    status: 401,
                    ..OAuthError::client("Invalid client or Invalid client credentials")
                });
            }
        }
        Ok(client)
    }

    /// RFC 7523, section 3, as strict as CIS2 and Keycloak.
    fn check_assertion(
        &mut self,
        client: &Client,
        assertion: &str,
        audience: &str,
        now: i64,
    ) -> std::result::Result<(), OAuthError> {
        let refuse = |why: &str| Err(OAuthError::client(format!("client_assertion: {why}")));
        let Authentication::PrivateKey { key, key_id, algorithm } = &client.authentication else {
            return refuse("the client has no key");
        };
        let Some(token) = Parsed::new(assertion) else { return refuse("not a JWT") };
        let claims = &token.claims;
        if token.header["alg"] != algorithm.name() {
            return refuse("another alg than the client's");
        }
        if token.header["kid"] != key_id.as_str() {
            return refuse("unknown kid");
        }
        if !token.is_signed_by(key, *algorithm) {
            return refuse("the signature is wrong");
        }
        if claims["iss"] != client.id.as_str() || claims["sub"] != client.id.as_str() {
            return refuse("iss and sub have to be the client_id");
        }
        let one_audience = match &claims["aud"] {
            Value::String(aud) => aud == audience,
            Value::Array(list) => list.len() == 1 && list[0] == audience,
            _ => false,
        };
        if !one_audience {
            return refuse("aud has to be the token endpoint alone");
        }
        match claims["exp"].as_i64() {
            None => return refuse("no exp"),
            Some(exp) if exp <= now => return refuse("expired"),
            Some(exp) if exp > now + 300 => return refuse("valid for more than five minutes"),
            Some(_) => {}
        }
        if claims["iat"].as_i64().is_some_and(|iat| iat > now + 10) {
            return refuse("issued in the future");
        }
        match claims["jti"].as_str() {
            None | Some("") => refuse("no jti"),
            Some(jti) if self.seen.contains(jti) => refuse("jti was used before"),
            Some(jti) => {
                self.seen.insert(jti.into(), ());
                Ok(())
            }
        }
    }
}

fn basic_credentials(request: &HttpRequest) -> std::result::Result<Option<(String, String)>, OAuthError> {
    let Some(header) = request.header("Authorization") else { return Ok(None) };
    let Some(encoded) = header.strip_prefix("Basic ") else { return Ok(None) };
    let text = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    // RFC 6749, section 2.3.1: both are form-encoded before.
    let parts = text.as_deref().and_then(|text| text.split_once(':'));
    match parts.and_then(|(id, secret)| Some((percent_decode(id)?, percent_decode(secret)?))) {
        Some(credentials) => Ok(Some(credentials)),
        None => Err(OAuthError::client("Authorization is not Basic credentials")),
    }
}

/// The form of a POST, decoded.
pub(crate) fn form_of(request: &HttpRequest) -> Vec<(String, String)> {
    decode_form(std::str::from_utf8(&request.body).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_redirect_may_have_any_port_and_nothing_else_may_differ() {
        let client = Client::public("x");
        for good in ["http://127.0.0.1:1/callback", "http://[::1]:65535/callback", "http://localhost/callback"] {
            assert!(client.takes_redirect(good), "{good}");
        }
        for bad in [
            "http://127.0.0.2:1/callback",
            "http://127.0.0.1:1/callback/",
            "http://127.0.0.1:1/callback?x",
            "https://127.0.0.1:1/callback",
            "http://127.0.0.1:x/callback",
            "http://elsewhere.invalid:1/callback",
        ] {
            assert!(!client.takes_redirect(bad), "{bad}");
        }
        assert!(!client.redirect_uris(&["http://127.0.0.1:5/callback"]).takes_redirect("http://127.0.0.1:6/callback"));
    }
}
