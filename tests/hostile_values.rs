//! Unusual values, from a card or the broker, on their way back to the broker: each arrives unchanged, or is
//! refused before anything is sent.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::{Desk, UID, User, kind};
use ticketapi::{Engine, ErrorKind};
use ticketapi_testkit::spine::{Entry, Role};
use ticketapi_testkit::{CardSpec, Endpoint, Misbehaviour};

/// Values that careless code would change, and that XML can contain.
const ODD: [&str; 23] = [
    "<",
    ">",
    "&",
    "'",
    "\"",
    "]]>",
    "<![CDATA[x",
    "<!-- x",
    "&amp;",
    "&#13;",
    "&lt;b&gt;",
    "a&b;c",
    "</gpPARAM><gpPARAM name=\"sso_ticket\">",
    "a=b&ssbMode=1#c",
    "%0d%0a",
    "+ +",
    "..%2f../",
    " before and after ",
    "a]b[c",
    "é",
    "\u{fffd}",
    "\u{10ffff}",
    "{0}%s\\n",
];

/// Control characters that XML can contain.
const BREAKS: [&str; 5] = ["a\rb", "a\nb", "a\r\nb", "\r\nX-Header: 1\r\n\r\n", "\ta\t"];

/// Further characters that control a terminal, or hide parts of a text.
const HIDDEN: [&str; 6] = ["a\u{85}b", "a\u{9b}2J", "a\u{2028}b", "a\u{2029}b", "a\u{202e}b", "a\u{feff}b"];

/// Characters that XML cannot contain.
const IMPOSSIBLE: [&str; 6] = ["a\0b", "\u{1}", "\u{b}", "\u{1f}", "\u{fffe}", "a\u{ffff}"];

/// A desk with a card of the user with this id.
fn desk_of(uid: &str) -> Desk {
    let mut desk = Desk::with(|spine| spine.roles(1));
    desk.config.software_card = Some(desk.quick_card(&CardSpec::new(uid).utf8_subject()));
    desk
}

fn sent(desk: &Desk, endpoint: Endpoint) -> Option<Entry> {
    desk.spine.log().into_iter().rfind(|entry| entry.endpoint == Some(endpoint))
}

#[test]
fn a_users_id_arrives_as_on_the_card() {
    for uid in ODD {
        let desk = desk_of(uid);
        let engine = desk.engine(&User::new());
        assert_eq!(engine.log_in().unwrap().user().uid, uid);
        assert_eq!(sent(&desk, Endpoint::Validate).unwrap().parameter("uid"), Some(uid));
        engine.destroy_ticket().unwrap();
        assert_eq!(sent(&desk, Endpoint::Logout).unwrap().parameter("uid"), Some(uid));
        assert_eq!(desk.spine.open_sessions(), 0);
    }
}

#[test]
fn a_users_id_that_cannot_be_shown_or_sent_is_refused_before_sending() {
    for uid in BREAKS.into_iter().chain(HIDDEN).chain(IMPOSSIBLE).chain(["\u{7f}"]) {
        let desk = desk_of(uid);
        assert_eq!(kind(desk.engine(&User::new()).log_in()), ErrorKind::NoCertificate, "{uid:?}");
        assert!(sent(&desk, Endpoint::Validate).is_none(), "{uid:?}");
    }
}

/// Gives each id a role.
fn roles(ids: &[&str]) -> Vec<Role> {
    let role = |(mut role, id): (Role, &&str)| {
        role.id = (*id).to_owned();
        role
    };
    Role::generate(ids.len()).into_iter().zip(ids).map(role).collect()
}

#[test]
fn a_roles_id_arrives_as_the_broker_sent_it() {
    let desk = desk_of(UID);
    desk.spine.set_roles(roles(&ODD));
    for (number, id) in ODD.iter().enumerate() {
        let session = desk.engine(&User::new().choosing(number)).log_in().unwrap();
        assert_eq!(session.role().unwrap().id, *id);
        assert_eq!(sent(&desk, Endpoint::SelectRole).unwrap().parameter("selectedRoleUid"), Some(*id));
    }
}

#[test]
fn a_role_with_an_id_that_cannot_be_shown_is_skipped() {
    let desk = desk_of(UID);
    let ids = [&["first"], &BREAKS[..], &HIDDEN, &["last"]].concat();
    desk.spine.set_roles(roles(&ids));
    let engine = desk.engine(&User::new().choosing(1));
    let session = engine.log_in().unwrap();
    assert_eq!(session.roles().iter().map(|role| &*role.id).collect::<Vec<_>>(), ["first", "last"]);
    assert_eq!(sent(&desk, Endpoint::SelectRole).unwrap().parameter("selectedRoleUid"), Some("last"));
    let assertion = engine.role_assertion().unwrap();
    assert_eq!(assertion.roles.iter().map(|profile| &*profile.role.id).collect::<Vec<_>>(), ["first", "last"]);
}

#[test]
fn asserted_values_arrive_unchanged() {
    let desk = desk_of(UID);
    let ids = ODD;
    let mut roles = roles(&ids);
    roles.iter_mut().zip(&ids).for_each(|(role, id)| role.organisation_code = Some((*id).to_owned()));
    desk.spine.set_roles(roles);
    let engine = desk.engine(&User::new().choosing(5));
    engine.log_in().unwrap();
    let assertion = engine.role_assertion().unwrap();
    let read = |part: fn(&ticketapi::ssb::Role) -> &String| {
        assertion.roles.iter().map(|profile| part(&profile.role).clone()).collect::<Vec<_>>()
    };
    assert_eq!(read(|role| &role.id), ids);
    assert_eq!(read(|role| &role.organisation_code), ids);
    assert_eq!(assertion.session_role.as_deref(), Some(ids[5]));
}

#[test]
fn a_chooser_can_select_any_id() {
    let mut ids = ODD.to_vec();
    // An id that appears in brackets at the end of another role's line.
    ids.extend(["c", "x[y", "y"]);
    let desk = desk_of(UID);
    desk.spine.set_roles(roles(&ids));
    let pinentry = desk.path("pinentry");
    let answers = format!(
        "echo OK\nwhile read -r line; do case $line in GETPIN) echo 'D {}'; esac; echo OK; done\n",
        support::PIN
    );
    support::script(&pinentry, &answers);
    for (number, id) in ids.iter().enumerate() {
        let mut config = desk.config.clone();
        config.pinentry = Some(pinentry.clone());
        config.role_command = vec!["sed".into(), "-n".into(), format!("{}p", number + 1)];
        Engine::builder(config).build().unwrap().log_in().unwrap();
        assert_eq!(sent(&desk, Endpoint::SelectRole).unwrap().parameter("selectedRoleUid"), Some(*id));
    }
}

#[test]
fn a_roles_id_that_no_message_can_contain_is_refused_before_sending() {
    let desk = desk_of(UID);
    for id in IMPOSSIBLE {
        desk.spine.set_roles(roles(&[id]));
        assert_eq!(kind(desk.engine(&User::new()).log_in()), ErrorKind::BadAnswer, "{id:?}");
        assert!(sent(&desk, Endpoint::SelectRole).is_none(), "{id:?}");
    }
}

/// An activation with these values, with a reference for each character that `escape` selects.
fn activation(values: &[(&str, &str)], escape: impl Fn(char) -> bool) -> Misbehaviour {
    let write = |c: char| if escape(c) { format!("&#{};", u32::from(c)) } else { c.to_string() };
    let write = |(name, value): &(&str, &str)| {
        format!("<gpPARAM name=\"{name}\">{}</gpPARAM>", value.chars().map(write).collect::<String>())
    };
    let parameters: String = values.iter().map(write).collect();
    Misbehaviour::Body(format!("<gpOBJECT>{parameters}</gpOBJECT>").into_bytes())
}

const CHALLENGE: &str = "YSBjaGFsbGVuZ2U=";

/// The two echoed values as they arrive at the broker that sent these.
fn echoed(desk: &Desk, challenge: &str, signature: &str) -> (String, String) {
    desk.spine.clear_log();
    let answer = activation(&[("challenge", challenge), ("signature", signature)], |c| !c.is_ascii_alphanumeric());
    desk.spine.misbehave(Endpoint::Activate, answer);
    // The broker did not issue this challenge.
    assert_eq!(kind(desk.engine(&User::new()).log_in()), ErrorKind::Refused);
    let arrived = sent(desk, Endpoint::Validate).unwrap();
    let value = |name| arrived.parameter(name).unwrap().to_owned();
    (value("challenge"), value("signature"))
}

#[test]
fn echoed_values_arrive_as_the_broker_sent_them() {
    let desk = desk_of(UID);
    for signature in ODD.into_iter().chain(BREAKS) {
        assert_eq!(echoed(&desk, CHALLENGE, signature), (CHALLENGE.into(), signature.into()));
    }
    for challenge in ["YSBj\r\naGFs\r\nbGVuZ2U=\r\n", "\tYSBj aGFsbGVuZ2U=", "\nYSBjaGFsbGVuZ2U=\r"] {
        assert_eq!(echoed(&desk, challenge, "c2ln"), (challenge.into(), "c2ln".into()));
    }
}

#[test]
fn echoed_values_that_no_message_can_contain_are_refused_before_sending() {
    let desk = desk_of(UID);
    for value in IMPOSSIBLE {
        for escape in [false, true] {
            for name in ["challenge", "signature"] {
                let other = if name == "challenge" { ("signature", "c2ln") } else { ("challenge", CHALLENGE) };
                let answer = activation(&[other, (name, value)], |c| escape && !c.is_ascii_graphic());
                desk.spine.misbehave(Endpoint::Activate, answer);
                assert_eq!(kind(desk.engine(&User::new()).log_in()), ErrorKind::BadAnswer, "{name} {value:?}");
            }
        }
    }
    assert!(sent(&desk, Endpoint::Validate).is_none());
}

#[test]
fn a_url_from_the_broker_cannot_add_a_header_or_a_request() {
    let desk = desk_of(UID);
    for end in ["\r\nX-Header: 1", " HTTP/1.1\r\n\r\nGET /", "\n", "\0", "\u{e9}", "?a b"] {
        let url = format!("{}/login/authvalidate{end}", desk.spine.url());
        let values = [("challenge", CHALLENGE), ("signature", "c2ln"), ("reply_url", &url)];
        desk.spine.misbehave(Endpoint::Activate, activation(&values, |c| c != '\0' && !c.is_ascii_graphic()));
        desk.spine.clear_log();
        let _ = desk.engine(&User::new()).log_in().unwrap_err();
        for entry in desk.spine.log().iter().skip(1) {
            assert_eq!((entry.path.as_str(), entry.header("X-Header")), ("/login/authvalidate", None), "{end:?}");
        }
        assert!(desk.spine.log().len() <= 2, "{end:?}");
    }
}

#[test]
fn any_value_that_xml_can_contain_arrives() {
    let desk = desk_of(UID);
    // Each case needs two logins; the messages alone are tested 100,000 times in their own tests.
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) });
    let value = "([<>&'\";#%+ ]|\\]\\]>|\r|\n|\t|[a-z]|\\PC){1,12}";
    // A role's id contains only visible characters.
    let id = "([<>&'\";#%+ ]|\\]\\]>|[a-z]|[^\\p{C}\\p{Zl}\\p{Zp}]){1,12}";
    let challenge = proptest::collection::vec(any::<u8>(), 1..100);
    let checked = runner.run(&(value, id, challenge), |(value, id, challenge)| {
        let challenge = BASE64.encode(challenge);
        prop_assert_eq!(echoed(&desk, &challenge, &value), (challenge, value));
        desk.spine.behave();
        desk.spine.set_roles(roles(&[&id]));
        desk.engine(&User::new()).log_in().unwrap();
        let arrived = sent(&desk, Endpoint::SelectRole).unwrap();
        prop_assert_eq!(arrived.parameter("selectedRoleUid"), Some(&*id));
        Ok(())
    });
    checked.unwrap();
}
