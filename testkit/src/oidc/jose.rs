//! JSON Web Signatures with OpenSSL: keys, tokens, and the forged tokens of a bad provider.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::{HasPrivate, HasPublic, PKey, PKeyRef, Private, Public};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer, Verifier};
use serde_json::{Map, Value, json};

use crate::ca::stored_key;
use crate::error::{Error, Result, write_key};

/// A signature algorithm of RFC 7518.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256
    #[default]
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512
    Rs512,
    /// RSASSA-PSS with SHA-256
    Ps256,
    /// ECDSA on the curve P-256 with SHA-256
    Es256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Es256];

    /// The name in `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
        }
    }

    /// The algorithm with this name.
    pub fn from_name(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        found.ok_or_else(|| Error::Usage(format!("no algorithm is called {name:?}")))
    }

    pub(crate) fn digest(self) -> MessageDigest {
        match self {
            Self::Rs384 => MessageDigest::sha384(),
            Self::Rs512 => MessageDigest::sha512(),
            _ => MessageDigest::sha256(),
        }
    }

    fn sign<T: HasPrivate>(self, key: &PKeyRef<T>, input: &[u8]) -> std::result::Result<Vec<u8>, ErrorStack> {
        if self == Self::Es256 {
            let signature = EcdsaSig::sign(&hash(self.digest(), input)?, &*key.ec_key()?)?;
            return Ok([signature.r().to_vec_padded(32)?, signature.s().to_vec_padded(32)?].concat());
        }
        let mut signer = Signer::new(self.digest(), key)?;
        if self == Self::Ps256 {
            signer.set_rsa_padding(Padding::PKCS1_PSS)?;
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        signer.sign_oneshot_to_vec(input)
    }

    fn verify<T: HasPublic>(
        self,
        key: &PKeyRef<T>,
        input: &[u8],
        signature: &[u8],
    ) -> std::result::Result<bool, ErrorStack> {
        if self == Self::Es256 {
            if signature.len() != 64 {
                return Ok(false);
            }
            let (r, s) = (BigNum::from_slice(&signature[..32])?, BigNum::from_slice(&signature[32..])?);
            let signature = EcdsaSig::from_private_components(r, s)?;
            return signature.verify(&hash(self.digest(), input)?, &*key.ec_key()?);
        }
        let mut verifier = Verifier::new(self.digest(), key)?;
        if self == Self::Ps256 {
            verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        verifier.verify_oneshot(signature, input)
    }
}

/// How a forged token differs from a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Forgery {
    /// `alg` is `none`, and there is no signature.
    AlgorithmNone,
    /// The signature is left out, `alg` stays.
    NoSignature,
    /// HS256 with the client's secret, or its id where it has none.
    HmacWithSecret,
    /// HS256 with the PEM text of the provider's public key.
    HmacWithPublicKey,
    /// `kid` names a key that no JWKS has, and that key signed.
    UnknownKey,
    /// Another key than the one that `kid` names signed.
    WrongKey,
    /// One bit of the signature differs.
    BadSignature,
    /// There is no `kid`; the token is good otherwise.
    NoKeyId,
    /// The header holds the (foreign) key that signed.
    EmbeddedKey,
    /// The header has an unknown critical extension.
    CriticalExtension,
}

/// A key that signs tokens.
#[derive(Clone)]
pub struct Key {
    algorithm: Algorithm,
    key_id: String,
    key: PKey<Private>,
}

/// How many bits the RSA keys have.
const RSA_BITS: u32 = 2048;
/// RSA keys are kept by [`stored_key`] under these numbers; those of cards begin at 0.
const FIRST_NUMBER: u32 = 900;
const FOREIGN_NUMBER: u32 = FIRST_NUMBER - 1;

impl Key {
    /// Returns a key for `algorithm`. RSA keys come from a store of this process: the same number gives the
    /// same key.
    pub fn new(algorithm: Algorithm, number: u32) -> Result<Self> {
        let key = if algorithm == Algorithm::Es256 {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
            PKey::from_ec_key(EcKey::generate(&group)?)?
        } else {
            stored_key(RSA_BITS, FIRST_NUMBER + number)?
        };
        let key_id = base64url(&openssl::sha::sha256(&key.public_key_to_der()?));
        Ok(Self { algorithm, key_id, key })
    }

    /// Names it differently.
    pub fn key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = key_id.into();
        self
    }

    /// Its name in `kid`.
    pub fn id(&self) -> &str {
        &self.key_id
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Writes it as PKCS#8 in PEM, to a file that others cannot read.
    pub fn write_pkcs8(&self, path: &Path) -> Result<()> {
        write_key(path, self.key.private_key_to_pem_pkcs8()?)
    }

    /// Writes it as PEM in the form of its own kind (PKCS#1 or SEC 1), to a file that others cannot read.
    pub fn write_traditional(&self, path: &Path) -> Result<()> {
        let pem = match self.algorithm {
            Algorithm::Es256 => self.key.ec_key()?.private_key_to_pem()?,
            _ => self.key.rsa()?.private_key_to_pem()?,
        };
        write_key(path, pem)
    }

    /// Writes it as a JWK (RFC 7517) with its private part, to a file that others cannot read.
    pub fn write_jwk(&self, path: &Path) -> Result<()> {
        let mut jwk = self.public_jwk()?;
        if self.algorithm == Algorithm::Es256 {
            jwk["d"] = json!(base64url(&self.key.ec_key()?.private_key().to_vec_padded(32)?));
        } else {
            let rsa = self.key.rsa()?;
            let parts = [
                ("d", Some(rsa.d())),
                ("p", rsa.p()),
                ("q", rsa.q()),
                ("dp", rsa.dmp1()),
                ("dq", rsa.dmq1()),
                ("qi", rsa.iqmp()),
            ];
            for (name, part) in parts {
                if let Some(part) = part {
                    jwk[name] = json!(base64url(&part.to_vec()));
                }
            }
        }
        write_key(path, jwk.to_string())
    }

    /// The public part as a JWK.
    pub(crate) fn public_jwk(&self) -> std::result::Result<Value, ErrorStack> {
        let mut jwk = match self.algorithm {
            Algorithm::Es256 => {
                let key = self.key.ec_key()?;
                let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
                key.public_key().affine_coordinates(key.group(), &mut x, &mut y, &mut *BigNumContext::new()?)?;
                let [x, y] = [base64url(&x.to_vec_padded(32)?), base64url(&y.to_vec_padded(32)?)];
                json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
            }
            _ => {
                let rsa = self.key.rsa()?;
                json!({ "kty": "RSA", "n": base64url(&rsa.n().to_vec()), "e": base64url(&rsa.e().to_vec()) })
            }
        };
        jwk["kid"] = json!(self.key_id);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm.name());
        Ok(jwk)
    }

    pub(crate) fn public(&self) -> std::result::Result<PKey<Public>, ErrorStack> {
        PKey::public_key_from_der(&self.key.public_key_to_der()?)
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Map<String, Value>) -> std::result::Result<String, ErrorStack> {
        self.write(&json!({ "alg": self.algorithm.name(), "typ": "JWT", "kid": self.key_id }), claims)
    }

    fn write(&self, header: &Value, claims: &Map<String, Value>) -> std::result::Result<String, ErrorStack> {
        let input = signing_input(header, claims);
        let signature = self.algorithm.sign(&self.key, input.as_bytes())?;
        Ok(format!("{input}.{}", base64url(&signature)))
    }

    /// A forged token with these claims. `secret` is the client's.
    pub(crate) fn forge(
        &self,
        claims: &Map<String, Value>,
        forgery: Forgery,
        secret: &str,
    ) -> std::result::Result<String, ErrorStack> {
        let name = self.algorithm.name();
        let header = json!({ "alg": name, "typ": "JWT", "kid": self.key_id });
        Ok(match forgery {
            Forgery::AlgorithmNone => {
                format!("{}.", signing_input(&json!({ "alg": "none", "typ": "JWT" }), claims))
            }
            Forgery::NoSignature => format!("{}.", signing_input(&header, claims)),
            Forgery::HmacWithSecret => self.hmac(claims, secret.as_bytes())?,
            Forgery::HmacWithPublicKey => self.hmac(claims, &self.key.public_key_to_pem()?)?,
            Forgery::UnknownKey => self.foreign()?.sign(claims)?,
            Forgery::WrongKey => self.foreign()?.key_id(self.key_id.clone()).sign(claims)?,
            Forgery::BadSignature => {
                let input = signing_input(&header, claims);
                let mut signature = self.algorithm.sign(&self.key, input.as_bytes())?;
                if let Some(byte) = signature.last_mut() {
                    *byte ^= 1;
                }
                format!("{input}.{}", base64url(&signature))
            }
            Forgery::NoKeyId => self.write(&json!({ "alg": name, "typ": "JWT" }), claims)?,
            Forgery::EmbeddedKey => {
                let foreign = self.foreign()?;
                let header = json!({ "alg": name, "typ": "JWT", "kid": foreign.key_id, "jwk": foreign.public_jwk()? });
                foreign.write(&header, claims)?
            }
            Forgery::CriticalExtension => {
                let header = json!({ "alg": name, "typ": "JWT", "kid": self.key_id, "crit": ["exp"], "exp": 1 });
                self.write(&header, claims)?
            }
        })
    }

    fn hmac(&self, claims: &Map<String, Value>, key: &[u8]) -> std::result::Result<String, ErrorStack> {
        let input = signing_input(&json!({ "alg": "HS256", "typ": "JWT", "kid": self.key_id }), claims);
        let key = PKey::hmac(key)?;
        let mac = Signer::new(MessageDigest::sha256(), &key)?.sign_oneshot_to_vec(input.as_bytes())?;
        Ok(format!("{input}.{}", base64url(&mac)))
    }

    /// A key of the same kind that no JWKS has.
    fn foreign(&self) -> std::result::Result<Self, ErrorStack> {
        let key = if self.algorithm == Algorithm::Es256 {
            PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)?
        } else {
            stored_key(RSA_BITS, FOREIGN_NUMBER)?
        };
        let key_id = base64url(&openssl::sha::sha256(&key.public_key_to_der()?));
        Ok(Self { algorithm: self.algorithm, key_id, key })
    }
}

/// A token taken apart, its signature not yet verified.
pub(crate) struct Parsed {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    input: String,
    signature: Vec<u8>,
}

impl Parsed {
    pub(crate) fn new(token: &str) -> Option<Self> {
        let (input, signature) = token.rsplit_once('.')?;
        let (header, claims) = input.split_once('.')?;
        let parse = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        Some(Self {
            header: parse(header)?,
            claims: parse(claims)?,
            input: input.into(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// Whether `alg` is this one and the signature is the key's.
    pub(crate) fn is_signed_by<T: HasPublic>(&self, key: &PKeyRef<T>, algorithm: Algorithm) -> bool {
        self.header["alg"] == algorithm.name()
            && algorithm.verify(key, self.input.as_bytes(), &self.signature).unwrap_or(false)
    }
}

fn signing_input(header: &Value, claims: &Map<String, Value>) -> String {
    let claims = Value::Object(claims.clone()).to_string();
    format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.as_bytes()))
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The left half of the digest, as `at_hash` has it.
pub(crate) fn left_half(algorithm: Algorithm, text: &str) -> std::result::Result<String, ErrorStack> {
    let digest = hash(algorithm.digest(), text.as_bytes())?;
    Ok(base64url(&digest[..digest.len() / 2]))
}

/// Random letters and digits, good in any address.
pub(crate) fn random_text(bytes: usize) -> std::result::Result<String, ErrorStack> {
    let mut buffer = vec![0; bytes];
    openssl::rand::rand_bytes(&mut buffer)?;
    Ok(base64url(&buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Map<String, Value> {
        Map::from_iter([("sub".into(), json!("1"))])
    }

    #[test]
    fn each_algorithm_verifies_what_it_signed_and_nothing_else() {
        for algorithm in Algorithm::ALL {
            let key = Key::new(algorithm, 0).unwrap();
            let parsed = Parsed::new(&key.sign(&claims()).unwrap()).unwrap();
            assert!(parsed.is_signed_by(&key.public().unwrap(), algorithm), "{algorithm:?}");
            assert_eq!(parsed.claims["sub"], "1");
            let bad = Parsed::new(&key.forge(&claims(), Forgery::BadSignature, "").unwrap()).unwrap();
            assert!(!bad.is_signed_by(&key.public().unwrap(), algorithm), "{algorithm:?}");
        }
    }

    #[test]
    fn no_forgery_but_one_without_a_key_id_or_with_an_extension_verifies() {
        let key = Key::new(Algorithm::Rs256, 0).unwrap();
        for (forgery, verifies) in [
            (Forgery::AlgorithmNone, false),
            (Forgery::NoSignature, false),
            (Forgery::HmacWithSecret, false),
            (Forgery::HmacWithPublicKey, false),
            (Forgery::UnknownKey, false),
            (Forgery::WrongKey, false),
            (Forgery::EmbeddedKey, false),
            (Forgery::NoKeyId, true),
            (Forgery::CriticalExtension, true),
        ] {
            let token = key.forge(&claims(), forgery, "secret").unwrap();
            let signed = Parsed::new(&token).unwrap().is_signed_by(&key.public().unwrap(), Algorithm::Rs256);
            assert_eq!(signed, verifies, "{forgery:?}");
        }
    }
}
