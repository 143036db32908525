//! The role assertion (SAML 1.1): the user, the chosen role, and every role of the user. Pure.
//!
//! The attributes are a flat list: those of a role follow its first one, `nhsIdCode`. Other parts of the assertion
//! are ignored; one of them contains the ticket, as the data that confirm the subject.

mod date;
#[cfg(test)]
mod tests;

use roxmltree::Node;
use tracing::{debug, warn};

use super::message::{Rejection, one_line, value};
use super::role_line::Role;
use super::xml::{Malformed, with_document_of};
use crate::printable::{LONGEST_NAME, clean, is_unfit};

pub use self::date::Date;

const PROTOCOL: &str = "urn:oasis:names:tc:SAML:1.0:protocol";
const ASSERTION: &str = "urn:oasis:names:tc:SAML:1.0:assertion";

/// Sixty for each role, so that 400 roles as full as in captures can be parsed.
const MAX_TAGS: usize = 3 << 13;
/// More than fit into a response, unless most of them are empty.
const MAX_ROLES: usize = 2000;

/// The user of a session, and what this user may do, as the broker asserts it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoleAssertion {
    /// The user's id, 12 digits (`uid`).
    pub uid: String,
    /// The user's name (`cn`); empty if the broker sends none.
    pub user_name: String,
    /// The user's code as a prescriber (`nhsOcsPrCode`).
    pub prescriber_code: Option<String>,
    /// The id of the session's role (`ssbSessionRoleUid`); `None` before one is selected.
    pub session_role: Option<String>,
    /// Whether the session is for real work (`ssbMode`).
    pub mode: Option<Mode>,
    /// The version of the assertion's format, such as `1.1` (`ssbAssertionVersion`).
    pub version: Option<String>,
    /// When the assertion was issued, as the broker wrote it, such as `2018-06-28T14:30:51Z`.
    pub issued: Option<String>,
    /// Every role of the user, in the broker's order.
    pub roles: Vec<RoleProfile>,
}

/// The purpose of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Real work (0).
    Live,
    /// Training (1).
    Training,
    /// An unknown mode, as the broker wrote it.
    Other(String),
}

/// A role of the user, with everything that the assertion contains about it.
///
/// The lists are in the broker's order. The names and codes at the same index belong together, as far as both
/// lists reach.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoleProfile {
    /// The role. Its id (`uniqueIdentifier`) is empty if the broker sends none.
    pub role: Role,
    /// Code of the job role, such as `S8000:G8000:R8003` (`nhsJobRoleCode`).
    pub job_role_code: Option<String>,
    /// `nhsAreaOfWork`.
    pub areas_of_work: Vec<String>,
    /// `nhsAreaOfWorkCodes`.
    pub area_of_work_codes: Vec<String>,
    /// `nhsWorkGroups`.
    pub workgroups: Vec<String>,
    /// `nhsWorkGroupsCodes`.
    pub workgroup_codes: Vec<String>,
    /// What the user may do in this role (`nhsBusinessFunctions`).
    pub business_functions: Vec<String>,
    /// `nhsBusinessFunctionsCodes`, such as `B0264`.
    pub business_function_codes: Vec<String>,
    /// Days on which the organisation opened (`nhsOrgOpenDate`). Invalid dates are skipped.
    pub opened: Vec<Date>,
    /// Days on which the organisation closes or has closed (`nhsOrgCloseDate`). Invalid dates are skipped.
    pub closed: Vec<Date>,
    /// The user's status in the organisation; `1` is active (`nhsPersonStatus`).
    pub person_status: Vec<String>,
}

impl RoleAssertion {
    /// Returns the session's role, if it is one of [`RoleAssertion::roles`].
    pub fn session_role(&self) -> Option<&RoleProfile> {
        let id = self.session_role.as_deref()?;
        self.roles.iter().find(|profile| profile.role.id == id)
    }
}

/// Parses the response to a request for the role assertion.
///
/// # Errors
///
/// A status other than success is a refusal: the session has ended. Malformed are: a response without status, or a
/// successful one without assertion or `uid`, or with two; an attribute of a role before the first role, or one
/// that a role has twice; a value that is not plain text. Of several values of a single-valued attribute the first
/// is used, with a warning in the log.
#[doc(hidden)]
pub fn read_assertion(answer: &[u8]) -> Result<RoleAssertion, Rejection> {
    with_document_of(MAX_TAGS, answer, |document| {
        let response = document.root_element();
        if !response.has_tag_name((PROTOCOL, "Response")) {
            return Err(Malformed::NotAMessage);
        }
        let status = only(response, PROTOCOL, "Status")?.ok_or(Malformed::Missing("Status"))?;
        if let Some(reason) = failure(status)? {
            return Ok(Err(Rejection::Refused(reason)));
        }
        let assertion = only(response, ASSERTION, "Assertion")?.ok_or(Malformed::Missing("Assertion"))?;
        let mut attributes = Attributes::default();
        for statement in children(assertion, ASSERTION, "AttributeStatement") {
            for attribute in children(statement, ASSERTION, "Attribute") {
                attributes.add(attribute)?;
            }
        }
        attributes.into_assertion(assertion.attribute("IssueInstant")).map(Ok)
    })?
}

fn children<'a, 'text>(
    node: Node<'a, 'text>,
    namespace: &'static str,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'text>> {
    node.children().filter(move |child| child.has_tag_name((namespace, name)))
}

fn only<'a, 'text>(
    node: Node<'a, 'text>,
    namespace: &'static str,
    name: &'static str,
) -> Result<Option<Node<'a, 'text>>, Malformed> {
    let mut found = children(node, namespace, name);
    let first = found.next();
    if found.next().is_some() { Err(Malformed::Twice(name)) } else { Ok(first) }
}

/// Returns why the broker refuses; `None` if its status is success.
fn failure(status: Node<'_, '_>) -> Result<Option<String>, Malformed> {
    let code = only(status, PROTOCOL, "StatusCode")?.ok_or(Malformed::Missing("StatusCode"))?;
    let name = code.attribute("Value").ok_or(Malformed::Missing("StatusCode"))?.trim();
    // The name is qualified, and another prefix may stand for the same namespace.
    let is_of_protocol = |prefix: &str| code.lookup_namespace_uri(Some(prefix)) == Some(PROTOCOL);
    if name == "samlp:Success" || name.strip_suffix(":Success").is_some_and(is_of_protocol) {
        return Ok(None);
    }
    let message = only(status, PROTOCOL, "StatusMessage")?.and_then(value).unwrap_or_default();
    Ok(Some(one_line(&format!("its status is \"{name}\" {message}"))))
}

/// The attributes so far.
#[derive(Default)]
struct Attributes<'a> {
    version: Option<&'a str>,
    cn: Option<&'a str>,
    uid: Option<&'a str>,
    prescriber_code: Option<&'a str>,
    session_role: Option<&'a str>,
    mode: Option<&'a str>,
    roles: Vec<RoleProfile>,
    block: Option<Block<'a>>,
}

/// The role whose attributes are being parsed.
struct Block<'a> {
    organisation_code: &'a str,
    organisation: Option<&'a str>,
    job: Option<&'a str>,
    job_role_code: Option<&'a str>,
    id: Option<&'a str>,
    /// The role itself is known only after its last attribute.
    profile: RoleProfile,
}

/// Also accepted in lower case, because public servers write them in several ways.
const OF_THE_USER: [&str; 6] = ["ssbAssertionVersion", "cn", "uid", "nhsOcsPrCode", "ssbSessionRoleUid", "ssbMode"];
const FIRST_OF_A_ROLE: &str = "nhsIdCode";
const OF_A_ROLE: [&str; 13] = [
    "o",
    "nhsJobRole",
    "nhsJobRoleCode",
    "uniqueIdentifier",
    "nhsAreaOfWork",
    "nhsAreaOfWorkCodes",
    "nhsWorkGroups",
    "nhsWorkGroupsCodes",
    "nhsBusinessFunctions",
    "nhsBusinessFunctionsCodes",
    "nhsOrgOpenDate",
    "nhsOrgCloseDate",
    "nhsPersonStatus",
];

/// Returns the name as in the lists above, compared without case.
fn known(name: &str) -> Option<&'static str> {
    let mut names = OF_A_ROLE.into_iter().chain(OF_THE_USER).chain([FIRST_OF_A_ROLE]);
    names.find(|known| known.eq_ignore_ascii_case(name))
}

impl<'a> Attributes<'a> {
    fn add(&mut self, attribute: Node<'a, '_>) -> Result<(), Malformed> {
        let Some(name) = attribute.attribute("AttributeName").and_then(known) else { return Ok(()) };
        match name {
            // There must be no doubt about the session's user.
            "uid" => set_once(&mut self.uid, name, attribute),
            "ssbAssertionVersion" => set(&mut self.version, name, attribute),
            "cn" => set(&mut self.cn, name, attribute),
            "nhsOcsPrCode" => set(&mut self.prescriber_code, name, attribute),
            "ssbSessionRoleUid" => set(&mut self.session_role, name, attribute),
            "ssbMode" => set(&mut self.mode, name, attribute),
            FIRST_OF_A_ROLE => {
                self.end_role()?;
                self.block = Some(Block::new(first(name, attribute)?.unwrap_or_default()));
                Ok(())
            }
            // Without a block it is unknown which role it belongs to.
            _ => self.block.as_mut().ok_or(Malformed::Missing(FIRST_OF_A_ROLE))?.add(name, attribute),
        }
    }

    fn end_role(&mut self) -> Result<(), Malformed> {
        if let Some(block) = self.block.take() {
            if block.id.is_some_and(|id| id.contains(is_unfit)) {
                warn!("a role's id in the assertion has control characters; the role is skipped");
                return Ok(());
            }
            if self.roles.len() == MAX_ROLES {
                return Err(Malformed::TooLarge);
            }
            self.roles.push(block.into_profile());
        }
        Ok(())
    }

    fn into_assertion(mut self, issued: Option<&str>) -> Result<RoleAssertion, Malformed> {
        self.end_role()?;
        let mode = |mode: &str| match mode.trim() {
            "0" => Mode::Live,
            "1" => Mode::Training,
            other => Mode::Other(shown(other)),
        };
        Ok(RoleAssertion {
            uid: id("uid", self.uid)?.ok_or(Malformed::Missing("uid"))?,
            user_name: one_line(self.cn.unwrap_or_default()),
            prescriber_code: some(self.prescriber_code),
            session_role: id("ssbSessionRoleUid", self.session_role)?,
            mode: self.mode.map(mode),
            version: some(self.version),
            issued: some(issued),
            roles: self.roles,
        })
    }
}

impl<'a> Block<'a> {
    fn new(organisation_code: &'a str) -> Self {
        let profile = RoleProfile {
            role: Role::of_job("", "", "", ""),
            job_role_code: None,
            areas_of_work: Vec::new(),
            area_of_work_codes: Vec::new(),
            workgroups: Vec::new(),
            workgroup_codes: Vec::new(),
            business_functions: Vec::new(),
            business_function_codes: Vec::new(),
            opened: Vec::new(),
            closed: Vec::new(),
            person_status: Vec::new(),
        };
        Self { organisation_code, organisation: None, job: None, job_role_code: None, id: None, profile }
    }

    fn add(&mut self, name: &'static str, attribute: Node<'a, '_>) -> Result<(), Malformed> {
        let profile = &mut self.profile;
        match name {
            // A repeated one could belong to the next role, if its attributes are in another order.
            "o" => set_new(&mut self.organisation, name, attribute),
            "nhsJobRole" => set_new(&mut self.job, name, attribute),
            "nhsJobRoleCode" => set_new(&mut self.job_role_code, name, attribute),
            "uniqueIdentifier" => set_new(&mut self.id, name, attribute),
            "nhsAreaOfWork" => append(&mut profile.areas_of_work, name, attribute),
            "nhsAreaOfWorkCodes" => append(&mut profile.area_of_work_codes, name, attribute),
            "nhsWorkGroups" => append(&mut profile.workgroups, name, attribute),
            "nhsWorkGroupsCodes" => append(&mut profile.workgroup_codes, name, attribute),
            "nhsBusinessFunctions" => append(&mut profile.business_functions, name, attribute),
            "nhsBusinessFunctionsCodes" => append(&mut profile.business_function_codes, name, attribute),
            "nhsOrgOpenDate" => append_dates(&mut profile.opened, name, attribute),
            "nhsOrgCloseDate" => append_dates(&mut profile.closed, name, attribute),
            "nhsPersonStatus" => append(&mut profile.person_status, name, attribute),
            _ => Ok(()),
        }
    }

    fn into_profile(self) -> RoleProfile {
        let [id, organisation, job] = [self.id, self.organisation, self.job].map(Option::unwrap_or_default);
        RoleProfile {
            role: Role::of_job(id, self.organisation_code, organisation, job),
            job_role_code: some(self.job_role_code),
            ..self.profile
        }
    }
}

/// Treats an empty value as missing.
fn some(value: Option<&str>) -> Option<String> {
    value.map(shown).filter(|value| !value.is_empty())
}

/// An id, which must stay unchanged.
fn id(name: &'static str, value: Option<&str>) -> Result<Option<String>, Malformed> {
    match value.filter(|value| !value.is_empty()) {
        Some(value) if value.contains(is_unfit) => Err(Malformed::BadValue(name)),
        value => Ok(value.map(str::to_owned)),
    }
}

fn shown(text: &str) -> String {
    clean(text, LONGEST_NAME)
}

/// Returns the values of an attribute. Refuses a value in pieces: a comment in it would truncate it for some
/// parsers and not for others.
fn values<'a, 'text>(
    name: &'static str,
    attribute: Node<'a, 'text>,
) -> impl Iterator<Item = Result<&'a str, Malformed>> {
    let values = children(attribute, ASSERTION, "AttributeValue");
    values.map(move |node| value(node).ok_or(Malformed::BadValue(name)))
}

/// Returns the first value, with a warning if there are more.
fn first<'a>(name: &'static str, attribute: Node<'a, '_>) -> Result<Option<&'a str>, Malformed> {
    let mut values = values(name, attribute);
    let first = values.next().transpose()?;
    if values.next().transpose()?.is_some() {
        warn!(attribute = name, "the broker sent several values of a single-valued attribute; the first is used");
    }
    Ok(first)
}

/// Keeps the first value of all.
fn set<'a>(slot: &mut Option<&'a str>, name: &'static str, attribute: Node<'a, '_>) -> Result<(), Malformed> {
    let value = first(name, attribute)?.unwrap_or_default();
    match slot {
        Some(_) => warn!(attribute = name, "the broker sent an attribute twice; the first is used"),
        None => *slot = Some(value),
    }
    Ok(())
}

/// Does the same as [`set`] for an attribute that must not be repeated.
fn set_new<'a>(slot: &mut Option<&'a str>, name: &'static str, attribute: Node<'a, '_>) -> Result<(), Malformed> {
    if slot.is_some() { Err(Malformed::Twice(name)) } else { set(slot, name, attribute) }
}

/// Does the same as [`set_new`] for an attribute that must not have two values either.
fn set_once<'a>(slot: &mut Option<&'a str>, name: &'static str, attribute: Node<'a, '_>) -> Result<(), Malformed> {
    if values(name, attribute).nth(1).is_some() { Err(Malformed::Twice(name)) } else { set_new(slot, name, attribute) }
}

fn append(list: &mut Vec<String>, name: &'static str, attribute: Node<'_, '_>) -> Result<(), Malformed> {
    for value in values(name, attribute) {
        list.push(shown(value?));
    }
    Ok(())
}

fn append_dates(list: &mut Vec<Date>, name: &'static str, attribute: Node<'_, '_>) -> Result<(), Malformed> {
    for value in values(name, attribute) {
        let date = Date::read(value?.trim());
        if date.is_none() {
            debug!(attribute = name, "the broker sent an invalid date, which is skipped");
        }
        list.extend(date);
    }
    Ok(())
}
