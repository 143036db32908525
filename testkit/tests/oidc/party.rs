//! A relying party made by hand, and its browser.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::sign::Verifier;
use serde_json::Value;
use ticketapi_testkit::oidc::Endpoint;
use ticketapi_testkit::{Browser, OidcProvider};

use crate::common::{Client, Response};

pub const REDIRECT: &str = "http://127.0.0.1:50123/callback";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7636, appendix B.
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub struct Party<'a> {
    pub provider: &'a OidcProvider,
    pub browser: Browser,
    pub scope: &'static str,
}

pub type Parameters = Vec<(String, String)>;

pub fn value<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.iter().find(|pair| pair.0 == name).map(|pair| pair.1.as_str())
}

pub fn encode(parameters: &[(&str, &str)]) -> String {
    let escape = |text: &str| {
        let mut out = String::new();
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out
    };
    parameters.iter().map(|(n, v)| format!("{}={}", escape(n), escape(v))).collect::<Vec<_>>().join("&")
}

pub fn query_of(url: &str) -> Parameters {
    let decode = |text: &str| {
        let parts = text.split('%').enumerate();
        let bytes = parts.flat_map(|(index, part)| match index {
            0 => part.as_bytes().to_vec(),
            _ => [&[u8::from_str_radix(&part[..2], 16).unwrap()][..], &part.as_bytes()[2..]].concat(),
        });
        String::from_utf8(bytes.collect()).unwrap()
    };
    let query = url.split_once('?').map_or("", |parts| parts.1);
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(n, v)| (decode(n), decode(v))).collect()
}

/// The header and the claims of a token.
pub fn parts(token: &str) -> (Value, Value) {
    let part = |index| {
        let text: &str = token.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    (part(0), part(1))
}

/// Whether an RS256 token is signed by one of the keys.
pub fn verifies(token: &str, jwks: &Value) -> bool {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let keys = jwks["keys"].as_array().unwrap().iter().filter(|key| key["use"] == "sig" && key["kty"] == "RSA");
    keys.into_iter().any(|key| {
        let number = |name: &str| BigNum::from_slice(&URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap());
        let key = PKey::from_rsa(Rsa::from_public_components(number("n").unwrap(), number("e").unwrap()).unwrap());
        let key = key.unwrap();
        let mut verifier = Verifier::new(MessageDigest::sha256(), &key).unwrap();
        verifier.verify_oneshot(&signature, input.as_bytes()).unwrap_or(false)
    })
}

impl<'a> Party<'a> {
    pub fn new(provider: &'a OidcProvider) -> Self {
        Self { provider, browser: Browser::new(provider.ca_file()), scope: "openid profile" }
    }

    /// The address for the browser; `more` replaces parameters of the same name, an empty value leaves one out.
    pub fn address(&self, more: &[(&str, &str)]) -> String {
        let client_id = self.provider.client_id();
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", &client_id),
            ("redirect_uri", REDIRECT),
            ("scope", self.scope),
            ("state", "a state & more"),
            ("nonce", "a nonce"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in more {
            parameters.retain(|other| other.0 != *name);
            if !value.is_empty() {
                parameters.push((name, value));
            }
        }
        format!("{}?{}", self.provider.address_of(Endpoint::Authorize), encode(&parameters))
    }

    /// The parameters of the redirect.
    pub fn redirect(&mut self, more: &[(&str, &str)]) -> Parameters {
        let redirect = self.browser.redirect_of(&self.address(more)).unwrap();
        assert!(redirect.starts_with(REDIRECT), "{redirect}");
        query_of(&redirect)
    }

    pub fn code(&mut self) -> String {
        let parameters = self.redirect(&[]);
        value(&parameters, "code").unwrap_or_else(|| panic!("{parameters:?}")).into()
    }

    pub fn request(&self, method: &str, endpoint: Endpoint, headers: &[(&str, &str)], form: &str) -> Response {
        self.try_request(method, endpoint, headers, form).unwrap()
    }

    pub fn try_request(
        &self,
        method: &str,
        endpoint: Endpoint,
        headers: &[(&str, &str)],
        form: &str,
    ) -> std::io::Result<Response> {
        let address = self.provider.address_of(endpoint);
        let path = address.splitn(4, '/').nth(3).unwrap();
        let (target, body) = match (method, form) {
            ("GET", "") => (format!("/{path}"), ""),
            ("GET", _) => (format!("/{path}?{form}"), ""),
            _ => (format!("/{path}"), form),
        };
        let ca_file = address.starts_with("https").then(|| self.provider.ca_file());
        let mut client = Client::open(self.provider.port(), ca_file, None, "127.0.0.1").unwrap();
        client.send(method, &target, headers, body.as_bytes());
        client.read_response()
    }

    pub fn get(&self, endpoint: Endpoint) -> Response {
        self.request("GET", endpoint, &[], "")
    }

    pub fn token(&self, form: &[(&str, &str)]) -> Response {
        let client_id = self.provider.client_id();
        let mut all = vec![("client_id", client_id.as_str())];
        for pair in form {
            all.retain(|other| other.0 != pair.0);
            all.push(*pair);
        }
        self.request("POST", Endpoint::Token, &[], &encode(&all))
    }

    pub fn exchange(&self, code: &str) -> Response {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ])
    }

    pub fn refresh(&self, token: &str, more: &[(&str, &str)]) -> Response {
        self.token(&[&[("grant_type", "refresh_token"), ("refresh_token", token)], more].concat())
    }

    /// The token endpoint's answer to a whole login.
    pub fn log_in(&mut self) -> Value {
        let code = self.code();
        let answer = self.exchange(&code);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub fn user_info(&self, access_token: &str) -> Response {
        self.request("GET", Endpoint::UserInfo, &[("Authorization", &format!("Bearer {access_token}"))], "")
    }
}

/// A string member.
pub fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or_else(|| panic!("{name}: {object}"))
}
