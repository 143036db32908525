//! Finds a secret in what was emitted, in any encoding.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use memchr::memmem;

/// This many consecutive bytes of a secret count as a find.
const PIECE: usize = 8;

/// The forms in which a secret can be written: the name, a function that normalizes variants in the text, and one
/// that encodes a piece of the secret in the normalized form.
const FORMS: [(&str, View, Spell); 8] = [
    ("raw", as_it_is, raw),
    ("URL-escaped", without_percent_escapes, raw),
    ("XML-escaped", without_references, raw),
    ("escaped as by Debug", without_backslashes, raw),
    ("hex", only_hex_digits, hex),
    ("numbers", only_numbers, numbers),
    ("base64", plain_base64, base64),
    ("UTF-16", as_it_is, utf16),
];

type View = fn(&[u8]) -> Vec<u8>;
type Spell = fn(&[u8]) -> Vec<Vec<u8>>;

/// Returns the first form in which a piece of `secret` is in `text`.
pub fn form_in(text: &[u8], secret: &[u8]) -> Option<&'static str> {
    let found = |view: View, spell: Spell| {
        let text = view(text);
        let mut spellings = secret.windows(PIECE).flat_map(spell);
        spellings.any(|spelling| memmem::find(&text, &spelling).is_some())
    };
    FORMS.into_iter().find(|(_, view, spell)| found(*view, *spell)).map(|(name, ..)| name)
}

fn as_it_is(text: &[u8]) -> Vec<u8> {
    text.to_vec()
}

fn without_percent_escapes(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

fn without_references(text: &[u8]) -> Vec<u8> {
    const NAMES: [(&str, u8); 5] = [("lt", b'<'), ("gt", b'>'), ("amp", b'&'), ("quot", b'"'), ("apos", b'\'')];
    let mut decoded = Vec::new();
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let end = if first == b'&' { tail.iter().take(10).position(|&byte| byte == b';') } else { None };
        let name = end.and_then(|end| std::str::from_utf8(&tail[..end]).ok()).unwrap_or_default();
        let number = match name.strip_prefix("#x") {
            Some(hex) => u8::from_str_radix(hex, 16).ok(),
            None => name.strip_prefix('#').and_then(|decimal| decimal.parse().ok()),
        };
        let named = NAMES.iter().find(|(other, _)| *other == name).map(|&(_, byte)| byte);
        match number.or(named) {
            Some(byte) => {
                decoded.push(byte);
                rest = &tail[name.len() + 1..];
            }
            None => {
                decoded.push(first);
                rest = tail;
            }
        }
    }
    decoded
}

fn without_backslashes(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|&byte| byte != b'\\').collect()
}

/// `63 61`, `63:61`, `0x63, 0x61` and `\x63\x61` become `6361`.
fn only_hex_digits(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text).to_lowercase().replace("0x", "").replace("\\x", "");
    text.bytes().filter(|byte| !byte.is_ascii_whitespace() && !b":,-".contains(byte)).collect()
}

fn only_numbers(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
}

/// Joins the lines, and uses one alphabet.
fn plain_base64(text: &[u8]) -> Vec<u8> {
    let plain = |byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    };
    text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).map(plain).collect()
}

fn raw(piece: &[u8]) -> Vec<Vec<u8>> {
    vec![piece.to_vec()]
}

fn hex(piece: &[u8]) -> Vec<Vec<u8>> {
    vec![piece.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()]
}

fn numbers(piece: &[u8]) -> Vec<Vec<u8>> {
    vec![piece.iter().map(u8::to_string).collect::<Vec<_>>().join(",").into_bytes()]
}

/// In either byte order: the zero bytes are between the others.
fn utf16(piece: &[u8]) -> Vec<Vec<u8>> {
    let (last, others) = piece.split_last().unwrap();
    vec![others.iter().flat_map(|&byte| [byte, 0]).chain([*last]).collect()]
}

/// In the three alignments of base64, without the digits that depend on neighbouring bytes.
fn base64(piece: &[u8]) -> Vec<Vec<u8>> {
    let shifted = |shift: usize| {
        let digits = BASE64.encode([&[0; 2][..shift], piece].concat());
        digits.as_bytes()[(shift * 8).div_ceil(6)..(shift + PIECE) * 8 / 6].to_vec()
    };
    (0..3).map(shifted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With special characters, which are escaped.
    const PIN: &str = "q7<Kp&x\"2M%>t'v9&R+<wB/>nH\"y6:jD";
    const TICKET: &str = "AQIC5wM2LY4SfcwrRGMHiyxMR3suYWqcF+B1j56GJ4xGut4=@AAJTSQACMDE=#";

    fn assert_found(written: impl AsRef<[u8]>, secret: &str, form: &str) {
        let around = [b"2026-11-22 TRACE sent: ", written.as_ref(), b" and more\n"].concat();
        assert_eq!(form_in(&around, secret.as_bytes()), Some(form), "{}", String::from_utf8_lossy(&around));
    }

    #[test]
    fn a_secret_is_found_in_every_form() {
        for secret in [PIN, TICKET] {
            let bytes = secret.as_bytes();
            let hex = |separator: &str| bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(separator);
            assert_found(secret, secret, "raw");
            for hex in [hex(""), hex("").to_uppercase(), hex(" "), hex(":"), format!("0x{}", hex(", 0x"))] {
                assert_found(hex, secret, "hex");
            }
            assert_found(format!("{bytes:?}"), secret, "numbers");
            for before in ["", "1", "12"] {
                let base64 = BASE64.encode(format!("{before}{secret} and more"));
                assert_found(base64.replace('+', "-").replace('/', "_"), secret, "base64");
                assert_found(base64.as_bytes().chunks(20).collect::<Vec<_>>().join(&b"\r\n"[..]), secret, "base64");
                assert_found(base64, secret, "base64");
            }
            let utf16: Vec<u16> = secret.encode_utf16().collect();
            assert_found(utf16.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<_>>(), secret, "UTF-16");
            assert_found(utf16.iter().flat_map(|unit| unit.to_be_bytes()).collect::<Vec<_>>(), secret, "UTF-16");
        }
    }

    #[test]
    fn a_secret_is_found_however_its_special_characters_are_escaped() {
        let escaped = |escape: fn(char) -> String| {
            let is_odd = |c: &char| !c.is_ascii_alphanumeric();
            PIN.chars().map(|c| if is_odd(&c) { escape(c) } else { c.into() }).collect::<String>()
        };
        assert_found(escaped(|c| format!("%{:02X}", c as u32)), PIN, "URL-escaped");
        assert_found(escaped(|c| format!("%{:02x}", c as u32)), PIN, "URL-escaped");
        assert_found(escaped(|c| format!("&#{};", c as u32)), PIN, "XML-escaped");
        assert_found(escaped(|c| format!("&#x{:X};", c as u32)), PIN, "XML-escaped");
        let named = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&apos;")];
        let named = named.into_iter().fold(PIN.to_owned(), |text, (from, to)| text.replace(from, to));
        assert_found(named, PIN, "XML-escaped");
        assert_found(escaped(|c| format!("\\{c}")), PIN, "escaped as by Debug");
    }

    #[test]
    fn a_piece_of_a_secret_is_found() {
        assert_found(&TICKET[..PIECE], TICKET, "raw");
        assert_found(&PIN[PIN.len() - PIECE..], PIN, "raw");
        assert_eq!(form_in(&TICKET.as_bytes()[..PIECE - 1], TICKET.as_bytes()), None);
    }

    #[test]
    fn other_text_is_not_found() {
        assert_eq!(form_in(b"INFO card found: user 123456789012, Admin & Clerical, 100 %", PIN.as_bytes()), None);
        assert_eq!(form_in(b"", TICKET.as_bytes()), None);
    }
}
