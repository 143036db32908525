//! PINs and tickets, wiped on drop and never printed.

use std::fmt;
use std::time::Duration;

use zeroize::{Zeroize, Zeroizing};

/// A card's PIN, as the user typed it.
///
/// Wiped on drop; `Debug` shows none of it. Not `Clone`: a PIN exists only from the prompt to the card.
pub struct Pin(Zeroizing<String>);

impl Pin {
    /// Takes the typed text. The string's memory becomes the PIN's and is wiped with it.
    pub fn new(typed: String) -> Self {
        Self(Zeroizing::new(typed))
    }

    /// Returns the PIN's text. Only for the call that passes it to the card.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<Zeroizing<String>> for Pin {
    fn from(typed: Zeroizing<String>) -> Self {
        Self(typed)
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

/// The ticket that an identity service issued.
///
/// Its holder acts as the user. Wiped on drop; `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(Zeroizing<String>);

impl Ticket {
    /// Wraps a ticket exactly as the service wrote it.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the ticket. Only for the request or the caller that it is for.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the first six characters: enough to tell two tickets apart on a screen.
    pub fn shortened(&self) -> String {
        self.0.chars().take(6).chain(['…']).collect()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        wipe(std::mem::take(&mut *self.0).into_bytes());
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(…)")
    }
}

/// An access token for services of others.
///
/// Its holder acts as the user. Wiped on drop; `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    text: Zeroizing<String>,
    expires_in: Option<Duration>,
}

impl AccessToken {
    #[cfg(feature = "nuts")]
    pub(crate) fn new(text: &str, expires_in: Option<Duration>) -> Self {
        Self { text: Zeroizing::new(text.to_owned()), expires_in }
    }

    /// Returns the token. Only for the request that it is for.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Returns how long it is good for, from when it was given out; `None` if its issuer does not say.
    pub fn expires_in(&self) -> Option<Duration> {
        self.expires_in
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// A buffer for bytes on their way to or from a secret type; wiped on drop.
pub(crate) type SecretBytes = Zeroizing<Vec<u8>>;

/// Returns an empty buffer that holds `capacity` bytes without reallocating: a reallocation would
/// leave a copy behind in memory.
pub(crate) fn secret_buffer(capacity: usize) -> SecretBytes {
    Zeroizing::new(Vec::with_capacity(capacity))
}

/// Wipes and frees a buffer. As zeroize does it, byte by byte, that would take longer than handing out a large ticket.
pub(crate) fn wipe(mut bytes: Vec<u8>) {
    let capacity = bytes.capacity();
    bytes.clear();
    bytes.resize(capacity, 0);
    std::hint::black_box(&mut bytes);
}

/// Turns text collected in a [`secret_buffer`] into a PIN. `None` if it is not UTF-8.
pub(crate) fn pin_from_bytes(mut bytes: SecretBytes) -> Option<Pin> {
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Some(Pin::new(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_forms_show_nothing_of_a_secret() {
        assert_eq!(format!("{:?}", Pin::new("1234".into())), "Pin(…)");
        assert_eq!(format!("{:?}", Ticket::new("AQIC5w".into())), "Ticket(…)");
    }

    #[test]
    fn a_ticket_is_exposed_whole_and_shortened_to_six_characters() {
        assert_eq!(Ticket::new("AQIC5wM2LY4S".into()).expose(), "AQIC5wM2LY4S");
        assert_eq!(Ticket::new("AQIC5wM2LY4S".into()).shortened(), "AQIC5w…");
    }

    #[test]
    fn a_secret_buffer_is_filled_without_a_reallocation() {
        assert!(secret_buffer(64).capacity() >= 64);
    }

    #[test]
    fn bytes_that_are_not_utf8_make_no_pin() {
        assert!(pin_from_bytes(Zeroizing::new(vec![0xff])).is_none());
        assert_eq!(pin_from_bytes(Zeroizing::new(b"1234".to_vec())).unwrap().expose(), "1234");
    }
}
