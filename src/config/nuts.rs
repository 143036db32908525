//! Which settings a login at a Nuts node needs.

use super::Config;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::http::Url;
use crate::service::choices::NutsApi;
use crate::service::nuts::{ContractKind, NodeLogin, NutsSettings, UserTokenSettings};
use crate::session::Employee;

impl Config {
    /// The settings of logins at a node. Settings of other services are ignored.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration), naming the key.
    pub(crate) fn nuts(&self) -> Result<NutsSettings> {
        let missing = |key: &str, what: &str| invalid(format!("{key} is not set: service = nuts needs {what}"));
        let node = self
            .nuts_node
            .as_ref()
            .ok_or_else(|| missing("nuts_node", "the internal address of the employer's node"))?;
        let node = Url::parse(node).map_err(|bad| invalid(format!("nuts_node: {node}: {bad}")))?;
        if !node.origin().is_tls() && !self.allow_http {
            return Err(invalid(format!("nuts_node: {node} is plain http, and allow_http is not set")));
        }
        let user_token = (self.nuts_api == NutsApi::V2).then(|| self.user_token()).transpose()?;
        let employer = user_token.as_ref().map(|settings| settings.subject.clone()).or_else(|| self.employer.clone());
        let employer = employer.ok_or_else(|| missing("employer", "the DID of the employer"))?;
        let api_login = match (&self.nuts_token_key, &self.nuts_token_user) {
            (None, None) => None,
            (Some(file), Some(user)) => Some(NodeLogin {
                file: file.clone(),
                user: user.clone(),
                audience: self.nuts_token_audience.clone().unwrap_or_else(|| node.origin().host().to_owned()),
            }),
            (Some(_), None) => return Err(missing("nuts_token_user", "the name of the key in nuts_token_key")),
            (None, Some(_)) => return Err(missing("nuts_token_key", "the key of nuts_token_user")),
        };
        Ok(NutsSettings {
            node,
            https: self.into(),
            api_login,
            employer,
            contract: ContractKind {
                name: self.contract.clone(),
                language: self.contract_language.clone(),
                version: self.contract_version.clone(),
            },
            login_timeout: self.login_timeout,
            bind_card: self.bind_card,
            user_token,
        })
    }

    fn user_token(&self) -> Result<UserTokenSettings> {
        let set = |key: &str, value: &Option<String>, what: &str| {
            value.clone().ok_or_else(|| invalid(format!("{key} is not set: nuts_api = v2 needs {what}")))
        };
        Ok(UserTokenSettings {
            subject: set("nuts_subject", &self.nuts_subject, "the node's name of the employer")?,
            authorization_server: set("issuer", &self.issuer, "the authorization server to ask")?,
            scope: set("scope", &self.scope, "the scope to ask for")?,
        })
    }

    /// The employee that the settings name; `None` if a program names them later.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration), naming the key.
    pub(crate) fn employee(&self) -> Result<Option<Employee>> {
        let fields = [
            ("employee_identifier", &self.employee_identifier),
            ("employee_initials", &self.employee_initials),
            ("employee_family_name", &self.employee_family_name),
        ];
        let [(_, Some(identifier)), (_, Some(initials)), (_, Some(family_name))] = fields else {
            if fields.iter().all(|(_, value)| value.is_none()) && self.employee_role.is_none() {
                return Ok(None);
            }
            let missing: Vec<_> = fields.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect();
            return Err(invalid(format!("{} is not set: an employee has it too", missing.join(", "))));
        };
        let employee =
            Employee { role: self.employee_role.clone(), ..Employee::new(identifier, initials, family_name) };
        employee.check().map_err(|error| invalid(error.detail().to_owned()))?;
        Ok(Some(employee))
    }
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::Configuration, Stage::Configuration, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 2] = [("nuts_node", "https://node.example:8443"), ("employer", "did:nuts:x")];

    fn problem(settings: &[(&str, &str)]) -> String {
        let mut config = Config::default();
        settings.iter().for_each(|(key, value)| config.set(key, value).unwrap());
        let problem = config.nuts().map(drop).and_then(|()| config.employee().map(drop));
        problem.err().map_or_else(String::new, |error| error.detail().to_owned())
    }

    #[test]
    fn a_node_and_an_employer_are_enough() {
        assert_eq!(problem(&GOOD), "");
        let mut config = Config::default();
        [GOOD.as_slice(), &[("nuts_token_key", "/k"), ("nuts_token_user", "clinic")]]
            .concat()
            .iter()
            .for_each(|(key, value)| config.set(key, value).unwrap());
        assert_eq!(config.nuts().unwrap().api_login.unwrap().audience, "node.example");
        assert_eq!(config.employee().unwrap(), None);
    }

    #[test]
    fn what_a_login_cannot_do_without_is_named() {
        let with = |more: &[(&'static str, &'static str)]| problem(&[&GOOD, more].concat());
        let names = [("employee_identifier", "481"), ("employee_initials", "J"), ("employee_family_name", "van Dijk")];
        assert_eq!(with(&names), "");
        for (problem, expected) in [
            (
                problem(&GOOD[1..]),
                "nuts_node is not set: service = nuts needs the internal address of the employer's node",
            ),
            (problem(&GOOD[..1]), "employer is not set: service = nuts needs the DID of the employer"),
            (
                with(&[("nuts_node", "http://127.0.0.1:8081")]),
                "nuts_node: http://127.0.0.1:8081 is plain http, and allow_http is not set",
            ),
            (
                with(&[("nuts_token_key", "/k")]),
                "nuts_token_user is not set: service = nuts needs the name of the key in nuts_token_key",
            ),
            (
                with(&[("nuts_token_user", "x")]),
                "nuts_token_key is not set: service = nuts needs the key of nuts_token_user",
            ),
            (with(&names[..2]), "employee_family_name is not set: an employee has it too"),
            (
                with(&[("employee_role", "nurse")]),
                "employee_identifier, employee_initials, employee_family_name is not set: an employee has it too",
            ),
            (
                with(&[names.as_slice(), &[("employee_role", "a\nb")]].concat()),
                "the employee's role has control or formatting characters",
            ),
        ] {
            assert_eq!(problem, expected);
        }
    }
}
