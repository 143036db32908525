//! The realms: users, clients and rules as in the two health services' own texts. All of it is synthetic.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::pkey::{PKey, Private};
use serde_json::{Map, Value, json};

use crate::error::Result;

const FHIR: &str = "https://organization.test.example/fhir";
const TOKEN: &str = "access.token.claim";
const ID_TOKEN: &str = "id.token.claim";
const USER_INFO: &str = "userinfo.token.claim";

/// The name and text of each realm's file. `key` is that of the client that signs its requests.
pub(super) fn all(key: &PKey<Private>) -> Result<Vec<(&'static str, String)>> {
    let short = json!({ "accessTokenLifespan": 12, "ssoSessionMaxLifespan": 26 });
    let realms = [
        ("ehealth", ehealth("ehealth", &json!({}))),
        ("ehealth-short", ehealth("ehealth-short", &short)),
        ("cis2", cis2(key)?),
    ];
    Ok(realms.into_iter().map(|(name, realm)| (name, realm.to_string())).collect())
}

fn realm(name: &str, parts: &[&Value]) -> Value {
    // Attributes that the profile does not name are allowed.
    let profile = json!({
        "attributes": (["username", "email", "firstName", "lastName"].map(|name| json!({
            "name": name, "permissions": { "view": ["admin", "user"], "edit": ["admin"] },
        }))),
        "unmanagedAttributePolicy": "ADMIN_EDIT",
    });
    let mut realm = json!({
        "realm": name, "enabled": true, "sslRequired": "external", "loginWithEmailAllowed": false,
        "accessCodeLifespan": 60, "accessTokenLifespan": 300, "ssoSessionIdleTimeout": 1800, "ssoSessionMaxLifespan": 36000,
        "eventsListeners": ["jboss-logging"], "requiredActions": [],
        "defaultRole": { "name": format!("default-roles-{name}"), "composite": false },
        "components": { "org.keycloak.userprofile.UserProfileProvider": [{
            "providerId": "declarative-user-profile", "config": { "kc.user.profile.config": [profile.to_string()] },
        }] },
    });
    parts.iter().for_each(|part| add(&mut realm, part));
    realm
}

/// Adds the members of one object to another.
fn add(to: &mut Value, members: &Value) {
    if let (Value::Object(to), Value::Object(members)) = (to, members) {
        to.extend(members.clone());
    }
}

fn user(name: &str, first: &str, last: &str, attributes: &Value, more: &Value) -> Value {
    let attributes: Map<_, _> =
        attributes.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), json!([value]))).collect();
    let mut user = json!({
        "username": name, "firstName": first, "lastName": last, "email": format!("{name}@example.test"),
        "enabled": true, "emailVerified": true, "attributes": attributes,
        "credentials": [{ "type": "password", "value": super::password(name), "temporary": false }],
    });
    add(&mut user, more);
    user
}

fn mapper(name: &str, kind: &str, claims: &[&str], config: &Value) -> Value {
    let mut all = json!({ TOKEN: "false", ID_TOKEN: "false", USER_INFO: "false" });
    claims.iter().for_each(|&claim| all[claim] = json!("true"));
    add(&mut all, config);
    json!({ "name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": all })
}

/// A claim out of a user's attribute.
fn attribute(claim: &str, attribute: &str, claims: &[&str], kind: &str) -> Value {
    let config = json!({ "user.attribute": attribute, "claim.name": claim, "jsonType.label": kind });
    mapper(claim, "oidc-usermodel-attribute-mapper", claims, &config)
}

/// A claim out of a note that the login left in the session.
fn note(claim: &str, note: &str, claims: &[&str], kind: &str) -> Value {
    let config = json!({ "user.session.note": note, "claim.name": claim, "jsonType.label": kind });
    mapper(claim, "oidc-usersessionmodel-note-mapper", claims, &config)
}

fn scope(name: &str, in_token: bool, mappers: &[Value]) -> Value {
    json!({
        "name": name, "protocol": "openid-connect", "protocolMappers": mappers,
        "attributes": { "include.in.token.scope": in_token.to_string(), "display.on.consent.screen": "false" },
    })
}

/// The scopes that every realm has.
fn common_scopes() -> Vec<Value> {
    let everywhere = &[TOKEN, ID_TOKEN, USER_INFO];
    let roles = json!({ "claim.name": "realm_access.roles", "jsonType.label": "String", "multivalued": "true" });
    vec![
        scope(
            "basic",
            false,
            &[
                mapper("sub", "oidc-sub-mapper", &[TOKEN], &json!({})),
                note("auth_time", "AUTH_TIME", &[TOKEN, ID_TOKEN], "long"),
            ],
        ),
        scope("acr", false, &[mapper("acr", "oidc-acr-mapper", &[TOKEN, ID_TOKEN], &json!({}))]),
        scope(
            "profile",
            true,
            &[
                mapper("name", "oidc-full-name-mapper", everywhere, &json!({})),
                attribute("given_name", "firstName", everywhere, "String"),
                attribute("family_name", "lastName", everywhere, "String"),
                attribute("preferred_username", "username", everywhere, "String"),
            ],
        ),
        scope("email", true, &[attribute("email", "email", everywhere, "String")]),
        scope("roles", false, &[mapper("roles", "oidc-usermodel-realm-role-mapper", &[TOKEN], &roles)]),
    ]
}

fn ehealth(name: &str, lifetimes: &Value) -> Value {
    let mut scopes = common_scopes();
    scopes.push(scope("offline_access", true, &[]));
    scopes.push(scope(
        "ehealth",
        false,
        &[
            attribute("cpr", "cpr", &[USER_INFO], "String"),
            attribute("user_id", "user_id", &[TOKEN, USER_INFO], "String"),
            attribute("user_type", "user_type", &[TOKEN, USER_INFO], "String"),
            mapper("context", "ehealth-context-mapper", &[TOKEN, USER_INFO], &json!({})),
        ],
    ));
    let client = |id: &str, more: Value| {
        let mut client = json!({
            "clientId": id, "enabled": true, "protocol": "openid-connect", "standardFlowEnabled": true,
            "directAccessGrantsEnabled": false, "fullScopeAllowed": true, "optionalClientScopes": ["offline_access"],
            "defaultClientScopes": ["basic", "acr", "profile", "email", "roles", "ehealth"],
        });
        add(&mut client, &more);
        client
    };
    let public = json!({
        "publicClient": true, "redirectUris": ["http://127.0.0.1/callback", "http://[::1]/callback", "http://localhost/callback"],
        "attributes": { "pkce.code.challenge.method": "S256", "post.logout.redirect.uris": "+" },
    });
    let confidential = json!({
        "publicClient": false, "clientAuthenticatorType": "client-secret", "secret": super::EHEALTH_SECRET,
        "redirectUris": ["http://127.0.0.1/callback"],
    });
    let team = |number: u32, organization: u32, roles: &[&str]| {
        json!({
            "id": format!("{FHIR}/CareTeam/{number}"), "name": format!("Team {number}"), "roles": roles,
            "affiliation": format!("{FHIR}/Organization/{organization}"),
        })
    };
    let organization = |number: u32, roles: &[&str]| json!({ "id": format!("{FHIR}/Organization/{number}"), "name": format!("Org {number}"), "roles": roles });
    let anna = json!({
        "care_teams": [team(1, 10, &["Clinical Viewer", "Monitoring Adjuster"]), team(2, 20, &["Clinical Viewer"])],
        "organizations": [organization(10, &["Citizen Enroller"]), organization(20, &["Clinical Viewer"])],
    });
    let bent = json!({ "care_teams": [team(1, 10, &["Clinical Viewer"])], "organizations": [organization(10, &[])] });
    let practitioner = |number: u32, cpr: &str, contexts: &Value| {
        let id = format!("{FHIR}/Practitioner/{number}");
        json!({ "cpr": cpr, "user_type": "PRACTITIONER", "user_id": id, "contexts": contexts.to_string() })
    };
    let groups = ["Clinical Viewer", "Monitoring Adjuster", "Citizen Enroller", "Care Team Administrator"];
    let rules = json!({
        // A refresh token is good for one refresh.
        "revokeRefreshToken": true, "refreshTokenMaxReuse": 0,
        "roles": { "realm": [{ "name": format!("default-roles-{name}") }, { "name": "offline_access" }] },
        "groups": groups.map(|name| json!({ "name": name })),
        "clientScopes": scopes,
        "clients": [client(super::EHEALTH_PUBLIC, public), client(super::EHEALTH_CONFIDENTIAL, confidential)],
        "clientProfiles": { "profiles": [{ "name": "ehealth", "executors": [{ "executor": "ehealth-context-check", "configuration": {} }] }] },
        "clientPolicies": { "policies": [{
            "name": "ehealth", "enabled": true, "conditions": [{ "condition": "any-client", "configuration": {} }], "profiles": ["ehealth"],
        }] },
        "users": [
            user("anna", "Anna", "Testsen", &practitioner(1, "0101010000", &anna), &json!({ "groups": &groups[..3] })),
            user("bent", "Bent", "Testsen", &practitioner(2, "0202020000", &bent), &json!({ "groups": &groups[..1] })),
            user("none", "Nul", "Testsen", &json!({ "user_type": "PRACTITIONER" }), &json!({})),
        ],
    });
    realm(name, &[&rules, lifetimes])
}

fn cis2(key: &PKey<Private>) -> Result<Value> {
    let mut scopes = common_scopes();
    scopes.truncate(4);
    let mut id = attribute("nhsid_useruid", "id", &[USER_INFO], "String");
    id["protocolMapper"] = json!("oidc-usermodel-property-mapper");
    scopes.extend([
        scope(
            "nhsperson",
            true,
            &[
                id,
                attribute("title", "title", &[USER_INFO], "String"),
                attribute("idassurancelevel", "idassurancelevel", &[USER_INFO], "String"),
            ],
        ),
        scope("nationalrbacaccess", true, &[attribute("nhsid_nrbac_roles", "nhsid_nrbac_roles", &[USER_INFO], "JSON")]),
        scope("associatedorgs", true, &[]),
        scope("organisationalmemberships", true, &[]),
        scope("professionalmemberships", true, &[]),
        scope("selectedrole", true, &[]),
        scope("changedrole", true, &[]),
        scope(
            "cis2",
            false,
            &[
                mapper("amr", "oidc-amr-mapper", &[ID_TOKEN], &json!({})),
                note("selected_roleid", "selected_roleid", &[ID_TOKEN, USER_INFO], "String"),
            ],
        ),
    ]);
    let optional = [
        "profile",
        "email",
        "nhsperson",
        "nationalrbacaccess",
        "associatedorgs",
        "organisationalmemberships",
        "professionalmemberships",
        "selectedrole",
        "changedrole",
    ];
    let client = |id: &str, authenticator: &str, secret: Option<&str>, more: Value| {
        let mut attributes = json!({ "default.acr.values": "AAL3_ANY", "post.logout.redirect.uris": "+" });
        add(&mut attributes, &more);
        json!({
            "clientId": id, "enabled": true, "protocol": "openid-connect", "publicClient": false, "standardFlowEnabled": true,
            "directAccessGrantsEnabled": false, "fullScopeAllowed": false, "clientAuthenticatorType": authenticator, "secret": secret,
            "redirectUris": ["http://127.0.0.1/callback", "http://localhost/callback"], "attributes": attributes,
            "defaultClientScopes": ["basic", "acr", "cis2"], "optionalClientScopes": optional,
        })
    };
    let public = key.rsa()?;
    let number = |bytes: Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
    let jwks = json!({ "keys": [{
        "kty": "RSA", "kid": super::CLIENT_KEY_ID, "use": "sig", "alg": "RS512",
        "n": number(public.n().to_vec()), "e": number(public.e().to_vec()),
    }] });
    let signing = json!({
        "token.endpoint.auth.signing.alg": "RS512", "token.endpoint.auth.signing.max.exp": "300",
        "use.jwks.string": "true", "jwks.string": jwks.to_string(),
    });
    let flow = |alias: &str, top: bool, steps: Value| json!({ "alias": alias, "providerId": "basic-flow", "topLevel": top, "builtIn": false, "authenticationExecutions": steps });
    let flows = [
        flow(
            "cis2 browser",
            true,
            json!([
                { "authenticator": "auth-cookie", "requirement": "ALTERNATIVE", "priority": 10 },
                { "flowAlias": "cis2 forms", "requirement": "ALTERNATIVE", "priority": 20, "authenticatorFlow": true },
            ]),
        ),
        flow(
            "cis2 forms",
            false,
            json!([{ "flowAlias": "cis2 aal3", "requirement": "CONDITIONAL", "priority": 10, "authenticatorFlow": true }]),
        ),
        flow(
            "cis2 aal3",
            false,
            json!([
                { "authenticator": "conditional-level-of-authentication", "authenticatorConfig": "aal3", "requirement": "REQUIRED", "priority": 10 },
                { "authenticator": "auth-username-password-form", "authenticatorConfig": "smartcard", "requirement": "REQUIRED", "priority": 20 },
                { "authenticator": "cis2-select-role", "requirement": "REQUIRED", "priority": 30 },
            ]),
        ),
    ];
    let cis2_user = |name: &str, id: &str, roles: usize| {
        let attributes = json!({ "nhsid_nrbac_roles": json!(nrbac_roles(roles)).to_string(), "title": "Dr", "idassurancelevel": "3" });
        user(name, "Test", name, &attributes, &json!({ "id": id }))
    };
    let rules = json!({
        "attributes": { "acr.loa.map": json!({ "AAL3_ANY": "3" }).to_string() },
        "roles": { "realm": [{ "name": "default-roles-cis2" }] },
        "clientScopes": scopes,
        "clients": [
            client(super::CIS2_WITH_KEY, "client-jwt", None, signing),
            client(super::CIS2_WITH_SECRET, "client-secret", Some(super::CIS2_SECRET), json!({})),
        ],
        "authenticationFlows": flows,
        "authenticatorConfig": [
            { "alias": "aal3", "config": { "loa-condition-level": "3", "loa-max-age": "36000" } },
            { "alias": "smartcard", "config": { "default.reference.value": "N3_SMARTCARD", "default.reference.maxAge": "36000" } },
        ],
        "browserFlow": "cis2 browser",
        "users": [
            cis2_user("zero", "555000000000", 0), cis2_user("one", "555000000001", 1), cis2_user("five", "555000000005", 5),
            cis2_user("six", "555000000006", 6), cis2_user("many", "555000000400", 400),
        ],
    });
    Ok(realm("cis2", &[&rules]))
}

/// This many roles, in the form of CIS2's UserInfo.
fn nrbac_roles(count: usize) -> Vec<Value> {
    let role = |number: usize| {
        json!({
            "person_orgid": format!("5550{number:08}"), "person_roleid": format!("5551{number:08}"), "org_code": format!("Y{:02}", 51 + number % 40),
            "role_name": format!(r#""Admin & Clerical":"Area {}":"Role {number}""#, number % 7), "role_code": format!("S8000:G8000:R8{:03}", number % 1000),
            "activities": ["Receive Self Claimed LR Alerts", "Amend Patient Demographics"], "activity_codes": ["B0016", "B0825"],
        })
    };
    (0..count).map(role).collect()
}
