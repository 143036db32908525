//! NHS CIS2: its issuers, what a login asks for, its roles, and its classes of authentication.

use serde::Deserialize;

use super::json::Loose;
use crate::service::choices::RoleSelection;
use crate::session::Role;
use crate::ssb::Environment;

/// What [`acr_meets`] takes for any smartcard, token or app.
pub(super) const ACR_VALUES: &str = "AAL2_OR_AAL3_ANY";

/// Returns the issuer of an environment, if it is known.
pub(super) fn issuer(environment: Environment) -> Option<&'static str> {
    // With the port: issuers are compared to the character.
    match environment {
        Environment::Live => Some(
            "https://am.nhsidentity.spineservices.nhs.uk:443/openam/oauth2/realms/root/realms/NHSIdentity/realms/Healthcare",
        ),
        Environment::Int => Some(
            "https://am.nhsint.auth-ptl.cis2.spineservices.nhs.uk:443/openam/oauth2/realms/root/realms/NHSIdentity/realms/Healthcare",
        ),
        Environment::Dep => None,
    }
}

/// Returns the scopes of a login.
pub(super) fn scope(selection: RoleSelection) -> &'static str {
    match selection {
        RoleSelection::Own => "openid profile nationalrbacaccess",
        RoleSelection::Service => "openid profile nationalrbacaccess selectedrole",
    }
}

/// The scope that has CIS2 show its page for another role.
pub(super) const CHANGED_ROLE: &str = "changedrole";

/// Returns `true` if a login of class `acr` is what was requested: the class itself, or one that a group holds.
pub(super) fn acr_meets(acr: &str, requested: &str) -> bool {
    let is_level = |level: &str| acr.strip_prefix(level).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    acr == requested
        || match requested {
            "AAL2_OR_AAL3_ANY" => is_level("AAL2") || is_level("AAL3"),
            "AAL3_ANY" => is_level("AAL3"),
            _ => false,
        }
}

/// An element of `nhsid_nrbac_roles`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct NrbacRole<'a> {
    #[serde(borrow, default)]
    person_roleid: Loose<'a>,
    #[serde(borrow, default)]
    org_code: Loose<'a>,
    #[serde(borrow, default)]
    org_name: Loose<'a>,
    #[serde(borrow, default)]
    role_name: Loose<'a>,
}

impl NrbacRole<'_> {
    /// Returns the role profile; `None` without an id, by which alone it could be chosen.
    pub(super) fn role(&self) -> Option<Role> {
        let id = self.person_roleid.get().filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()))?;
        Some(Role::of_job(id, self.org_code.or_empty(), self.org_name.or_empty(), self.role_name.or_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_classes_is_met_by_each_class_in_it() {
        for (acr, requested, expected) in [
            ("AAL3_ANY", "AAL3_ANY", true),
            ("AAL3_SMARTCARD", "AAL3_ANY", true),
            ("AAL3_FIDO2", "AAL2_OR_AAL3_ANY", true),
            ("AAL2_TOTP", "AAL2_OR_AAL3_ANY", true),
            ("AAL2_OR_AAL3_ANY", "AAL2_OR_AAL3_ANY", true),
            ("AAL3", "AAL3_ANY", true),
            ("AAL2_TOTP", "AAL3_ANY", false),
            ("AAL1_USERPASS", "AAL2_OR_AAL3_ANY", false),
            ("AAL31_X", "AAL3_ANY", false),
            ("xAAL3_ANY", "AAL3_ANY", false),
            ("AAL3_FIDO2", "AAL3_SMARTCARD", false),
            ("", "AAL2_OR_AAL3_ANY", false),
        ] {
            assert_eq!(acr_meets(acr, requested), expected, "{acr} for {requested}");
        }
    }

    #[test]
    fn an_issuer_has_its_port() {
        for environment in [Environment::Live, Environment::Int] {
            assert!(issuer(environment).unwrap().contains(":443/openam/"));
        }
        assert_eq!(issuer(Environment::Dep), None);
    }
}
