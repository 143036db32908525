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
fn characters_that_a_parser_could_misinterpret_are_escaped() {
    let message = write(&[("uid", "<&>\"'\r\n\té")]).unwrap();
    let message = std::str::from_utf8(&message).unwrap();
    assert!(message.contains(">&lt;&amp;&gt;&quot;&apos;&#13;\n\té</gpPARAM>"), "{message}");
}

#[test]
fn a_challenge_is_decoded_and_kept_as_written() {
    let activated = activation("aGVs\nbG8=").unwrap();
    assert_eq!(activated.challenge, b"hello");
    assert_eq!(activated.encoded_challenge, "aGVs\nbG8=");
    assert_eq!(activated.signature, "c2ln");
}

#[test]
fn debug_shows_the_reply_url_but_no_challenge_or_signature() {
    let mut activated = activation("aGVsbG8=").unwrap();
    activated.reply_url = Some("https://gas.example/login".into());
    assert_eq!(format!("{activated:?}"), "Activated { reply_url: Some(\"https://gas.example/login\"), .. }");
}

#[test]
fn an_invalid_challenge_is_refused() {
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
fn required_parameters_must_occur_once() {
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
fn of_two_names_the_first_is_used() {
    let twice = parameter("cn", "A") + &parameter("cn", "B") + &parameter("sso_ticket", "AQIC5w");
    assert_eq!(read_authentication(&answer(&twice)).unwrap().user_name.as_deref(), Some("A"));
}

#[test]
fn a_ticket_is_found_in_an_otherwise_unusable_response() {
    let tickets = ["", "A B", "A", "B"].map(|ticket| parameter("sso_ticket", ticket)).concat();
    assert_eq!(read_ticket(&answer(&tickets)).unwrap().expose(), "A");
    assert_eq!(read_ticket(&answer(&parameter("cn", "X").repeat(2))), None);
    assert_eq!(read_ticket(b"<HTML/>"), None);
}

#[test]
fn an_error_instead_of_the_requested_parameters_is_a_refusal() {
    let refused = parameter("error_code", "12") + &parameter("gas_Error", "Card\u{9b}\n revoked");
    assert_eq!(read_authentication(&answer(&refused)), Err(Rejection::Refused("12, Card revoked".into())));
    assert_eq!(read_activation(&answer(&refused)), Err(Rejection::Refused("12, Card revoked".into())));
    let with_ticket = refused + &parameter("sso_ticket", "AQIC5w");
    assert!(read_authentication(&answer(&with_ticket)).is_ok());
}

#[test]
fn a_long_reason_is_truncated() {
    let refused = parameter("error_text", &"é".repeat(1000));
    let Err(Rejection::Refused(reason)) = read_authentication(&answer(&refused)) else { panic!() };
    assert_eq!(reason.chars().count(), MAX_REASON + 1);
    assert!(reason.ends_with("é…"));
}

#[test]
fn every_role_is_parsed_in_the_order_of_their_numbers() {
    let roles = r#"<gpPARAM name="sso_ticket">AQIC5w</gpPARAM>
        <gpPARAM name="nhsjobrole10" id="10">ORG, "A":"B":"C"</gpPARAM>
        <gpPARAM name="nhsjobrole9" id="9" orgcode="X">of another form</gpPARAM>
        <gpPARAM name="nhsjobrole9" id="9b"></gpPARAM>
        <gpPARAM name="nhsjobrole2">no id</gpPARAM>
        <gpPARAM name="nhsjobrole3" id="3&#x9b;2J">an id that cannot be shown</gpPARAM>
        <gpPARAM name="nhsjobroles" id="1">no role</gpPARAM>"#;
    let roles = read_authentication(&answer(roles)).unwrap().roles;
    let ids: Vec<_> = roles.iter().map(|role| (&*role.id, &*role.name)).collect();
    assert_eq!(ids, [("9", "of another form"), ("9b", ""), ("10", "C")]);
}

#[test]
fn a_role_as_shown_contains_no_control_characters() {
    let role = "<gpPARAM name=\"sso_ticket\">AQIC5w</gpPARAM><gpPARAM name=\"nhsjobrole1\" id=\"1\" \
        orgcode=\"R&#x9b;X\">O&#x202e;RG&#10;1, \"A&#x85;\":\"B\":\"C&#x2028;D\"</gpPARAM>";
    let role = read_authentication(&answer(role)).unwrap().roles.remove(0);
    assert_eq!(role.to_string(), "ORG 1 (R X): A  : B : C D");
    let long = Role::new("1", "A", &format!("{}, \"A\":\"B\":\"C\"", "x".repeat(1000)));
    assert_eq!(long.organisation, "x".repeat(256) + "…");
}

#[test]
fn invalid_limits_are_ignored() {
    let limits = |idle: &str, max: &str| {
        let parameters =
            [parameter("sso_ticket", "A"), parameter("sso_session_time", idle), parameter("sso_max_session_time", max)];
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
    for ok in ["<html><status>OK</status></html>", "<Html>\n<Status> OK\n</Status></Html>"] {
        assert_eq!(read_status(ok.as_bytes()), Ok(()), "{ok}");
    }
    for (page, why) in [
        ("<HTML><STATUS>OK<!-- --> NOT</STATUS></HTML>", Malformed::BadValue("STATUS")),
        ("<HTML><STATUS>OK<b/></STATUS></HTML>", Malformed::BadValue("STATUS")),
        ("<HTML><STATUS>OK<?x?></STATUS></HTML>", Malformed::BadValue("STATUS")),
        ("<HTML><STATUS>OK</STATUS><STATUS>FAILED</STATUS></HTML>", Malformed::Twice("STATUS")),
        ("<HTML><STATUS>OK</STATUS><status>OK</status></HTML>", Malformed::Twice("STATUS")),
        ("<HTML><BODY>OK</BODY></HTML>", Malformed::NotAMessage),
        ("<STATUS>OK</STATUS>", Malformed::NotAMessage),
        ("OK", Malformed::NotXml),
        ("", Malformed::Empty),
    ] {
        assert_eq!(read_status(page.as_bytes()), Err(why.into()), "{page}");
    }
}

#[test]
fn the_text_of_a_page_is_extracted_but_not_that_of_a_message() {
    for (page, words) in [
        ("<HTML><BODY>Failed To\n Validate</BODY></HTML>", Some("Failed To Validate")),
        ("Invalid input request", Some("Invalid input request")),
        ("<p>a<br>b</p><", Some("a b")),
        ("<HTML></HTML>", Some("")),
        (" ", None),
        ("a\0b", None),
        ("<gpOBJECT><gpPARAM", None),
        ("sso_ticket: AQIC5w", None),
    ] {
        assert_eq!(page_text(page.as_bytes()).as_deref(), words, "{page}");
    }
    assert_eq!(page_text(b"\xff"), None);
}

#[test]
fn documents_other_than_messages_are_recognised() {
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
