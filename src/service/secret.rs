//! Texts that nobody else may see: tokens, codes, verifiers, client secrets, assertions.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use zeroize::Zeroizing;

use crate::secret::Ticket;

/// A secret text. Clones share it, so that it is in memory once; wiped with the last of them. `Debug` shows none
/// of it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes `text`, whose memory is wiped with the secret.
    pub(crate) fn new(text: String) -> Self {
        Zeroizing::new(text).into()
    }

    /// Returns the text. Only for the request that it is for.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Returns a ticket with this text.
    pub(super) fn to_ticket(&self) -> Ticket {
        Ticket::new(self.expose().to_owned())
    }
}

impl From<Zeroizing<String>> for Secret {
    fn from(text: Zeroizing<String>) -> Self {
        Self(Arc::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text.to_owned()))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// Returns `true` if `text` shows a part of the secret; a cut one counts too.
pub(super) fn quotes(text: &str, secret: &str) -> bool {
    let secret = secret.as_bytes();
    let part = secret.len().clamp(1, 8);
    secret.windows(part).any(|part| memchr::memmem::find(text.as_bytes(), part).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing_and_keeps_its_text() {
        let secret: Secret = serde_json::from_str(r#""eyJ\u0041""#).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!((secret.expose(), secret.to_ticket().expose()), ("eyJA", "eyJA"));
    }

    #[test]
    fn a_part_of_a_secret_is_a_quotation() {
        for (text, expected) in [("the code abcdefgh is old", true), ("abcdefg", false), ("", false)] {
            assert_eq!(quotes(text, "0123abcdefgh"), expected, "{text}");
        }
        assert!(quotes("pin abc", "abc"));
        assert!(!quotes("anything", ""));
    }
}
