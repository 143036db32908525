//! A correct login at the simulator, and each fault that it must refuse.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{AS_AGENT, Client, Message, SOON, entity, escaped, sign};
use openssl::ssl::SslVersion;
use ticketapi_testkit::spine::{Digest, Outcome, Refusal, Role, ServerCertificate, TlsVersions};
use ticketapi_testkit::{CardIdentity, CardSpec, Endpoint, Spine, TestCa};

fn spine_and_card() -> (Spine, CardIdentity) {
    let ca = TestCa::new().unwrap();
    let spine = Spine::builder().strict().card_ca(&ca).start().unwrap();
    (spine, ca.issue(&CardSpec::default()).unwrap())
}

#[test]
fn a_whole_login_uses_one_connection_and_leaves_no_session() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    let ticket = client.log_in(&card);
    assert_eq!(spine.open_sessions(), 1);

    let role = &spine.roles()[1].id;
    assert_eq!(client.select_role(&ticket, role).text(), "<HTML><STATUS>OK</STATUS></HTML>");
    let assertion = client.get(&format!("/saml/RoleAssertion?token={}", escaped(&ticket))).text();
    assert!(assertion.contains("<samlp:StatusCode Value=\"samlp:Success\"/>"), "{assertion}");
    assert!(assertion.contains(&format!(
        "AttributeName=\"ssbSessionRoleUid\" AttributeNamespace=\"http://www.syntegra.com\">\n<saml:AttributeValue>{role}<"
    )));
    assert_eq!(client.log_out(&ticket, card.uid()).text(), "<HTML><STATUS>OK</STATUS></HTML>");

    assert_eq!(spine.open_sessions(), 0);
    assert_eq!((spine.connections(), spine.handshakes()), (1, 1));
    let endpoints: Vec<_> = spine.log().iter().map(|entry| entry.endpoint.unwrap()).collect();
    assert_eq!(
        endpoints,
        [Endpoint::Activate, Endpoint::Validate, Endpoint::SelectRole, Endpoint::RoleAssertion, Endpoint::Logout]
    );
    assert_eq!(spine.log()[1].answer, Outcome::Ticket(ticket.clone()));
    assert_eq!(spine.log()[4].parameter("sso_ticket"), Some(&*ticket));
}

#[test]
fn responses_have_the_parameters_of_the_captured_ones_in_order() {
    let (spine, card) = spine_and_card();
    spine.set_roles(Role::generate(40));
    let mut client = Client::connect(&spine);
    let activated = client.activate();
    assert_eq!(names(&activated.text()), names(include_str!("../../tests/data/authactivate-response.xml")));
    assert_eq!(activated.parameter("reply_url").unwrap(), "https://spine.test:443/login/authvalidate");
    assert_eq!(STANDARD.decode(activated.parameter("challenge").unwrap()).unwrap().len(), 48);

    let message = client.answer_challenge(&card);
    let validated = client.validate(&message);
    assert_eq!(names(&validated.text()), names(include_str!("../../tests/data/authvalidate-response.xml")));
    assert_eq!(validated.parameter("nhsjobrole1").unwrap(), spine.roles()[1].line());
    assert!(validated.text().contains("SAHA SN & DE G"), "ampersands are bare");
}

fn names(message: &str) -> Vec<&str> {
    message.split("<gpPARAM name=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

#[test]
fn a_login_works_with_other_key_lengths_and_either_digest() {
    let ca = TestCa::new().unwrap();
    for (bits, digest, md) in [(1024, Digest::Sha1, "sha1"), (3072, Digest::Sha256, "sha256")] {
        let card = ca.issue(&CardSpec::default().key_bits(bits).utf8_subject()).unwrap();
        let spine = Spine::builder().strict().card_ca(&ca).digest(digest).start().unwrap();
        let mut client = Client::connect(&spine);
        let message = client.answer_challenge(&card);
        let content = STANDARD.decode(message.get("challenge")).unwrap();
        let response = client.validate(&message.with_cms(&sign(&content, &card, &["-md", md, "-noattr"])));
        assert!(response.parameter("sso_ticket").is_some(), "{bits}: {:?}", response.parameter("error"));
    }
}

#[test]
fn a_challenge_can_be_used_only_once() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    let message = client.answer_challenge(&card);
    assert!(client.validate(&message).parameter("sso_ticket").is_some());
    refused(&spine, &mut client, &message, &Refusal::ChallengeUsed);
}

#[test]
fn a_challenge_expires() {
    let ca = TestCa::new().unwrap();
    let spine = Spine::builder().strict().card_ca(&ca).challenge_lifetime(Duration::ZERO).start().unwrap();
    let mut client = Client::connect(&spine);
    let message = client.answer_challenge(&ca.issue(&CardSpec::default()).unwrap());
    refused(&spine, &mut client, &message, &Refusal::ChallengeExpired);
}

/// Sends a validation that must be refused for this reason.
#[track_caller]
fn refused(spine: &Spine, client: &mut Client, message: &Message, refusal: &Refusal) {
    let sessions = spine.open_sessions();
    let response = client.validate(message);
    assert_eq!(response.parameter("sso_ticket"), None, "not refused: {refusal}");
    assert_eq!(spine.log().last().unwrap().refusal(), Some(refusal));
    assert_eq!(response.parameter("error").unwrap(), refusal.to_string().replace('<', "&lt;"));
    assert_eq!(spine.open_sessions(), sessions);
}

#[test]
fn a_validation_with_one_parameter_wrong_is_refused() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    let other_challenge = STANDARD.encode([7; 48]);
    let cases: &[(&'static str, &str, Refusal)] = &[
        ("auth_method", "2", Refusal::Wrong("auth_method")),
        ("app_url", "", Refusal::Wrong("app_url")),
        ("service", "ACTIVATION", Refusal::Wrong("service")),
        ("card_type", "p12", Refusal::Wrong("card_type")),
        ("mobility", "1", Refusal::Wrong("mobility")),
        ("log_session_id", "Ao9qufl+uA", Refusal::Wrong("log_session_id")),
        ("log_session_id", "Ao9qufl7uB", Refusal::NotTheSame("log_session_id")),
        ("device_id", "k3v9x0ab", Refusal::Wrong("device_id")),
        ("device_id", "K3v9x0ab,ClientIP=127.0.0.1", Refusal::Wrong("device_id")),
        ("device_id", "k3v9x0ab,ClientIP=10.0.0.1", Refusal::Wrong("device_id")),
        ("device_id", "k3v9x0ac,ClientIP=127.0.0.1", Refusal::NotTheSame("device_id")),
        ("signature", "AAAA", Refusal::NotTheSame("signature")),
        ("challenge", &other_challenge, Refusal::UnknownChallenge),
        ("uid", "555021935108", Refusal::OtherUser),
    ];
    for (name, value, refusal) in cases {
        let message = client.answer_challenge(&card).set(name, value);
        refused(&spine, &mut client, &message, refusal);
    }
    for name in ["uid", "challenge", "signature", "card_type", "mobility", "response", "device_id", "service"] {
        let message = client.answer_challenge(&card).without(name);
        refused(&spine, &mut client, &message, &Refusal::Missing(name));
    }
}

#[test]
fn an_invalid_signature_is_refused() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    let mut refused_with = |sign_with: &CardIdentity, content: Option<&[u8]>, options: &[&str], expected: &str| {
        let message = client.answer_challenge(&card);
        let challenge = STANDARD.decode(message.get("challenge")).unwrap();
        let cms = sign(content.unwrap_or(&challenge), sign_with, options);
        assert_eq!(client.validate(&message.with_cms(&cms)).parameter("sso_ticket"), None);
        let refusal = spine.log().last().unwrap().refusal().unwrap().to_string();
        assert!(refusal.contains(expected), "{expected}: {refusal}");
    };
    refused_with(&card, Some(b"something else"), &AS_AGENT, "the signed content is not");
    refused_with(&card, None, &["-md", "sha256", "-noattr"], "digest algorithm");
    refused_with(&card, None, &["-md", "sha1", "-noattr", "-keyid"], "CMS message: it cannot be read");
    refused_with(&card, None, &["-md", "sha1"], "signed attributes");
    refused_with(&card, None, &["-md", "sha1", "-noattr", "-nocerts"], "exactly one certificate");
    let stranger = TestCa::new().unwrap().issue(&CardSpec::default()).unwrap();
    refused_with(&stranger, None, &AS_AGENT, "the signature or its certificate is not valid");

    let message = client.answer_challenge(&card);
    let content = STANDARD.decode(message.get("challenge")).unwrap();
    let mut cms = sign(&content, &card, &AS_AGENT);
    *cms.last_mut().unwrap() ^= 1;
    let response = client.validate(&message.with_cms(&cms));
    assert!(response.parameter("error").unwrap().starts_with("the signature or its certificate"));
}

#[test]
fn expired_and_future_cards_are_refused_unless_allowed() {
    let ca = TestCa::new().unwrap();
    let strict = Spine::builder().strict().card_ca(&ca).start().unwrap();
    let lenient = Spine::builder().strict().card_ca(&ca).accept_expired_cards().start().unwrap();
    for spec in [CardSpec::default().expired(), CardSpec::default().not_yet_valid()] {
        let card = ca.issue(&spec).unwrap();
        let mut client = Client::connect(&strict);
        let message = client.answer_challenge(&card);
        assert!(client.validate(&message).parameter("error").unwrap().contains("not valid"));
        Client::connect(&lenient).log_in(&card);
    }
}

#[test]
fn an_smime_entity_that_differs_from_an_identity_agents_is_refused() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    type Bend = fn(&str) -> String;
    let bend: &[(&str, Bend)] = &[
        ("bare line feeds", |text| text.replace("\r\n", "\n")),
        ("no last line end", |text| text.trim_end().into()),
        ("one long line", |text| {
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            format!("{head}\r\n\r\n{}\r\n", body.replace("\r\n", ""))
        }),
        ("another header", |text| text.replace("smime.p7m", "smime.p7s")),
        ("a header more", |text| format!("X-Mailer: x\r\n{text}")),
        ("no base64", |text| text.replacen("MII", "M!I", 1)),
        ("nothing", |_| String::new()),
    ];
    for (what, bend) in bend {
        let message = client.answer_challenge(&card);
        let good = entity(&sign(&STANDARD.decode(message.get("challenge")).unwrap(), &card, &AS_AGENT));
        client.validate(&message.with_entity(&bend(&good)));
        assert!(matches!(spine.log().last().unwrap().refusal(), Some(Refusal::Entity(_))), "{what}");
    }
    let message = client.answer_challenge(&card).set("response", "%%%");
    client.validate(&message);
    assert!(matches!(spine.log().last().unwrap().refusal(), Some(Refusal::Entity(_))));
}

#[test]
fn an_activation_is_checked() {
    let (spine, _) = spine_and_card();
    let mut client = Client::connect(&spine);
    for (message, refusal) in [
        (Message::activate().set("auth_method", "1"), Refusal::Wrong("auth_method")),
        (Message::activate().without("app_url"), Refusal::Missing("app_url")),
        (Message::activate().set("service", "LOGOUT"), Refusal::Wrong("service")),
        (Message::activate().set("log_session_id", "short"), Refusal::Wrong("log_session_id")),
    ] {
        let response = client.post("/login/authactivate", message.write().as_bytes());
        assert_eq!(response.parameter("challenge"), None);
        assert_eq!(spine.log().last().unwrap().refusal(), Some(&refusal));
    }
    client.send("POST", "/login/authactivate", &[("User-Agent", "curl/8.0")], Message::activate().write().as_bytes());
    client.read_response().unwrap();
    assert_eq!(spine.log().last().unwrap().refusal(), Some(&Refusal::UserAgent));
    client.post("/login/authactivate", b"<gpOBJECT>");
    assert!(matches!(spine.log().last().unwrap().refusal(), Some(Refusal::Malformed(_))));
}

#[test]
fn a_role_selection_is_checked() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    let ticket = client.log_in(&card);
    let role = spine.roles()[0].id.clone();
    let good = format!(
        "/saml/RoleSelectionGP.jsp?token={}&selectedRoleUid={role}&ssbMode=0&fallbackStatus=0&gacVersion=GACv10.%200.%200.%201",
        escaped(&ticket)
    );
    for (target, refusal) in [
        (good.replace("ssbMode=0", "ssbMode=1"), Refusal::Wrong("ssbMode")),
        (good.replace("&fallbackStatus=0", ""), Refusal::Missing("fallbackStatus")),
        (good.replace("gacVersion=GACv10", "gacVersion=10"), Refusal::Wrong("gacVersion")),
        (good.replace(&role, "123456789012"), Refusal::UnknownRole),
        (good.replace("%40", "@"), Refusal::NotEscaped("token".into())),
        (good.replace("token=AQIC", "token=AQID"), Refusal::UnknownTicket),
    ] {
        let response = client.get(&target);
        assert!(response.text().contains("<STATUS>ERROR</STATUS>"), "{target}");
        assert_eq!(spine.log().last().unwrap().refusal(), Some(&refusal));
    }
    assert!(client.get(&good).text().contains("<STATUS>OK</STATUS>"));
}

#[test]
fn a_logout_names_the_session_that_it_ends() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    let ticket = client.log_in(&card);
    let good = Message::log_out(&ticket, card.uid());
    for (message, refusal) in [
        (good.clone().set("sso_ticket", "AQIC5w"), Refusal::UnknownTicket),
        (good.clone().set("uid", "1"), Refusal::NotTheSame("uid")),
        (good.clone().set("log_session_id", "0000000000"), Refusal::NotTheSame("log_session_id")),
        (good.clone().set("device_id", "00000000,ClientIP=127.0.0.1"), Refusal::NotTheSame("device_id")),
    ] {
        let response = client.post("/login/authlogout", message.write().as_bytes());
        assert!(response.text().contains("<STATUS>ERROR</STATUS>"));
        assert_eq!(spine.log().last().unwrap().refusal(), Some(&refusal));
        assert_eq!(spine.open_sessions(), 1);
    }
    client.log_out(&ticket, card.uid());
    client.log_out(&ticket, card.uid());
    assert_eq!(spine.log().last().unwrap().refusal(), Some(&Refusal::UnknownTicket));
}

#[test]
fn sessions_end_by_time_and_on_request() {
    let ca = TestCa::new().unwrap();
    let card = ca.issue(&CardSpec::default()).unwrap();
    let spine = Spine::builder().strict().card_ca(&ca).session_lifetime(Duration::from_millis(1)).start().unwrap();
    Client::connect(&spine).log_in(&card);
    assert!(spine.wait_for_sessions(SOON, 0));

    let spine = Spine::builder().strict().card_ca(&ca).session_minutes(30, 90).start().unwrap();
    let mut client = Client::connect(&spine);
    let ticket = client.log_in(&card);
    assert!(spine.end_session(&ticket));
    let assertion = client.get(&format!("/saml/RoleAssertion?token={}", escaped(&ticket))).text();
    assert!(assertion.contains("samlp:Requester"), "{assertion}");
    assert_eq!(spine.log().last().unwrap().refusal(), Some(&Refusal::UnknownTicket));
}

#[test]
fn the_session_service_reports_the_sessions_user() {
    let (spine, card) = spine_and_card();
    let mut client = Client::connect(&spine);
    let ticket = client.log_in(&card);
    let mut ask = |ticket: &str| {
        let request = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<RequestSet vers=\"1.0\" svcid=\"session\" reqid=\"7\">\n\
             <Request><![CDATA[<SessionRequest vers=\"1.0\" reqid=\"5\">\n<GetSession reset=\"true\">\n\
             <SessionID>{ticket}</SessionID>\n</GetSession>\n</SessionRequest>]]></Request>\n</RequestSet>"
        );
        client.post("/amserver/sessionservice", request.as_bytes()).text()
    };
    let alive = ask(&ticket);
    assert!(alive.contains(&format!("name=\"SessionHandle\" value=\"shandle:{ticket}\"")), "{alive}");
    assert!(alive.contains(&format!("name=\"UserId\" value=\"{}\"", card.uid())), "{alive}");
    assert!(alive.contains("state=\"valid\""), "{alive}");
    spine.end_all_sessions();
    assert!(ask(&ticket).contains("<Exception>"));
    assert_eq!(spine.log().last().unwrap().refusal(), Some(&Refusal::UnknownTicket));
    client.post("/amserver/sessionservice", b"<RequestSet/>");
    assert_eq!(spine.log().last().unwrap().refusal(), Some(&Refusal::NoQuestion));
}

#[test]
fn the_assertion_has_a_block_for_each_of_300_roles_and_is_well_formed() {
    let (spine, card) = spine_and_card();
    spine.set_roles(Role::generate(300));
    let mut client = Client::connect(&spine);
    let ticket = client.log_in(&card);
    let text = client.get(&format!("/saml/RoleAssertion?token={}", escaped(&ticket))).text();
    spine.set_roles(Role::generate(1_000));
    let many = client.get(&format!("/saml/RoleAssertion?token={}", escaped(&ticket)));
    assert!(many.body.len() < 1 << 20, "{} bytes", many.body.len());
    let document = roxmltree::Document::parse(&text).unwrap();
    let blocks = document.descendants().filter(|node| node.attribute("AttributeName") == Some("nhsIdCode")).count();
    assert_eq!(blocks, 300);
}

#[test]
fn each_tls_version_can_be_selected_alone() {
    for (versions, takes, refuses) in [
        (TlsVersions::Tls12, SslVersion::TLS1_2, SslVersion::TLS1_3),
        (TlsVersions::Tls13, SslVersion::TLS1_3, SslVersion::TLS1_2),
    ] {
        let spine = Spine::builder().strict().tls_versions(versions).start().unwrap();
        let mut client = Client::try_connect(&spine, Some(takes), "localhost").unwrap();
        assert_eq!(client.activate().status, 200);
        assert!(Client::try_connect(&spine, Some(refuses), "localhost").is_err());
        assert!(spine.wait_for(SOON, |log| matches!(log.last().unwrap().answer, Outcome::NoConnection(_))));
        assert_eq!((spine.connections(), spine.handshakes()), (2, 1));
    }
}

#[test]
fn certificates_with_a_fault_are_refused_by_a_client_that_verifies() {
    for (certificate, problem) in [
        (ServerCertificate::Expired, "certificate has expired"),
        (ServerCertificate::OtherCa, "unable to get local issuer certificate"),
        (ServerCertificate::ForName("other.test".into()), "hostname mismatch"),
    ] {
        let spine = Spine::builder().strict().server_certificate(certificate).start().unwrap();
        let error = Client::try_connect(&spine, None, "localhost").err().unwrap();
        assert!(error.contains(problem), "{problem}: {error}");
    }
    let spine = Spine::builder().strict().start().unwrap();
    assert!(Client::try_connect(&spine, None, "127.0.0.1").is_ok());
}

#[test]
fn plain_http_works_on_request() {
    let ca = TestCa::new().unwrap();
    let spine = Spine::builder().strict().card_ca(&ca).plain_http().start().unwrap();
    assert!(spine.url().starts_with("http://127.0.0.1:"));
    Client::connect(&spine).log_in(&ca.issue(&CardSpec::default()).unwrap());
    assert_eq!((spine.connections(), spine.handshakes()), (1, 0));
}

#[test]
fn only_the_newest_entries_are_kept() {
    let ca = TestCa::new().unwrap();
    let spine = Spine::builder().strict().card_ca(&ca).capacity(3).start().unwrap();
    let card = ca.issue(&CardSpec::default()).unwrap();
    let mut client = Client::connect(&spine);
    let first = client.answer_challenge(&card);
    for _ in 0..4 {
        client.log_in(&card);
    }
    assert_eq!(spine.log().len(), 3);
    assert_eq!(spine.open_sessions(), 3);
    refused(&spine, &mut client, &first, &Refusal::UnknownChallenge);
}
