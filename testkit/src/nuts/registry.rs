//! As much of the node's registry as tests need to make an employer: DID, credential, trust, service.

use serde_json::{Value, json};

use super::answer::Answer;
use super::keys::{DidKey, uuid};
use super::node::Node;
use super::{Credential, Organization};

impl Node {
    pub(super) fn make_did(&mut self) -> Answer {
        let Ok(key) = DidKey::new() else { return Answer::failed(500, "no key") };
        let did = key.did().to_owned();
        let (name, city) = (String::new(), String::new());
        self.organizations.push(Organization { key, name, city, credential: Credential::None, services: Vec::new() });
        Answer::json(200, &json!({"id": did}))
    }

    pub(super) fn issue(&mut self, body: &Value) -> Answer {
        let subject = &body["credentialSubject"];
        let text = |name: &str| subject["organization"][name].as_str().unwrap_or_default().to_owned();
        let (name, city) = (text("name"), text("city"));
        match self.organization_mut(subject["id"].as_str().unwrap_or_default()) {
            Some(known) => {
                (known.name, known.city, known.credential) = (name, city, Credential::Untrusted);
                let id = format!("{}#{}", known.key.did(), uuid());
                Answer::json(200, &json!({"id": id, "credentialSubject": subject}))
            }
            None => Answer::problem(400, "IssueVC failed", "unable to find the DID document"),
        }
    }

    pub(super) fn trust(&mut self, body: &Value) -> Answer {
        if let Some(known) = self.organization_mut(body["issuer"].as_str().unwrap_or_default()) {
            known.credential = Credential::Trusted;
        }
        Answer::empty(204)
    }

    pub(super) fn offer(&mut self, did: &str, body: &Value) -> Answer {
        match self.organization_mut(did) {
            Some(known) => {
                known.services.push(body["type"].as_str().unwrap_or_default().to_owned());
                Answer::json(200, &json!({"type": body["type"]}))
            }
            None => Answer::problem(404, "AddCompoundService failed", "unable to find the DID document"),
        }
    }

    fn organization_mut(&mut self, did: &str) -> Option<&mut Organization> {
        self.organizations.iter_mut().find(|known| known.key.did() == did)
    }
}
