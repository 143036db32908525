//! A real node, or one that runs already, for tests that also run against the simulator.

use serde_json::{Value, json};

use super::visitor::send;
use crate::error::{Error, Result};

/// The variable with the internal address of a node.
const NODE: &str = "TICKETAPI_TEST_NUTS_NODE";
/// The variable with its public address.
const PUBLIC: &str = "TICKETAPI_TEST_NUTS_PUBLIC";

/// A node that the variables `TICKETAPI_TEST_NUTS_NODE` and `TICKETAPI_TEST_NUTS_PUBLIC` name, with an employer that
/// was made for the test: CareBears in CareTown, which offers the service `test`. Both addresses are plain http.
#[derive(Debug)]
pub struct RunningNode {
    /// The internal address.
    pub url: String,
    /// The public address, where the pages are.
    pub public_url: String,
    /// The employer's DID.
    pub employer: String,
}

impl RunningNode {
    /// The node that the variables name; `None` if they name none.
    pub fn from_environment() -> Result<Option<Self>> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (variable(NODE), variable(PUBLIC)) {
            (None, None) => Ok(None),
            (Some(url), Some(public_url)) => Self::set_up(url, public_url).map(Some),
            _ => Err(Error::Usage(format!("{NODE} and {PUBLIC} go together"))),
        }
    }

    /// Makes an employer at the node with these addresses.
    pub fn set_up(url: String, public_url: String) -> Result<Self> {
        let post = |path: &str, body: Value| -> Result<Value> {
            let page = send("POST", &format!("{url}{path}"), Some(("application/json", &body.to_string())))?;
            if !(200..300).contains(&page.status) {
                return Err(Error::Usage(format!("{url}{path} answers {}: {}", page.status, page.html)));
            }
            Ok(serde_json::from_str(&page.html).unwrap_or_default())
        };
        let document = post("/internal/vdr/v1/did", json!({}))?;
        let did = document["id"].as_str().ok_or_else(|| Error::Usage(format!("{url} has made no DID")))?.to_owned();
        let organization = json!({"name": "CareBears", "city": "CareTown"});
        post(
            "/internal/vcr/v2/issuer/vc",
            json!({
                "type": "NutsOrganizationCredential",
                "issuer": did,
                "credentialSubject": {"id": did, "organization": organization},
                "visibility": "public",
            }),
        )?;
        let trusted = json!({"issuer": did, "credentialType": "NutsOrganizationCredential"});
        post("/internal/vcr/v2/verifier/trust", trusted)?;
        let endpoint = json!({"type": "oauth", "endpoint": format!("{public_url}/n2n/auth/v1/accesstoken")});
        post(&format!("/internal/didman/v1/did/{did}/endpoint"), endpoint)?;
        let service =
            json!({"type": "test", "serviceEndpoint": {"oauth": format!("{did}/serviceEndpoint?type=oauth")}});
        post(&format!("/internal/didman/v1/did/{did}/compoundservice"), service)?;
        Ok(Self { url, public_url, employer: did })
    }
}
