//! Users of the simulated provider, their roles and contexts.

use serde_json::{Map, Value, json};

/// A user who can log in.
#[derive(Clone, Debug)]
pub struct User {
    pub(crate) sub: String,
    pub(crate) name: String,
    pub(crate) username: String,
    pub(crate) acr: Option<String>,
    pub(crate) amr: Vec<String>,
    pub(crate) claims: Map<String, Value>,
    pub(crate) nrbac: Option<Nrbac>,
    pub(crate) role_names: Option<Vec<String>>,
    pub(crate) care_teams: Vec<Value>,
    pub(crate) organizations: Vec<Value>,
    pub(crate) selected_role: Option<String>,
    pub(crate) disabled: bool,
}

/// The claim `nhsid_nrbac_roles`.
#[derive(Clone, Debug)]
pub(crate) enum Nrbac {
    Array(Vec<Value>),
    /// One role outside an array, as a public model had to take it.
    Single(Box<Value>),
}

impl Nrbac {
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Array(roles) => json!(roles),
            Self::Single(role) => (**role).clone(),
        }
    }

    pub(crate) fn roles(&self) -> &[Value] {
        match self {
            Self::Array(roles) => roles,
            Self::Single(role) => std::slice::from_ref(&**role),
        }
    }
}

impl User {
    /// A user with this `sub`, without roles. The user name is the `sub`, and the password `pw-` and the user name.
    pub fn new(sub: impl Into<String>) -> Self {
        let sub = sub.into();
        Self {
            name: "Test User".into(),
            username: sub.clone(),
            acr: None,
            amr: vec!["N3_SMARTCARD".into()],
            claims: Map::new(),
            nrbac: None,
            role_names: None,
            care_teams: Vec::new(),
            organizations: Vec::new(),
            selected_role: None,
            disabled: false,
            sub,
        }
    }

    /// Another `sub`, and the user name with it.
    pub fn subject(mut self, sub: impl Into<String>) -> Self {
        self.sub = sub.into();
        self.username.clone_from(&self.sub);
        self
    }

    /// What the login page asks for.
    pub fn login_name(&self) -> &str {
        &self.username
    }

    /// `name`
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// `preferred_username`, and what the login page asks for.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = username.into();
        self
    }

    /// The password on the login page.
    pub fn password(&self) -> String {
        format!("pw-{}", self.username)
    }

    /// `acr` of every login; without this call the first of the known values that are asked for.
    pub fn acr(mut self, acr: impl Into<String>) -> Self {
        self.acr = Some(acr.into());
        self
    }

    /// Any other claim of UserInfo.
    pub fn claim(mut self, name: impl Into<String>, value: Value) -> Self {
        self.claims.insert(name.into(), value);
        self
    }

    /// `nhsid_nrbac_roles` with this many generated roles (see [`nrbac_role`]); 0 is an empty array. Without this
    /// call the claim is absent.
    pub fn nrbac_roles(self, count: usize) -> Self {
        self.these_nrbac_roles((0..count).map(nrbac_role).collect())
    }

    /// `nhsid_nrbac_roles` with these.
    pub fn these_nrbac_roles(mut self, roles: Vec<Value>) -> Self {
        self.nrbac = Some(Nrbac::Array(roles));
        self
    }

    /// `nhsid_nrbac_roles` with one role that is in no array.
    pub fn single_nrbac_role(mut self, role: Value) -> Self {
        self.nrbac = Some(Nrbac::Single(Box::new(role)));
        self
    }

    /// `selected_roleid` of every login, as the HSCN agent's users have chosen it before.
    pub fn selected_role(mut self, id: impl Into<String>) -> Self {
        self.selected_role = Some(id.into());
        self
    }

    /// `roles`, the names of UserInfo where no context holds.
    pub fn role_names(mut self, names: &[&str]) -> Self {
        self.role_names = Some(names.iter().map(ToString::to_string).collect());
        self
    }

    /// A care team that the user is a member of, with the names of the roles there.
    pub fn care_team(mut self, id: &str, name: &str, organization: &str, roles: &[&str]) -> Self {
        self.care_teams.push(json!({ "id": id, "name": name, "affiliation": organization, "roles": roles }));
        self
    }

    /// An organization that the user works for, with the names of the roles there.
    pub fn organization(mut self, id: &str, name: &str, roles: &[&str]) -> Self {
        self.organizations.push(json!({ "id": id, "name": name, "roles": roles }));
        self
    }

    pub(crate) fn contexts(&self) -> Value {
        json!({ "care_teams": self.care_teams, "organizations": self.organizations })
    }

    pub(crate) fn nrbac_ids(&self) -> Vec<&str> {
        let roles = self.nrbac.as_ref().map(Nrbac::roles).unwrap_or_default();
        roles.iter().filter_map(|role| role["person_roleid"].as_str()).collect()
    }
}

/// A role as in `nhsid_nrbac_roles`. The same number returns the same role.
pub fn nrbac_role(number: usize) -> Value {
    let organization = format!("Y{:02}", 51 + number % 40);
    json!({
        "person_orgid": format!("5550{number:08}"),
        "person_roleid": format!("5551{number:08}"),
        "org_code": organization,
        "org_name": format!("TEST ORGANISATION {organization}"),
        "role_name": format!("\"Admin & Clerical\":\"Area {}\":\"Role {number}\"", number % 7),
        "role_code": format!("S8000:G8000:R8{:03}", number % 1000),
        "activities": ["Receive Self Claimed LR Alerts", "Amend Patient Demographics"],
        "activity_codes": ["B0016", "B0825"],
        "workgroups": [],
        "aow": [],
    })
}
