//! The SAML role assertion of a session, written like the published example.

use std::time::{Duration, SystemTime};

use super::broker::{Session, Settings};
use super::role::Role;

const NAMESPACES: &str = "xmlns:samlp=\"urn:oasis:names:tc:SAML:1.0:protocol\" \
    xmlns:saml=\"urn:oasis:names:tc:SAML:1.0:assertion\"";

/// The assertion of a live session. Several hundred roles make several hundred blocks.
pub(super) fn write(ticket: &str, session: &Session, settings: &Settings) -> String {
    let now = SystemTime::now();
    let (issued, since) = (time(now), time(now - session.begun.elapsed()));
    let (from, until) = (time(now - Duration::from_secs(180)), time(now + Duration::from_secs(60)));
    let uid = escaped(&session.uid);
    let mut attributes = attribute("ssbAssertionVersion", &["1.1"])
        + &attribute("cn", &[&settings.display_name])
        + &attribute("uid", &[&session.uid])
        + &session.role.as_ref().map(|role| attribute("ssbSessionRoleUid", &[role])).unwrap_or_default()
        + &attribute("ssbMode", &["0"]);
    for role in &settings.roles {
        attributes.push_str(&role_block(role));
    }
    let name = format!("<saml:NameIdentifier NameQualifier=\"o=nhs\">uid={uid},ou=People,o=nhs</saml:NameIdentifier>");
    let method = "<saml:ConfirmationMethod>urn:com:sun:identity</saml:ConfirmationMethod>";
    let assertion = |id: &str| {
        format!(
            "<saml:Assertion MajorVersion=\"1\" MinorVersion=\"1\" AssertionID=\"{id}\" Issuer=\"spine-simulator\" IssueInstant=\"{issued}\">\n\
             <saml:Conditions NotBefore=\"{from}\" NotOnOrAfter=\"{until}\"/>\n"
        )
    };
    format!(
        "<samlp:Response {NAMESPACES} ResponseID=\"null\" InResponseTo=\"null\" MajorVersion=\"1\" MinorVersion=\"1\" IssueInstant=\"{issued}\" Recipient=\"127.0.0.1\">\n\
         <samlp:Status>\n<samlp:StatusCode Value=\"samlp:Success\"/>\n</samlp:Status>\n\
         {outer}<saml:AttributeStatement>\n<saml:Subject>\n{name}\n<saml:SubjectConfirmation>\n{method}\n\
         <saml:SubjectConfirmationData>\n\
         {inner}<saml:AuthenticationStatement AuthenticationInstant=\"{since}\" AuthenticationMethod=\"urn:com:sun:identity:ExtendedLoginModule\">\n\
         <saml:Subject>\n{name}\n<saml:SubjectConfirmation>\n{method}\n\
         <saml:SubjectConfirmationData>{ticket}</saml:SubjectConfirmationData>\n\
         </saml:SubjectConfirmation>\n</saml:Subject>\n<saml:SubjectLocality IPAddress=\"127.0.0.1\"/>\n\
         </saml:AuthenticationStatement>\n</saml:Assertion>\n\
         </saml:SubjectConfirmationData>\n</saml:SubjectConfirmation>\n</saml:Subject>\n\
         {attributes}</saml:AttributeStatement>\n</saml:Assertion>\n</samlp:Response>\n",
        outer = assertion("ba10307f67ace849c6fc7459fe9b6e4e2daa65c8d"),
        inner = assertion("10a1792f539d58d6d11f9a84633338c27907283er"),
        ticket = escaped(ticket),
    )
}

/// The answer for a ticket without a session.
pub(super) fn refusal(reason: &str) -> String {
    format!(
        "<samlp:Response {NAMESPACES} ResponseID=\"null\" InResponseTo=\"null\" MajorVersion=\"1\" MinorVersion=\"1\" IssueInstant=\"{}\">\n\
         <samlp:Status>\n<samlp:StatusCode Value=\"samlp:Requester\"/>\n\
         <samlp:StatusMessage>{}</samlp:StatusMessage>\n</samlp:Status>\n</samlp:Response>\n",
        time(SystemTime::now()),
        escaped(reason),
    )
}

fn role_block(role: &Role) -> String {
    attribute("nhsIdCode", &[role.organisation_code.as_deref().unwrap_or_default()])
        + &attribute("o", &[&role.organisation])
        + &attribute("nhsBusinessFunctions", &["Execute Management Reports", "Perform Patient Trace & View"])
        + &attribute("nhsBusinessFunctionsCodes", &["B8029", "B0945"])
        + &attribute("nhsJobRole", &[&role.job()])
        + &attribute("uniqueIdentifier", &[&role.id])
        + &attribute("nhsJobRoleCode", &[&role.job_code()])
        + &attribute("nhsPersonStatus", &["1"])
}

fn attribute(name: &str, values: &[&str]) -> String {
    let values: String =
        values.iter().map(|value| format!("<saml:AttributeValue>{}</saml:AttributeValue>\n", escaped(value))).collect();
    format!(
        "<saml:Attribute AttributeName=\"{name}\" AttributeNamespace=\"http://www.syntegra.com\">\n{values}</saml:Attribute>\n"
    )
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn time(at: SystemTime) -> impl std::fmt::Display {
    humantime::format_rfc3339_seconds(at)
}
