//! How this program proves to a provider which client it is.

use std::path::{Path, PathBuf};

use rand::RngCore;
use rand::rngs::OsRng;
use serde::Serialize;
use zeroize::Zeroizing;

use super::base64url::{signed, to_base64url, to_sign};
use super::discovery::Metadata;
use super::private_key::PrivateKey;
use super::secret::Secret;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::http::Url;
use crate::os::fs::read_secret;
use crate::secret::SecretBytes;
use crate::service::choices::KeyAlgorithm;

/// How long an assertion is valid. Providers take five minutes at most; their clocks may differ from ours.
const ASSERTION_SECONDS: i64 = 180;

/// More than any secret or key needs.
const FILE_LIMIT: u64 = 64 << 10;

/// The way that the settings choose. Files are read when they are needed.
#[derive(Clone, Debug)]
pub(crate) enum ClientAuth {
    /// PKCE alone.
    None,
    /// The secret in this file.
    Secret(PathBuf),
    /// Assertions that the key in this file signs.
    PrivateKey { file: PathBuf, id: Option<String>, algorithm: KeyAlgorithm },
    /// The supplier's server at this address exchanges the code.
    BackEnd(Url),
}

/// What a request to the provider holds besides its own parameters.
#[derive(Debug)]
pub(super) enum Proof {
    /// The client's id in the form.
    Id,
    /// The id and the secret in the form.
    Post(Secret),
    /// The id and the secret in the header `Authorization`.
    Basic(Secret),
    /// The id and an assertion in the form.
    Assertion(Secret),
}

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl ClientAuth {
    /// Returns the proof for a request to the provider. `now` is in seconds since 1970.
    pub(super) fn proof(&self, client_id: &str, metadata: &Metadata, now: i64) -> Result<Proof> {
        let offers = |method: &str| metadata.auth_methods.iter().any(|offered| offered == method);
        match self {
            Self::None | Self::BackEnd(_) => Ok(Proof::Id),
            // The form needs no escaping that servers disagree about.
            Self::Secret(file) if offers("client_secret_post") => secret(file).map(Proof::Post),
            Self::Secret(file) if offers("client_secret_basic") => secret(file).map(Proof::Basic),
            Self::PrivateKey { file, id, algorithm } if offers("private_key_jwt") => {
                let file_error = |why: &str| wrong_file("client_key_file", file, why);
                let key = PrivateKey::read(&read("client_key_file", file)?).map_err(file_error)?;
                let id = id.as_deref().or(key.id.as_deref());
                let message = assertion(id, *algorithm, client_id, metadata.token.as_str(), now);
                let signature = key.sign(*algorithm, message.as_bytes()).map_err(file_error)?;
                Ok(Proof::Assertion(signed(&message, &signature).into()))
            }
            Self::Secret(_) | Self::PrivateKey { .. } => {
                let offered = metadata.auth_methods.join(", ");
                let detail = format!("client_auth: the provider does not offer this; it offers {offered}");
                Err(Error::new(ErrorKind::Configuration, Stage::Configuration, detail))
            }
        }
    }
}

impl Proof {
    /// Returns what the form holds of it.
    pub(super) fn fields<'a>(&'a self, client_id: &'a str) -> Vec<(&'static str, &'a str)> {
        match self {
            Self::Basic(_) => vec![],
            Self::Id => vec![("client_id", client_id)],
            Self::Post(secret) => vec![("client_id", client_id), ("client_secret", secret.expose())],
            Self::Assertion(assertion) => vec![
                ("client_id", client_id),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", assertion.expose()),
            ],
        }
    }
}

/// Reads a file with a client secret, without the end of its line.
fn secret(file: &Path) -> Result<Secret> {
    let wrong = |why: &str| wrong_file("client_secret_file", file, why);
    let content = read("client_secret_file", file)?;
    let content = content.strip_suffix(b"\n").unwrap_or(&content);
    let content = content.strip_suffix(b"\r").unwrap_or(content);
    if content.starts_with(b"-----BEGIN ") {
        return Err(wrong("it contains a key or a certificate; it must contain only the secret"));
    }
    let text = std::str::from_utf8(content).map_err(|_| wrong("it is not a text"))?;
    if text.trim().is_empty() {
        return Err(wrong("it is empty"));
    }
    if text.contains(char::is_control) {
        return Err(wrong("it has more than one line, or control characters; it must contain only the secret"));
    }
    Ok(Secret::new(text.to_owned()))
}

fn read(setting: &str, file: &Path) -> Result<SecretBytes> {
    read_secret(file, FILE_LIMIT).map_err(|error| wrong_file(setting, file, &format!("it cannot be read: {error}")))
}

fn wrong_file(setting: &str, file: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Configuration, Stage::Configuration, format!("{setting} {}: {why}", file.display()))
}

/// Returns what an assertion (RFC 7523) signs.
fn assertion(
    key_id: Option<&str>,
    algorithm: KeyAlgorithm,
    client_id: &str,
    token_endpoint: &str,
    now: i64,
) -> Zeroizing<String> {
    #[derive(Serialize)]
    struct Header<'a> {
        alg: String,
        typ: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        kid: Option<&'a str>,
    }

    #[derive(Serialize)]
    struct Claims<'a> {
        iss: &'a str,
        sub: &'a str,
        // As one text: a list with the issuer too is refused by some.
        aud: &'a str,
        jti: &'a str,
        iat: i64,
        exp: i64,
    }

    let id = random();
    let header = Header { alg: algorithm.to_string(), typ: "JWT", kid: key_id };
    let claims = Claims {
        iss: client_id,
        sub: client_id,
        aud: token_endpoint,
        jti: &id,
        iat: now,
        exp: now.saturating_add(ASSERTION_SECONDS),
    };
    to_sign(&header, &claims)
}

/// Returns 256 random bits as 43 characters that need no escaping.
pub(super) fn random() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(&mut *bytes);
    to_base64url(&*bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use openssl::hash::MessageDigest;
    use openssl::pkey::PKey;
    use openssl::sign::Verifier;
    use serde_json::Value;

    use super::super::jws::tests::RSA;
    use super::*;
    use crate::service::base64url::base64url;

    const NOW: i64 = 1_800_000_000;

    fn metadata(methods: &str) -> Metadata {
        let document = format!(
            r#"{{"issuer": "https://a", "authorization_endpoint": "https://a/authorize", "jwks_uri": "https://a/keys",
                 "token_endpoint": "https://a/token", "token_endpoint_auth_methods_supported": {methods}}}"#
        );
        Metadata::read(document.as_bytes(), "https://a").unwrap()
    }

    /// On Windows all files have the rights of their folder.
    fn file(folder: &tempfile::TempDir, content: &[u8], mode: u32) -> PathBuf {
        let file = folder.path().join("secret");
        fs::write(&file, content).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        #[cfg(windows)]
        let _ = mode;
        file
    }

    #[test]
    fn a_secret_goes_where_the_provider_takes_it() {
        let folder = tempfile::tempdir().unwrap();
        let auth = ClientAuth::Secret(file(&folder, b"s3cret \n", 0o600));
        let proof = |methods| auth.proof("client", &metadata(methods), NOW).unwrap();
        let post = proof(r#"["client_secret_basic", "client_secret_post"]"#);
        assert_eq!(post.fields("client"), [("client_id", "client"), ("client_secret", "s3cret ")]);
        for methods in [r#"["client_secret_basic"]"#, "null"] {
            let Proof::Basic(secret) = proof(methods) else { panic!("not basic") };
            assert_eq!(secret.expose(), "s3cret ");
        }
        let error = auth.proof("client", &metadata(r#"["private_key_jwt"]"#), NOW).unwrap_err();
        assert!(error.detail().contains("it offers private_key_jwt"), "{error}");
        let public = ClientAuth::None.proof("client", &metadata(r#"["private_key_jwt"]"#), NOW).unwrap();
        assert_eq!(public.fields("client"), [("client_id", "client")]);
    }

    #[test]
    fn an_assertion_is_about_this_client_and_for_the_token_endpoint() {
        let folder = tempfile::tempdir().unwrap();
        let pem = PKey::from_rsa(RSA.clone()).unwrap().private_key_to_pem_pkcs8().unwrap();
        let file = file(&folder, &pem, 0o600);
        let auth = ClientAuth::PrivateKey { file, id: Some("k-1".into()), algorithm: KeyAlgorithm::Rs512 };
        let assertion = || {
            let proof = auth.proof("client", &metadata(r#"["private_key_jwt"]"#), NOW).unwrap();
            let fields = proof.fields("client");
            assert_eq!(fields[..2], [("client_id", "client"), ("client_assertion_type", ASSERTION_TYPE)]);
            assert_eq!(fields[2].0, "client_assertion");
            fields[2].1.to_owned()
        };
        let text = assertion();
        let (message, signature) = text.rsplit_once('.').unwrap();
        let public = PKey::from_rsa(RSA.clone()).unwrap();
        let mut verifier = Verifier::new(MessageDigest::sha512(), &public).unwrap();
        assert!(verifier.verify_oneshot(&base64url(signature.as_bytes()).unwrap(), message.as_bytes()).unwrap());
        let parts = message.split('.').map(|part| base64url(part.as_bytes()).unwrap());
        let [header, claims] = &parts.map(|part| serde_json::from_slice(&part).unwrap()).collect::<Vec<Value>>()[..]
        else {
            panic!("{message}")
        };
        assert_eq!(*header, serde_json::json!({"alg": "RS512", "typ": "JWT", "kid": "k-1"}));
        let expected = ["client", "client", "https://a/token"].map(Value::from);
        assert_eq!(["iss", "sub", "aud"].map(|name| claims[name].clone()), expected);
        assert_eq!((&claims["iat"], &claims["exp"]), (&NOW.into(), &(NOW + 180).into()));
        assert_eq!(claims["jti"].as_str().unwrap().len(), 43);
        assert_ne!(assertion(), text);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let problem = |content: &[u8], mode| {
            let file = file(&folder, content, mode);
            let secret = ClientAuth::Secret(file.clone());
            let key = ClientAuth::PrivateKey { file, id: None, algorithm: KeyAlgorithm::Rs512 };
            let metadata = metadata(r#"["client_secret_post", "private_key_jwt"]"#);
            [secret, key].map(|auth| {
                let error = auth.proof("client", &metadata, NOW).unwrap_err();
                assert_eq!(*error.kind(), ErrorKind::Configuration);
                error.detail().to_owned()
            })
        };
        for (content, mode, words) in [
            (&b"secret"[..], 0o644, ["other users can read it"; 2]),
            (b"", 0o600, ["it is empty"; 2]),
            (b"\n", 0o600, ["it is empty"; 2]),
            (b"one\ntwo\n", 0o600, ["more than one line", "PEM"]),
            (b"\xff\xfe", 0o600, ["not a text", "PEM"]),
            (b"-----BEGIN CERTIFICATE-----\n", 0o600, ["key or a certificate", "public one"]),
        ] {
            if cfg!(windows) && mode != 0o600 {
                continue;
            }
            let [secret, key] = problem(content, mode);
            let file = folder.path().display();
            assert!(secret.starts_with(&format!("client_secret_file {file}")) && secret.contains(words[0]), "{secret}");
            assert!(key.starts_with(&format!("client_key_file {file}")) && key.contains(words[1]), "{key}");
        }
        let missing = ClientAuth::Secret(folder.path().join("none"));
        assert!(missing.proof("client", &metadata("null"), NOW).is_err());
    }

    #[test]
    fn random_texts_are_long_enough_and_differ() {
        let (one, two) = (random(), random());
        assert_eq!((one.len(), one == two), (43, false));
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    }
}
