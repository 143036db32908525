//! The Access Manager session service: whether a session is alive, and for how long. Pure.
//!
//! A request is XML in the CDATA of an envelope, and so is its answer. No answer has been captured; its
//! form is that of Sun Access Manager 7.

use std::time::Duration;

use memchr::memmem;
use roxmltree::Node;
use zeroize::Zeroizing;

use super::message::{MAX_ANSWER, Rejection, Unsendable, escaped_len, one_line, push_escaped, value};
use super::xml::{Malformed, in_utf8, with_document};
use crate::secret::Ticket;

const CDATA: &str = "<![CDATA[";

/// The broker's information about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Whether the session is alive.
    pub state: SessionState,
    /// The user's id (`UserId`).
    pub uid: Option<String>,
    /// The session ends after this time in any case (`maxtime`).
    pub max_time: Option<Duration>,
    /// The session ends after this time without use (`maxidle`).
    pub max_idle: Option<Duration>,
    /// Time since its last use (`timeidle`).
    pub idle: Option<Duration>,
    /// Time left in any case (`timeleft`).
    pub left: Option<Duration>,
}

/// A session's state. Only a valid one is usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// The login is not complete.
    Invalid,
    /// Alive.
    Valid,
    /// Idle for too long, or suspended.
    Inactive,
    /// Over.
    Destroyed,
}

impl SessionState {
    /// Returns the state as the broker writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Valid => "valid",
            Self::Inactive => "inactive",
            Self::Destroyed => "destroyed",
        }
    }

    fn read(text: &str) -> Option<Self> {
        let states = [Self::Invalid, Self::Valid, Self::Inactive, Self::Destroyed];
        states.into_iter().find(|state| state.as_str() == text)
    }
}

/// Writes the request about the session of `ticket`; `reset` also restarts its idle time.
///
/// # Errors
///
/// An error for a ticket that XML cannot carry.
pub fn write_question(ticket: &Ticket, reset: bool) -> Result<Zeroizing<Vec<u8>>, Unsendable> {
    const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n\
         <RequestSet vers=\"1.0\" svcid=\"session\" reqid=\"0\">\n\
         <Request><![CDATA[<SessionRequest vers=\"1.0\" reqid=\"1\">\n<GetSession reset=\"";
    const MIDDLE: &str = "\">\n<SessionID>";
    const TAIL: &str = "</SessionID>\n</GetSession>\n</SessionRequest>]]></Request>\n</RequestSet>\n";

    let reset = if reset { "true" } else { "false" };
    let ticket = ticket.expose();
    let size = HEAD.len() + reset.len() + MIDDLE.len() + escaped_len("SessionID", ticket)? + TAIL.len();
    // Allocated at its full size: a reallocation would leave a copy of the ticket.
    let mut message = Zeroizing::new(String::with_capacity(size));
    message.push_str(HEAD);
    message.push_str(reset);
    message.push_str(MIDDLE);
    // With `>` escaped too, no value can end the CDATA.
    push_escaped(&mut message, ticket);
    message.push_str(TAIL);
    Ok(Zeroizing::new(std::mem::take(&mut *message).into_bytes()))
}

/// Reads the answer about the session of `ticket`.
///
/// # Errors
///
/// An exception is a refusal: there is no such session. Malformed is an answer without a known state,
/// with two sessions, or about another ticket's session.
pub fn read_session(answer: &[u8], ticket: &Ticket) -> Result<SessionInfo, Rejection> {
    if answer.len() > MAX_ANSWER {
        return Err(Malformed::TooLarge.into());
    }
    let converted = in_utf8(answer)?;
    let (envelope, inside) = open(converted.as_ref().map_or(answer, |text| text.as_bytes()));
    with_document(&envelope, |document| {
        let set = document.root_element();
        if !set.has_tag_name("ResponseSet") {
            return Err(Malformed::NotAMessage);
        }
        only(set, "Response")?.ok_or(Malformed::Missing("Response")).map(drop)
    })?;
    let inside = inside.ok_or(Malformed::Missing("SessionResponse"))?;
    with_document(inside, |document| {
        let response = document.root_element();
        if !response.has_tag_name("SessionResponse") {
            return Err(Malformed::NotAMessage);
        }
        let get = only(response, "GetSession")?;
        for place in [Some(response), get].into_iter().flatten() {
            if let Some(exception) = only(place, "Exception")? {
                let reason = one_line(value(exception).unwrap_or_default());
                return Ok(Err(Rejection::Refused(format!("its session service says \"{reason}\""))));
            }
        }
        let get = get.ok_or(Malformed::Missing("GetSession"))?;
        let session = only(get, "Session")?.ok_or(Malformed::Missing("Session"))?;
        info(session, ticket).map(Ok)
    })?
}

/// Separates the envelope from its CDATA. By hand: a parser would copy the CDATA to unwiped memory if
/// there is text beside it, or a carriage return in it.
fn open(answer: &[u8]) -> (Zeroizing<Vec<u8>>, Option<&[u8]>) {
    let start = memmem::find(answer, CDATA.as_bytes());
    let end = memmem::rfind(answer, b"]]>");
    match (start, end) {
        (Some(start), Some(end)) if start + CDATA.len() <= end => {
            let envelope = [&answer[..start], &answer[end + 3..]].concat();
            (Zeroizing::new(envelope), Some(&answer[start + CDATA.len()..end]))
        }
        _ => (Zeroizing::new(answer.to_vec()), None),
    }
}

fn only<'a, 'text>(node: Node<'a, 'text>, name: &'static str) -> Result<Option<Node<'a, 'text>>, Malformed> {
    let mut found = node.children().filter(|child| child.has_tag_name(name));
    let first = found.next();
    if found.next().is_some() { Err(Malformed::Twice(name)) } else { Ok(first) }
}

fn info(session: Node<'_, '_>, ticket: &Ticket) -> Result<SessionInfo, Malformed> {
    if let Some(handle) = property(session, "SessionHandle")?
        && handle.strip_prefix("shandle:") != Some(ticket.expose())
    {
        return Err(Malformed::OtherSession);
    }
    let state = session.attribute("state").ok_or(Malformed::Missing("state"))?;
    let time = |name: &str, unit: u64| {
        let count: u64 = session.attribute(name)?.trim().parse().ok()?;
        count.checked_mul(unit).map(Duration::from_secs)
    };
    Ok(SessionInfo {
        state: SessionState::read(state.trim()).ok_or(Malformed::BadValue("state"))?,
        uid: property(session, "UserId")?.filter(|uid| !uid.is_empty()).map(str::to_owned),
        max_time: time("maxtime", 60),
        max_idle: time("maxidle", 60),
        idle: time("timeidle", 1),
        left: time("timeleft", 1),
    })
}

fn property<'a>(session: Node<'a, '_>, name: &'static str) -> Result<Option<&'a str>, Malformed> {
    let properties = session.children().filter(|child| child.has_tag_name("Property"));
    let mut named = properties.filter(|property| property.attribute("name") == Some(name));
    let first = named.next();
    if named.next().is_some() {
        return Err(Malformed::Twice(name));
    }
    first.map(|property| property.attribute("value").ok_or(Malformed::BadValue(name))).transpose()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roxmltree::Document;

    use super::*;

    const TICKET: &str = "AQIC5wM2LY4SfcwrRGMHiyxMR3suYWqcF+B1j56GJ4xGut4=@AAJTSQACMDE=#";

    fn ticket(text: &str) -> Ticket {
        Ticket::new(text.to_owned())
    }

    fn envelope(inside: &str) -> String {
        format!("<ResponseSet vers='1.0'><Response>\r\n<![CDATA[{inside}]]>\r\n</Response></ResponseSet>")
    }

    fn response(inside: &str) -> String {
        envelope(&format!("<SessionResponse vers=\"1.0\" reqid=\"1\">\r\n{inside}\r\n</SessionResponse>"))
    }

    fn session(attributes: &str, properties: &str) -> String {
        response(&format!("<GetSession><Session {attributes}>{properties}</Session></GetSession>"))
    }

    fn property(name: &str, value: &str) -> String {
        format!("<Property name=\"{name}\" value=\"{value}\"></Property>")
    }

    fn read(answer: &str) -> Result<SessionInfo, Rejection> {
        read_session(answer.as_bytes(), &ticket(TICKET))
    }

    #[test]
    fn a_request_is_allocated_at_its_full_size() {
        for reset in [true, false] {
            let question = write_question(&ticket(&"<A>".repeat(100)), reset).unwrap();
            assert_eq!(question.capacity(), question.len());
        }
    }

    #[test]
    fn a_response_beyond_the_limit_is_refused_without_parsing() {
        let sized = |size: usize| {
            let answer = session("state='valid'", "");
            answer.replacen(' ', &" ".repeat(size - answer.len() + 1), 1)
        };
        assert!(read(&sized(MAX_ANSWER)).is_ok());
        for more in [1, 2, 1000] {
            assert_eq!(read(&sized(MAX_ANSWER + more)), Err(Malformed::TooLarge.into()));
        }
    }

    #[test]
    fn an_open_session_is_parsed() {
        let properties = property("UserId", "123456789012") + &property("SessionHandle", &format!("shandle:{TICKET}"));
        let attributes = "sid='x' state='valid' maxtime='600' maxidle='30' timeidle='7' timeleft='3599'";
        let read = read(&session(attributes, &properties)).unwrap();
        assert_eq!((read.state, read.uid.as_deref()), (SessionState::Valid, Some("123456789012")));
        let [max, max_idle, idle, left] = [read.max_time, read.max_idle, read.idle, read.left].map(Option::unwrap);
        assert_eq!([max, max_idle, idle, left].map(|time| time.as_secs()), [36_000, 1_800, 7, 3_599]);
    }

    #[test]
    fn each_state_is_parsed_and_invalid_times_are_ignored() {
        for state in [SessionState::Invalid, SessionState::Valid, SessionState::Inactive, SessionState::Destroyed] {
            let attributes = format!("state='{}' maxtime='{}' maxidle='-1' timeidle=''", state.as_str(), u64::MAX);
            let read = read(&session(&attributes, "")).unwrap();
            assert_eq!(read, SessionInfo { state, uid: None, max_time: None, max_idle: None, idle: None, left: None });
        }
    }

    #[test]
    fn an_exception_is_a_refusal_at_any_place() {
        let exception = "<Exception>Invalid\n session ID</Exception>";
        let refused = Err(Rejection::Refused("its session service says \"Invalid session ID\"".into()));
        assert_eq!(read(&response(exception)), refused);
        assert_eq!(read(&response(&format!("<GetSession>{exception}</GetSession>"))), refused);
        let with_session = format!("<GetSession><Session state='valid'/>{exception}</GetSession>");
        assert_eq!(read(&response(&with_session)), refused);
        assert!(matches!(read(&response("<Exception/>")), Err(Rejection::Refused(_))));
    }

    #[test]
    fn a_response_about_another_session_is_refused() {
        for handle in ["", "shandle:", "shandle:AQIC", TICKET, &format!("shandle:{TICKET} ")] {
            let answer = session("state='valid'", &property("SessionHandle", handle));
            assert_eq!(read(&answer), Err(Malformed::OtherSession.into()), "{handle}");
        }
    }

    #[test]
    fn required_elements_must_occur_once() {
        let live = "<Session state='valid'/>";
        for (answer, why) in [
            ("<HTML/>".to_owned(), Malformed::NotAMessage),
            ("<ResponseSet/>".to_owned(), Malformed::Missing("Response")),
            ("<ResponseSet><Response/></ResponseSet>".to_owned(), Malformed::Missing("SessionResponse")),
            ("<ResponseSet><Response/><Response/></ResponseSet>".to_owned(), Malformed::Twice("Response")),
            (response("").repeat(2), Malformed::NotXml),
            (envelope(""), Malformed::Empty),
            (envelope("<HTML/>"), Malformed::NotAMessage),
            (envelope("<SessionResponse>"), Malformed::NotXml),
            (response(""), Malformed::Missing("GetSession")),
            (response("<GetSession/>"), Malformed::Missing("Session")),
            (response(&"<GetSession/>".repeat(2)), Malformed::Twice("GetSession")),
            (response(&format!("<GetSession>{live}{live}</GetSession>")), Malformed::Twice("Session")),
            (session("", ""), Malformed::Missing("state")),
            (session("state='alive'", ""), Malformed::BadValue("state")),
            (session("state='valid'", &property("UserId", "1").repeat(2)), Malformed::Twice("UserId")),
            (session("state='valid'", "<Property name='UserId'/>"), Malformed::BadValue("UserId")),
            (" ".repeat(MAX_ANSWER + 1), Malformed::TooLarge),
            (String::new(), Malformed::Empty),
            ("]]><![CDATA[".to_owned(), Malformed::NotXml),
            ("<![CDATA[]]".to_owned(), Malformed::NotXml),
        ] {
            assert_eq!(read(&answer), Err(why.into()), "{answer:.300}");
        }
    }

    /// Parses a request as another server does. Returns whether to reset, and the ticket.
    fn asked(question: &[u8]) -> (String, String) {
        let text = std::str::from_utf8(question).unwrap();
        let outer = Document::parse(text).unwrap();
        let set = outer.root_element();
        let attributes = ["vers", "svcid"].map(|name| set.attribute(name).unwrap());
        assert_eq!((set.tag_name().name(), attributes), ("RequestSet", ["1.0", "session"]));
        let elements: Vec<_> = set.children().filter(Node::is_element).collect();
        let [request] = elements[..] else { panic!("{text}") };
        let inner = Document::parse(request.text().unwrap()).unwrap();
        assert!(inner.root_element().has_tag_name("SessionRequest"));
        let get = inner.descendants().find(|node| node.has_tag_name("GetSession")).unwrap();
        let id = get.children().find(|node| node.has_tag_name("SessionID")).unwrap();
        (get.attribute("reset").unwrap().to_owned(), id.text().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_request_contains_the_ticket_unchanged() {
        let question = write_question(&ticket(TICKET), true).unwrap();
        assert!(memmem::find(&question, format!("<SessionID>{TICKET}</SessionID>").as_bytes()).is_some());
        assert_eq!(asked(&question), ("true".into(), TICKET.into()));
        assert_eq!(asked(&write_question(&ticket(TICKET), false).unwrap()).0, "false");
    }

    #[test]
    fn no_ticket_can_end_its_cdata() {
        for odd in ["]]>", "a]]>b", "]]&gt;", "]]]]><![CDATA[>", "</SessionID>", "<![CDATA[x]]>", "&amp;", "]"] {
            assert_eq!(asked(&write_question(&ticket(odd), false).unwrap()).1, odd);
        }
        assert!(write_question(&ticket("a\0b"), false).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn any_ticket_is_asked_about_as_it_is_or_not_at_all(
            odd in "([<>&'\"\r\n\t;#\\[\\]]|\\]\\]>|&amp;|\0|.){0,8}", reset in any::<bool>(),
        ) {
            match write_question(&ticket(&odd), reset) {
                Ok(question) => prop_assert_eq!(asked(&question), (reset.to_string(), odd)),
                Err(unsendable) => prop_assert!(odd.contains(unsendable.character)),
            }
        }

        #[test]
        fn any_answer_is_read_or_refused(
            answer in "(<!\\[CDATA\\[|\\]\\]>|<ResponseSet>|</ResponseSet>|<Response>|</Response>|<SessionResponse>|x|<){0,12}",
        ) {
            let _ = read(&answer);
        }
    }
}
