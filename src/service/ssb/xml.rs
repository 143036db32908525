//! The broker's answers as XML: repaired, bounded, then parsed.
//!
//! The broker writes bare ampersands and angle brackets, and a DOCTYPE that names a DTD. One pass escapes
//! the first, drops the second unread, and rejects what would make the parser use more time or memory than
//! the answer's size allows: entity declarations, deep nesting, many attributes. It opens no file and no
//! connection.

use memchr::{memchr, memchr_iter, memchr2, memchr3};
use roxmltree::Document;
use zeroize::Zeroizing;

use crate::http::charset;

pub use crate::http::MAX_ANSWER;

const MAX_DEPTH: usize = 64;
/// The parser compares each attribute of an element with every other.
const MAX_ATTRIBUTES: usize = 64;
/// Distinct declarations. The parser copies the namespaces in scope for each element that declares one.
const MAX_NAMESPACES: usize = 16;
/// The parser reserves about 80 bytes for each `<` and `=` in advance.
const MAX_TAGS: usize = 1 << 14;
const MAX_EQUALS: usize = 20_000;
/// Escaping adds four bytes for each.
const MAX_BARE_AMPERSANDS: usize = 1 << 16;

/// Why an answer cannot be understood. Never quotes the answer, which may hold a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It is longer than [`MAX_ANSWER`], or has more elements than a real answer of that size.
    #[error("it is too large")]
    TooLarge,
    /// It is not UTF-8, and names no known encoding.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// It holds a NUL character.
    #[error("it holds a NUL character")]
    Nul,
    /// It declares an entity.
    #[error("it uses XML entities of its own")]
    Entity,
    /// Its elements are nested more than 64 deep, or one has more than 64 attributes.
    #[error("its elements are nested too deep or have too many attributes")]
    TooDeep,
    /// It is not an XML document, even after repair.
    #[error("it is not XML")]
    NotXml,
    /// It is XML, but not the expected message.
    #[error("it is not a message of a broker")]
    NotAMessage,
    /// A parameter that must be unique comes twice.
    #[error("it has {0} twice")]
    Twice(&'static str),
    /// A required parameter is missing or empty.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A parameter has an invalid value.
    #[error("its {0} cannot be read")]
    BadValue(&'static str),
    /// It is about another user than the session's.
    #[error("it is about another user")]
    OtherUser,
    /// It is about another session.
    #[error("it is about another session")]
    OtherSession,
}

/// Parses `answer` and passes the document to `read`.
pub(super) fn with_document<T>(
    answer: &[u8],
    read: impl FnOnce(&Document<'_>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    with_document_of(MAX_TAGS, answer, read)
}

/// As [`with_document`], for answers with more tags.
pub(super) fn with_document_of<T>(
    max_tags: usize,
    answer: &[u8],
    read: impl FnOnce(&Document<'_>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    if answer.len() > MAX_ANSWER {
        return Err(Malformed::TooLarge);
    }
    let converted = in_utf8(answer)?;
    let text = converted.as_deref().map_or_else(|| std::str::from_utf8(answer), |text| Ok(text));
    let text = well_formed(text.map_err(|_| Malformed::NotUtf8)?, max_tags)?;
    read(&Document::parse(&text).map_err(|_| Malformed::NotXml)?)
}

/// Converts an answer in UTF-16, or in the encoding that its declaration names, to UTF-8.
pub(super) fn in_utf8(answer: &[u8]) -> Result<Option<Zeroizing<String>>, Malformed> {
    match charset::of_document(answer).map(|charset| charset.convert(answer, MAX_ANSWER)) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(charset::Unconvertible::TooLong)) => Err(Malformed::TooLarge),
        Some(Err(charset::Unconvertible::NoText)) => Err(Malformed::NotUtf8),
    }
}

/// Escapes bare ampersands and angle brackets and removes the DOCTYPE; see the limits above.
fn well_formed(text: &str, max_tags: usize) -> Result<Zeroizing<String>, Malformed> {
    let text = text.trim_start_matches('\u{feff}').trim_ascii();
    let count = |byte| memchr_iter(byte, text.as_bytes()).count();
    if text.is_empty() {
        return Err(Malformed::Empty);
    }
    if memchr(0, text.as_bytes()).is_some() {
        return Err(Malformed::Nul);
    }
    let angles = count(b'<');
    if angles > max_tags || count(b'=') > MAX_EQUALS {
        return Err(Malformed::TooLarge);
    }
    let room = text.len() + "lt;".len() * angles + "amp;".len() * count(b'&').min(MAX_BARE_AMPERSANDS);
    let repaired = Zeroizing::new(String::with_capacity(room));
    let mut mender = Repair { rest: text, repaired, bare: 0, namespaces: Vec::new() };
    mender.document()?;
    Ok(mender.repaired)
}

/// Copies the text piece by piece and never looks back.
struct Repair<'a> {
    rest: &'a str,
    repaired: Zeroizing<String>,
    bare: usize,
    /// Each declaration once, as written.
    namespaces: Vec<&'a str>,
}

impl<'a> Repair<'a> {
    fn document(&mut self) -> Result<(), Malformed> {
        let (mut depth, mut doctype_allowed) = (0, true);
        while let Some(at) = memchr2(b'<', b'&', self.rest.as_bytes()) {
            self.copy(at);
            if self.rest.starts_with('&') {
                self.ampersand()?;
            } else if self.rest.starts_with("<!--") {
                self.copy_through("<!--", "-->")?;
            } else if self.rest.starts_with("<![CDATA[") {
                self.copy_through("<![CDATA[", "]]>")?;
            } else if self.rest.starts_with("<?") {
                self.copy_through("<?", "?>")?;
            } else if self.rest.starts_with("<!DOCTYPE") && doctype_allowed {
                self.drop_doctype()?;
                doctype_allowed = false;
            } else if !self.begins_tag() {
                self.repaired.push_str("&lt;");
                self.rest = &self.rest[1..];
            } else if self.rest.starts_with("</") {
                self.copy(1 + memchr(b'>', self.rest.as_bytes()).ok_or(Malformed::NotXml)?);
                depth = usize::checked_sub(depth, 1).ok_or(Malformed::NotXml)?;
            } else {
                doctype_allowed = false;
                if self.start_tag()? {
                    depth += 1;
                }
                if depth > MAX_DEPTH {
                    return Err(Malformed::TooDeep);
                }
            }
        }
        self.copy(self.rest.len());
        Ok(())
    }

    /// Returns `true` if a tag begins here: a name follows, and its `>` comes before the next `<`.
    fn begins_tag(&self) -> bool {
        let inside = self.rest[1..].strip_prefix('/').unwrap_or(&self.rest[1..]);
        // A misplaced `!` or `?` is the parser's to reject.
        inside.starts_with(|c: char| c.is_alphabetic() || "_:!?".contains(c))
            && memchr2(b'<', b'>', inside.as_bytes()).is_none_or(|at| inside.as_bytes()[at] == b'>')
    }

    fn copy(&mut self, len: usize) {
        let (piece, rest) = self.rest.split_at(len);
        self.repaired.push_str(piece);
        self.rest = rest;
    }

    fn copy_through(&mut self, start: &str, end: &str) -> Result<(), Malformed> {
        let len = self.rest[start.len()..].find(end).ok_or(Malformed::NotXml)?;
        self.copy(start.len() + len + end.len());
        Ok(())
    }

    /// Copies a start tag. Returns `true` if it opens an element.
    fn start_tag(&mut self) -> Result<bool, Malformed> {
        for _ in 0..=MAX_ATTRIBUTES {
            let here = self.rest;
            let at = memchr3(b'"', b'\'', b'>', here.as_bytes()).ok_or(Malformed::NotXml)?;
            let end = here.as_bytes()[at];
            self.copy(at + 1);
            if end == b'>' {
                return Ok(!self.repaired.ends_with("/>"));
            }
            self.attribute_value(end)?;
            if let Some(xmlns) = here[..at].find("xmlns") {
                self.count_namespace(&here[xmlns..here.len() - self.rest.len()])?;
            }
        }
        Err(Malformed::TooDeep)
    }

    fn count_namespace(&mut self, declaration: &'a str) -> Result<(), Malformed> {
        if !self.namespaces.contains(&declaration) {
            if self.namespaces.len() == MAX_NAMESPACES {
                return Err(Malformed::TooLarge);
            }
            self.namespaces.push(declaration);
        }
        Ok(())
    }

    fn attribute_value(&mut self, quote: u8) -> Result<(), Malformed> {
        loop {
            let at = memchr3(quote, b'&', b'<', self.rest.as_bytes()).ok_or(Malformed::NotXml)?;
            match self.rest.as_bytes()[at] {
                b'<' => return Err(Malformed::NotXml),
                b'&' => {
                    self.copy(at);
                    self.ampersand()?;
                }
                _ => {
                    self.copy(at + 1);
                    return Ok(());
                }
            }
        }
    }

    /// Copies a reference, or escapes an ampersand that is none. No entity can be declared, so an unknown name
    /// is text, such as `A&E;`.
    fn ampersand(&mut self) -> Result<(), Malformed> {
        let name = &self.rest[1..];
        let end = name.bytes().position(|byte| !byte.is_ascii_alphanumeric() && byte != b'#').unwrap_or(name.len());
        let ends_well = name[end..].starts_with(';');
        match &name[..end] {
            "amp" | "lt" | "gt" | "quot" | "apos" if ends_well => self.copy(1 + end),
            number if ends_well && is_character_number(number) => {
                // The parser would replace invalid ones with U+FFFD.
                if !is_xml_character(number) {
                    return Err(Malformed::NotXml);
                }
                self.copy(1 + end);
            }
            _ => {
                self.bare += 1;
                if self.bare > MAX_BARE_AMPERSANDS {
                    return Err(Malformed::TooLarge);
                }
                self.repaired.push_str("&amp;");
                self.rest = name;
            }
        }
        Ok(())
    }

    fn drop_doctype(&mut self) -> Result<(), Malformed> {
        let (mut at, mut in_subset) = ("<!DOCTYPE".len(), false);
        loop {
            let here = &self.rest[at..];
            let mut through = |start: &str, end: &str| {
                let len = here[start.len()..].find(end).ok_or(Malformed::NotXml)?;
                at += start.len() + len + end.len();
                Ok(())
            };
            match here.bytes().next().ok_or(Malformed::NotXml)? {
                b'"' => through("\"", "\"")?,
                b'\'' => through("'", "'")?,
                b'<' if here.starts_with("<!ENTITY") => return Err(Malformed::Entity),
                b'<' if here.starts_with("<!--") => through("<!--", "-->")?,
                b'<' if here.starts_with("<?") => through("<?", "?>")?,
                b'>' if !in_subset => {
                    self.rest = &here[1..];
                    return Ok(());
                }
                byte => {
                    in_subset = byte == b'[' || in_subset && byte != b']';
                    // Passes over a multi-byte character as a whole.
                    at += here.chars().next().map_or(1, char::len_utf8);
                }
            }
        }
    }
}

/// Returns `true` if `&name;` has the form of a character reference: `#65` or `#x41`.
fn is_character_number(name: &str) -> bool {
    match (name.strip_prefix("#x"), name.strip_prefix('#')) {
        (Some(hex), _) => !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        (None, Some(decimal)) => !decimal.is_empty() && decimal.bytes().all(|byte| byte.is_ascii_digit()),
        (None, None) => false,
    }
}

fn is_xml_character(number: &str) -> bool {
    let code = match number.strip_prefix("#x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number[1..].parse(),
    };
    code.ok().and_then(char::from_u32).is_some_and(is_char)
}

/// The `Char` of XML 1.0.
pub(super) fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests;
