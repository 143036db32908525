//! Base64 as the parts of a JWT have it.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// Decodes base64url without padding. `None` for anything else.
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
