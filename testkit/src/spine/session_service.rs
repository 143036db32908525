//! The Access Manager session service, which reports whether a ticket's session is open, and whose it is.

use std::time::Instant;

use roxmltree::{Document, Node};

use super::broker::Broker;
use super::message::escaped;
use super::refusal::Refusal;

/// A response that can still be changed. As no capture shows one, its form follows Sun Access Manager 7.
#[derive(Debug, Default)]
pub(crate) struct SessionAnswer {
    set_id: String,
    id: String,
    exception: Option<String>,
    /// `None` omits the session.
    session: Option<Fields>,
    properties: Fields,
}

type Fields = Vec<(String, String)>;

/// Processes a `RequestSet`.
pub(super) fn answer(broker: &mut Broker, body: &[u8]) -> Result<SessionAnswer, Refusal> {
    let Query { set_id, id, reset, ticket } = read(body).ok_or(Refusal::NoQuestion)?;
    let (life, idle) = broker.limits();
    let session = broker.session(&ticket).ok_or(Refusal::UnknownTicket)?;
    if reset {
        session.used = Instant::now();
    }
    let left = life.saturating_sub(session.begun.elapsed());
    let fields = |fields: &[(&str, &str)]| fields.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    Ok(SessionAnswer {
        set_id,
        id,
        exception: None,
        session: Some(fields(&[
            ("sid", &ticket),
            ("stype", "user"),
            ("cid", &session.uid),
            ("cdomain", "o=nhs"),
            ("maxtime", &(life.as_secs() / 60).to_string()),
            ("maxidle", &(idle.as_secs() / 60).to_string()),
            ("maxcaching", "3"),
            ("timeidle", &session.used.elapsed().as_secs().to_string()),
            ("timeleft", &left.as_secs().to_string()),
            ("state", "valid"),
        ])),
        properties: fields(&[("SessionHandle", &format!("shandle:{ticket}")), ("UserId", &session.uid)]),
    })
}

/// The request's parameters, for the log.
pub(super) fn parameters(body: &[u8]) -> Fields {
    let Some(query) = read(body) else { return Fields::new() };
    vec![("reset".into(), query.reset.to_string()), ("SessionID".into(), query.ticket)]
}

struct Query {
    set_id: String,
    id: String,
    reset: bool,
    ticket: String,
}

fn read(body: &[u8]) -> Option<Query> {
    let outer = Document::parse(std::str::from_utf8(body).ok()?).ok()?;
    let set = of_version_1(outer.root_element(), "RequestSet")?;
    if set.attribute("svcid") != Some("session") {
        return None;
    }
    let inner = Document::parse(only_child(set, "Request")?.text()?.trim()).ok()?;
    let request = of_version_1(inner.root_element(), "SessionRequest")?;
    let get = only_child(request, "GetSession")?;
    let reset = match get.attribute("reset")? {
        "true" => true,
        "false" => false,
        _ => return None,
    };
    Some(Query {
        set_id: set.attribute("reqid")?.into(),
        id: request.attribute("reqid")?.into(),
        reset,
        ticket: only_child(get, "SessionID")?.text()?.into(),
    })
}

fn of_version_1<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    Some(node).filter(|node| node.has_tag_name(name) && node.attribute("vers") == Some("1.0"))
}

fn only_child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    let mut children = node.children().filter(|child| child.has_tag_name(name));
    children.next().filter(|_| children.next().is_none())
}

impl SessionAnswer {
    /// A response with an exception instead of a session.
    pub(super) fn refusing(reason: &str) -> Self {
        Self { set_id: "0".into(), id: "0".into(), exception: Some(reason.into()), ..Self::default() }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if name == "Session" {
            self.session = None;
        }
        self.session.iter_mut().chain([&mut self.properties]).for_each(|fields| fields.retain(|field| field.0 != name));
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let attribute = self.session.iter_mut().flatten().find(|field| field.0 == name);
        match attribute.or(self.properties.iter_mut().find(|field| field.0 == name)) {
            Some(field) => field.1 = value.into(),
            None => self.properties.push((name.into(), value.into())),
        }
    }

    pub(crate) fn repeat(&mut self, name: &str) {
        let again: Vec<_> = self.properties.iter().filter(|field| field.0 == name).cloned().collect();
        self.properties.extend(again);
    }

    pub(crate) fn write(&self) -> String {
        let exception = self.exception.as_ref().map(|text| format!("<Exception>{}</Exception>\n", escaped(text)));
        let session = self.session.as_ref().map(|attributes| {
            let attributes: String =
                attributes.iter().map(|(name, value)| format!(" {name}=\"{}\"", escaped(value))).collect();
            let property = |(name, value): &(String, String)| {
                format!("<Property name=\"{}\" value=\"{}\"></Property>\n", escaped(name), escaped(value))
            };
            let properties: String = self.properties.iter().map(property).collect();
            format!("<Session{attributes}>\n{properties}</Session>\n")
        });
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n\
             <ResponseSet vers=\"1.0\" svcid=\"session\" reqid=\"{}\">\n\
             <Response><![CDATA[<SessionResponse vers=\"1.0\" reqid=\"{}\">\n<GetSession>\n{}{}</GetSession>\n\
             </SessionResponse>]]></Response>\n</ResponseSet>\n",
            escaped(&self.set_id),
            escaped(&self.id),
            exception.unwrap_or_default(),
            session.unwrap_or_default(),
        )
    }
}
