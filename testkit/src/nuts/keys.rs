//! Keys of organisations, and what they sign: ES256, as JWTs and as detached JWS.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::Private;
use openssl::sha::sha256;
use serde_json::{Value, json};

use crate::error::Result;

/// A key on the curve P-256, and the DID that follows from it.
#[derive(Clone)]
pub(super) struct DidKey {
    key: EcKey<Private>,
    did: String,
    /// The DID and the key's own part.
    id: String,
}

impl DidKey {
    pub(super) fn new() -> Result<Self> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = EcKey::generate(&group)?;
        let digest = sha256(&key.public_key_to_der()?);
        let did = format!("did:nuts:{}", base58(&digest));
        let id = format!("{did}#{}", base64url(sha256(did.as_bytes())));
        Ok(Self { key, did, id })
    }

    pub(super) fn did(&self) -> &str {
        &self.did
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Signs `claims` as a JWT.
    pub(super) fn jwt(&self, kind: &str, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": self.id, "typ": kind}).to_string();
        let input = format!("{}.{}", base64url(header), base64url(claims.to_string()));
        let signature = self.sign(input.as_bytes());
        format!("{input}.{}", base64url(signature))
    }

    /// The claims of a JWT of this key.
    pub(super) fn claims(&self, jwt: &str) -> Option<Value> {
        let (input, signature) = jwt.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !self.verify(input.as_bytes(), &signature) {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(input.split_once('.')?.1).ok()?).ok()
    }

    /// Signs `payload` as a JWS without it (RFC 7797).
    pub(super) fn detached_jws(&self, payload: &[u8]) -> String {
        let header = json!({"alg": "ES256", "b64": false, "crit": ["b64"], "kid": self.id}).to_string();
        let header = base64url(header);
        let signature = self.sign(&[header.as_bytes(), b".", payload].concat());
        format!("{header}..{}", base64url(signature))
    }

    pub(super) fn verify_detached(&self, jws: &str, payload: &[u8]) -> bool {
        let Some((header, signature)) = jws.split_once("..") else { return false };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        self.verify(&[header.as_bytes(), b".", payload].concat(), &signature)
    }

    fn sign(&self, input: &[u8]) -> Vec<u8> {
        // A key of this curve signs any digest.
        EcdsaSig::sign(&sha256(input), &self.key)
            .map(|signature| [padded(signature.r()), padded(signature.s())].concat())
            .unwrap_or_default()
    }

    fn verify(&self, input: &[u8], signature: &[u8]) -> bool {
        let Some((r, s)) = signature.split_at_checked(32).filter(|halves| halves.1.len() == 32) else { return false };
        let (Ok(r), Ok(s)) = (BigNum::from_slice(r), BigNum::from_slice(s)) else { return false };
        EcdsaSig::from_private_components(r, s)
            .and_then(|signature| signature.verify(&sha256(input), &self.key))
            .unwrap_or(false)
    }
}

fn padded(number: &openssl::bn::BigNumRef) -> Vec<u8> {
    number.to_vec_padded(32).unwrap_or_default()
}

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A random number of `N` bytes.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // OpenSSL ends the process rather than give numbers that are not random.
    let _ = openssl::rand::rand_bytes(&mut bytes);
    bytes
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random UUID.
pub(super) fn uuid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// Base58 with Bitcoin's alphabet.
fn base58(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut digits: Vec<u32> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit << 8;
            *digit = carry % 58;
            carry /= 58;
        }
        while carry > 0 {
            digits.push(carry % 58);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|byte| **byte == 0).map(|_| '1');
    zeros.chain(digits.iter().rev().map(|digit| char::from(ALPHABET[*digit as usize]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_did_has_the_form_of_a_real_one() {
        let key = DidKey::new().unwrap();
        assert!((52..=53).contains(&key.did().len()), "{}", key.did());
        assert_eq!(base58(b"\0hello"), "1Cn8eVZg");
    }

    #[test]
    fn a_jwt_is_taken_of_its_own_key_only() {
        let (key, other) = (DidKey::new().unwrap(), DidKey::new().unwrap());
        let jwt = key.jwt("JWT", &json!({"sub": "x"}));
        assert_eq!(key.claims(&jwt), Some(json!({"sub": "x"})));
        assert_eq!(other.claims(&jwt), None);
    }
}
