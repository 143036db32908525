//! Text that is not in UTF-8, as old servers write it: the few encodings that are met with in Britain.
//!
//! Written here, as `encoding_rs` would bring the tables of every encoding there is.

use zeroize::Zeroizing;

/// An encoding other than UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    /// windows-1252. It stands for ISO-8859-1 and ASCII too, as browsers take it: text that is called so
    /// often has its quotes and dashes.
    Windows1252,
    /// ISO-8859-15.
    Latin9,
    Utf16Le,
    Utf16Be,
}

/// Why there is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unconvertible {
    /// It would be longer than it may be.
    TooLong,
    /// The bytes are no text in that encoding.
    NoText,
}

/// The encoding of an XML document that is not in UTF-8: UTF-16, which shows in its first bytes, or the one
/// that its declaration names. Text that is UTF-8 is taken as such whatever it says, as declarations go
/// wrong more often than the bytes of a name in another encoding look like UTF-8.
pub(crate) fn of_document(bytes: &[u8]) -> Option<Charset> {
    match bytes {
        [0xff, 0xfe, ..] | [b'<', 0, ..] => return Some(Charset::Utf16Le),
        [0xfe, 0xff, ..] | [0, b'<', ..] => return Some(Charset::Utf16Be),
        _ if std::str::from_utf8(bytes).is_ok() => return None,
        _ => {}
    }
    let declaration = bytes.trim_ascii_start().strip_prefix(b"<?xml")?;
    let declaration = &declaration[..declaration.iter().take(200).position(|&byte| byte == b'>')?];
    let (_, value) = std::str::from_utf8(declaration).ok()?.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    Charset::named(value.split(['"', '\'']).nth(1)?)
}

impl Charset {
    /// The encoding in a `Content-Type`, if it is one of these.
    pub(crate) fn of_content_type(value: &str) -> Option<Self> {
        let mut parameters = value.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
        let (_, name) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
        Self::named(name.trim().trim_matches(['"', '\'']))
    }

    /// UTF-16 has no name here, as it is known by its bytes.
    fn named(name: &str) -> Option<Self> {
        let is = |names: &[&str]| names.iter().any(|other| name.eq_ignore_ascii_case(other));
        if is(&["ISO-8859-1", "ISO8859-1", "ISO_8859-1", "latin1", "windows-1252", "cp1252", "US-ASCII", "ASCII"]) {
            Some(Self::Windows1252)
        } else if is(&["ISO-8859-15", "ISO8859-15", "ISO_8859-15", "latin9", "latin-9"]) {
            Some(Self::Latin9)
        } else {
            None
        }
    }

    /// The text, which may have up to `limit` bytes in UTF-8.
    pub(crate) fn convert(self, bytes: &[u8], limit: usize) -> Result<Zeroizing<String>, Unconvertible> {
        // The whole size at once: a buffer that moves leaves a ticket behind.
        let length = self.characters(bytes).map(|c| c.map_or(0, char::len_utf8)).sum();
        if length > limit {
            return Err(Unconvertible::TooLong);
        }
        let mut text = Zeroizing::new(String::with_capacity(length));
        for character in self.characters(bytes) {
            text.push(character.ok_or(Unconvertible::NoText)?);
        }
        Ok(text)
    }

    /// Each character; `None` in the place of what is none.
    fn characters(self, bytes: &[u8]) -> Box<dyn Iterator<Item = Option<char>> + '_> {
        let units = |unit: fn([u8; 2]) -> u16| {
            // Half a unit at the end is no character.
            let units = bytes.chunks(2).map(move |pair| pair.try_into().map_or(0xd800, unit));
            Box::new(char::decode_utf16(units).map(Result::ok))
        };
        match self {
            Self::Windows1252 => Box::new(bytes.iter().map(|&byte| Some(windows_1252(byte)))),
            Self::Latin9 => Box::new(bytes.iter().map(|&byte| Some(latin_9(byte)))),
            Self::Utf16Le => units(u16::from_le_bytes),
            Self::Utf16Be => units(u16::from_be_bytes),
        }
    }
}

fn windows_1252(byte: u8) -> char {
    // From 0x80 on; the five that are not assigned stand for the control characters, as in browsers.
    const OTHERS: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', //
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..0xa0 => OTHERS[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

fn latin_9(byte: u8) -> char {
    match byte {
        0xa4 => '€',
        0xa6 => 'Š',
        0xa8 => 'š',
        0xb4 => 'Ž',
        0xb8 => 'ž',
        0xbc => 'Œ',
        0xbd => 'œ',
        0xbe => 'Ÿ',
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_encoding_has_its_own_characters() {
        let text = |charset: Charset, bytes: &[u8]| charset.convert(bytes, 100).map(|text| text.to_string());
        assert_eq!(text(Charset::Windows1252, b"A\x80\x92\x9f\xa3\xe9\xff").as_deref(), Ok("A€’Ÿ£éÿ"));
        assert_eq!(text(Charset::Latin9, b"A\xa4\xa6\xa8\xb4\xb8\xbc\xbd\xbe\xe9").as_deref(), Ok("A€ŠšŽžŒœŸé"));
        assert_eq!(text(Charset::Utf16Le, b"<\0=\xd8\0\xdc").as_deref(), Ok("<\u{1f400}"));
        for half in [&b"<\0="[..], b"\0\xdc", b"=\xd8"] {
            assert_eq!(text(Charset::Utf16Le, half), Err(Unconvertible::NoText), "{half:?}");
        }
        let long = Charset::Windows1252.convert(&[0x80; 34], 101);
        assert_eq!(long, Err(Unconvertible::TooLong));
        assert_eq!(Charset::Windows1252.convert(&[0x80; 33], 99).unwrap().capacity(), 99);
    }

    #[test]
    fn a_content_type_may_name_the_encoding() {
        for (value, charset) in [
            ("text/xml; charset=ISO-8859-1", Some(Charset::Windows1252)),
            ("text/xml;Charset=\"windows-1252\"", Some(Charset::Windows1252)),
            ("text/xml; a=b; charset = iso-8859-15 ", Some(Charset::Latin9)),
            ("text/xml;charset=UTF-8", None),
            ("text/xml; charset=EUC-JP", None),
            ("text/xml; charset", None),
            ("text/xml", None),
            ("charset=latin1", None),
        ] {
            assert_eq!(Charset::of_content_type(value), charset, "{value}");
        }
    }

    #[test]
    fn a_document_in_utf_8_needs_no_conversion() {
        for document in ["", "<a/>", "<?xml encoding='ISO-8859-1'?><a>é</a>", "é"] {
            assert_eq!(of_document(document.as_bytes()), None, "{document}");
        }
        for declaration in ["<?xml encoding=latin1?>", "<?xml encoding 'latin1'?>", "<?xml", "encoding='latin1'>"] {
            assert_eq!(of_document(&[declaration.as_bytes(), b"\xe9"].concat()), None, "{declaration}");
        }
    }
}
