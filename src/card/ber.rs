//! Converts BER, in which some certificates and PKCS#12 files are written, to DER, because the der crate reads
//! nothing else. Changes only the encoding, never the meaning.

use crate::secret::{SecretBytes, secret_buffer};

/// Deeper than in real certificates and files; each level is a recursive call.
const MAX_DEPTH: usize = 32;

const CONSTRUCTED: u8 = 0x20;
const BOOLEAN: u8 = 0x01;

/// Strings that BER allows in pieces: OCTET STRING and character strings.
const STRINGS: [u8; 10] = [0x04, 0x0c, 0x12, 0x13, 0x14, 0x15, 0x16, 0x1a, 0x1c, 0x1e];

/// A value with definite length.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    /// The tag byte.
    pub(super) tag: u8,
    pub(super) contents: &'a [u8],
}

struct Header<'a> {
    tag: &'a [u8],
    /// `None` for an indefinite length.
    length: Option<usize>,
}

/// Converts the first value of `bytes` to DER. Returns it with the bytes that follow, or `None` if it is not BER.
///
/// The buffer is wiped, because keys pass through it.
pub(super) fn to_der(bytes: &[u8]) -> Option<(SecretBytes, &[u8])> {
    // Only a value's length grows: by at most two bytes, of four or more.
    let mut der = secret_buffer(2 * bytes.len());
    let rest = convert(bytes, &mut der, 0)?;
    Some((der, rest))
}

/// Splits `contents` into its values, whose tags must have one byte.
pub(super) fn values(mut contents: &[u8]) -> Option<Vec<Value<'_>>> {
    let mut values = Vec::new();
    while !contents.is_empty() {
        let (Header { tag, length }, rest) = header(contents)?;
        let (value, after) = rest.split_at_checked(length?)?;
        let &[tag] = tag else { return None };
        values.push(Value { tag, contents: value });
        contents = after;
    }
    Some(values)
}

/// Appends the first value of `bytes` to `der`. Returns the bytes that follow.
fn convert<'a>(bytes: &'a [u8], der: &mut SecretBytes, depth: usize) -> Option<&'a [u8]> {
    let (Header { tag, length }, rest) = header(bytes)?;
    let first = *tag.first()?;
    if first & CONSTRUCTED == 0 {
        let (contents, after) = rest.split_at_checked(length?)?;
        der.extend_from_slice(tag);
        insert_length(der, contents.len());
        match (tag, contents) {
            ([BOOLEAN], [value]) if *value != 0 => der.push(0xff),
            _ => der.extend_from_slice(contents),
        }
        return Some(after);
    }
    if depth == MAX_DEPTH {
        return None;
    }
    let whole = first & !CONSTRUCTED;
    let in_pieces = tag.len() == 1 && STRINGS.contains(&whole);
    if in_pieces {
        der.push(whole);
    } else {
        der.extend_from_slice(tag);
    }
    let start = der.len();
    let (mut contents, after) = match length {
        Some(length) => rest.split_at_checked(length).map(|(contents, after)| (contents, Some(after)))?,
        None => (rest, None),
    };
    let after = loop {
        match after {
            Some(after) if contents.is_empty() => break after,
            None if contents.starts_with(&[0, 0]) => break contents.get(2..)?,
            _ => {}
        }
        let piece = der.len();
        contents = convert(contents, der, depth + 1)?;
        if in_pieces {
            let (Header { tag, length }, rest) = header(der.get(piece..)?)?;
            if tag != [whole] || length != Some(rest.len()) {
                return None;
            }
            let header = der.len() - piece - rest.len();
            der.drain(piece..piece + header);
        }
    };
    let length = der.len() - start;
    insert_length_at(der, start, length);
    Some(after)
}

fn header(bytes: &[u8]) -> Option<(Header<'_>, &[u8])> {
    let mut tag = 1;
    if bytes.first()? & 0x1f == 0x1f {
        // A tag number of several bytes; all but the last have this bit.
        while bytes.get(tag)? & 0x80 != 0 {
            tag += 1;
        }
        tag += 1;
    }
    let (tag, rest) = bytes.split_at_checked(tag)?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..0x80 => (Some(usize::from(first)), rest),
        0x80 => (None, rest),
        _ => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = length.iter().try_fold(0_usize, |length, &byte| {
                length.checked_mul(0x100).map(|length| length | usize::from(byte))
            })?;
            (Some(length), rest)
        }
    };
    Some((Header { tag, length }, rest))
}

fn insert_length(der: &mut SecretBytes, length: usize) {
    let end = der.len();
    insert_length_at(der, end, length);
}

fn insert_length_at(der: &mut SecretBytes, at: usize, length: usize) {
    let bytes = length.to_be_bytes();
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    let bytes = &bytes[first..];
    let long = (length >= 0x80).then_some(0x80 | bytes.len() as u8);
    drop(der.splice(at..at, long.into_iter().chain(bytes.iter().copied())));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn der(bytes: &[u8]) -> Option<Vec<u8>> {
        to_der(bytes).map(|(der, _)| der.to_vec())
    }

    #[test]
    fn der_is_unchanged() {
        let certificate = include_bytes!("../../tests/data/identity-agent-response.p7.der");
        assert_eq!(der(certificate).unwrap(), certificate);
    }

    #[test]
    fn bytes_after_the_first_value_are_returned() {
        let (der, rest) = to_der(b"\x05\x00\r\n").unwrap();
        assert_eq!((&der[..], rest), (&b"\x05\x00"[..], &b"\r\n"[..]));
    }

    #[test]
    fn lengths_become_definite_and_short() {
        for ber in [
            &b"\x30\x80\x02\x01\x07\x00\x00"[..],
            b"\x30\x81\x03\x02\x01\x07",
            b"\x30\x83\x00\x00\x03\x02\x01\x07",
            b"\x30\x06\x02\x83\x00\x00\x01\x07",
        ] {
            assert_eq!(der(ber).as_deref(), Some(&b"\x30\x03\x02\x01\x07"[..]), "{ber:x?}");
        }
        let long = [&b"\xa0\x80\x04\x82\x01\x00"[..], &[7; 256], b"\x00\x00"].concat();
        assert_eq!(der(&long).unwrap(), [&b"\xa0\x82\x01\x04\x04\x82\x01\x00"[..], &[7; 256]].concat());
    }

    #[test]
    fn strings_in_pieces_become_one() {
        for ber in [
            &b"\x24\x80\x04\x01a\x04\x02bc\x00\x00"[..],
            b"\x24\x07\x04\x01a\x04\x02bc",
            b"\x24\x80\x24\x80\x04\x01a\x00\x00\x24\x04\x04\x02bc\x00\x00",
        ] {
            assert_eq!(der(ber).as_deref(), Some(&b"\x04\x03abc"[..]), "{ber:x?}");
        }
        assert_eq!(der(b"\x24\x80\x00\x00").as_deref(), Some(&b"\x04\x00"[..]));
        assert_eq!(der(b"\x24\x03\x0c\x01a"), None, "a piece of another type");
    }

    #[test]
    fn every_boolean_but_zero_is_true() {
        for (value, der_value) in [(0, 0), (1, 0xff), (0x7f, 0xff), (0xff, 0xff)] {
            assert_eq!(der(&[1, 1, value]).unwrap(), [1, 1, der_value]);
        }
    }

    #[test]
    fn truncated_or_too_deeply_nested_values_are_refused() {
        for ber in [&b""[..], b"\x30", b"\x30\x01", b"\x30\x80\x02\x01\x07\x00", b"\x04\x80\x00\x00", b"\x1f\x80"] {
            assert_eq!(der(ber), None, "{ber:x?}");
        }
        assert!(der(&[0x30, 0x80].repeat(100_000)).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_converted_in_place_and_but_once(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some((der, _)) = to_der(&bytes) {
                prop_assert!(der.len() <= 2 * bytes.len(), "the buffer moved");
                let (again, rest) = to_der(&der).unwrap();
                prop_assert_eq!(&*again, &*der);
                prop_assert!(rest.is_empty());
            }
        }
    }
}
