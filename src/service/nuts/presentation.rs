//! The verifiable presentation that the node signs for the user: whether it says what was asked for.
//!
//! The node verifies the signatures, which are over RDF. Here the claims are compared, so that a node that is
//! mistaken, or was asked by somebody else at the same time, does not log in another user.

use serde::Deserialize;

use super::contract::period;
use super::time::rfc3339;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::service::json::{self, OneOrMany};
use crate::session::{AssuranceLevel, Employee};

/// How far the clocks of the node and of this computer may differ, in seconds.
const CLOCK_SKEW: i64 = 60;

/// What a presentation says; nothing secret.
#[derive(Debug)]
pub(super) struct Presentation {
    signer: String,
    contract: String,
    created: String,
    credential: Credential,
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "type")]
    types: OneOrMany<String>,
    #[serde(rename = "verifiableCredential")]
    credentials: OneOrMany<Credential>,
    proof: OneOrMany<Proof>,
}

#[derive(Debug, Deserialize)]
struct Credential {
    #[serde(rename = "type")]
    types: OneOrMany<String>,
    issuer: String,
    #[serde(rename = "issuanceDate")]
    issued: String,
    #[serde(rename = "expirationDate")]
    expires: String,
    #[serde(rename = "credentialSubject")]
    subject: OneOrMany<Subject>,
}

#[derive(Debug, Deserialize)]
struct Subject {
    id: String,
    member: Member,
}

#[derive(Debug, Deserialize)]
struct Member {
    identifier: String,
    member: Person,
    #[serde(rename = "roleName")]
    role: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Person {
    initials: String,
    #[serde(rename = "familyName")]
    family_name: String,
}

#[derive(Deserialize)]
struct Proof {
    challenge: String,
    created: String,
    #[serde(rename = "verificationMethod")]
    method: String,
}

/// What the presentation was asked for.
pub(super) struct Asked<'a> {
    pub(super) employer: &'a str,
    pub(super) employee: &'a Employee,
    pub(super) contract: &'a str,
    /// When it was asked for, and the time now; in seconds since 1970.
    pub(super) since: i64,
    pub(super) now: i64,
}

impl Presentation {
    /// Reads the presentation of one employee.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a sentence about it.
    pub(super) fn read(text: &[u8]) -> std::result::Result<Self, &'static str> {
        let document: Document =
            json::read(text).map_err(|_| "it has another form than a presentation of an employee")?;
        let names = |types: &OneOrMany<String>, name: &str| types.0.iter().any(|known| known == name);
        if !names(&document.types, "VerifiablePresentation") || !names(&document.types, "NutsSelfSignedPresentation") {
            return Err("it is not a presentation that an employer signs");
        }
        let ([credential], [proof]) = (one(document.credentials)?, one(document.proof)?);
        if !names(&credential.types, "NutsEmployeeCredential") {
            return Err("its credential is not about an employee");
        }
        let signer = proof.method.split('#').next().unwrap_or_default().to_owned();
        Ok(Self { signer, contract: proof.challenge, created: proof.created, credential })
    }

    /// Checks that it says what was asked for. Returns when it stops being of use, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// What it says otherwise, as a sentence about it.
    pub(super) fn check(&self, asked: &Asked<'_>) -> std::result::Result<i64, &'static str> {
        let [subject] = &self.credential.subject.0[..] else { return Err("it is about several organisations") };
        let member = &subject.member;
        let employee = asked.employee;
        if self.credential.issuer != asked.employer || subject.id != asked.employer || self.signer != asked.employer {
            return Err("it is of another employer");
        }
        for (said, expected, problem) in [
            (&member.identifier, &employee.identifier, "it has another employee's identifier"),
            (&member.member.initials, &employee.initials, "it has another employee's initials"),
            (&member.member.family_name, &employee.family_name, "it has another employee's family name"),
        ] {
            if said != expected {
                return Err(problem);
            }
        }
        if member.role != employee.role {
            return Err("it has another role");
        }
        if self.contract != asked.contract {
            return Err("it is of another contract");
        }
        let around_login = (asked.since - CLOCK_SKEW)..=(asked.now + CLOCK_SKEW);
        for time in [&self.created, &self.credential.issued] {
            if !rfc3339(time).is_some_and(|time| around_login.contains(&time)) {
                return Err("it was not made during this login: check this computer's date");
            }
        }
        match self.period() {
            Some((begins, ends)) if begins <= asked.now + CLOCK_SKEW && ends > asked.now => Ok(ends),
            _ => Err("its contract or its credential is not valid now: check this computer's date"),
        }
    }

    /// When it stops being of use, in seconds since 1970.
    pub(super) fn ends(&self) -> Option<i64> {
        Some(self.period()?.1)
    }

    /// From when until when it is of use: its contract's beginning, and the end of that or of its credential.
    fn period(&self) -> Option<(i64, i64)> {
        let (begins, ends) = period(&self.contract)?;
        Some((begins, ends.min(rfc3339(&self.credential.expires)?)))
    }
}

fn one<T>(list: OneOrMany<T>) -> std::result::Result<[T; 1], &'static str> {
    list.0.try_into().map_err(|_| "it has several credentials or proofs, or none")
}

/// What the node says about a presentation that it has verified.
#[derive(Deserialize)]
struct Verification {
    validity: bool,
    #[serde(rename = "issuerAttributes", default)]
    attributes: Attributes,
}

#[derive(Default, Deserialize)]
struct Attributes {
    username: Option<String>,
    initials: Option<String>,
    familyname: Option<String>,
    assurance_level: Option<String>,
}

/// Reads the node's answer about the presentation of `employee`. Returns how sure it is who that is.
///
/// # Errors
///
/// [`Refused`](ErrorKind::Refused) for a presentation that is not valid, and [`BadAnswer`](ErrorKind::BadAnswer).
pub(super) fn read_verification(answer: &[u8], employee: &Employee) -> Result<Option<AssuranceLevel>> {
    let error = |kind, detail: String| Error::new(kind, Stage::Authentication, detail);
    let read: Verification = json::read(answer).map_err(|why| {
        error(ErrorKind::BadAnswer, format!("the node's answer about the presentation cannot be used: {why}"))
    })?;
    if !read.validity {
        let detail = "the node does not accept the presentation that it has made itself (it gives no reason)";
        return Err(error(ErrorKind::Refused, detail.into()));
    }
    let Attributes { username, initials, familyname, assurance_level } = read.attributes;
    let expected = [&employee.identifier, &employee.initials, &employee.family_name];
    if [username, initials, familyname].each_ref().map(Option::as_ref) != expected.map(Some) {
        return Err(error(ErrorKind::BadAnswer, "the node has verified the presentation of another employee".into()));
    }
    // A level that is not known satisfies nothing.
    Ok(assurance_level.and_then(|level| level.parse().ok()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const V5: &str = include_str!("../../../tests/data/nuts/presentation-v5.json");
    const V6: &str = include_str!("../../../tests/data/nuts/presentation-v6.json");

    fn employee() -> Employee {
        Employee::new("481", "J", "van Dijk").role("Verpleegkundige niveau 2")
    }

    type Change<'a> = &'a dyn Fn(&mut Value, &mut Employee, &mut i64);

    /// Why the presentation is refused that was asked for as `change` says.
    fn refused(text: &str, change: Change<'_>) -> String {
        let mut document: Value = serde_json::from_str(text).unwrap();
        let employer = document["verifiableCredential"]["issuer"].as_str().unwrap().to_owned();
        let contract = document["proof"]["challenge"].as_str().unwrap().to_owned();
        let made = rfc3339(document["proof"]["created"].as_str().unwrap()).unwrap();
        let (mut employee, mut now) = (employee(), made + 2);
        change(&mut document, &mut employee, &mut now);
        let asked = Asked { employer: &employer, employee: &employee, contract: &contract, since: now - 30, now };
        let checked = Presentation::read(document.to_string().as_bytes()).and_then(|read| read.check(&asked));
        checked.err().unwrap_or_default().to_owned()
    }

    #[test]
    fn real_presentations_are_taken_with_and_without_lists() {
        for text in [V5, V6] {
            assert_eq!(refused(text, &|_, _, _| {}), "");
            let lists = |document: &mut Value, _: &mut Employee, _: &mut i64| {
                for name in ["verifiableCredential", "proof"] {
                    document[name] = json!([document[name]]);
                }
                let subject = &mut document["verifiableCredential"][0]["credentialSubject"];
                *subject = json!([subject]);
            };
            assert_eq!(refused(text, &lists), "");
        }
        let presentation = Presentation::read(V5.as_bytes()).unwrap();
        assert_eq!(presentation.ends(), rfc3339("2026-11-29T04:51:26Z"));
    }

    #[test]
    fn a_presentation_of_something_else_is_refused() {
        let other = "did:nuts:other";
        let changes: [(&str, Change<'_>); 14] = [
            ("another employer", &|d, _, _| d["verifiableCredential"]["issuer"] = other.into()),
            ("another employer", &|d, _, _| d["verifiableCredential"]["credentialSubject"]["id"] = other.into()),
            ("another employer", &|d, _, _| d["proof"]["verificationMethod"] = "did:nuts:other#1".into()),
            ("identifier", &|_, employee, _| employee.identifier = "482".into()),
            ("initials", &|_, employee, _| employee.initials = "j".into()),
            ("family name", &|_, employee, _| employee.family_name = "Dijk".into()),
            ("role", &|_, employee, _| employee.role = None),
            ("another contract", &|d, _, _| d["proof"]["challenge"] = "EN:PractitionerLogin:v3 x".into()),
            ("during this login", &|_, _, now| *now += 600),
            ("during this login", &|_, _, now| *now -= 600),
            ("during this login", &|d, _, _| d["verifiableCredential"]["issuanceDate"] = "yesterday".into()),
            ("not valid now", &|d, _, _| d["verifiableCredential"]["expirationDate"] = "2026-11-29T03:51:27Z".into()),
            ("several", &|d, _, _| d["proof"] = json!([d["proof"], d["proof"]])),
            ("not about an employee", &|d, _, _| d["verifiableCredential"]["type"] = "VerifiableCredential".into()),
        ];
        for (words, change) in changes {
            for text in [V5, V6] {
                let refusal = refused(text, change);
                assert!(refusal.contains(words), "{words}: {refusal}");
            }
        }
        assert!(
            refused(V5, &|d, _, _| d["type"] = json!(["VerifiablePresentation", "Foo"])).contains("employer signs")
        );
        assert!(refused(V5, &|d, _, _| drop(d.as_object_mut().unwrap().remove("proof"))).contains("another form"));
    }

    #[test]
    fn what_the_node_has_verified_has_to_be_the_employee() {
        let answer = json!({
            "validity": true,
            "issuerAttributes": {"assurance_level": "low", "familyname": "van Dijk", "initials": "J", "username": "481"},
        });
        let read = |answer: &Value| read_verification(answer.to_string().as_bytes(), &employee());
        assert_eq!(read(&answer).unwrap(), Some(AssuranceLevel::Low));
        let with = |name: &str, value: Value| {
            let mut answer = answer.clone();
            answer["issuerAttributes"][name] = value;
            read(&answer)
        };
        assert_eq!(with("assurance_level", "unknown".into()).unwrap(), None);
        assert_eq!(*with("username", "482".into()).unwrap_err().kind(), ErrorKind::BadAnswer);
        assert_eq!(*with("initials", Value::Null).unwrap_err().kind(), ErrorKind::BadAnswer);
        assert_eq!(*read(&json!({"validity": false})).unwrap_err().kind(), ErrorKind::Refused);
        assert_eq!(*read(&json!({})).unwrap_err().kind(), ErrorKind::BadAnswer);
    }
}
