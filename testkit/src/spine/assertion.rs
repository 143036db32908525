//! The SAML role assertion of a session, in the form of the published example.

use std::time::{Duration, SystemTime};

use super::broker::{Session, Settings};
use super::message::escaped;
use super::role::Role;

const NAMESPACES: &str = "xmlns:samlp=\"urn:oasis:names:tc:SAML:1.0:protocol\" \
    xmlns:saml=\"urn:oasis:names:tc:SAML:1.0:assertion\"";

/// The number of roles with every known attribute. The others have only those that all roles have, so that 1,000
/// roles stay below 1 MiB.
const FULL_ROLES: usize = 20;

/// A SAML response that can still be changed.
#[derive(Debug)]
pub(crate) struct Assertion {
    /// `None` omits the status.
    status: Option<String>,
    message: Option<String>,
    /// `None` omits the assertion.
    subject: Option<Subject>,
    attributes: Vec<Attribute>,
}

#[derive(Debug)]
struct Subject {
    uid: String,
    ticket: String,
    since: SystemTime,
}

#[derive(Clone, Debug)]
struct Attribute {
    name: String,
    values: Vec<String>,
}

impl Assertion {
    /// The assertion of an open session.
    pub(super) fn new(ticket: &str, session: &Session, settings: &Settings) -> Self {
        let person = [
            ("ssbAssertionVersion", Some("1.1")),
            ("cn", Some(settings.display_name.as_str())),
            ("uid", Some(session.uid.as_str())),
            ("ssbSessionRoleUid", session.role.as_deref()),
            ("ssbMode", Some("0")),
        ];
        let person = person.into_iter().filter_map(|(name, value)| Some(attribute(name, &[value?])));
        let roles = settings.roles.iter().enumerate();
        let roles = roles.flat_map(|(number, role)| role_block(role, number < FULL_ROLES));
        Self {
            status: Some("samlp:Success".into()),
            message: None,
            subject: Some(Subject {
                uid: session.uid.clone(),
                ticket: ticket.into(),
                since: SystemTime::now() - session.begun.elapsed(),
            }),
            attributes: person.chain(roles).collect(),
        }
    }

    /// The response for a ticket without a session.
    pub(super) fn refusing(reason: &str) -> Self {
        Self {
            status: Some("samlp:Requester".into()),
            message: Some(reason.into()),
            subject: None,
            attributes: Vec::new(),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        match name {
            "Status" => self.status = None,
            "Assertion" => self.subject = None,
            _ => self.attributes.retain(|attribute| attribute.name != name),
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        if name == "Status" {
            self.status = Some(value.into());
            return;
        }
        match self.attributes.iter_mut().find(|attribute| attribute.name == name) {
            Some(attribute) => attribute.values = vec![value.into()],
            None => self.attributes.push(attribute(name, &[value])),
        }
    }

    pub(crate) fn repeat(&mut self, name: &str) {
        let at = self.attributes.iter().position(|attribute| attribute.name == name);
        if let Some(at) = at {
            self.attributes.insert(at, self.attributes[at].clone());
        }
    }

    pub(crate) fn write(&self) -> String {
        let issued = time(SystemTime::now());
        let message = self.message.as_ref().map(|text| element("samlp:StatusMessage", &escaped(text)));
        let status = self.status.as_ref().map(|code| {
            let message = message.unwrap_or_default();
            format!("<samlp:Status>\n<samlp:StatusCode Value=\"{}\"/>\n{message}</samlp:Status>\n", escaped(code))
        });
        let assertion = self.subject.as_ref().map(|subject| self.write_assertion(subject));
        format!(
            "<samlp:Response {NAMESPACES} ResponseID=\"null\" InResponseTo=\"null\" MajorVersion=\"1\" MinorVersion=\"1\" \
             IssueInstant=\"{issued}\" Recipient=\"127.0.0.1\">\n{}{}</samlp:Response>\n",
            status.unwrap_or_default(),
            assertion.unwrap_or_default()
        )
    }

    fn write_assertion(&self, subject: &Subject) -> String {
        let now = SystemTime::now();
        let (from, until) = (time(now - Duration::from_secs(180)), time(now + Duration::from_secs(60)));
        let (issued, since) = (time(now), time(subject.since));
        let head = |id: &str| {
            format!(
                "<saml:Assertion MajorVersion=\"1\" MinorVersion=\"1\" AssertionID=\"{id}\" Issuer=\"spine-simulator\" \
                 IssueInstant=\"{issued}\">\n<saml:Conditions NotBefore=\"{from}\" NotOnOrAfter=\"{until}\"/>\n"
            )
        };
        let confirmed_by = |data: &str| {
            format!(
                "<saml:Subject>\n\
                 <saml:NameIdentifier NameQualifier=\"o=nhs\">uid={},ou=People,o=nhs</saml:NameIdentifier>\n\
                 <saml:SubjectConfirmation>\n<saml:ConfirmationMethod>urn:com:sun:identity</saml:ConfirmationMethod>\n\
                 <saml:SubjectConfirmationData>{data}</saml:SubjectConfirmationData>\n\
                 </saml:SubjectConfirmation>\n</saml:Subject>\n",
                escaped(&subject.uid)
            )
        };
        let inner = format!(
            "\n{}<saml:AuthenticationStatement AuthenticationInstant=\"{since}\" \
             AuthenticationMethod=\"urn:com:sun:identity:ExtendedLoginModule\">\n\
             {}<saml:SubjectLocality IPAddress=\"127.0.0.1\"/>\n</saml:AuthenticationStatement>\n</saml:Assertion>\n",
            head("10a1792f539d58d6d11f9a84633338c27907283er"),
            confirmed_by(&escaped(&subject.ticket)),
        );
        let attributes: String = self.attributes.iter().map(Attribute::write).collect();
        format!(
            "{}<saml:AttributeStatement>\n{}{attributes}</saml:AttributeStatement>\n</saml:Assertion>\n",
            head("ba10307f67ace849c6fc7459fe9b6e4e2daa65c8d"),
            confirmed_by(&inner),
        )
    }
}

fn role_block(role: &Role, full: bool) -> Vec<Attribute> {
    let mut block = vec![
        attribute("nhsIdCode", &[role.organisation_code.as_deref().unwrap_or_default()]),
        attribute("o", &[&role.organisation]),
    ];
    if full {
        block.extend([
            attribute("nhsAreaOfWork", &["Community & Mental Health", "\"Out of hours\""]),
            attribute("nhsAreaOfWorkCodes", &["A0001", "A0002"]),
            attribute("nhsWorkGroups", &["Ward <3>"]),
            attribute("nhsWorkGroupsCodes", &[&format!("W{}", role.id)]),
            attribute("nhsBusinessFunctions", &["Execute Management Reports", "Perform Patient Trace & View", ""]),
            attribute("nhsBusinessFunctionsCodes", &["B8029", "B0945", "B0001"]),
            attribute("nhsOrgOpenDate", &["19740401"]),
            attribute("nhsOrgCloseDate", &["20300228"]),
            attribute("nhsPersonStatus", &["1"]),
        ]);
    }
    block.extend([
        attribute("nhsJobRole", &[&role.job()]),
        attribute("uniqueIdentifier", &[&role.id]),
        attribute("nhsJobRoleCode", &[&role.job_code()]),
    ]);
    block
}

fn attribute(name: &str, values: &[&str]) -> Attribute {
    Attribute { name: name.into(), values: values.iter().map(|&value| value.into()).collect() }
}

impl Attribute {
    fn write(&self) -> String {
        let values: String = self.values.iter().map(|value| element("saml:AttributeValue", &escaped(value))).collect();
        let name = escaped(&self.name);
        format!(
            "<saml:Attribute AttributeName=\"{name}\" AttributeNamespace=\"http://www.syntegra.com\">\n{values}</saml:Attribute>\n"
        )
    }
}

fn element(name: &str, text: &str) -> String {
    format!("<{name}>{text}</{name}>\n")
}

fn time(at: SystemTime) -> impl std::fmt::Display {
    humantime::format_rfc3339_seconds(at)
}
