//! What a provider, a browser and a file with a key send, for the fuzz target.

use super::discovery::Metadata;
use super::ehealth_dk::read_contexts;
use super::id_token::{self, UnverifiedIdToken};
use super::keys::KeySet;
use super::loopback::judge_for_tests;
use super::secret::Secret;
use super::token::{self, NoTokens};
use super::user_info::{self, UserInfo};
use crate::error::Stage;
use crate::service::private_key::PrivateKey;

const ISSUER: &str = "https://a";

/// Reads `data` as each of the messages, and checks what holds for all that are accepted.
pub(crate) fn read(kind: u8, data: &[u8]) {
    match kind % 8 {
        0 => {
            if let Ok(metadata) = Metadata::read(data, ISSUER) {
                let urls = [&metadata.authorization, &metadata.token, &metadata.keys];
                assert!(urls.iter().all(|url| url.origin().is_tls() || url.origin().is_loopback()));
            }
        }
        1 => drop(KeySet::read(data)),
        2 => read_tokens(data),
        3 => {
            let expected = user_info::Expected { issuer: ISSUER, client_id: "c", subject: Some("s") };
            if let Ok(info) = UserInfo::from_json(data, &expected) {
                assert!(info.roles.iter().all(|role| !role.id.is_empty()));
                assert_eq!(info.text.expose().as_bytes(), data);
            }
            drop(UserInfo::from_jwt(data, &KeySet::default(), &expected));
        }
        4 => drop(read_contexts(data)),
        5 => {
            let expected = id_token::Expected {
                issuer: ISSUER,
                client_id: "c",
                now: 1_800_000_000,
                since: Some(1_799_999_990),
                nonce: Some("n"),
                access_token: None,
                acr_values: &["AAL3_ANY".into()],
                login_since: Some(1_799_999_990),
                subject: Some("s"),
            };
            if let Ok(token) = id_token::check_payload(data, &expected) {
                assert_eq!(token.subject, "s");
                assert!(token.expires > expected.now - 61);
            }
            if let Ok(text) = str::from_utf8(data) {
                // Nobody has signed it.
                let token = UnverifiedIdToken(Secret::new(text.to_owned()));
                assert!(token.check(&KeySet::default(), &expected).is_err());
            }
        }
        6 => drop(PrivateKey::read(data)),
        _ => drop(judge_for_tests(data)),
    }
}

/// The first byte selects the status.
fn read_tokens(data: &[u8]) {
    let Some((status, body)) = data.split_first() else { return };
    let status = [200, 302, 400, 401, 429, 500][usize::from(*status) % 6];
    match token::read(status, body, &["a-secret-code"]) {
        Ok(tokens) => assert!(status == 200 && tokens.access.expose().bytes().all(|byte| byte.is_ascii_graphic())),
        Err(no) => {
            assert!(status != 200 || matches!(no, NoTokens::Malformed(..)));
            let error = no.into_error("server", Stage::Session);
            assert!(!error.detail().contains(char::is_control) && error.detail().chars().count() < 500);
            assert!(!error.detail().contains("a-secret-code"));
        }
    }
}
