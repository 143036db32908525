//! The ticket: base64 of the presentation, exactly as the node wrote it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use crate::secret::{SecretBytes, Ticket};

/// Returns the ticket of a presentation.
pub(super) fn ticket(presentation: &[u8]) -> Ticket {
    // Encoded in place: an encoder that writes pieces keeps copies of them.
    let mut encoded = Zeroizing::new(vec![0; presentation.len().div_ceil(3) * 4]);
    let length = BASE64_STANDARD.encode_slice(presentation, &mut encoded).unwrap_or_default();
    Ticket::new(str::from_utf8(&encoded[..length]).unwrap_or_default().to_owned())
}

/// Returns the presentation of a ticket; `None` if it is another service's.
pub(super) fn presentation(ticket: &Ticket) -> Option<SecretBytes> {
    let encoded = ticket.expose().as_bytes();
    let mut decoded = Zeroizing::new(vec![0; encoded.len().div_ceil(4) * 3]);
    let length = BASE64_STANDARD.decode_slice(encoded, &mut decoded).ok()?;
    decoded.truncate(length);
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_the_whole_presentation() {
        for text in ["", "{}", r#"{"a":"é"}"#, include_str!("../../../tests/data/nuts/presentation-v6.json")] {
            let ticket = ticket(text.as_bytes());
            assert_eq!(ticket.expose(), BASE64_STANDARD.encode(text));
            assert_eq!(presentation(&ticket).unwrap().as_slice(), text.as_bytes());
        }
        assert!(presentation(&Ticket::new("AQIC5wM2LY4S.*".into())).is_none());
    }
}
