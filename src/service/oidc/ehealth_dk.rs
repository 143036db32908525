//! The Danish eHealth infrastructure: its issuers, and the contexts that a session works in.

use serde::Deserialize;

use super::json::{self, BadJson, Loose, OneOrMany};
use crate::printable::{self, LONGEST_NAME};
use crate::session::{CareTeam, Context, Contexts, Organization};
use crate::ssb::Environment;

/// Where the contexts of the user are, below the issuer's URL.
pub(super) const CONTEXTS: &str = "/resource/ehealth-connect/contexts";

/// What a login asks for.
pub(super) const SCOPE: &str = "openid profile";

/// Returns the issuer for clinical users in an environment, if it is known.
pub(super) fn issuer(environment: Environment) -> Option<&'static str> {
    match environment {
        Environment::Int => Some("https://saml.inttest.ehealth.sundhed.dk/auth/realms/ehealth"),
        Environment::Dep => Some("https://saml.exttest.ehealth.sundhed.dk/auth/realms/ehealth"),
        Environment::Live => None,
    }
}

/// Returns the parameters that ask for `context`.
pub(super) fn parameters(context: &Context) -> Vec<(&'static str, &str)> {
    [
        ("organization_id", &context.organization_id),
        ("care_team_id", &context.care_team_id),
        ("patient_id", &context.patient_id),
        ("episode_of_care_id", &context.episode_of_care_id),
    ]
    .into_iter()
    .filter_map(|(name, id)| Some((name, id.as_deref()?)))
    .collect()
}

/// Reads the list of contexts.
pub(super) fn read_contexts(text: &[u8]) -> Result<Contexts, BadJson> {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow, default)]
        organizations: OneOrMany<Entry<'a>>,
        #[serde(borrow, default)]
        care_teams: OneOrMany<Entry<'a>>,
    }

    #[derive(Deserialize)]
    struct Entry<'a> {
        #[serde(borrow, default)]
        id: Loose<'a>,
        #[serde(borrow, default)]
        name: Loose<'a>,
        #[serde(borrow, default)]
        affiliation: Loose<'a>,
        #[serde(borrow, default)]
        roles: OneOrMany<Loose<'a>>,
    }

    let shown = |text: &Loose<'_>| printable::clean(text.or_empty(), LONGEST_NAME);
    // Ids are sent back as they are.
    let id =
        |text: &Loose<'_>| text.get().filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic())).map(str::to_owned);
    let roles = |list: &OneOrMany<Loose<'_>>| list.0.iter().map(shown).filter(|role| !role.is_empty()).collect();

    let Document { organizations, care_teams } = json::read(text)?;
    let mut contexts = Contexts::default();
    for entry in &organizations.0 {
        let Some(id) = id(&entry.id) else { continue };
        contexts.organizations.push(Organization { id, name: shown(&entry.name), roles: roles(&entry.roles) });
    }
    for entry in &care_teams.0 {
        let Some(id) = id(&entry.id) else { continue };
        let (name, affiliation) = (shown(&entry.name), shown(&entry.affiliation));
        contexts.care_teams.push(CareTeam { id, name, affiliation, roles: roles(&entry.roles) });
    }
    Ok(contexts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_context_has_is_asked_for() {
        let context = Context::new().care_team("https://a/CareTeam/1").patient("https://a/Patient/2");
        let expected = [("care_team_id", "https://a/CareTeam/1"), ("patient_id", "https://a/Patient/2")];
        assert_eq!(parameters(&context), expected);
        assert!(parameters(&Context::new()).is_empty());
    }

    #[test]
    fn contexts_are_read_with_their_roles() {
        let text = br#"{"care_teams": [
                {"id": "https://a/CareTeam/1", "name": "Team\u001b 1", "affiliation": "https://a/Organization/1",
                 "roles": ["Clinical Viewer", "Monitoring Adjuster"]},
                {"id": "has a blank"}, {}],
            "organizations": [{"id": "https://a/Organization/1", "name": "North", "roles": "Citizen Enroller"}]}"#;
        let contexts = read_contexts(text).unwrap();
        let [team] = &contexts.care_teams[..] else { panic!("{contexts:?}") };
        assert_eq!((&*team.id, &*team.name), ("https://a/CareTeam/1", "Team  1"));
        assert_eq!((&*team.affiliation, team.roles.len()), ("https://a/Organization/1", 2));
        let [organization] = &contexts.organizations[..] else { panic!("{contexts:?}") };
        assert_eq!((&*organization.name, &organization.roles[..]), ("North", &["Citizen Enroller".to_owned()][..]));
    }

    #[test]
    fn no_contexts_are_an_empty_list_and_a_page_is_an_error() {
        assert_eq!(read_contexts(b"{}").unwrap(), Contexts::default());
        assert_eq!(read_contexts(b"<html>").unwrap_err(), BadJson::Syntax);
        assert_eq!(read_contexts(br#"{"care_teams": [1]}"#).unwrap_err(), BadJson::Form);
    }
}
