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
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the text of the document's root element.
    fn text_of(answer: &str) -> Result<String, Malformed> {
        with_document(answer.as_bytes(), |document| {
            Ok(document.root_element().children().filter_map(|node| node.text()).collect())
        })
    }

    #[test]
    fn bare_ampersands_are_literal() {
        for (written, meant) in [
            ("Admin & Clerical", "Admin & Clerical"),
            ("A&E", "A&E"),
            ("R&D, X; Y", "R&D, X; Y"),
            ("&", "&"),
            ("&&amp;&", "&&&"),
            ("&amp", "&amp"),
            ("&#; &#x; &#xZ; &#12", "&#; &#x; &#xZ; &#12"),
            ("&1; &-a;", "&1; &-a;"),
            ("A&E; MAIN SITE", "A&E; MAIN SITE"),
            ("&nbsp; &é; &_x.y-z:1; &AMP; &ltd;", "&nbsp; &é; &_x.y-z:1; &AMP; &ltd;"),
            ("<![CDATA[a & b &amp; c]]>", "a & b &amp; c"),
        ] {
            assert_eq!(text_of(&format!("<a>{written}</a>")).as_deref(), Ok(meant), "{written}");
        }
        let attribute = with_document(b"<a b='x & y' c='&lt;'/>", |document| {
            let root = document.root_element();
            Ok((root.attribute("b").map(str::to_owned), root.attribute("c").map(str::to_owned)))
        });
        assert_eq!(attribute, Ok((Some("x & y".into()), Some("<".into()))));
    }

    #[test]
    fn known_references_mean_their_character() {
        assert_eq!(text_of("<a>&lt;&gt;&amp;&quot;&apos;&#65;&#x42;</a>").as_deref(), Ok("<>&\"'AB"));
    }

    #[test]
    fn references_to_invalid_characters_are_refused() {
        for reference in ["&#0;", "&#1;", "&#xD800;", "&#x110000;", "&#xFFFF;", "&#99999999999999999999;"] {
            assert_eq!(text_of(&format!("<a>{reference}</a>")), Err(Malformed::NotXml), "{reference}");
        }
    }

    #[test]
    fn bare_angle_brackets_are_literal() {
        for text in [
            "CHILDREN <16 CLINIC",
            "A < B",
            "<",
            "<<",
            "x <",
            "<5 > 3",
            "<=5",
            "</3",
            "CHILDREN <FIVE CLINIC",
            "CHILDREN <é, \"A\":\"B\"",
            "<a <b",
            "& < &",
        ] {
            assert_eq!(text_of(&format!("<a>{text}</a>")).as_deref(), Ok(text), "{text}");
        }
        // A piece that looks like a whole tag is one.
        assert_eq!(text_of("<a>CHILDREN <UNDER> FIVE</a>"), Err(Malformed::NotXml));
        assert_eq!(text_of("<a b='<'/>"), Err(Malformed::NotXml));
    }

    #[test]
    fn a_response_is_decoded_with_the_encoding_that_it_names() {
        let text = |answer: &[u8]| {
            with_document(answer, |document| Ok(document.root_element().text().unwrap_or_default().to_owned()))
        };
        for name in ["ISO-8859-1", "iso-8859-15", "windows-1252", "US-ASCII"] {
            let answer = [format!("<?xml version='1.0' encoding='{name}'?><a>Ren").as_bytes(), b"\xe9e</a>"].concat();
            assert_eq!(text(&answer).as_deref(), Ok("Renée"), "{name}");
        }
        let utf16 = "\u{feff}<?xml version='1.0' encoding='UTF-16'?><a>Renée</a>".encode_utf16();
        let [little, big] = [u16::to_le_bytes, u16::to_be_bytes];
        assert_eq!(text(&utf16.clone().flat_map(little).collect::<Vec<_>>()).as_deref(), Ok("Renée"));
        assert_eq!(text(&utf16.flat_map(big).collect::<Vec<_>>()).as_deref(), Ok("Renée"));
        // Its declaration names another encoding.
        assert_eq!(text("<?xml version='1.0' encoding='ISO-8859-1'?><a>Renée</a>".as_bytes()).as_deref(), Ok("Renée"));
        for named in ["", "<?xml version='1.0'?>", "<?xml encoding='UTF-8'?>", "<?xml encoding='EUC-JP'?>"] {
            assert_eq!(text(&[named.as_bytes(), b"<a>\xe9</a>"].concat()), Err(Malformed::NotUtf8), "{named}");
        }
        let long = [&b"<?xml encoding='latin1'?>"[..], &vec![0xe9; MAX_ANSWER - 100]].concat();
        assert_eq!(text(&long), Err(Malformed::TooLarge));
    }

    #[test]
    fn a_doctype_is_dropped_unread() {
        for doctype in [
            r#"<!DOCTYPE USER SYSTEM "https://gas.nis1.national.ncrs.nhs.uk/login/dtd">"#,
            r#"<!DOCTYPE a PUBLIC '">' ">]">"#,
            r#"<!DOCTYPE a [ <!ELEMENT a (#PCDATA)> <!-- ]> ' <!ENTITY --> <?x ]>"?> <!ATTLIST a b CDATA ">"> %p; ]>"#,
            "<!DOCTYPE é>",
        ] {
            assert_eq!(
                text_of(&format!("<?xml version='1.0'?>\n{doctype}\n<a>x</a>")).as_deref(),
                Ok("x"),
                "{doctype}"
            );
        }
    }

    #[test]
    fn a_doctype_that_declares_entities_is_refused() {
        let bomb = r#"<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>"#;
        let external = r#"<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>x</a>"#;
        assert_eq!(text_of(bomb), Err(Malformed::Entity));
        assert_eq!(text_of(external), Err(Malformed::Entity));
    }

    #[test]
    fn a_second_doctype_or_a_late_one_is_refused() {
        for answer in
            ["<!DOCTYPE a><!DOCTYPE a><a/>", "<a><!DOCTYPE a></a>", "<a/><!DOCTYPE a>", "<!DOCTYPE a [", "<!DOCTYPE '"]
        {
            assert_eq!(text_of(answer), Err(Malformed::NotXml), "{answer}");
        }
    }

    #[test]
    fn at_most_sixty_four_levels_of_nesting_are_accepted() {
        let nested = |levels: usize| format!("{}x{}", "<a>".repeat(levels), "</a>".repeat(levels));
        assert!(text_of(&nested(64)).is_ok());
        assert_eq!(text_of(&nested(65)), Err(Malformed::TooDeep));
        let siblings = format!("<a>{}</a>", "<b/>".repeat(1000));
        assert!(text_of(&siblings).is_ok());
    }

    #[test]
    fn more_tags_attributes_or_namespaces_than_a_real_response_has_are_refused() {
        let tags = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count - 2));
        assert!(text_of(&tags(MAX_TAGS)).is_ok());
        let attributes = |count: usize| format!("<a{}/>", (0..count).map(|n| format!(" a{n}=''")).collect::<String>());
        assert!(text_of(&attributes(64)).is_ok());
        assert_eq!(text_of(&attributes(65)), Err(Malformed::TooDeep));
        let equals = |count: usize| format!("<a>{}</a>", "=".repeat(count));
        assert!(text_of(&equals(MAX_EQUALS)).is_ok());
        let ampersands = |count: usize| format!("<a>{}</a>", "&".repeat(count));
        assert!(text_of(&ampersands(MAX_BARE_AMPERSANDS)).is_ok());
        for more in [1, 2, 1000] {
            assert_eq!(text_of(&tags(MAX_TAGS + more)), Err(Malformed::TooLarge));
            assert_eq!(text_of(&equals(MAX_EQUALS + more)), Err(Malformed::TooLarge));
            assert_eq!(text_of(&ampersands(MAX_BARE_AMPERSANDS + more)), Err(Malformed::TooLarge));
        }
        let namespaces = |count: usize| {
            format!("<a>{}</a>", (0..count).map(|n| format!("<b xmlns:n{n}='x'/>").repeat(100)).collect::<String>())
        };
        assert!(text_of(&namespaces(16)).is_ok());
        assert_eq!(text_of(&namespaces(17)), Err(Malformed::TooLarge));
    }

    #[test]
    fn documents_other_than_xml_are_refused() {
        for (answer, why) in [
            ("", Malformed::Empty),
            (" \r\n", Malformed::Empty),
            ("\u{feff}", Malformed::Empty),
            ("hello", Malformed::NotXml),
            ("<html><br></html>", Malformed::NotXml),
            ("<a", Malformed::NotXml),
            ("<a b='", Malformed::NotXml),
            ("<a></a></a>", Malformed::NotXml),
            ("<a>", Malformed::NotXml),
            ("<a/><b/>", Malformed::NotXml),
            ("<a><!-- </a>", Malformed::NotXml),
            ("<a>\0</a>", Malformed::Nul),
            ("<a>\u{1}</a>", Malformed::NotXml),
        ] {
            assert_eq!(text_of(answer), Err(why), "{answer:?}");
        }
        assert_eq!(with_document(b"<a>\xff</a>", |_| Ok(())), Err(Malformed::NotUtf8));
        for (size, why) in [(MAX_ANSWER, Malformed::Empty), (MAX_ANSWER + 1, Malformed::TooLarge)] {
            assert_eq!(with_document(&vec![b' '; size], |_| Ok(())), Err(why));
        }
    }

    #[test]
    fn repaired_text_is_not_reallocated() {
        let document = format!("<a>{}</a>", "T & < ".repeat(10_000));
        let repaired = well_formed(&document, MAX_TAGS).unwrap();
        // The two tags could have been bare angle brackets.
        assert_eq!((repaired.len(), repaired.capacity()), (document.len() + 70_000, document.len() + 70_006));
    }

    proptest! {
        #[test]
        fn well_formed_text_is_left_as_it_is(text in "[a-z <>&\"'\u{e9}]{0,60}") {
            let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let document = format!("<a b='{}'>{escaped}</a>", escaped.replace('\'', "&apos;"));
            prop_assert_eq!(&**well_formed(&document, MAX_TAGS).unwrap(), &document);
        }

        #[test]
        fn any_text_is_read_or_refused(answer in "([<>&;/!?='\"\\[\\]#x1 a\u{e9}-]|<!DOCTYPE|<!\\[CDATA\\[|\\]\\]>|<a>|</a>|<!--|-->){0,40}") {
            let _ = text_of(&answer);
        }
    }
}
