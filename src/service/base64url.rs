//! Base64url, and the compact form of JWTs that is made of it (RFC 7515, 3.1).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::secret::secret_buffer;

/// Decodes base64url without padding. `None` for anything else.
#[cfg(any(feature = "nuts", feature = "oidc"))]
pub(super) fn base64url(text: &[u8]) -> Option<Vec<u8>> {
    // With the whole size at once, nothing is left behind in memory.
    let mut bytes = vec![0; text.len() / 4 * 3 + 3];
    let len = BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    bytes.truncate(len);
    Some(bytes)
}

/// Encodes base64url without padding.
pub(super) fn to_base64url(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
    BASE64_URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
    text
}

/// Returns what a JWT with this header and these claims signs. Both consist of texts and numbers.
#[cfg(any(feature = "nuts", feature = "oidc"))]
pub(super) fn to_sign(header: &impl Serialize, claims: &impl Serialize) -> Zeroizing<String> {
    with_dot(&part(header), &part(claims))
}

/// Returns what a JWS with this header and this payload signs.
#[cfg(feature = "sign")]
pub(crate) fn to_sign_bytes(header: &impl Serialize, payload: &[u8]) -> Zeroizing<String> {
    with_dot(&part(header), &to_base64url(payload))
}

/// Returns the JWT of what it signs and the signature.
pub(crate) fn signed(message: &str, signature: &[u8]) -> Zeroizing<String> {
    with_dot(message, &to_base64url(signature))
}

fn part(value: &impl Serialize) -> Zeroizing<String> {
    let mut json = secret_buffer(1024);
    // Texts and numbers always have a JSON form, and writing to memory does not fail.
    drop(serde_json::to_writer(&mut *json, value));
    to_base64url(&json)
}

/// Joins two texts without leaving a copy behind.
fn with_dot(one: &str, other: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(one.len() + 1 + other.len()));
    [one, ".", other].iter().for_each(|part| text.push_str(part));
    text
}
