//! The readers, for the benchmarks.

use super::id_token::{Expected, UnverifiedIdToken};
use super::keys::KeySet;
use super::secret::Secret;
use super::user_info::{self, UserInfo};

/// An ID token and the keys to check it with.
pub struct IdTokenCheck {
    token: UnverifiedIdToken,
    keys: KeySet,
}

impl IdTokenCheck {
    /// Reads the keys from a JWKS document; `None` if that is none.
    pub fn new(token: &str, keys: &[u8]) -> Option<Self> {
        let token = UnverifiedIdToken(Secret::new(token.to_owned()));
        Some(Self { token, keys: KeySet::read(keys).ok()? })
    }

    /// Checks the token as a login does, and returns whose it is.
    pub fn subject(&self, issuer: &str, client_id: &str, nonce: &str, now: i64) -> Option<String> {
        let expected = Expected {
            issuer,
            client_id,
            now,
            since: Some(now),
            nonce: Some(nonce),
            access_token: None,
            acr_values: &[],
            login_since: None,
            subject: None,
        };
        self.token.check(&self.keys, &expected).ok().map(|token| token.subject)
    }
}

/// Reads UserInfo, and returns the number of the user's roles.
pub fn roles_of(user_info: &[u8], subject: &str) -> Option<usize> {
    let expected = user_info::Expected { issuer: "", client_id: "", subject: Some(subject) };
    UserInfo::from_json(user_info, &expected).ok().map(|info| info.roles.len())
}
