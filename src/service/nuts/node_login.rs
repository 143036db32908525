//! The login of programs at the node's API (`token_v2`): a JWT that an authorized key signs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::RngCore;
use rand::rngs::OsRng;
use serde::Serialize;
use zeroize::Zeroizing;

use super::now;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::fs::read_secret;
use crate::service::base64url::to_sign;
use crate::service::private_key::PrivateKey;

/// How long a JWT is valid.
const SECONDS: i64 = 120;

/// A JWT is used for this time, so that it does not expire on its way.
const FRESH: Duration = Duration::from_secs(60);

/// Nodes take no JWT that is issued later than now by their own clocks.
const CLOCK_SKEW: i64 = 10;

/// More than any key needs.
const FILE_LIMIT: u64 = 64 << 10;

/// Who logs in, and how. The file is read when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeLogin {
    /// The private key.
    pub(crate) file: PathBuf,
    /// The name of the key at the node: the comment in its line of `authorized_keys`.
    pub(crate) user: String,
    /// The node's name.
    pub(crate) audience: String,
}

/// A JWT for requests. Wiped on drop.
pub(super) struct Bearer {
    jwt: Zeroizing<String>,
    made: Instant,
}

impl Bearer {
    pub(super) fn is_fresh(&self) -> bool {
        self.made.elapsed() < FRESH
    }

    pub(super) fn expose(&self) -> &str {
        &self.jwt
    }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    kid: &'a str,
    typ: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: [&'a str; 1],
    jti: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl NodeLogin {
    /// Makes a JWT.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) for a key that cannot be used.
    pub(super) fn bearer(&self) -> Result<Bearer> {
        let wrong = |why: &str| wrong_file(&self.file, why);
        let file =
            read_secret(&self.file, FILE_LIMIT).map_err(|error| wrong(&format!("it cannot be read: {error}")))?;
        let key = PrivateKey::read(&file).map_err(wrong)?;
        let (kid, jti) = (key.thumbprint(), uuid());
        let issued = now() - CLOCK_SKEW;
        let claims = Claims {
            iss: &self.user,
            sub: &self.user,
            aud: [&self.audience],
            jti: &jti,
            iat: issued,
            nbf: issued,
            exp: issued + SECONDS,
        };
        let jwt = key.sign_strongly(|alg| to_sign(&Header { alg, kid: &kid, typ: "JWT" }, &claims));
        Ok(Bearer { jwt: jwt.map_err(wrong)?, made: Instant::now() })
    }
}

fn wrong_file(file: &Path, why: &str) -> Error {
    let detail = format!("nuts_token_key {}: {why}", file.display());
    Error::new(ErrorKind::Configuration, Stage::Configuration, detail)
}

/// A random UUID (RFC 9562, version 4).
fn uuid() -> String {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use std::fs;
    #[cfg(unix)]
    use std::os::unix::fs::PermissionsExt;

    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn uuids_are_random_and_of_version_4() {
        let (one, other) = (uuid(), uuid());
        assert_ne!(one, other);
        assert!(one.split('-').map(str::len).eq([8, 4, 4, 4, 12]), "{one}");
        assert!(one.as_bytes()[14] == b'4' && b"89ab".contains(&one.as_bytes()[19]), "{one}");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        fs::write(&file, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
        let problem = |mode| {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let login = NodeLogin { file: file.clone(), user: "clinic".into(), audience: "node".into() };
            login.bearer().err().unwrap().detail().to_owned()
        };
        assert!(problem(0o644).contains("other users can read it"), "{}", problem(0o644));
        assert!(problem(0o600).contains("OpenSSH's form"), "{}", problem(0o600));
        assert!(problem(0o600).starts_with("nuts_token_key /"));
    }

    #[test]
    fn a_jwt_is_issued_a_little_earlier_and_made_anew_before_it_expires() {
        // RFC 7517, A.2
        const KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}"#;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.jwk");
        fs::write(&file, KEY).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let login = NodeLogin { file, user: "clinic".into(), audience: "node".into() };
        let earliest = now();
        let mut bearer = login.bearer().unwrap();
        let claims = bearer.expose().split('.').nth(1).unwrap();
        let claims: serde_json::Value =
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let (issued, expires) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert!((earliest - CLOCK_SKEW..=now() - CLOCK_SKEW).contains(&issued) && claims["nbf"] == issued, "{claims}");
        assert!(expires - issued <= 24 * 60 * 60, "{claims}");
        assert_eq!((&claims["iss"], &claims["aud"][0]), (&"clinic".into(), &"node".into()));
        assert!(bearer.is_fresh());
        // It is not used for as long as it is valid.
        bearer.made -= FRESH;
        assert!(!bearer.is_fresh() && expires > now());
    }
}
