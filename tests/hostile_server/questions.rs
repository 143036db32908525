//! Malformed or unrelated responses to requests about a session.

use std::time::Duration;

use ticketapi::ErrorKind;
use ticketapi::ssb::assertion::read_assertion;
use ticketapi::ssb::message::MAX_ANSWER;
use ticketapi::ssb::session_service::read_session;
use ticketapi_testkit::{Endpoint, Misbehaviour};

use crate::ALLOCATOR;
use crate::elsewhere::{Elsewhere, Fifo};
use crate::trial::{MEMORY, QUESTIONS, Trial, alone};

fn named(name: &str) -> Misbehaviour {
    Misbehaviour::from_name(name).unwrap()
}

fn body(text: &str) -> Misbehaviour {
    Misbehaviour::Body(text.into())
}

#[test]
fn a_malformed_response_keeps_the_session() {
    let trial = Trial::new();
    let elsewhere = Elsewhere::listen();
    let (bad, gone) = (&ErrorKind::BadAnswer, &ErrorKind::ServerNotAvailable);
    for (what, kind, says) in [
        (Misbehaviour::Redirect(elsewhere.url("http")), bad, "redirect (HTTP status 302)"),
        (Misbehaviour::Redirect(elsewhere.url("https")), bad, "redirect (HTTP status 302)"),
        (Misbehaviour::Status(401), bad, "HTTP status 401"),
        (Misbehaviour::Status(404), bad, "HTTP status 404"),
        (Misbehaviour::Status(500), gone, "HTTP status 500"),
        (named("empty-body"), bad, "it is empty"),
        (Misbehaviour::html(), bad, "it is not XML"),
        (body("<html><p>Please log in</p></html>"), bad, "it is not a message of a broker"),
        (body("<HTML><STATUS>OK</STATUS></HTML>"), bad, "it is not a message of a broker"),
        (Misbehaviour::Truncated, bad, "broke off within its answer"),
        (Misbehaviour::Reset, gone, "reset"),
        (Misbehaviour::entity_bomb(), bad, "it uses XML entities of its own"),
        (Misbehaviour::nested(200_000), bad, "it is too large"),
        (Misbehaviour::nested(10_000), bad, "nested too deep"),
        (named("nul"), bad, "a NUL character"),
        (named("invalid-utf8"), bad, "it is not UTF-8"),
        (Misbehaviour::Endless, bad, "more than 1.5 MiB"),
    ] {
        trial.fails_at_each_question(&what, kind, says);
    }
    elsewhere.saw_nobody();
}

#[test]
fn a_slow_broker_is_abandoned_at_the_deadline_and_the_session_continues() {
    let trial = Trial::impatient();
    for slow in [Misbehaviour::NoAnswer, Misbehaviour::OneByteASecond, Misbehaviour::Delay(Duration::from_secs(60))] {
        trial.fails_at_each_question(&slow, &ErrorKind::ServerNotAvailable, "did not answer within 1 s");
    }
}

#[test]
fn nothing_that_a_response_names_is_opened_or_fetched() {
    let trial = Trial::new();
    let (elsewhere, fifo) = (Elsewhere::listen(), Fifo::make(&trial.desk.path("entity")));
    for url in [format!("file://{}", trial.desk.path("entity").display()), elsewhere.url("http")] {
        let refused = "it uses XML entities of its own";
        trial.fails_at_each_question(&Misbehaviour::external_entity(&url), &ErrorKind::BadAnswer, refused);
        let named = body(&format!("<!DOCTYPE ResponseSet SYSTEM \"{url}\">\n<other/>"));
        trial.fails_at_each_question(&named, &ErrorKind::BadAnswer, "it is not a message of a broker");
        let within = format!("<ResponseSet><Response><![CDATA[<!DOCTYPE a [<!ENTITY b SYSTEM \"{url}\">]><a>&b;</a>");
        let within = body(&(within + "]]></Response></ResponseSet>"));
        let error = trial.question_error_at(Endpoint::SessionService, &within, true);
        assert!(error.detail().contains(refused), "{error}");
    }
    elsewhere.saw_nobody();
    fifo.was_not_opened();
}

#[test]
fn an_assertion_with_missing_or_repeated_parts_keeps_the_session() {
    let trial = Trial::new();
    let lacks = |name: &str| Misbehaviour::Without(name.into());
    let twice = |name: &str| Misbehaviour::Twice(name.into());
    for (what, says) in [
        (lacks("Status"), "it has no Status"),
        (lacks("Assertion"), "it has no Assertion"),
        (lacks("uid"), "it has no uid"),
        (lacks("nhsIdCode"), "it has no nhsIdCode"),
        (twice("uid"), "it has uid twice"),
        (twice("uniqueIdentifier"), "it has uniqueIdentifier twice"),
        (Misbehaviour::With("uid".into(), "999999999999".into()), "it is about another user"),
    ] {
        let error = trial.question_error_at(Endpoint::RoleAssertion, &what, true);
        assert_eq!(error.kind(), &ErrorKind::BadAnswer, "{error}");
        assert!(error.detail().contains(says), "{error}");
    }
}

#[test]
fn a_session_service_that_reports_another_session_keeps_the_session() {
    let trial = Trial::new();
    let with = |name: &str, value: &str| Misbehaviour::With(name.into(), value.into());
    for (what, says) in [
        (Misbehaviour::Without("Session".into()), "it has no Session"),
        (Misbehaviour::Without("state".into()), "it has no state"),
        (with("state", "alive"), "its state cannot be read"),
        (with("SessionHandle", "shandle:AQIC5w"), "it is about another session"),
        (with("UserId", "999999999999"), "it is about another user"),
        (Misbehaviour::Twice("UserId".into()), "it has UserId twice"),
    ] {
        let error = trial.question_error_at(Endpoint::SessionService, &what, true);
        assert_eq!(error.kind(), &ErrorKind::BadAnswer, "{error}");
        assert!(error.detail().contains(says), "{error}");
    }
}

#[test]
fn a_refusal_ends_the_session_and_is_reported_with_its_reason() {
    let trial = Trial::new();
    for (endpoint, _) in QUESTIONS {
        for reason in ["The session has timed out", "User not found"] {
            let error = trial.question_error_at(endpoint, &Misbehaviour::Refuse(reason.into()), false);
            assert_eq!(error.kind(), &ErrorKind::TicketNotAvailable, "{error}");
            assert!(error.detail().contains(reason), "{error}");
        }
    }
    for status in ["samlp:Responder", "Success", "", "evil:Success"] {
        let status = Misbehaviour::With("Status".into(), status.into());
        let error = trial.question_error_at(Endpoint::RoleAssertion, &status, false);
        assert_eq!(error.kind(), &ErrorKind::TicketNotAvailable, "{error}");
    }
}

#[test]
fn a_refusal_that_quotes_the_ticket_is_not_shown() {
    let trial = Trial::new();
    for (endpoint, ask) in QUESTIONS {
        let ticket = trial.engine.get_ticket().unwrap();
        let quoting = Misbehaviour::Refuse(format!("no session {}", &ticket.expose()[4..30]));
        trial.desk.spine.misbehave(endpoint, quoting);
        let error = ask(&trial.engine).unwrap_err();
        assert!(error.detail().contains("quotes the ticket"), "{error}");
        assert!(!format!("{error:?}").contains(&ticket.expose()[10..18]));
        trial.desk.spine.behave();
        trial.desk.spine.end_all_sessions();
    }
}

#[test]
fn the_longest_responses_use_no_more_than_8_mib() {
    let _alone = alone();
    let namespaces =
        "xmlns:samlp=\"urn:oasis:names:tc:SAML:1.0:protocol\" xmlns:s=\"urn:oasis:names:tc:SAML:1.0:assertion\"";
    let assertion = |attributes: &str| {
        let uid = "<s:Attribute AttributeName='uid'><s:AttributeValue>1</s:AttributeValue></s:Attribute>";
        let block = "<s:Attribute AttributeName='nhsIdCode'/>";
        format!(
            "<samlp:Response {namespaces}><samlp:Status><samlp:StatusCode Value='samlp:Success'/></samlp:Status>\
             <s:Assertion><s:AttributeStatement>{uid}{block}{attributes}</s:AttributeStatement></s:Assertion></samlp:Response>"
        )
    };
    let attribute = |name: &str, values: &str| format!("<s:Attribute AttributeName='{name}'>{values}</s:Attribute>");
    let fill = |piece: &str, most: usize| piece.repeat(most.min((MAX_ANSWER - 1000) / piece.len()));
    let answers = [
        ("roles", assertion(&fill("<s:Attribute AttributeName='nhsIdCode'/>", 1990))),
        ("elements between texts", assertion(&fill("<a/>x", 24_000))),
        ("attributes", assertion(&fill("<a b='' c=''/>", 9_900))),
        ("short values", assertion(&attribute("nhsAreaOfWork", &fill("<s:AttributeValue/>", 24_000)))),
        (
            "values",
            assertion(&attribute("nhsAreaOfWork", &fill("<s:AttributeValue>&#65;bcdefgh</s:AttributeValue>", 12_000))),
        ),
        ("one value", assertion(&attribute("nhsAreaOfWork", &format!("<s:AttributeValue>{}", fill("&lt;", 1 << 20))))),
        (
            "one long value",
            assertion(&attribute("o", &format!("<s:AttributeValue>{}</s:AttributeValue>", fill("&lt;", 1 << 20)))),
        ),
        (
            "properties",
            format!(
                "<ResponseSet><Response><![CDATA[<SessionResponse><GetSession><Session state='valid'>{}</Session>\
                 </GetSession></SessionResponse>]]></Response></ResponseSet>",
                fill("<Property name='&#65;'/>x", 16_000)
            ),
        ),
    ];
    let ticket = ticketapi::Ticket::new("AQIC5w".into());
    for (name, answer) in answers {
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let read = read_assertion(answer.as_bytes()).is_ok() | read_session(answer.as_bytes(), &ticket).is_ok();
        // The response itself counts too.
        let memory = ALLOCATOR.peak_usage().saturating_sub(before) + answer.len();
        assert!(memory <= MEMORY, "{name}: {memory} bytes");
        assert_eq!(read, name != "one value", "{name}");
    }
}
