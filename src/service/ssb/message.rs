//! The login's messages: writes `gpOBJECT` requests and reads answers. Pure: bytes in, bytes out.
//!
//! The reading functions take any bytes, in time proportional to their number.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use roxmltree::{Document, Node};
use tracing::{debug, warn};
use zeroize::Zeroizing;

use super::role_line::Role;
pub use super::xml::{MAX_ANSWER, Malformed};
use super::xml::{is_char, with_document};
use crate::printable::{clean, is_unfit};
use crate::secret::Ticket;

const MAX_CHALLENGE: usize = 64 << 10;
/// Real tickets have about 60 characters, and callers of the Ticket API offer room for 1,023.
const MAX_TICKET: usize = 1023;
const MAX_REASON: usize = 300;

/// Why an answer is unusable.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The answer cannot be understood.
    Malformed(Malformed),
    /// The broker refuses, for this reason: one line of at most 300 characters.
    Refused(String),
}

impl From<Malformed> for Rejection {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// The broker's answer to an activation.
#[derive(PartialEq, Eq)]
pub struct Activated {
    /// The bytes to sign.
    pub challenge: Vec<u8>,
    /// The challenge as written, to be sent back.
    pub encoded_challenge: String,
    /// The broker's own signature, to be sent back.
    pub signature: String,
    /// Where to send the signed challenge.
    pub reply_url: Option<String>,
}

impl fmt::Debug for Activated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activated").field("reply_url", &self.reply_url).finish_non_exhaustive()
    }
}

/// The broker's answer to a signed challenge that it accepts.
#[derive(Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// The ticket (`sso_ticket`).
    pub ticket: Ticket,
    /// The user's name (`cn`).
    pub user_name: Option<String>,
    /// The user's roles, in the order of their numbers.
    pub roles: Vec<Role>,
    /// `sso_session_time`: minutes without use after which the session ends.
    pub idle_minutes: Option<u32>,
    /// `sso_max_session_time`: minutes after which the session ends in any case.
    pub max_minutes: Option<u32>,
    /// `sso_logout_url`: where to end the session.
    pub logout_url: Option<String>,
}

/// A value that XML 1.0 cannot carry unchanged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parameter {parameter} holds U+{:04X}, which cannot be sent", u32::from(*.character))]
pub struct Unsendable {
    /// The parameter's name.
    pub parameter: &'static str,
    /// The first such character.
    pub character: char,
}

/// Writes a request of `parameters` (names and values), and escapes each value.
///
/// # Errors
///
/// Control characters other than tab and line ends, which XML cannot carry.
pub fn write(parameters: &[(&'static str, &str)]) -> Result<Zeroizing<Vec<u8>>, Unsendable> {
    const HEAD: &str =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE USER SYSTEM \"gpOBJECT.DTD\">\n<gpOBJECT>\n";
    const TAIL: &str = "</gpOBJECT>\n";

    let mut size = HEAD.len() + TAIL.len();
    for &(parameter, value) in parameters {
        size += parameter.len() + escaped_len(parameter, value)? + 64;
    }

    // Allocated at its full size: a reallocation would leave a copy of the ticket.
    let mut message = Zeroizing::new(String::with_capacity(size));
    message.push_str(HEAD);
    for &(parameter, value) in parameters {
        message.push_str("<gpPARAM name=\"");
        message.push_str(parameter);
        message.push_str(if parameter == "response" { "\" encoding=\"base64\">" } else { "\">" });
        push_escaped(&mut message, value);
        message.push_str("</gpPARAM>\n");
    }
    message.push_str(TAIL);
    Ok(Zeroizing::new(std::mem::take(&mut *message).into_bytes()))
}

/// Returns the length of `value` when escaped.
pub(super) fn escaped_len(parameter: &'static str, value: &str) -> Result<usize, Unsendable> {
    match value.chars().find(|&c| !is_char(c)) {
        Some(character) => Err(Unsendable { parameter, character }),
        None => Ok(value.chars().map(|c| escape(c).map_or(c.len_utf8(), str::len)).sum()),
    }
}

pub(super) fn push_escaped(message: &mut String, value: &str) {
    for c in value.chars() {
        match escape(c) {
            Some(escaped) => message.push_str(escaped),
            None => message.push(c),
        }
    }
}

fn escape(c: char) -> Option<&'static str> {
    match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        '\'' => Some("&apos;"),
        // A parser turns a bare one into a line feed.
        '\r' => Some("&#13;"),
        _ => None,
    }
}

/// Reads the answer to an activation.
///
/// # Errors
///
/// A refusal; an answer without challenge or signature, or with two; a challenge that is not
/// base64, empty or longer than 64 KiB.
pub fn read_activation(answer: &[u8]) -> Result<Activated, Rejection> {
    read(answer, "challenge", |parameters| {
        let encoded = parameters.needed("challenge")?;
        let challenge = decode(encoded).ok_or(Malformed::BadValue("challenge"))?;
        Ok(Activated {
            challenge,
            encoded_challenge: encoded.to_owned(),
            signature: parameters.needed("signature")?.to_owned(),
            reply_url: parameters.one("reply_url")?.map(str::to_owned),
        })
    })
}

/// Base64 in one or several lines.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    let challenge = BASE64.decode(text).ok()?;
    (1..=MAX_CHALLENGE).contains(&challenge.len()).then_some(challenge)
}

/// Reads the answer to a signed challenge.
///
/// Roles without an id, or with control characters in it, cannot be chosen; they are left out with a
/// warning in the log.
///
/// # Errors
///
/// A refusal; an answer without ticket, or with two; a used parameter that comes twice. Of two names, which
/// are only shown, the first is used.
pub fn read_authentication(answer: &[u8]) -> Result<Authenticated, Rejection> {
    read(answer, "sso_ticket", |parameters| {
        let ticket = parameters.needed("sso_ticket")?;
        if !is_ticket(ticket) {
            return Err(Malformed::BadValue("sso_ticket"));
        }
        Ok(Authenticated {
            ticket: Ticket::new(ticket.to_owned()),
            user_name: parameters.first("cn")?.map(one_line),
            roles: parameters.roles()?,
            idle_minutes: parameters.minutes("sso_session_time")?,
            max_minutes: parameters.minutes("sso_max_session_time")?,
            logout_url: parameters.one("sso_logout_url")?.map(str::to_owned),
        })
    })
}

/// Returns the first ticket in an answer that [`read_authentication`] rejects, as far as it is readable: its
/// session has started all the same.
pub fn read_ticket(answer: &[u8]) -> Option<Ticket> {
    let ticket = with_document(answer, |document| {
        let parameters = Parameters::of(document)?;
        let values = parameters.0.iter().filter(|(name, _)| *name == "sso_ticket").filter_map(|(_, node)| value(*node));
        Ok(values.filter(|ticket| is_ticket(ticket)).map(|ticket| Ticket::new(ticket.to_owned())).next())
    });
    ticket.ok().flatten()
}

fn is_ticket(text: &str) -> bool {
    (1..=MAX_TICKET).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reads the answer to a role selection or logout: `<HTML><STATUS>OK</STATUS></HTML>`, names in any case.
///
/// # Errors
///
/// Another status is a refusal, with that status as its reason. Anything but such a page, two statuses, or a
/// status that is not plain text cannot be understood.
pub fn read_status(answer: &[u8]) -> Result<(), Rejection> {
    let status = with_document(answer, |document| {
        let is = |node: &Node<'_, '_>, name: &str| node.tag_name().name().eq_ignore_ascii_case(name);
        let html = Some(document.root_element()).filter(|root| is(root, "HTML")).ok_or(Malformed::NotAMessage)?;
        let mut found = html.children().filter(|node| is(node, "STATUS"));
        let status = found.next().ok_or(Malformed::NotAMessage)?;
        if found.next().is_some() {
            return Err(Malformed::Twice("STATUS"));
        }
        value(status).map(one_line).ok_or(Malformed::BadValue("STATUS"))
    })?;
    if status == "OK" { Ok(()) } else { Err(Rejection::Refused(format!("its status is \"{status}\""))) }
}

/// Returns the words of an answer that is a page, on one line; `None` if it is, or could have been, a
/// message.
pub(crate) fn page_text(answer: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(answer).ok()?.trim();
    if text.is_empty() || text.contains('\0') || ["gpOBJECT", "sso_ticket"].iter().any(|name| text.contains(name)) {
        return None;
    }
    // The text before the first `<`; then each piece is a tag and the text after it.
    let mut pieces = text.split('<');
    let first = pieces.next().unwrap_or_default();
    let words: Vec<_> = [first].into_iter().chain(pieces.filter_map(|piece| Some(piece.split_once('>')?.1))).collect();
    Some(one_line(&words.join(" ")))
}

/// Reads a `gpOBJECT`. It is a refusal if it lacks what it is `about` and names an error instead.
fn read<T>(
    answer: &[u8],
    about: &'static str,
    take: impl FnOnce(&Parameters<'_, '_>) -> Result<T, Malformed>,
) -> Result<T, Rejection> {
    with_document(answer, |document| {
        let parameters = Parameters::of(document)?;
        match parameters.one(about)?.is_none().then(|| parameters.error()).flatten() {
            Some(reason) => Ok(Err(Rejection::Refused(reason))),
            None => take(&parameters).map(Ok),
        }
    })?
}

/// The `gpPARAM`s of a message.
struct Parameters<'a, 'text>(Vec<(&'a str, Node<'a, 'text>)>);

impl<'a, 'text> Parameters<'a, 'text> {
    fn of(document: &'a Document<'text>) -> Result<Self, Malformed> {
        let root = document.root_element();
        if !root.has_tag_name("gpOBJECT") {
            return Err(Malformed::NotAMessage);
        }
        let parameters = root.children().filter(|node| node.has_tag_name("gpPARAM"));
        Ok(Self(parameters.filter_map(|node| Some((node.attribute("name")?, node))).collect()))
    }

    /// Returns the value of the only parameter of this name; an empty one counts as missing.
    fn one(&self, name: &'static str) -> Result<Option<&'a str>, Malformed> {
        if self.named(name).nth(1).is_some() { Err(Malformed::Twice(name)) } else { self.first(name) }
    }

    /// Returns the value of the first parameter of this name, for values that are only shown.
    fn first(&self, name: &'static str) -> Result<Option<&'a str>, Malformed> {
        let mut found = self.named(name);
        let Some(node) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            warn!(parameter = name, "the broker sent a parameter twice; the first is used");
        }
        let value = value(node).ok_or(Malformed::BadValue(name))?;
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    fn named(&self, name: &'static str) -> impl Iterator<Item = Node<'a, 'text>> {
        self.0.iter().filter(move |(other, _)| *other == name).map(|(_, node)| *node)
    }

    fn needed(&self, name: &'static str) -> Result<&'a str, Malformed> {
        self.one(name)?.ok_or(Malformed::Missing(name))
    }

    fn minutes(&self, name: &'static str) -> Result<Option<u32>, Malformed> {
        let minutes = self.one(name)?.and_then(|value| value.trim().parse().ok());
        if minutes.is_none() {
            warn!(parameter = name, "the broker sent no time limit");
        }
        Ok(minutes)
    }

    /// Returns the broker's error text. `error_url` is in every answer and means nothing.
    fn error(&self) -> Option<String> {
        let is_reason = |name: &str| {
            let name = name.to_ascii_lowercase();
            name.contains("error") && !name.ends_with("url")
        };
        let reasons: Vec<&str> = (self.0.iter())
            .filter(|(name, _)| is_reason(name))
            .filter_map(|(_, node)| value(*node).filter(|value| !value.trim().is_empty()))
            .collect();
        (!reasons.is_empty()).then(|| one_line(&reasons.join(", ")))
    }

    fn roles(&self) -> Result<Vec<Role>, Malformed> {
        let mut roles = Vec::new();
        for (name, node) in &self.0 {
            let Some(number) = name.strip_prefix("nhsjobrole").and_then(|number| number.parse::<u32>().ok()) else {
                continue;
            };
            let text = value(*node).ok_or(Malformed::BadValue("nhsjobrole"))?;
            match node.attribute("id").unwrap_or_default() {
                "" => warn!(number, "the broker sent a role without an id, which cannot be chosen"),
                // An id must be shown and sent back unchanged.
                id if id.contains(is_unfit) => {
                    warn!(number, "a role's id has control characters; the role cannot be chosen");
                }
                id => roles.push((number, Role::new(id, node.attribute("orgcode").unwrap_or_default(), text))),
            }
        }
        roles.sort_by_key(|(number, _)| *number);
        debug!(roles = roles.len(), "the broker sent the user's roles");
        Ok(roles.into_iter().map(|(_, role)| role).collect())
    }
}

/// Returns a parameter's text; `None` if it holds anything else.
pub(super) fn value<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    let mut children = node.children();
    match (children.next(), children.next()) {
        (None, _) => Some(""),
        (Some(only), None) if only.is_text() => only.text(),
        _ => None,
    }
}

/// Makes the broker's text printable and at most [`MAX_REASON`] long.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<_> =
        text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty()).collect();
    clean(&words.join(" "), MAX_REASON)
}

#[cfg(test)]
mod tests;
