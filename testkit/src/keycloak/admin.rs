//! What an administrator sees and does, by Keycloak's Admin API.

use serde_json::{Value, json};

use super::{ADMIN, Keycloak, password};
use crate::browser::{Browser, Page, Sent};
use crate::error::{Error, Result};
use crate::http::encode_form;
use crate::oidc::Key;

impl Keycloak {
    /// How many sessions the user has.
    pub fn open_sessions(&self, realm: &str, user: &str) -> Result<usize> {
        let path = format!("{realm}/users/{}/sessions", self.user_id(realm, user)?);
        Ok(self.ask("GET", &path, None)?.as_array().map_or(0, Vec::len))
    }

    /// Ends all the user's sessions.
    pub fn end_sessions(&self, realm: &str, user: &str) -> Result<()> {
        let path = format!("{realm}/users/{}/logout", self.user_id(realm, user)?);
        self.ask("POST", &path, None).map(drop)
    }

    /// Disables the user, or enables them again.
    pub fn set_enabled(&self, realm: &str, user: &str, enabled: bool) -> Result<()> {
        let path = format!("{realm}/users/{}", self.user_id(realm, user)?);
        let mut user = self.ask("GET", &path, None)?;
        user["enabled"] = enabled.into();
        self.ask("PUT", &path, Some(&user)).map(drop)
    }

    /// Adds a user who is like another: a test that counts sessions has one of its own.
    pub fn add_user(&self, realm: &str, name: &str, like: &str) -> Result<()> {
        let path = format!("{realm}/users/{}", self.user_id(realm, like)?);
        let mut user = self.ask("GET", &path, None)?;
        let groups = self.ask("GET", &format!("{path}/groups"), None)?;
        let groups: Vec<_> = groups.as_array().into_iter().flatten().map(|group| group["path"].clone()).collect();
        if let Some(user) = user.as_object_mut() {
            user.remove("id");
            user.remove("access");
        }
        user["username"] = name.into();
        user["email"] = format!("{name}@example.test").into();
        user["groups"] = groups.into();
        user["credentials"] = json!([{ "type": "password", "value": password(name), "temporary": false }]);
        self.ask("POST", &format!("{realm}/users"), Some(&user)).map(drop)
    }

    /// Adds a client that is like another and signs its requests with this key.
    pub fn add_client(&self, realm: &str, id: &str, like: &str, key: &Key) -> Result<()> {
        let query = encode_form([("clientId", like)]);
        let mut client = self.ask("GET", &format!("{realm}/clients?{query}"), None)?[0].take();
        if let Some(client) = client.as_object_mut() {
            client.remove("id");
        }
        client["clientId"] = id.into();
        client["attributes"]["token.endpoint.auth.signing.alg"] = key.algorithm().name().into();
        client["attributes"]["jwks.string"] = json!({ "keys": [key.public_jwk()?] }).to_string().into();
        self.ask("POST", &format!("{realm}/clients"), Some(&client)).map(drop)
    }

    /// Makes the realm sign with a new key from now on. It continues to publish the old one.
    pub fn rotate_keys(&self, realm: &str) -> Result<()> {
        let keys = self.ask("GET", &format!("{realm}/keys"), None)?;
        let highest =
            keys["keys"].as_array().into_iter().flatten().filter_map(|key| key["providerPriority"].as_i64()).max();
        let priority = highest.unwrap_or(0) + 1;
        let id = self.ask("GET", realm, None)?["id"].clone();
        let provider = json!({
            "name": format!("key-{priority}"), "parentId": id,
            "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
            "config": { "priority": [priority.to_string()], "enabled": ["true"], "active": ["true"], "keySize": ["2048"], "algorithm": ["RS256"] },
        });
        self.ask("POST", &format!("{realm}/components"), Some(&provider)).map(drop)
    }

    /// The user's id, which is the `sub` of their tokens.
    pub fn user_id(&self, realm: &str, user: &str) -> Result<String> {
        let query = encode_form([("username", user), ("exact", "true")]);
        let users = self.ask("GET", &format!("{realm}/users?{query}"), None)?;
        let id = users[0]["id"].as_str().map(str::to_owned);
        id.ok_or_else(|| Error::Usage(format!("there is no user {user} in the realm {realm}")))
    }

    /// Sends a request of the administrator; its answer is JSON or nothing.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut browser = Browser::new(self.ca_file());
        let login = [("grant_type", "password"), ("client_id", "admin-cli"), ("username", ADMIN), ("password", ADMIN)];
        let url = format!("{}/realms/master/protocol/openid-connect/token", self.url());
        let (content_type, form) = (Some("application/x-www-form-urlencoded"), encode_form(login));
        let answer = successful(&browser.send("POST", &url, &Sent { bearer: None, content_type, body: &form })?)?;
        let token = answer["access_token"].as_str().unwrap_or_default();
        let body = body.map(Value::to_string).unwrap_or_default();
        let sent = Sent { bearer: Some(token), content_type: Some("application/json"), body: &body };
        successful(&browser.send(method, &format!("{}/admin/realms/{path}", self.url()), &sent)?)
    }
}

fn successful(page: &Page) -> Result<Value> {
    if !(200..300).contains(&page.status) {
        return Err(Error::Usage(format!("{} answers {}: {}", page.url, page.status, page.text)));
    }
    Ok(serde_json::from_str(&page.text).unwrap_or_default())
}
