//! Encoding the signed challenge and parsing the broker's responses.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::process::ExitCode;
use std::time::Duration;

use rand::rngs::OsRng;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use ticketapi::Ticket;
use ticketapi::card::Certificate;
use ticketapi::challenge::{self, Digest};
use ticketapi::ssb::assertion::read_assertion;
use ticketapi::ssb::message::{MAX_ANSWER, read_activation, read_authentication, read_status};
use ticketapi::ssb::session_service::read_session;
use ticketapi_testkit::{CardSpec, TestCa};

use support::{Comparisons, time};

const CAPTURE: &str = include_str!("../tests/data/authvalidate-response.xml");

fn main() -> ExitCode {
    let mut comparisons = Comparisons::new();
    write_challenge(&mut comparisons);
    read_roles(&mut comparisons);
    read_hostile(&mut comparisons);
    comparisons.finish()
}

fn write_challenge(comparisons: &mut Comparisons) {
    let card = TestCa::new().unwrap().issue(&CardSpec::new("123456789012")).unwrap();
    let certificate = Certificate::from_der(&card.certificate_der().unwrap()).unwrap();
    let key = RsaPrivateKey::from_pkcs1_der(&card.key().rsa().unwrap().private_key_to_der().unwrap()).unwrap();
    let challenge = [7; 48];
    // What the software card does after it has opened its file.
    let sign = || {
        let digest = Digest::Sha1.digest_info(&challenge);
        key.sign_with_rng(&mut OsRng, Pkcs1v15Sign::new_unprefixed(), &digest).unwrap()
    };
    let signature = sign();
    comparisons.compare(
        "encoding the signed challenge, to one RSA-2048 signature of the software card",
        0.03,
        5,
        || time(|| challenge::response(&challenge, &certificate, Digest::Sha1, &signature).unwrap()),
        || time(sign),
    );
}

fn read_roles(comparisons: &mut Comparisons) {
    let twin = well_formed_twin();
    let roles = |answer: &str| read_authentication(answer.as_bytes()).unwrap().roles.len();
    assert_eq!(roles(CAPTURE), 40);
    comparisons.compare(
        "parsing 40 roles, to roxmltree alone on the well-formed twin",
        2.0,
        5,
        || time(|| read_authentication(CAPTURE.as_bytes()).unwrap()),
        || time(|| roxmltree::Document::parse(&twin).unwrap()),
    );

    let thousand = thousand_roles();
    assert_eq!(roles(&thousand), 1000);
    comparisons.compare(
        "parsing 1,000 roles, to parsing 40",
        30.0,
        5,
        || time(|| read_authentication(thousand.as_bytes()).unwrap()),
        || time(|| read_authentication(CAPTURE.as_bytes()).unwrap()),
    );
}

/// The capture without its DOCTYPE and with its ampersands escaped: none of them begins a reference.
fn well_formed_twin() -> String {
    let lines = CAPTURE.lines().filter(|line| !line.starts_with("<!DOCTYPE"));
    lines.collect::<Vec<_>>().join("\n").replace('&', "&amp;")
}

/// The capture with each of its roles 25 times.
fn thousand_roles() -> String {
    let (roles, rest): (Vec<&str>, Vec<&str>) = CAPTURE.lines().partition(|line| line.contains("nhsjobrole"));
    let many = (1..=1000).zip(roles.iter().cycle()).map(|(number, role)| {
        let (_, after) = role.split_once("\" id=").unwrap();
        format!("<gpPARAM name=\"nhsjobrole{number}\" id={after}")
    });
    let (end, head) = rest.split_last().unwrap();
    let lines: Vec<String> = head.iter().map(|&line| line.to_owned()).chain(many).chain([(*end).to_owned()]).collect();
    lines.join("\n")
}

/// Any response is parsed or refused within 50 ms. Measures the input that takes longest.
fn read_hostile(comparisons: &mut Comparisons) {
    const LIMIT: Duration = Duration::from_millis(50);
    let answers = hostile_answers();
    for (name, answer) in &answers {
        assert!(answer.len() == MAX_ANSWER, "{name}: {}", answer.len());
    }
    let (_, name, answer) = answers.iter().map(|(name, answer)| (median_of_three(answer), name, answer)).max().unwrap();
    let name = format!("1 MiB of {name}, which takes longest of {} kinds of input, to 50 ms", answers.len());
    comparisons.compare(&name, 1.0, 2, || read_by_all(answer), || LIMIT);
}

/// The time of the slowest parser.
fn read_by_all(answer: &[u8]) -> Duration {
    let ticket = Ticket::new("AQIC5w".to_owned());
    let times = [
        time(|| read_authentication(answer)),
        time(|| read_activation(answer)),
        time(|| read_status(answer)),
        time(|| read_assertion(answer)),
        time(|| read_session(answer, &ticket)),
    ];
    times.into_iter().max().unwrap()
}

fn median_of_three(answer: &[u8]) -> Duration {
    let mut times = [(); 3].map(|()| read_by_all(answer));
    times.sort_unstable();
    times[1]
}

fn hostile_answers() -> Vec<(&'static str, Vec<u8>)> {
    let object = |content: &str| filled("<gpOBJECT>", content, "</gpOBJECT>");
    let parameter = |content: &str| filled("<gpOBJECT><gpPARAM name=\"sso_ticket\">", content, "</gpPARAM></gpOBJECT>");
    let in_attribute = |content: &str| filled("<gpOBJECT><gpPARAM name=\"", content, "\"/></gpOBJECT>");
    // As many as are allowed, with the longest names that fit.
    let attributes: String = (0..64).map(|number| format!(" {}{number:02}=''", "a".repeat(48))).collect();
    let long_attributes: String = (0..60).map(|number| format!(" a{number}='{}'", "v".repeat(200))).collect();
    let namespaces: String = (0..60).map(|number| format!(" xmlns:{}{number}='b'", "n".repeat(20))).collect();
    let prefix = format!("{}59", "n".repeat(20));
    let nested = format!("{}{}", "<a>".repeat(63), "</a>".repeat(63));
    let deep = format!("{}{}{}", "<a>".repeat(63), "x".repeat(4000), "</a>".repeat(63));
    let roles = "<gpPARAM name=\"nhsjobrole7\" id=\"1\" orgcode=\"A\">X, \"T\":\"S\":\"N\"</gpPARAM>";
    // Each needs 64 bytes to stay below the limit of elements.
    let spaced = |content: &str| format!("{content:66}");
    let quotes = format!("<gpPARAM name=\"nhsjobrole1\" id=\"1\">{}\"</gpPARAM>", ", \"\":\"".repeat(8000));
    let head = "<p:Response xmlns:p='urn:oasis:names:tc:SAML:1.0:protocol' xmlns:s='urn:oasis:names:tc:SAML:1.0:assertion'>\
                <p:Status><p:StatusCode Value='p:Success'/></p:Status><s:Assertion><s:AttributeStatement>\
                <s:Attribute AttributeName='nhsIdCode'/>";
    let tail = "</s:AttributeStatement></s:Assertion></p:Response>";
    let of_assertion = |content: &str| filled(head, content, tail);
    let values = |content: &str| {
        filled(&format!("{head}<s:Attribute AttributeName='nhsWorkGroups'>"), content, &format!("</s:Attribute>{tail}"))
    };
    let date = "<s:AttributeValue>20010229</s:AttributeValue>";
    let dates = format!("<s:Attribute AttributeName='nhsOrgOpenDate'>{}</s:Attribute>", date.repeat(50));
    let set = |content: &str| {
        let head = "<ResponseSet><Response><![CDATA[<SessionResponse><GetSession><Session state='valid'>";
        filled(head, content, "</Session></GetSession></SessionResponse>]]></Response></ResponseSet>")
    };
    vec![
        ("values of an assertion", values("<s:AttributeValue>because it is of a workgroup</s:AttributeValue>\n")),
        ("empty values of an assertion", values(&format!("{:43}", "<s:AttributeValue/>"))),
        ("attributes of an assertion", of_assertion(&format!("{:88}", "<s:Attribute AttributeName='x' b='c'/>"))),
        ("roles of an assertion", of_assertion(&format!("{:600}", "<s:Attribute AttributeName='nhsIdCode'/>"))),
        (
            "too many roles of an assertion",
            of_assertion(&format!("{:120}", "<s:Attribute AttributeName='nhsIdCode'/>")),
        ),
        (
            "one job of separators",
            filled(
                &format!("{head}<s:Attribute AttributeName='nhsJobRole'><s:AttributeValue>\""),
                "\":\"",
                &format!("</s:AttributeValue></s:Attribute>{tail}"),
            ),
        ),
        ("dates that are none", of_assertion(&dates)),
        ("properties of a session", set(&format!("{:66}", "<Property name='a' value='b'/>"))),
        ("ends of CDATA", set("]]>")),
        ("starts of CDATA", set("<![CDATA[")),
        ("text", parameter("text ")),
        ("bare ampersands", parameter("&")),
        ("some bare ampersands", parameter("a & b & c to see what mending costs ")),
        ("ampersands with names", parameter("&abcdefgh ")),
        ("one long name after an ampersand", filled("<gpOBJECT>&", "a", "</gpOBJECT>")),
        ("character references", parameter("&#65;&lt;")),
        ("entities", parameter("&bomb;")),
        ("ampersands in an attribute", in_attribute("&amp;& & ")),
        ("line ends in an attribute", in_attribute("\r\n\t")),
        ("line ends", parameter("\r\n")),
        ("quotes", parameter("\"'")),
        ("quotes in roles", object(&quotes)),
        ("roles", object(roles)),
        ("roles with long ids", object(&roles.replace("\"1\"", &format!("\"{}\"", "1".repeat(500))))),
        ("parameters", object("<gpPARAM name=\"a\">b</gpPARAM>")),
        ("long parameters", object(&format!("<gpPARAM name=\"error\">{}</gpPARAM>", "because ".repeat(16)))),
        ("empty elements", object("<a/>")),
        ("spaced empty elements", object(&spaced("<a/>"))),
        ("elements with many attributes", object(&format!("<a{attributes}/>"))),
        ("elements with an attribute", object(&spaced("<a b=''/>"))),
        ("elements with long attributes", object(&format!("<a{long_attributes}/>"))),
        ("namespaces", object("<a xmlns:a='b'/>")),
        (
            "elements of many namespaces",
            filled(&format!("<gpOBJECT{namespaces}>"), &spaced(&format!("<{prefix}:a {prefix}:b=''/>")), "</gpOBJECT>"),
        ),
        ("elements that never end", filled("<gpOBJECT>", "<a>", "")),
        ("nested elements", object(&nested)),
        ("text in nested elements", object(&deep)),
        ("end tags", filled("<gpOBJECT/>", "</a>", "")),
        ("open angles", filled("", "<", "")),
        ("closed angles", parameter(">")),
        ("CDATA", parameter("<![CDATA[a & b]]>")),
        ("spaced CDATA", parameter(&spaced("<![CDATA[a & b]]>"))),
        ("CDATA and references", parameter(&spaced("<![CDATA[a & b]]>&#65;"))),
        ("one CDATA", filled("<gpOBJECT><![CDATA[", "]]&gt;", "]]></gpOBJECT>")),
        ("comments", parameter("<!-- a & b -->")),
        ("spaced comments", parameter(&spaced("<!-- a & b -->"))),
        ("one comment", filled("<gpOBJECT><!-- ", "- & > ", " --></gpOBJECT>")),
        ("comments that never end", parameter("<!--")),
        ("processing instructions", object("<?a b?>")),
        ("spaced processing instructions", object(&spaced("<?a b?>"))),
        ("a DOCTYPE", filled("<!DOCTYPE a [", "<!ELEMENT a (b)>", "]><gpOBJECT/>")),
        ("a DOCTYPE of brackets", filled("<!DOCTYPE a ", "[]", "><gpOBJECT/>")),
        ("a DOCTYPE of entities", filled("<!DOCTYPE a [", "<!ENTITY a 'b'>", "]><gpOBJECT/>")),
        ("wide characters", parameter("\u{1f511}é")),
        ("white space", filled("<gpOBJECT/>", " \n", "")),
        ("NUL", filled("", "\0", "")),
        ("bytes that are no text", vec![0xff; MAX_ANSWER]),
        ("status", filled("<HTML><STATUS>", "no ", "</STATUS></HTML>")),
        ("statuses", filled("<HTML>", "<STATUS>", "</HTML>")),
        ("base64", filled("<gpOBJECT><gpPARAM name=\"challenge\">", "QUJD", "</gpPARAM></gpOBJECT>")),
        ("spaced base64", filled("<gpOBJECT><gpPARAM name=\"challenge\">", "Q U J D\n", "</gpPARAM></gpOBJECT>")),
    ]
}

/// Repeats `content` between `start` and `end`, up to the maximum length of a response.
fn filled(start: &str, content: &str, end: &str) -> Vec<u8> {
    let count = (MAX_ANSWER - start.len() - end.len()) / content.len();
    let mut answer = [start, &content.repeat(count), end].concat();
    // White space replaces a last piece that does not fit.
    let rest = MAX_ANSWER - answer.len();
    answer.push_str(&" ".repeat(rest));
    answer.into_bytes()
}
