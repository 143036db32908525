//! The Access Manager session service: is the session behind a ticket alive, and whose is it?

use roxmltree::{Document, Node};

use super::assertion::escaped;
use super::broker::Broker;

/// The answer to a `RequestSet`. As no capture shows one, its form follows Sun Access Manager 7.
pub(super) fn answer(broker: &mut Broker, body: &[u8]) -> String {
    match read(body) {
        Some(request) => {
            let inside = session_response(broker, &request);
            envelope(&request.set_id, &inside)
        }
        None => exception("the request is not a RequestSet with a GetSession in it"),
    }
}

/// The answer that tells what is wrong instead.
pub(super) fn exception(reason: &str) -> String {
    envelope(
        "0",
        &format!(
            "<SessionResponse vers=\"1.0\" reqid=\"0\"><Exception>{}</Exception></SessionResponse>",
            escaped(reason)
        ),
    )
}

struct Request {
    set_id: String,
    id: String,
    reset: bool,
    ticket: String,
}

fn read(body: &[u8]) -> Option<Request> {
    let outer = Document::parse(std::str::from_utf8(body).ok()?).ok()?;
    let set = named(outer.root_element(), "RequestSet")?;
    if set.attribute("svcid") != Some("session") || set.attribute("vers") != Some("1.0") {
        return None;
    }
    let inner = Document::parse(child(set, "Request")?.text()?.trim()).ok()?;
    let request = named(inner.root_element(), "SessionRequest")?;
    let get = child(request, "GetSession")?;
    Some(Request {
        set_id: set.attribute("reqid")?.into(),
        id: request.attribute("reqid")?.into(),
        reset: get.attribute("reset")? == "true",
        ticket: child(get, "SessionID")?.text()?.into(),
    })
}

fn named<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    Some(node).filter(|node| node.has_tag_name(name))
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn session_response(broker: &mut Broker, request: &Request) -> String {
    let (life, idle) = broker.limits();
    let Some(session) = broker.session(&request.ticket) else {
        return format!(
            "<SessionResponse vers=\"1.0\" reqid=\"{}\"><Exception>Invalid session ID</Exception></SessionResponse>",
            escaped(&request.id)
        );
    };
    if request.reset {
        session.used = std::time::Instant::now();
    }
    let ticket = escaped(&request.ticket);
    format!(
        "<SessionResponse vers=\"1.0\" reqid=\"{id}\"><GetSession>\
         <Session sid=\"{ticket}\" stype=\"user\" cid=\"{uid}\" cdomain=\"o=nhs\" maxtime=\"{max}\" maxidle=\"{idle}\" \
         maxcaching=\"3\" timeidle=\"{timeidle}\" timeleft=\"{timeleft}\" state=\"valid\">\
         <Property name=\"SessionHandle\" value=\"shandle:{ticket}\"></Property>\
         <Property name=\"UserId\" value=\"{uid}\"></Property>\
         </Session></GetSession></SessionResponse>",
        id = escaped(&request.id),
        uid = escaped(&session.uid),
        max = life.as_secs() / 60,
        idle = idle.as_secs() / 60,
        timeidle = session.used.elapsed().as_secs(),
        timeleft = life.saturating_sub(session.begun.elapsed()).as_secs(),
    )
}

fn envelope(set_id: &str, inside: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n\
         <ResponseSet vers=\"1.0\" svcid=\"session\" reqid=\"{}\">\n<Response><![CDATA[{inside}]]></Response>\n</ResponseSet>\n",
        escaped(set_id)
    )
}
