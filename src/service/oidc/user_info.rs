//! UserInfo: who the user is, and which roles they have. It is JSON, or a JWT that the provider has signed.

use serde::Deserialize;

use super::cis2::NrbacRole;
use super::json::{self, BadJson, Loose, OneOrMany};
use super::jws::{BadJws, UnverifiedJws};
use super::keys::KeySet;
use super::secret::Secret;
use crate::printable::{self, LONGEST_NAME};
use crate::session::Role;

/// The longest UserInfo that is read: that of a user with tens of thousands of roles.
pub(super) const MAX_USER_INFO: usize = 16 << 20;

/// What a provider says about a user.
#[derive(Debug)]
pub(super) struct UserInfo {
    pub(super) name: Option<String>,
    pub(super) user_name: Option<String>,
    pub(super) nhs_uid: Option<String>,
    /// In the provider's order.
    pub(super) roles: Vec<Role>,
    /// The id of the role that the user has chosen on the provider's page.
    pub(super) selected_role: Option<String>,
    /// All of it, as JSON.
    pub(super) text: Secret,
}

/// Whom a UserInfo must be about, and who must have signed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    /// `None` for a session of another process.
    pub(super) subject: Option<&'a str>,
}

/// Why a UserInfo cannot be used. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadUserInfo {
    #[error("{0}")]
    Jws(#[from] BadJws),
    #[error("{0}")]
    Json(#[from] BadJson),
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it does not say who it is about (sub)")]
    NoSubject,
    #[error("it is about another user (sub)")]
    OtherUser,
    #[error("it is from another issuer (iss)")]
    Issuer,
    #[error("it is for another program (aud)")]
    Audience,
}

#[derive(Deserialize)]
struct Document<'a> {
    sub: Option<String>,
    iss: Option<String>,
    aud: Option<OneOrMany<String>>,
    #[serde(borrow, default)]
    name: Loose<'a>,
    #[serde(borrow, default)]
    preferred_username: Loose<'a>,
    #[serde(borrow, default)]
    nhsid_useruid: Loose<'a>,
    #[serde(borrow, default)]
    selected_roleid: Loose<'a>,
    #[serde(borrow)]
    nhsid_nrbac_roles: Option<OneOrMany<NrbacRole<'a>>>,
    #[serde(borrow, default)]
    roles: OneOrMany<Loose<'a>>,
}

impl UserInfo {
    /// Reads UserInfo in JSON, for which the connection vouches.
    pub(super) fn from_json(text: &[u8], expected: &Expected<'_>) -> Result<Self, BadUserInfo> {
        Self::read(text, expected)
    }

    /// Reads signed UserInfo. After [`BadJws::UnknownKey`] newer keys may help.
    pub(super) fn from_jwt(text: &[u8], keys: &KeySet, expected: &Expected<'_>) -> Result<Self, BadUserInfo> {
        let text = std::str::from_utf8(text).map_err(|_| BadUserInfo::NotUtf8)?;
        let payload = UnverifiedJws::read(text.trim_ascii())?.verify(keys)?;
        Self::read(&payload, expected)
    }

    fn read(text: &[u8], expected: &Expected<'_>) -> Result<Self, BadUserInfo> {
        let document: Document<'_> = json::read(text)?;
        match &document.sub {
            None => return Err(BadUserInfo::NoSubject),
            Some(subject) if expected.subject.is_some_and(|expected| expected != subject) => {
                return Err(BadUserInfo::OtherUser);
            }
            Some(_) => {}
        }
        // Only signed ones have these.
        if document.iss.is_some_and(|issuer| issuer != expected.issuer) {
            return Err(BadUserInfo::Issuer);
        }
        if document.aud.is_some_and(|OneOrMany(list)| !list.iter().any(|audience| audience == expected.client_id)) {
            return Err(BadUserInfo::Audience);
        }
        let roles = match &document.nhsid_nrbac_roles {
            Some(OneOrMany(roles)) => roles.iter().filter_map(NrbacRole::role).collect(),
            None => document.roles.0.iter().filter_map(named_role).collect(),
        };
        let selected_role = document.selected_roleid.get().map(str::to_owned);
        let shown = |text: &Loose<'_>| text.get().map(str::to_owned);
        Ok(Self {
            name: shown(&document.name),
            user_name: shown(&document.preferred_username),
            nhs_uid: shown(&document.nhsid_useruid),
            roles,
            selected_role,
            text: Secret::new(std::str::from_utf8(text).map_err(|_| BadUserInfo::NotUtf8)?.to_owned()),
        })
    }
}

/// A role of which the provider sends only a name.
fn named_role(name: &Loose<'_>) -> Option<Role> {
    let name = printable::clean(name.get()?, LONGEST_NAME);
    Some(Role { id: name.clone(), name, ..Role::of_job("", "", "", "") })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::jws::tests::{OTHER_RSA, RSA, key_set, rs256, rsa_jwk, signed};
    use super::*;

    const EXPECTED: Expected<'_> =
        Expected { issuer: "https://am.example", client_id: "client", subject: Some("9100") };

    fn role(id: &str) -> Value {
        json!({
            "person_orgid": "1", "person_roleid": id, "org_code": "RKF", "org_name": "NORTH, \"WEST\" HOSPITAL",
            "role_name": "\"Clinical\":\"Clinical Provision\":\"Nurse: Ward 3\"", "role_code": "S8000:G8000:R8001",
            "activities": ["Perform \u{1b} things"], "activity_codes": ["B0380"], "workgroups": [], "aow": [],
        })
    }

    fn read(document: &Value) -> Result<UserInfo, BadUserInfo> {
        UserInfo::from_json(document.to_string().as_bytes(), &EXPECTED)
    }

    #[test]
    fn a_role_of_cis2_is_taken_apart_as_one_of_the_broker() {
        let document = json!({
            "sub": "9100", "name": "SMITH Jane", "nhsid_useruid": "910000000001", "nhsid_nrbac_roles": [role("555")],
        });
        let info = read(&document).unwrap();
        assert_eq!((info.name.as_deref(), info.nhs_uid.as_deref()), (Some("SMITH Jane"), Some("910000000001")));
        let [role] = &info.roles[..] else { panic!("{info:?}") };
        assert_eq!((&*role.id, &*role.organisation_code), ("555", "RKF"));
        assert_eq!(role.organisation, "NORTH, \"WEST\" HOSPITAL");
        assert_eq!([&*role.role_type, &role.sub_type, &role.name], ["Clinical", "Clinical Provision", "Nurse: Ward 3"]);
        assert_eq!(info.text.expose(), document.to_string());
    }

    #[test]
    fn roles_may_be_none_one_or_thousands() {
        let count = |roles: Value| read(&json!({"sub": "9100", "nhsid_nrbac_roles": roles})).unwrap().roles.len();
        assert_eq!(count(json!([])), 0);
        assert_eq!(count(json!(null)), 0);
        assert_eq!(count(role("1")), 1);
        assert_eq!(count((0..10_000).map(|id| role(&id.to_string())).collect()), 10_000);
        // One without an id cannot be chosen.
        assert_eq!(count(json!([role("1"), {"org_code": "RKF"}, {}, role(""), role("a b")])), 1);
        assert_eq!(read(&json!({"sub": "9100"})).unwrap().roles.len(), 0);
    }

    #[test]
    fn other_providers_give_names_of_roles_in_any_form() {
        let names = |roles: Value| {
            let info = read(&json!({"sub": "9100", "roles": roles})).unwrap();
            info.roles.into_iter().map(|role| (role.id, role.name)).collect::<Vec<_>>()
        };
        let pair = |name: &str| (name.to_owned(), name.to_owned());
        assert_eq!(names(json!(["Clinical Viewer", "Admin"])), [pair("Clinical Viewer"), pair("Admin")]);
        assert_eq!(names(json!("Admin")), [pair("Admin")]);
        for other in [json!({"realm": ["a"]}), json!([]), json!(null), json!(true), json!([["a"], {"b": 1}, null, ""])]
        {
            assert_eq!(names(other.clone()), [], "{other}");
        }
    }

    #[test]
    fn the_role_that_was_chosen_there_is_known() {
        let info = read(&json!({"sub": "9100", "selected_roleid": "555", "nhsid_nrbac_roles": role("555")})).unwrap();
        assert_eq!(info.selected_role.as_deref(), Some("555"));
        assert_eq!(read(&json!({"sub": "9100", "selected_roleid": ""})).unwrap().selected_role, None);
    }

    #[test]
    fn another_user_or_none_is_refused() {
        assert_eq!(read(&json!({"sub": "9101"})).unwrap_err(), BadUserInfo::OtherUser);
        assert_eq!(read(&json!({"name": "x"})).unwrap_err(), BadUserInfo::NoSubject);
        assert_eq!(read(&json!({"sub": ["9100"]})).unwrap_err(), BadUserInfo::Json(BadJson::Form));
        let twice = br#"{"sub": "9101", "sub": "9100"}"#;
        assert_eq!(UserInfo::from_json(twice, &EXPECTED).unwrap_err(), BadUserInfo::Json(BadJson::Form));
        assert_eq!(UserInfo::from_json(b"<html>", &EXPECTED).unwrap_err(), BadUserInfo::Json(BadJson::Syntax));
    }

    #[test]
    fn a_signed_one_is_verified() {
        let keys = key_set(&[rsa_jwk(&RSA, "k")]);
        let document = json!({"sub": "9100", "iss": "https://am.example", "aud": "client"});
        let jwt = |document: &Value| signed(&json!({"alg": "RS256", "kid": "k"}), &document.to_string(), rs256(&RSA));
        let read = |text: &str| UserInfo::from_jwt(text.as_bytes(), &keys, &EXPECTED);
        assert_eq!(read(&jwt(&document)).unwrap().text.expose(), document.to_string());
        for (member, value, why) in [
            ("sub", json!("9101"), BadUserInfo::OtherUser),
            ("iss", json!("https://evil.example"), BadUserInfo::Issuer),
            ("aud", json!(["other"]), BadUserInfo::Audience),
        ] {
            let mut document = document.clone();
            document[member] = value;
            assert_eq!(read(&jwt(&document)).unwrap_err(), why);
        }
        let wrong = signed(&json!({"alg": "RS256", "kid": "k"}), &document.to_string(), rs256(&OTHER_RSA));
        assert_eq!(read(&wrong).unwrap_err(), BadUserInfo::Jws(BadJws::Signature));
        assert_eq!(read(&document.to_string()).unwrap_err(), BadUserInfo::Jws(BadJws::NotSigned));
    }
}
