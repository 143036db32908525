//! The provider's metadata (OpenID Connect Discovery).

use serde::Deserialize;

use super::json::{self, BadJson, Loose};
use crate::http::{BadUrl, Url};

/// Where the metadata is, below the issuer's URL.
pub(super) const PATH: &str = "/.well-known/openid-configuration";

/// The longest metadata that is read.
pub(super) const MAX_METADATA: usize = 1 << 20;

/// What a login needs to know about a provider.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) authorization: Url,
    pub(super) token: Url,
    pub(super) keys: Url,
    pub(super) user_info: Option<Url>,
    pub(super) end_session: Option<Url>,
    pub(super) revocation: Option<Url>,
    /// How clients prove themselves at the token endpoint; as OpenID Connect says where the provider does not.
    pub(super) auth_methods: Vec<String>,
    /// Whether each redirect names the issuer.
    pub(super) iss_in_redirect: bool,
}

/// Why a provider's metadata cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadMetadata {
    #[error("{0}")]
    Json(#[from] BadJson),
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("it is of another issuer than the setting issuer names; they must be equal to the character")]
    Issuer,
    #[error("its {0} cannot be used: {1}")]
    Url(&'static str, BadUrl),
    #[error("the provider does not offer PKCE with S256")]
    NoPkce,
}

#[derive(Deserialize)]
struct Document<'a> {
    issuer: Option<String>,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    jwks_uri: Option<String>,
    userinfo_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(borrow)]
    code_challenge_methods_supported: Option<Vec<Loose<'a>>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// Reads the metadata of `issuer`. Endpoints may be at other hosts, for which TLS vouches.
    pub(super) fn read(document: &[u8], issuer: &str) -> Result<Self, BadMetadata> {
        let document: Document<'_> = json::read(document)?;
        if document.issuer.ok_or(BadMetadata::Missing("issuer"))? != issuer {
            return Err(BadMetadata::Issuer);
        }
        // A provider that lists nothing may support it.
        let methods = document.code_challenge_methods_supported;
        if methods.is_some_and(|methods| !methods.iter().any(|method| method.or_empty() == "S256")) {
            return Err(BadMetadata::NoPkce);
        }
        let required = |name, text: Option<String>| url(name, &text.ok_or(BadMetadata::Missing(name))?);
        let optional = |name, text: Option<String>| text.map(|text| url(name, &text)).transpose();
        Ok(Self {
            issuer: issuer.to_owned(),
            authorization: required("authorization_endpoint", document.authorization_endpoint)?,
            token: required("token_endpoint", document.token_endpoint)?,
            keys: required("jwks_uri", document.jwks_uri)?,
            user_info: optional("userinfo_endpoint", document.userinfo_endpoint)?,
            end_session: optional("end_session_endpoint", document.end_session_endpoint)?,
            revocation: optional("revocation_endpoint", document.revocation_endpoint)?,
            auth_methods: document
                .token_endpoint_auth_methods_supported
                .unwrap_or_else(|| vec!["client_secret_basic".to_owned()]),
            iss_in_redirect: document.authorization_response_iss_parameter_supported,
        })
    }
}

fn url(name: &'static str, text: &str) -> Result<Url, BadMetadata> {
    Url::parse(text).map_err(|why| BadMetadata::Url(name, why))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://am.example:443/openam";

    fn document() -> Value {
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://login.example/authorize",
            "token_endpoint": "https://am.example/token",
            "jwks_uri": "https://am.example/keys",
            "code_challenge_methods_supported": ["plain", "S256"],
        })
    }

    fn read_with(member: &str, value: Value) -> Result<Metadata, BadMetadata> {
        let mut document = document();
        document[member] = value;
        Metadata::read(document.to_string().as_bytes(), ISSUER)
    }

    #[test]
    fn endpoints_may_be_at_other_hosts_and_some_missing() {
        let metadata = Metadata::read(document().to_string().as_bytes(), ISSUER).unwrap();
        assert_eq!(metadata.authorization.as_str(), "https://login.example/authorize");
        assert!(metadata.user_info.is_none() && metadata.end_session.is_none() && !metadata.iss_in_redirect);
        assert_eq!(metadata.auth_methods, ["client_secret_basic"]);
    }

    #[test]
    fn another_issuer_is_refused_to_the_character() {
        for issuer in ["https://am.example/openam", "https://am.example:443/openam/", "https://AM.example:443/openam"] {
            assert_eq!(read_with("issuer", json!(issuer)).unwrap_err(), BadMetadata::Issuer, "{issuer}");
        }
        assert_eq!(read_with("issuer", json!(null)).unwrap_err(), BadMetadata::Missing("issuer"));
    }

    #[test]
    fn endpoints_are_https_or_loopback() {
        let names =
            ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"];
        for name in names {
            assert!(read_with(name, json!("http://127.0.0.1:8080/x")).is_ok());
            for bad in ["http://am.example/x", "file:///etc/passwd", "javascript:alert(1)", "/x", ""] {
                assert!(
                    matches!(read_with(name, json!(bad)), Err(BadMetadata::Url(of, _)) if of == name),
                    "{name} {bad}"
                );
            }
        }
        for name in &names[..3] {
            assert!(matches!(read_with(name, json!(null)), Err(BadMetadata::Missing(of)) if of == *name));
        }
    }

    #[test]
    fn a_provider_without_s256_is_refused_unless_it_does_not_tell() {
        assert_eq!(read_with("code_challenge_methods_supported", json!(["plain"])).unwrap_err(), BadMetadata::NoPkce);
        assert!(read_with("code_challenge_methods_supported", json!(null)).is_ok());
    }

    #[test]
    fn what_is_no_metadata_is_refused() {
        for (text, why) in [("<html>", BadJson::Syntax), ("", BadJson::Syntax), ("[]", BadJson::Form)] {
            assert_eq!(Metadata::read(text.as_bytes(), ISSUER).unwrap_err(), BadMetadata::Json(why), "{text}");
        }
        let twice = document().to_string().replacen('{', r#"{"token_endpoint":"https://evil.example/","#, 1);
        assert_eq!(Metadata::read(twice.as_bytes(), ISSUER).unwrap_err(), BadMetadata::Json(BadJson::Form));
    }
}
