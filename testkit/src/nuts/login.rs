//! The login of programs at the node's API (`token_v2`): JWTs signed with authorized keys.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::ec::PointConversionForm;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Public};
use openssl::rsa::Padding;
use openssl::sha::sha256;
use openssl::sign::{RsaPssSaltlen, Verifier};
use serde_json::{Value, json};

use super::time::now;
use crate::error::Result;
use crate::http::HttpRequest;

/// The longest that a JWT may be good for.
const LONGEST_SECONDS: i64 = 24 * 60 * 60;

/// The key that is authorized.
pub(super) struct ApiLogin {
    key: PKey<Public>,
    /// The comment of the key's line in `authorized_keys`.
    user: String,
    audience: String,
    /// The fingerprints that a JWT may name the key with.
    ids: [String; 2],
}

impl ApiLogin {
    pub(super) fn new(public_key_pem: &[u8], user: &str, audience: &str) -> Result<Self> {
        let key = PKey::public_key_from_pem(public_key_pem)?;
        let ids = [ssh_fingerprint(&key)?, thumbprint(&key)?];
        Ok(Self { key, user: user.into(), audience: audience.into(), ids })
    }

    /// Whether the request has a JWT that is good.
    pub(super) fn admits(&self, request: &HttpRequest) -> bool {
        let header = request.header("Authorization").unwrap_or_default();
        header.strip_prefix("Bearer ").and_then(|jwt| self.check(jwt)).is_some()
    }

    fn check(&self, jwt: &str) -> Option<()> {
        let (input, signature) = jwt.rsplit_once('.')?;
        let (header, claims) = input.split_once('.')?;
        let json = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        let (header, claims) = (json(header)?, json(claims)?);
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !self.ids.iter().any(|id| header["kid"] == id.as_str())
            || !self.verify(header["alg"].as_str()?, input.as_bytes(), &signature)
        {
            return None;
        }
        let time = |name: &str| claims[name].as_i64();
        let (issued, begins, ends) = (time("iat")?, time("nbf")?, time("exp")?);
        let now = now();
        let audience = &claims["aud"];
        let audience = if audience.is_array() { &audience[0] } else { audience };
        let jti = claims["jti"].as_str()?;
        let is_uuid = jti.len() == 36 && jti.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
        let good = issued <= now
            && begins <= now
            && issued <= begins
            && now < ends
            && ends - issued <= LONGEST_SECONDS
            && claims["iss"] == self.user.as_str()
            && claims["sub"].is_string()
            && audience == self.audience.as_str()
            && is_uuid;
        good.then_some(())
    }

    /// Verifies the signature. RS256 is not strong enough for the node.
    fn verify(&self, algorithm: &str, input: &[u8], signature: &[u8]) -> bool {
        let verified = || match (algorithm, self.key.id()) {
            ("EdDSA", Id::ED25519) => Verifier::new_without_digest(&self.key)?.verify_oneshot(signature, input),
            ("ES256", Id::EC) if signature.len() == 64 => {
                let (r, s) = signature.split_at(32);
                let signature = EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
                signature.verify(&sha256(input), &*self.key.ec_key()?)
            }
            ("RS512" | "PS512", Id::RSA) => {
                let mut verifier = Verifier::new(MessageDigest::sha512(), &self.key)?;
                if algorithm == "PS512" {
                    verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
                    verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
                }
                verifier.verify_oneshot(signature, input)
            }
            _ => Ok(false),
        };
        verified().unwrap_or(false)
    }
}

/// As `ssh-keygen -l` shows it.
fn ssh_fingerprint(key: &PKey<Public>) -> Result<String> {
    fn field(blob: &mut Vec<u8>, bytes: &[u8]) {
        blob.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes());
        blob.extend_from_slice(bytes);
    }
    fn number(blob: &mut Vec<u8>, number: &BigNumRef) {
        let mut bytes = number.to_vec();
        if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
            bytes.insert(0, 0);
        }
        field(blob, &bytes);
    }
    let mut blob = Vec::new();
    match key.id() {
        Id::EC => {
            field(&mut blob, b"ecdsa-sha2-nistp256");
            field(&mut blob, b"nistp256");
            field(&mut blob, &point(key)?);
        }
        Id::RSA => {
            let rsa = key.rsa()?;
            field(&mut blob, b"ssh-rsa");
            number(&mut blob, rsa.e());
            number(&mut blob, rsa.n());
        }
        _ => {
            field(&mut blob, b"ssh-ed25519");
            field(&mut blob, &key.raw_public_key()?);
        }
    }
    Ok(format!("SHA256:{}", STANDARD_NO_PAD.encode(sha256(&blob))))
}

/// The thumbprint of RFC 7638.
fn thumbprint(key: &PKey<Public>) -> Result<String> {
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk = match key.id() {
        Id::EC => {
            let point = point(key)?;
            json!({"crv": "P-256", "kty": "EC", "x": text(&point[1..33]), "y": text(&point[33..])})
        }
        Id::RSA => json!({"e": text(&key.rsa()?.e().to_vec()), "kty": "RSA", "n": text(&key.rsa()?.n().to_vec())}),
        _ => json!({"crv": "Ed25519", "kty": "OKP", "x": text(&key.raw_public_key()?)}),
    };
    Ok(text(&sha256(jwk.to_string().as_bytes())))
}

fn point(key: &PKey<Public>) -> Result<Vec<u8>> {
    let key = key.ec_key()?;
    let mut context = BigNumContext::new()?;
    Ok(key.public_key().to_bytes(key.group(), PointConversionForm::UNCOMPRESSED, &mut context)?)
}
