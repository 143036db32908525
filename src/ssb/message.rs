//! The messages of the login: `gpOBJECT` requests written, answers read. Pure: bytes in, bytes out.
//!
//! The reading functions take any bytes and end in time proportional to their number.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use roxmltree::{Document, Node};
use tracing::{debug, warn};
use zeroize::Zeroizing;

use super::role::Role;
pub use super::xml::{MAX_ANSWER, Malformed};
use super::xml::{is_char, with_document};
use crate::secret::Ticket;

const MAX_CHALLENGE: usize = 64 << 10;
/// Real tickets have about 60 characters, and callers of the Ticket API offer room for 1,023.
const MAX_TICKET: usize = 1023;
const MAX_REASON: usize = 300;

/// Why there is nothing to go on with in an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It cannot be understood.
    Malformed(Malformed),
    /// The broker says no, for this reason: one line, of 300 characters at most.
    Refused(String),
}

impl From<Malformed> for Rejection {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// What the broker answers to an activation.
#[derive(PartialEq, Eq)]
pub struct Activated {
    /// The bytes to sign.
    pub challenge: Vec<u8>,
    /// The challenge as it was written, to be sent back.
    pub encoded_challenge: String,
    /// The broker's own signature, to be sent back.
    pub signature: String,
    /// Where the broker wants the signed challenge.
    pub reply_url: Option<String>,
}

impl fmt::Debug for Activated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activated").field("reply_url", &self.reply_url).finish_non_exhaustive()
    }
}

/// What the broker answers to a signed challenge that it accepts.
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
    /// `sso_keep_alive`: whether the client is asked to report use. False where it is not said.
    pub keep_alive: bool,
    /// `sso_logout_url`: where the broker wants to be told that the session ends.
    pub logout_url: Option<String>,
}

/// A value that XML 1.0 cannot carry, so that it would arrive changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parameter {parameter} holds U+{:04X}, which cannot be sent", u32::from(*.character))]
pub struct Unsendable {
    /// The parameter's name.
    pub parameter: &'static str,
    /// The first such character.
    pub character: char,
}

/// Writes a request of `parameters`, names and values, each value escaped.
///
/// # Errors
///
/// Control characters other than tab and line ends have no form in XML; they are refused.
pub fn write(parameters: &[(&'static str, &str)]) -> Result<Zeroizing<Vec<u8>>, Unsendable> {
    const HEAD: &str =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE USER SYSTEM \"gpOBJECT.DTD\">\n<gpOBJECT>\n";
    const TAIL: &str = "</gpOBJECT>\n";

    let mut size = HEAD.len() + TAIL.len();
    for &(parameter, value) in parameters {
        size += parameter.len() + escaped_len(parameter, value)? + 64;
    }

    // The whole size at once: a buffer that moves leaves a ticket behind.
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

/// How long `value` is once it is escaped.
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

/// Base64, in one line or several.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    let challenge = BASE64.decode(text).ok()?;
    (1..=MAX_CHALLENGE).contains(&challenge.len()).then_some(challenge)
}

/// Reads the answer to a signed challenge.
///
/// Roles without an id cannot be chosen and are left out, with a warning in the log.
///
/// # Errors
///
/// A refusal; an answer without ticket, or with two; a parameter that is used and comes twice.
pub fn read_authentication(answer: &[u8]) -> Result<Authenticated, Rejection> {
    read(answer, "sso_ticket", |parameters| {
        let ticket = parameters.needed("sso_ticket")?;
        if !is_ticket(ticket) {
            return Err(Malformed::BadValue("sso_ticket"));
        }
        Ok(Authenticated {
            ticket: Ticket::new(ticket.to_owned()),
            user_name: parameters.one("cn")?.map(one_line),
            roles: parameters.roles()?,
            idle_minutes: parameters.minutes("sso_session_time")?,
            max_minutes: parameters.minutes("sso_max_session_time")?,
            keep_alive: parameters.one("sso_keep_alive")?.is_some_and(|value| value.trim() == "true"),
            logout_url: parameters.one("sso_logout_url")?.map(str::to_owned),
        })
    })
}

/// The first ticket in an answer that [`read_authentication`] has no use for, as far as it can be
/// read: a session has begun all the same.
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

/// Reads the answer to a role selection or a logout: `<HTML><STATUS>OK</STATUS></HTML>`.
///
/// # Errors
///
/// Another status is a refusal, with that status as its reason. What is no such page cannot be understood.
pub fn read_status(answer: &[u8]) -> Result<(), Rejection> {
    let status = with_document(answer, |document| {
        let html = document.root_element();
        let status = html.children().find(|node| node.has_tag_name("STATUS")).filter(|_| html.has_tag_name("HTML"));
        status.map(|node| one_line(node.text().unwrap_or_default())).ok_or(Malformed::NotAMessage)
    })?;
    if status == "OK" { Ok(()) } else { Err(Rejection::Refused(format!("its status is \"{status}\""))) }
}

/// Reads a `gpOBJECT`: a refusal where it lacks what it is `about` and names an error instead.
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

    /// The value of the only parameter of this name; an empty one counts as none.
    fn one(&self, name: &'static str) -> Result<Option<&'a str>, Malformed> {
        let mut found = self.0.iter().filter(|(other, _)| *other == name);
        let Some((_, node)) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(Malformed::Twice(name));
        }
        let value = value(*node).ok_or(Malformed::BadValue(name))?;
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    fn needed(&self, name: &'static str) -> Result<&'a str, Malformed> {
        self.one(name)?.ok_or(Malformed::Missing(name))
    }

    fn minutes(&self, name: &'static str) -> Result<Option<u32>, Malformed> {
        let minutes = self.one(name)?.and_then(|value| value.trim().parse().ok());
        if minutes.is_none() {
            warn!(parameter = name, "the broker gives no time limit");
        }
        Ok(minutes)
    }

    /// What the broker says about an error. `error_url` is in every answer and says nothing.
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
            match node.attribute("id").filter(|id| !id.is_empty()) {
                Some(id) => roles.push((number, Role::new(id, node.attribute("orgcode").unwrap_or_default(), text))),
                None => warn!(number, "the broker names a role without an id; it cannot be chosen"),
            }
        }
        roles.sort_by_key(|(number, _)| *number);
        debug!(roles = roles.len(), "the broker lists the user's roles");
        Ok(roles.into_iter().map(|(_, role)| role).collect())
    }
}

/// A parameter's text; `None` where it holds anything else.
pub(super) fn value<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    let mut children = node.children();
    match (children.next(), children.next()) {
        (None, _) => Some(""),
        (Some(only), None) if only.is_text() => only.text(),
        _ => None,
    }
}

/// Text of the broker's, fit to be shown: no control characters, not longer than [`MAX_REASON`].
pub(super) fn one_line(text: &str) -> String {
    let mut words = String::new();
    for word in text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty()) {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    match words.char_indices().nth(MAX_REASON) {
        Some((end, _)) => words[..end].chars().chain(['…']).collect(),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(parameters: &str) -> Vec<u8> {
        format!("<gpOBJECT><gpPARAM name=\"error_url\">https://gas.example/error</gpPARAM>{parameters}</gpOBJECT>")
            .into_bytes()
    }

    fn parameter(name: &str, value: &str) -> String {
        format!("<gpPARAM name=\"{name}\">{value}</gpPARAM>")
    }

    fn activation(challenge: &str) -> Result<Activated, Rejection> {
        read_activation(&answer(&[parameter("signature", "c2ln"), parameter("challenge", challenge)].concat()))
    }

    #[test]
    fn a_message_has_its_whole_size_at_once() {
        for value in ["", "AQIC5w", &"<&>".repeat(10_000)] {
            let message = write(&[("token", value), ("response", value), ("uid", value)]).unwrap();
            assert!(message.capacity() - message.len() < 3 * 64, "it moved, or its room is wasted");
        }
    }

    #[test]
    fn a_challenge_is_decoded_and_kept_as_written() {
        let activated = activation("aGVs\nbG8=").unwrap();
        assert_eq!(activated.challenge, b"hello");
        assert_eq!(activated.encoded_challenge, "aGVs\nbG8=");
        assert_eq!(activated.signature, "c2ln");
    }

    #[test]
    fn debug_shows_where_an_answer_goes_and_nothing_that_is_signed() {
        let mut activated = activation("aGVsbG8=").unwrap();
        activated.reply_url = Some("https://gas.example/login".into());
        assert_eq!(format!("{activated:?}"), "Activated { reply_url: Some(\"https://gas.example/login\"), .. }");
    }

    #[test]
    fn a_challenge_that_cannot_be_one_is_refused() {
        let bad = Err(Rejection::Malformed(Malformed::BadValue("challenge")));
        assert_eq!(activation("no base64!"), bad);
        assert_eq!(activation("===="), bad);
        assert_eq!(activation(" "), bad);
        assert_eq!(activation("<b/>"), bad);
        assert_eq!(activation("aGVs<!-- -->bG8="), bad);
        assert_eq!(activation(&BASE64.encode(vec![0; MAX_CHALLENGE + 1])), bad);
        assert!(activation(&BASE64.encode(vec![0; MAX_CHALLENGE])).is_ok());
        assert_eq!(activation(""), Err(Rejection::Malformed(Malformed::Missing("challenge"))));
    }

    #[test]
    fn what_is_needed_must_come_once() {
        let signature = parameter("signature", "c2ln");
        let challenge = parameter("challenge", "aGVsbG8=");
        for (parameters, why) in [
            (signature.clone(), Malformed::Missing("challenge")),
            (challenge.clone(), Malformed::Missing("signature")),
            ([&*signature, &challenge, &challenge].concat(), Malformed::Twice("challenge")),
            ([&*signature, &signature, &challenge].concat(), Malformed::Twice("signature")),
        ] {
            assert_eq!(read_activation(&answer(&parameters)), Err(why.into()));
        }
        let ticket = parameter("sso_ticket", "AQIC5w");
        for (parameters, why) in [
            (String::new(), Malformed::Missing("sso_ticket")),
            ([&*ticket, &ticket].concat(), Malformed::Twice("sso_ticket")),
            (parameter("sso_ticket", "A&#10;B"), Malformed::BadValue("sso_ticket")),
            (parameter("sso_ticket", &"A".repeat(MAX_TICKET + 1)), Malformed::BadValue("sso_ticket")),
        ] {
            assert_eq!(read_authentication(&answer(&parameters)), Err(why.into()));
        }
    }

    #[test]
    fn a_ticket_is_found_where_nothing_else_can_be_used() {
        let tickets = ["", "A B", "A", "B"].map(|ticket| parameter("sso_ticket", ticket)).concat();
        assert_eq!(read_ticket(&answer(&tickets)).unwrap().expose(), "A");
        assert_eq!(read_ticket(&answer(&parameter("cn", "X").repeat(2))), None);
        assert_eq!(read_ticket(b"<HTML/>"), None);
    }

    #[test]
    fn an_error_in_place_of_what_was_asked_for_is_a_refusal() {
        let refused = parameter("error_code", "12") + &parameter("gas_Error", "Card\u{9b}\n revoked");
        assert_eq!(read_authentication(&answer(&refused)), Err(Rejection::Refused("12, Card revoked".into())));
        assert_eq!(read_activation(&answer(&refused)), Err(Rejection::Refused("12, Card revoked".into())));
        let with_ticket = refused + &parameter("sso_ticket", "AQIC5w");
        assert!(read_authentication(&answer(&with_ticket)).is_ok());
    }

    #[test]
    fn a_reason_is_cut_where_nobody_would_read_on() {
        let refused = parameter("error_text", &"é".repeat(1000));
        let Err(Rejection::Refused(reason)) = read_authentication(&answer(&refused)) else { panic!() };
        assert_eq!(reason.chars().count(), MAX_REASON + 1);
        assert!(reason.ends_with("é…"));
    }

    #[test]
    fn roles_come_in_the_order_of_their_numbers_and_none_is_lost() {
        let roles = r#"<gpPARAM name="sso_ticket">AQIC5w</gpPARAM>
            <gpPARAM name="nhsjobrole10" id="10">ORG, "A":"B":"C"</gpPARAM>
            <gpPARAM name="nhsjobrole9" id="9" orgcode="X">of another form</gpPARAM>
            <gpPARAM name="nhsjobrole9" id="9b"></gpPARAM>
            <gpPARAM name="nhsjobrole2">no id</gpPARAM>
            <gpPARAM name="nhsjobroles" id="1">no role</gpPARAM>"#;
        let roles = read_authentication(&answer(roles)).unwrap().roles;
        let ids: Vec<_> = roles.iter().map(|role| (&*role.id, &*role.name)).collect();
        assert_eq!(ids, [("9", "of another form"), ("9b", ""), ("10", "C")]);
    }

    #[test]
    fn limits_that_cannot_be_read_are_none() {
        let limits = |idle: &str, max: &str| {
            let parameters = [
                parameter("sso_ticket", "A"),
                parameter("sso_session_time", idle),
                parameter("sso_max_session_time", max),
            ];
            let authenticated = read_authentication(&answer(&parameters.concat())).unwrap();
            (authenticated.idle_minutes, authenticated.max_minutes)
        };
        assert_eq!(limits("30", " 600 "), (Some(30), Some(600)));
        assert_eq!(limits("", "-1"), (None, None));
        assert_eq!(limits("soon", "4294967296"), (None, None));
    }

    #[test]
    fn only_status_ok_is_ok() {
        assert_eq!(read_status(b"<HTML><STATUS>OK</STATUS></HTML>\r\n"), Ok(()));
        for refused in ["<HTML><STATUS>NOT OK</STATUS></HTML>", "<HTML><STATUS/></HTML>"] {
            assert!(matches!(read_status(refused.as_bytes()), Err(Rejection::Refused(_))), "{refused}");
        }
        for (page, why) in [
            ("<HTML><BODY>OK</BODY></HTML>", Malformed::NotAMessage),
            ("<STATUS>OK</STATUS>", Malformed::NotAMessage),
            ("OK", Malformed::NotXml),
            ("", Malformed::Empty),
        ] {
            assert_eq!(read_status(page.as_bytes()), Err(why.into()), "{page}");
        }
    }

    #[test]
    fn a_document_that_is_no_message_is_told_apart() {
        let html = b"<html><body><p>Login</p></body></html>";
        assert_eq!(read_activation(html), Err(Malformed::NotAMessage.into()));
    }

    #[test]
    fn debug_forms_show_no_ticket_and_no_challenge() {
        let shown = format!("{:?}", activation("aGVsbG8=").unwrap());
        assert!(!shown.contains("aGVs") && !shown.contains("104"), "{shown}");
        let shown = format!("{:?}", read_authentication(&answer(&parameter("sso_ticket", "AQIC5w"))).unwrap());
        assert!(!shown.contains("AQIC"), "{shown}");
    }

    fn hostile() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            4 => any::<char>().prop_map(String::from),
            1 => "[<>&'\"\r\n\t;# a]{1,3}",
            1 => Just("]]>".to_owned()),
            1 => Just("&amp;".to_owned()),
            1 => Just("\0".to_owned()),
        ];
        proptest::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]
        #[test]
        fn what_is_written_is_read_as_the_same_value_or_refused(uid in hostile(), response in hostile()) {
            let parameters = [("uid", &*uid), ("response", &*response)];
            match write(&parameters) {
                Ok(message) => with_document(&message, |document| {
                    let read = Parameters::of(document)?;
                    assert_eq!(read.0.len(), 2);
                    for (name, expected) in parameters {
                        assert_eq!(read.one(name)?.unwrap_or_default(), expected);
                    }
                    Ok(())
                }).unwrap(),
                Err(Unsendable { parameter, character }) => {
                    let value = if parameter == "uid" { uid } else { response };
                    prop_assert!(value.contains(character));
                    prop_assert!(character < ' ' || matches!(character, '\u{fffe}' | '\u{ffff}'), "{character:?}");
                }
            }
        }
    }
}
