//! The card's objects (NIST SP 800-73-4, part 1), and their encodings.

use openssl::sha::sha256;

use crate::ca::CardIdentity;
use crate::error::Result;

/// The answer to reset of a T=1 card without historical bytes.
pub(super) const ATR: [u8; 5] = [0x3b, 0x80, 0x80, 0x01, 0x01];

/// The application's name (AID).
pub(super) const APPLICATION: [u8; 11] = [0xa0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00];

pub(super) const AUTHENTICATION_CERTIFICATE: &[u8] = &[0x5f, 0xc1, 0x05];
const SIGNATURE_CERTIFICATE: &[u8] = &[0x5f, 0xc1, 0x0a];
const HOLDER_ID: &[u8] = &[0x5f, 0xc1, 0x02];
const CAPABILITIES: &[u8] = &[0x5f, 0xc1, 0x07];
const DISCOVERY: &[u8] = &[0x7e];

pub(super) struct Object {
    pub(super) tag: &'static [u8],
    pub(super) content: Vec<u8>,
}

pub(super) fn all(authentication: &CardIdentity, signature: Option<&CardIdentity>) -> Result<Vec<Object>> {
    let mut objects = vec![
        Object { tag: HOLDER_ID, content: holder_id(&authentication.certificate_der()?) },
        Object { tag: CAPABILITIES, content: capabilities() },
        Object {
            tag: DISCOVERY,
            // Only the card's PIN is used (usage policy 40 00).
            content: tlv(0x7e, &[&*tlv(0x4f, &APPLICATION), &[0x5f, 0x2f, 0x02, 0x40, 0x00]].concat()),
        },
        Object { tag: AUTHENTICATION_CERTIFICATE, content: certificate(authentication)? },
    ];
    if let Some(signature) = signature {
        objects.push(Object { tag: SIGNATURE_CERTIFICATE, content: certificate(signature)? });
    }
    Ok(objects)
}

/// The response to SELECT: the application's version and issuer.
pub(super) fn application_template() -> Vec<u8> {
    let issuer = tlv(0x79, &tlv(0x4f, &APPLICATION[..5]));
    tlv(0x61, &[tlv(0x4f, &APPLICATION[5..]), issuer].concat())
}

fn certificate(identity: &CardIdentity) -> Result<Vec<u8>> {
    let certificate = tlv(0x70, &identity.certificate_der()?);
    Ok(tlv(0x53, &[&*certificate, &[0x71, 0x01, 0x00, 0xfe, 0x00]].concat()))
}

/// The card holder's unique id. Programs derive the card's serial number from it, so it differs for each
/// certificate.
fn holder_id(certificate: &[u8]) -> Vec<u8> {
    let unique = &sha256(certificate)[..16];
    let mut agency = [0; 25];
    agency[..16].copy_from_slice(unique);
    let fields = [tlv(0x30, &agency), tlv(0x34, unique), tlv(0x35, b"20991231"), tlv(0x3e, b""), tlv(0xfe, b"")];
    tlv(0x53, &fields.concat())
}

fn capabilities() -> Vec<u8> {
    let mut fields = tlv(0xf0, &[0; 21]);
    fields.extend(
        [tlv(0xf1, &[0x21]), tlv(0xf2, &[0x21]), tlv(0xf3, b""), tlv(0xf4, &[0x00]), tlv(0xf5, &[0x10])].concat(),
    );
    fields.extend((0xf6..=0xfe).filter(|tag| *tag != 0xf8 && *tag != 0xf9).flat_map(|tag| tlv(tag, b"")));
    tlv(0x53, &fields)
}

/// Encodes tag, length and value; the length in BER, in up to three bytes.
pub(super) fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len();
    let mut bytes = vec![tag];
    match length {
        0..0x80 => bytes.push(length as u8),
        0x80..0x100 => bytes.extend([0x81, length as u8]),
        _ => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend_from_slice(value);
    bytes
}

/// Returns the value in the template of GENERAL AUTHENTICATE: tag 7C with 82 (empty, for the signature) and 81
/// (the padded digest).
pub(super) fn value_to_sign(data: &[u8]) -> Option<&[u8]> {
    let (0x7c, mut rest, []) = read_tlv(data)? else { return None };
    let mut found = None;
    while !rest.is_empty() {
        let (tag, value, after) = read_tlv(rest)?;
        if tag == 0x81 {
            found = Some(value);
        }
        rest = after;
    }
    found
}

/// Splits off a tag and its value from the remaining bytes.
fn read_tlv(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, length, rest) = match bytes {
        [tag, length @ 0..=0x7f, rest @ ..] => (*tag, usize::from(*length), rest),
        [tag, 0x81, length, rest @ ..] => (*tag, usize::from(*length), rest),
        [tag, 0x82, high, low, rest @ ..] => (*tag, usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    let (value, after) = rest.split_at_checked(length)?;
    Some((tag, value, after))
}

/// The PIN as in VERIFY: 8 bytes, padded with FF.
pub(super) fn padded_pin(pin: &str) -> [u8; 8] {
    let mut padded = [0xff; 8];
    for (place, byte) in padded.iter_mut().zip(pin.bytes()) {
        *place = byte;
    }
    padded
}

pub(super) fn unpadded_pin(padded: &[u8]) -> Option<String> {
    let length = padded.iter().position(|byte| *byte == 0xff).unwrap_or(padded.len());
    let (pin, padding) = padded.split_at(length);
    let valid = padded.len() == 8 && length >= 4 && padding.iter().all(|byte| *byte == 0xff);
    String::from_utf8(pin.to_vec()).ok().filter(|_| valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_one_two_and_three_bytes_are_encoded_and_parsed() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 3_000] {
            let value = vec![7; length];
            let bytes = tlv(0x53, &value);
            assert_eq!(read_tlv(&bytes), Some((0x53, &*value, &[][..])));
        }
    }

    #[test]
    fn a_padded_pin_is_parsed() {
        assert_eq!(padded_pin("1234"), *b"1234\xff\xff\xff\xff");
        assert_eq!(unpadded_pin(b"1234\xff\xff\xff\xff").as_deref(), Some("1234"));
        for wrong in [&b"123\xff\xff\xff\xff\xff"[..], b"1234\xff5\xff\xff", b"1234"] {
            assert_eq!(unpadded_pin(wrong), None);
        }
    }
}
