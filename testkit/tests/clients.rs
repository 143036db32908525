//! Messages in the forms of public clients that work with the real broker. None is exact in everything; the
//! simulator accepts them with warnings, and refuses them if it is strict.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{AS_AGENT, Client, USER_AGENT, entity, escaped, sign};
use ticketapi_testkit::spine::Refusal;
use ticketapi_testkit::{CardIdentity, CardSpec, Spine, TestCa};

/// Makes the S/MIME entity of a CMS message.
type Entity = fn(&[u8]) -> String;

/// How a client differs from the genuine one.
struct Manner {
    user_agent: &'static str,
    /// `log_session_id` and `device_id` of the activation, then those of later messages.
    ids: [(&'static str, &'static str); 2],
    entity: Entity,
    select_role: fn(ticket: &str, role: &str) -> String,
    log_out_with: &'static str,
}

/// Templates in a Python program: indented, with LF, and the base64 in one line. The session id of its second
/// message is from a capture and differs from the first message's. It logs out with GET.
const TEMPLATES: Manner = Manner {
    user_agent: USER_AGENT,
    ids: [("ZtBJb9tU7T", "b02edd24,ClientIP=172.20.16.255"), ("Ao9qufl+uA", "b02edd23,ClientIP=10.211.55.3")],
    entity: |cms| {
        let base64 = STANDARD.encode(cms);
        "MIME-Version: 1.0\n        Content-Disposition: attachment; filename=\"smime.p7m\"\n        \
         Content-Type: application/x-pkcs7-mime; name=\"smime.p7m\"\n        Content-Transfer-Encoding: base64\n        \
         \n        "
            .to_owned()
            + &base64
    },
    select_role: |ticket, role| {
        let version = "GACv10.+0.+0.+1";
        format!("token={}&selectedRoleUid={role}&ssbMode=0&fallbackStatus=0&gacVersion={version}", escaped(ticket))
    },
    log_out_with: "GET",
};

/// A program in a browser: its ids are six bytes in base64, and its role selection is short.
const BROWSER: Manner = Manner {
    user_agent: "Mozilla/5.0 (X11; Linux x86_64)",
    ids: [("q/+3Zk0w", "q/+3Zk0w,ClientIP=127.0.0.1"); 2],
    entity: |cms| entity(cms).replace("\r\n", "\n"),
    select_role: |ticket, role| format!("token={}&selectedRoleUid={role}", escaped(ticket)),
    log_out_with: "POST",
};

/// A client that does not escape characters that are allowed in a path.
const UNESCAPED: Manner = Manner {
    user_agent: USER_AGENT,
    ids: [("NO514OzPww", "79781416,ClientIP=10.0.2.15"); 2],
    entity,
    select_role: |ticket, role| {
        // A fragment is not sent.
        let token = ticket.replace('#', "%23");
        format!("token={token}&selectedRoleUid={role}&gacVersion=10.%200.%200.%201")
    },
    log_out_with: "POST",
};

const CLIENTS: [Manner; 3] = [TEMPLATES, BROWSER, UNESCAPED];

/// Indented by eight, and without an end of the last line.
fn message(parameters: &[(&str, &str)]) -> String {
    let line = |(name, value): &(&str, &str)| {
        let encoding = if *name == "response" { " encoding=\"base64\"" } else { "" };
        format!("        <gpPARAM name=\"{name}\"{encoding}>{value}</gpPARAM>\n")
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n        <!DOCTYPE USER SYSTEM \"gpOBJECT.DTD\">\n        <gpOBJECT>\n{}        </gpOBJECT>",
        parameters.iter().map(line).collect::<String>()
    )
}

fn ask(client: &mut Client, manner: &Manner, method: &str, target: &str, body: &str) -> common::Response {
    client.send(method, target, &[("User-Agent", manner.user_agent)], body.as_bytes());
    client.read_response().unwrap()
}

/// Logs in, selects a role and logs out. Returns the first refusal, if there is one.
fn whole_session(spine: &Spine, card: &CardIdentity, manner: &Manner) -> Result<(), String> {
    let mut client = Client::connect(spine);
    let [(session, device), (later_session, later_device)] = manner.ids;
    let common = [("auth_method", "3"), ("app_url", "NHST")];
    let activation =
        [&common[..], &[("log_session_id", session), ("device_id", device), ("service", "ACTIVATION")]].concat();
    let activated = ask(&mut client, manner, "POST", "/login/authactivate", &message(&activation));
    let challenge = activated.parameter("challenge").ok_or_else(|| activated.text())?;

    let cms = sign(&STANDARD.decode(&challenge).unwrap(), card, &AS_AGENT);
    let (signature, response) = (activated.parameter("signature").unwrap(), STANDARD.encode((manner.entity)(&cms)));
    let validation = [
        &common[..],
        &[
            ("log_session_id", later_session),
            ("device_id", later_device),
            ("service", "AUTHENTICATION"),
            ("challenge", &challenge),
            ("signature", &signature),
            ("uid", card.uid()),
            ("card_type", "p11"),
            ("response", &response),
            ("mobility", "0"),
        ],
    ]
    .concat();
    let validated = ask(&mut client, manner, "POST", "/login/authvalidate", &message(&validation));
    let ticket = validated.parameter("sso_ticket").ok_or_else(|| validated.text())?;

    let query = (manner.select_role)(&ticket, &spine.roles()[0].id);
    let selected = ask(&mut client, manner, "GET", &format!("/saml/RoleSelectionGP.jsp?{query}"), "");
    if !selected.text().contains("OK") {
        return Err(selected.text());
    }
    let logout = [
        ("service", "LOGOUT"),
        ("sso_ticket", &ticket),
        ("log_session_id", later_session),
        ("device_id", later_device),
        ("uid", card.uid()),
    ];
    let ended = ask(&mut client, manner, manner.log_out_with, "/login/authlogout", &message(&logout));
    if ended.status == 200 && ended.text().contains("OK") {
        Ok(())
    } else {
        Err(format!("{} {}", ended.status, ended.text()))
    }
}

#[test]
fn working_clients_are_accepted_with_warnings_and_refused_by_a_strict_simulator() {
    let ca = TestCa::new().unwrap();
    let card = ca.issue(&CardSpec::default()).unwrap();
    let lenient = Spine::builder().card_ca(&ca).start().unwrap();
    let strict = Spine::builder().card_ca(&ca).strict().start().unwrap();
    for manner in &CLIENTS {
        assert_eq!(whole_session(&lenient, &card, manner), Ok(()));
        assert_eq!(lenient.open_sessions(), 0);
        assert!(whole_session(&strict, &card, manner).is_err());
        assert!(strict.log().last().unwrap().refusal().is_some());
    }
    let warnings: Vec<_> = lenient.log().iter().flat_map(|entry| entry.warnings.clone()).collect();
    for expected in [
        Refusal::Wrong("log_session_id"),
        Refusal::Wrong("device_id"),
        Refusal::NotTheSame("log_session_id"),
        Refusal::NotTheSame("device_id"),
        Refusal::UserAgent,
        Refusal::Missing("ssbMode"),
        Refusal::Missing("fallbackStatus"),
        Refusal::Missing("gacVersion"),
        Refusal::Wrong("gacVersion"),
        Refusal::NotEscaped("token".into()),
        Refusal::NotEscaped("gacVersion".into()),
        Refusal::Method,
    ] {
        assert!(warnings.contains(&expected), "{expected}: {warnings:?}");
    }
    assert_eq!(warnings.iter().filter(|warning| matches!(warning, Refusal::Entity(_))).count(), 2);
    assert!(strict.log().iter().all(|entry| entry.warnings.is_empty()));
}

#[test]
fn each_difference_is_refused_if_strict_and_otherwise_causes_a_warning() {
    let ca = TestCa::new().unwrap();
    let card = ca.issue(&CardSpec::default()).unwrap();
    let signed = |spine: &Spine, entity: Entity| {
        let mut client = Client::connect(spine);
        let good = client.answer_challenge(&card);
        let cms = sign(&STANDARD.decode(good.get("challenge")).unwrap(), &card, &AS_AGENT);
        client.validate(&good.with_entity(&entity(&cms))).parameter("sso_ticket").is_some()
    };
    let lenient = Spine::builder().card_ca(&ca).start().unwrap();
    let strict = Spine::builder().card_ca(&ca).strict().start().unwrap();
    let forms: [Entity; 6] = [
        |cms| entity(cms).replace("\r\n", "\n"),
        |cms| entity(cms).replace("\r\n", "\r\n "),
        |cms| entity(cms).trim_end().to_owned(),
        |cms| entity(cms).replace("; name", ";\r\n name"),
        |cms| entity(cms).replace("MIME-Version: 1.0\r\n", ""),
        |cms| {
            entity(cms).split_once("\r\n\r\n").map(|(head, _)| format!("{head}\n\n{}", STANDARD.encode(cms))).unwrap()
        },
    ];
    for (number, form) in forms.iter().enumerate() {
        assert!(signed(&lenient, *form), "{number}: {:?}", lenient.log().last());
        assert!(matches!(lenient.log().last().unwrap().warnings[..], [Refusal::Entity(_)]), "{number}");
        assert!(!signed(&strict, *form), "{number}");
    }
    // Both refuse what is not an S/MIME entity.
    let nothing: [Entity; 3] =
        [|cms| STANDARD.encode(cms), |_| String::new(), |cms| entity(cms).replace("pkcs7-mime", "other")];
    for (number, form) in nothing.iter().enumerate() {
        assert!(!signed(&lenient, *form) && !signed(&strict, *form), "{number}");
    }
}
