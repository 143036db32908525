//! Verifiable presentations: made, signed and verified.
//!
//! The signatures are real (JsonWebSignature2020 with ES256), but over sorted JSON instead of the RDF of
//! JSON-LD, which no lean crate writes. So a presentation from here is verified here, and one of a real node there.

use std::time::{Duration, SystemTime};

use openssl::sha::sha256;
use serde_json::{Map, Value, json};

use super::Version;
use super::contract::Contract;
use super::keys::{DidKey, uuid};
use super::time::{parse_rfc3339, rfc3339};

const CREDENTIALS: &str = "https://www.w3.org/2018/credentials/v1";
const JWS: &str = "https://w3c-ccg.github.io/lds-jws2020/contexts/lds-jws2020-v1.json";
const NUTS: &str = "https://nuts.nl/credentials/v1";

/// The one kind of presentation that the node makes.
pub(super) const SELF_SIGNED: &str = "NutsSelfSignedPresentation";

/// What a presentation says.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) identifier: String,
    pub(super) initials: String,
    pub(super) family_name: String,
    pub(super) role: Option<String>,
    pub(super) contract: String,
}

/// Makes a presentation, signed at `time` by the employer's key.
pub(super) fn sign(statement: &Statement, key: &DidKey, version: Version, time: SystemTime) -> Value {
    let did = key.did();
    let mut member = json!({
        "identifier": statement.identifier,
        "member": {"familyName": statement.family_name, "initials": statement.initials, "type": "Person"},
        "type": "EmployeeRole",
    });
    if let Some(role) = &statement.role {
        member["roleName"] = role.as_str().into();
    }
    let created = rfc3339(time);
    let credential = json!({
        "@context": version.pick([NUTS, CREDENTIALS, JWS], [CREDENTIALS, NUTS, JWS]),
        "credentialSubject": {"id": did, "member": member, "type": "Organization"},
        "expirationDate": rfc3339(time + Duration::from_secs(24 * 60 * 60)),
        "id": format!("{did}#{}", uuid()),
        "issuanceDate": created,
        "issuer": did,
        "type": ["NutsEmployeeCredential", "VerifiableCredential"],
    });
    let proof = |purpose: &str| {
        json!({
            "created": created,
            "proofPurpose": purpose,
            "type": "JsonWebSignature2020",
            "verificationMethod": key.id(),
        })
    };
    let credential = signed(credential, proof("assertionMethod"), key);
    let mut presentation = json!({
        "@context": version.pick([NUTS, CREDENTIALS, JWS], [CREDENTIALS, JWS, NUTS]),
        "type": ["VerifiablePresentation", SELF_SIGNED],
        "verifiableCredential": credential,
    });
    if version == Version::V6 {
        presentation["id"] = format!("{did}#{}", uuid()).into();
    }
    let mut proof = proof("authentication");
    proof["challenge"] = statement.contract.as_str().into();
    signed(presentation, proof, key)
}

fn signed(mut document: Value, mut proof: Value, key: &DidKey) -> Value {
    proof["jws"] = key.detached_jws(&signing_input(&document, &proof)).into();
    document["proof"] = proof;
    document
}

fn signing_input(document: &Value, proof: &Value) -> Vec<u8> {
    let digest = |value: &Value| sha256(canonical(value).to_string().as_bytes());
    [digest(proof), digest(document)].concat()
}

/// The same for all JSON that means the same: a list of one is its element, and lists have no order.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Array(items) if items.len() == 1 => canonical(&items[0]),
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(canonical).collect();
            items.sort_by_key(Value::to_string);
            items.into()
        }
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), canonical(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// Why a presentation is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The request is at fault, with the node's words.
    Request(String),
    /// The presentation is not valid, with the node's words for other nodes.
    Invalid(String),
}

/// What a valid presentation says.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) contract: Contract,
    /// Names and values of the employee's attributes.
    pub(super) attributes: Vec<(&'static str, String)>,
}

/// Verifies `presentation` at `time` (seconds since 1970); `key_of` finds a DID's key.
pub(super) fn verify<'k>(
    presentation: &Value,
    time: i64,
    version: Version,
    key_of: impl Fn(&str) -> Option<&'k DidKey>,
) -> Result<Verified, Fault> {
    let request = |text: String| Fault::Request(text);
    let invalid = |text: &str| Fault::Invalid(text.to_owned());
    let types = list(&presentation["type"]);
    let custom: Vec<_> =
        types.iter().filter_map(|name| name.as_str()).filter(|name| *name != "VerifiablePresentation").collect();
    match custom.as_slice() {
        [] | [_, _, ..] => {
            return Err(request("unprocessable VerifiablePresentation, exactly 1 custom type is expected".into()));
        }
        [SELF_SIGNED] => {}
        [other] => return Err(request(format!("unknown VerifiablePresentation type: {other}"))),
    }
    let [credential] = list(&presentation["verifiableCredential"])[..] else {
        return Err(invalid("exactly 1 NutsEmployeeCredential is required"));
    };
    let contract_text = one(&presentation["proof"])["challenge"].as_str().unwrap_or_default();
    for document in [presentation, credential] {
        check_signature(document, version, &key_of)?;
    }
    let read = |value: &Value| value.as_str().and_then(|text| parse_rfc3339(text).ok());
    let created = read(&one(&presentation["proof"])["created"]).ok_or_else(|| invalid("invalid proof"))?;
    let expires = read(&credential["expirationDate"]).ok_or_else(|| invalid("invalid credential"))?;
    let contract = Contract::parse(contract_text).map_err(Fault::Invalid)?;
    contract.check(time).map_err(Fault::Invalid)?;
    // Seconds are compared, and a proof has nanoseconds.
    if time + 1 < created || time > expires {
        return Err(invalid("verification error: credential not valid at given time"));
    }
    let issuer = credential["issuer"].as_str().unwrap_or_default();
    let subject = one(&credential["credentialSubject"]);
    if subject["id"] != issuer || signer(presentation) != issuer {
        return Err(invalid("signer must be credentialSubject"));
    }
    let member = &subject["member"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut attributes = vec![
        ("assurance_level", "low".to_owned()),
        ("familyname", text(&member["member"]["familyName"])),
        ("initials", text(&member["member"]["initials"])),
        ("username", text(&member["identifier"])),
    ];
    if let Some(role) = member["roleName"].as_str() {
        attributes.push(("user_role", role.to_owned()));
    }
    Ok(Verified { contract, attributes })
}

fn check_signature<'k>(
    document: &Value,
    version: Version,
    key_of: impl Fn(&str) -> Option<&'k DidKey>,
) -> Result<(), Fault> {
    let wrong = version.pick("verification error", "presentation(s) or credential(s) verification failed");
    let [proof] = list(&document["proof"])[..] else {
        return Err(Fault::Invalid(format!("{wrong}: exactly 1 proof is expected")));
    };
    let key = key_of(signer(document))
        .ok_or_else(|| Fault::Request("unable to resolve valid signing key: unable to find the DID document".into()))?;
    let (mut bare, mut options) = (document.clone(), proof.clone());
    if let (Value::Object(bare), Value::Object(options)) = (&mut bare, &mut options) {
        bare.remove("proof");
        options.remove("jws");
    }
    let jws = proof["jws"].as_str().unwrap_or_default();
    if !key.verify_detached(jws, &signing_input(&bare, &options)) {
        return Err(Fault::Invalid(format!(
            "{wrong}: invalid signature: invalid proof signature: failed to verify signature using ecdsa"
        )));
    }
    Ok(())
}

/// The DID whose key signed.
pub(super) fn signer(document: &Value) -> &str {
    let method = one(&document["proof"])["verificationMethod"].as_str().unwrap_or_default();
    method.split('#').next().unwrap_or_default()
}

/// The items of a list, or the one value that stands for a list.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().collect(),
        other => vec![other],
    }
}

fn one(value: &Value) -> &Value {
    match value {
        Value::Array(items) if items.len() == 1 => &items[0],
        other => other,
    }
}
