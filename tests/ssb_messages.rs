//! Parses real responses of a broker, and checks what is sent to it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ticketapi::ssb::Role;
use ticketapi::ssb::message::{self, MAX_ANSWER, Malformed, Rejection};

const ACTIVATED: &[u8] = include_bytes!("data/authactivate-response.xml");
const AUTHENTICATED: &[u8] = include_bytes!("data/authvalidate-response.xml");
const ROLES: &str = include_str!("data/authvalidate-roles.tsv");

#[test]
fn the_real_challenge_is_parsed() {
    let activated = message::read_activation(ACTIVATED).unwrap();
    assert_eq!(activated.challenge.len(), 48);
    assert_eq!(activated.challenge[..4], [0x32, 0x52, 0x4d, 0xf4]);
    assert_eq!(activated.encoded_challenge, "MlJN9BVjTdKtTpKrSz3Jvq0sONIAAAFc7yH6TYe8NK6GHS7F7t2tGnmcost76xk7");
    assert_eq!(activated.signature, "Rk1vV0x5N2R4aFhKQ2tCcVZ3U0Q2ZQ==");
    assert_eq!(activated.reply_url.as_deref(), Some("https://gas.nis1.national.ncrs.nhs.uk/login/authvalidate"));
}

#[test]
fn ticket_user_and_limits_of_the_real_response_are_parsed() {
    let authenticated = message::read_authentication(AUTHENTICATED).unwrap();
    assert_eq!(authenticated.ticket.expose(), "AQIC5wM2LY4SfcwrRGMHiyxMR3suYWqcF+B1j56GJ4xGut4=@AAJTSQACMDE=#");
    assert_eq!(authenticated.user_name.as_deref(), Some("RA_A00394 RA A"));
    assert_eq!((authenticated.idle_minutes, authenticated.max_minutes), (Some(600), Some(600)));
    assert_eq!(authenticated.logout_url.as_deref(), Some("https://gas.nis1.national.ncrs.nhs.uk/login/authlogout"));
}

#[test]
fn all_forty_roles_of_the_real_response_are_parsed_with_all_six_parts() {
    let expected: Vec<Role> = ROLES
        .lines()
        .skip(1)
        .map(|line| {
            let [id, organisation_code, organisation, role_type, sub_type, name] =
                line.split('\t').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
            let mut role = Role::new(&id, &organisation_code, &name);
            (role.organisation, role.role_type, role.sub_type) = (organisation, role_type, sub_type);
            role
        })
        .collect();
    let roles = message::read_authentication(AUTHENTICATED).unwrap().roles;
    assert_eq!(roles.len(), 40);
    assert_eq!(roles, expected);
}

#[test]
fn a_real_response_truncated_anywhere_is_refused() {
    let end = AUTHENTICATED.iter().rposition(|&byte| byte == b'>').unwrap();
    for cut in 0..end {
        let why = message::read_authentication(&AUTHENTICATED[..cut]).unwrap_err();
        assert!(matches!(why, Rejection::Malformed(Malformed::NotXml | Malformed::Empty)), "{cut}: {why:?}");
    }
}

/// Documents of the maximum length that would take a careless parser long, or fill its memory.
fn large_documents() -> Vec<(&'static str, String)> {
    let fill = |piece: &str| piece.repeat(MAX_ANSWER / piece.len() - 100);
    let within = |text: String| format!("<gpOBJECT><gpPARAM name=\"sso_ticket\">{text}</gpPARAM></gpOBJECT>");
    let attributes: String = (0..MAX_ANSWER / 12).map(|n| format!(" a{n:x}=''")).collect();
    let roles: String = (0..MAX_ANSWER / 80)
        .map(|n| format!("<gpPARAM name=\"nhsjobrole{n}\" id=\"{n}\">O, \"A\":\"B\":\"C\"</gpPARAM>"))
        .collect();
    vec![
        ("spaces", fill(" ")),
        ("ampersands", within(fill("&"))),
        ("escaped ampersands", within(fill("&amp;"))),
        ("references", within(fill("&#65;"))),
        ("half references", within(fill("&#x"))),
        ("a long entity", within(format!("&{};", fill("a")))),
        ("entities", within(fill("&a;"))),
        ("open angles", fill("<")),
        ("open angles and quotes", fill("<a b='")),
        ("quotes", fill("\"")),
        ("a tag with quotes", format!("<a {}", fill("''"))),
        ("equals signs", within(fill("="))),
        ("nested", fill("<a>")),
        ("siblings", format!("<a>{}</a>", fill("<b/>"))),
        ("closing tags", fill("</a>")),
        ("attributes", format!("<a{attributes}/>")),
        ("comments", format!("<a>{}</a>", fill("<!---->"))),
        ("open comments", format!("<a>{}</a>", fill("<!--"))),
        ("character data", within(fill("<![CDATA[x]]>"))),
        ("doctypes", fill("<!DOCTYPE a>")),
        ("an open doctype", format!("<!DOCTYPE a [{}", fill("<!-- -->"))),
        ("line ends", within(fill("\r\n"))),
        ("namespaces", format!("<a>{}</a>", fill("<b xmlns:c='d'/>"))),
        ("siblings, as many as there may be", format!("<a>{}</a>", "<b c=''/>".repeat(16_000))),
        ("roles", format!("<gpOBJECT><gpPARAM name=\"sso_ticket\">A</gpPARAM>{roles}</gpOBJECT>")),
        ("one role", within_role(&fill(", \""))),
        ("one role of separators", within_role(&fill("\":\""))),
        ("errors", format!("<gpOBJECT>{}</gpOBJECT>", fill("<gpPARAM name='error'>x</gpPARAM>"))),
    ]
}

fn within_role(text: &str) -> String {
    format!(
        "<gpOBJECT><gpPARAM name=\"sso_ticket\">A</gpPARAM>\
         <gpPARAM name=\"nhsjobrole0\" id=\"1\">O, \"{text}\"</gpPARAM></gpOBJECT>"
    )
}

#[test]
fn any_response_is_parsed_or_refused_in_time() {
    for (name, document) in large_documents() {
        let began = Instant::now();
        let outcome = message::read_authentication(document.as_bytes());
        let time = began.elapsed();
        // Fifty milliseconds is the goal for an optimised build.
        let limit = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 50 });
        assert!(time < limit, "{name}: {time:?}, {:?}", outcome.map(|read| read.roles.len()));
    }
}
