//! The private key that a program proves itself with.
//!
//! RSA is the crate that software cards sign with: it blinds, and wipes its keys. P-256 and Ed25519 are ring's.

use ring::rand::SystemRandom;
#[cfg(feature = "nuts")]
use ring::signature::KeyPair;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, SecretDocument};
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, Pkcs1v15Sign, Pss, RsaPrivateKey};
use serde::Deserialize;
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::base64url::base64url;
#[cfg(feature = "nuts")]
use super::base64url::{signed, to_base64url};
use super::json;
use super::secret::Secret;
use crate::service::choices::KeyAlgorithm;

/// What a provider can be expected to accept.
const SHORTEST_RSA: usize = 2048;

/// A private key, and its id if its file contains one.
pub(super) struct PrivateKey {
    key: Key,
    pub(super) id: Option<String>,
}

enum Key {
    Rsa(Box<RsaPrivateKey>),
    P256(Box<EcdsaKeyPair>),
    #[cfg_attr(not(feature = "nuts"), expect(dead_code, reason = "only Nuts nodes take its signatures"))]
    Ed25519(Box<Ed25519KeyPair>),
}

/// A private key as JSON (RFC 7518, 6).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<Secret>,
    p: Option<Secret>,
    q: Option<Secret>,
    x: Option<String>,
    y: Option<String>,
}

impl PrivateKey {
    /// Reads the content of a file: PEM with PKCS#8 or PKCS#1, or a JWK.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a sentence about the file.
    pub(super) fn read(file: &[u8]) -> Result<Self, &'static str> {
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file).trim_ascii();
        if file.is_empty() {
            return Err("it is empty");
        }
        let text = std::str::from_utf8(file).map_err(|_| NOT_PEM)?;
        if text.starts_with('{') {
            return from_jwk(file);
        }
        let key = if text.contains("-----BEGIN PRIVATE KEY-----") {
            from_pkcs8(text)?
        } else if text.contains("-----BEGIN RSA PRIVATE KEY-----") {
            if text.contains("Proc-Type: 4,ENCRYPTED") {
                return Err(ENCRYPTED);
            }
            Key::Rsa(Box::new(RsaPrivateKey::from_pkcs1_pem(text).map_err(|_| DAMAGED)?))
        } else {
            return Err(other_kind(text));
        };
        Self { key, id: None }.checked()
    }

    fn checked(self) -> Result<Self, &'static str> {
        match &self.key {
            Key::Rsa(key) if key.n().bits() < SHORTEST_RSA => Err("its RSA key has less than 2,048 bits"),
            Key::Rsa(_) | Key::P256(_) | Key::Ed25519(_) => Ok(self),
        }
    }

    /// Signs `message`.
    ///
    /// # Errors
    ///
    /// Why the key does not, as a sentence about its file.
    pub(super) fn sign(&self, algorithm: KeyAlgorithm, message: &[u8]) -> Result<Vec<u8>, &'static str> {
        match (&self.key, algorithm) {
            (Key::P256(key), KeyAlgorithm::Es256) => key
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| DAMAGED),
            (Key::Ed25519(_), _) => Err("its key is for Ed25519, which no client_key_algorithm is for"),
            (Key::P256(_), _) => Err("its key is for P-256: set client_key_algorithm to ES256"),
            (Key::Rsa(_), KeyAlgorithm::Es256) => Err("its key is an RSA key, which does not sign with ES256"),
            (Key::Rsa(key), KeyAlgorithm::Rs256) => key
                .sign_with_rng(&mut OsRng, Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(message))
                .map_err(|_| DAMAGED),
            (Key::Rsa(key), KeyAlgorithm::Rs384) => key
                .sign_with_rng(&mut OsRng, Pkcs1v15Sign::new::<Sha384>(), &Sha384::digest(message))
                .map_err(|_| DAMAGED),
            (Key::Rsa(key), KeyAlgorithm::Rs512) => key
                .sign_with_rng(&mut OsRng, Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(message))
                .map_err(|_| DAMAGED),
            (Key::Rsa(key), KeyAlgorithm::Ps256) => {
                key.sign_with_rng(&mut OsRng, Pss::new::<Sha256>(), &Sha256::digest(message)).map_err(|_| DAMAGED)
            }
        }
    }

    /// Signs `message` with the strongest algorithm for the key, and returns its name too.
    ///
    /// # Errors
    ///
    /// Why the key does not, as a sentence about its file.
    #[cfg(feature = "nuts")]
    pub(super) fn sign_strongly(
        &self,
        message: impl FnOnce(&str) -> Zeroizing<String>,
    ) -> Result<Zeroizing<String>, &'static str> {
        let (name, algorithm) = match &self.key {
            Key::Rsa(_) => ("RS512", Some(KeyAlgorithm::Rs512)),
            Key::P256(_) => ("ES256", Some(KeyAlgorithm::Es256)),
            Key::Ed25519(_) => ("EdDSA", None),
        };
        let message = message(name);
        let signature = match (&self.key, algorithm) {
            (Key::Ed25519(key), _) => key.sign(message.as_bytes()).as_ref().to_vec(),
            (_, Some(algorithm)) => self.sign(algorithm, message.as_bytes())?,
            (_, None) => return Err(DAMAGED),
        };
        Ok(signed(&message, &signature))
    }

    /// The thumbprint of its public key (RFC 7638).
    #[cfg(feature = "nuts")]
    pub(super) fn thumbprint(&self) -> String {
        let text = |bytes: &[u8]| to_base64url(bytes).to_string();
        let jwk = match &self.key {
            Key::Rsa(key) => {
                format!(
                    r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
                    text(&key.e().to_bytes_be()),
                    text(&key.n().to_bytes_be())
                )
            }
            Key::P256(key) => {
                // An uncompressed point.
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y))
            }
            Key::Ed25519(key) => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(key.public_key().as_ref()))
            }
        };
        text(&Sha256::digest(jwk.as_bytes()))
    }
}

const DAMAGED: &str = "its key is damaged, or of a form that is not read";
const ENCRYPTED: &str = "its key is protected with a password; write it without one: openssl pkey -in FILE -out NEW";
const NOT_PEM: &str = "it is not in PEM form; convert it with: openssl pkey -inform DER -in FILE -out NEW";
const OTHER_CURVE: &str = "its key is neither RSA, P-256 nor Ed25519";

fn other_kind(text: &str) -> &'static str {
    let holds = |mark: &str| text.contains(mark);
    if holds("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        ENCRYPTED
    } else if holds("-----BEGIN EC PRIVATE KEY-----") {
        "its key is in SEC1 form; convert it to PKCS#8 with: openssl pkey -in FILE -out NEW"
    } else if holds("PUBLIC KEY-----") || holds("-----BEGIN CERTIFICATE") {
        "it holds no private key but a public one or a certificate"
    } else if holds("-----BEGIN OPENSSH PRIVATE KEY-----") {
        "its key is in OpenSSH's form; it must be in PKCS#8"
    } else if holds("-----BEGIN ") {
        "it holds no private key"
    } else {
        NOT_PEM
    }
}

fn from_pkcs8(pem: &str) -> Result<Key, &'static str> {
    if let Ok(key) = RsaPrivateKey::from_pkcs8_pem(pem) {
        return Ok(Key::Rsa(Box::new(key)));
    }
    let (_, document) = SecretDocument::from_pem(pem).map_err(|_| DAMAGED)?;
    if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.as_bytes()) {
        return Ok(Key::Ed25519(Box::new(key)));
    }
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_bytes(), &SystemRandom::new())
        .map(|key| Key::P256(Box::new(key)))
        .map_err(|_| OTHER_CURVE)
}

fn from_jwk(file: &[u8]) -> Result<PrivateKey, &'static str> {
    let jwk: Jwk = json::read(file).map_err(|_| "it is not a JWK with a private key")?;
    let secret = |text: &Option<Secret>| {
        let text = text.as_ref().ok_or("it is a JWK without the private numbers")?;
        base64url(text.expose().as_bytes()).map(Zeroizing::new).ok_or(DAMAGED)
    };
    let public = |text: &Option<String>| text.as_ref().and_then(|text| base64url(text.as_bytes())).ok_or(DAMAGED);
    let key = match &*jwk.kty {
        "RSA" => {
            let number = |bytes: &[u8]| BigUint::from_bytes_be(bytes);
            let primes = vec![number(&secret(&jwk.p)?), number(&secret(&jwk.q)?)];
            let (n, e) = (number(&public(&jwk.n)?), number(&public(&jwk.e)?));
            let key = RsaPrivateKey::from_components(n, e, number(&secret(&jwk.d)?), primes).map_err(|_| DAMAGED)?;
            Key::Rsa(Box::new(key))
        }
        "EC" if jwk.crv.as_deref() == Some("P-256") => {
            let point = [&[4][..], &public(&jwk.x)?, &public(&jwk.y)?].concat();
            let (curve, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
            let key = EcdsaKeyPair::from_private_key_and_public_key(curve, &secret(&jwk.d)?, &point, &random)
                .map_err(|_| DAMAGED)?;
            Key::P256(Box::new(key))
        }
        _ => return Err(OTHER_CURVE),
    };
    PrivateKey { key, id: jwk.kid }.checked()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use openssl::bn::{BigNum, BigNumContext};
    use openssl::ec::{EcGroup, EcKey};
    use openssl::ecdsa::EcdsaSig;
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::pkey::{PKey, Private};
    use openssl::rsa::{Padding, Rsa};
    use openssl::sign::{RsaPssSaltlen, Verifier};
    use openssl::symm::Cipher;
    use serde_json::json;

    use super::*;

    static RSA: LazyLock<Rsa<Private>> = LazyLock::new(|| Rsa::generate(2048).unwrap());
    static EC: LazyLock<EcKey<Private>> =
        LazyLock::new(|| EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap());

    fn rsa() -> PKey<Private> {
        PKey::from_rsa(RSA.clone()).unwrap()
    }

    fn rsa_jwk() -> String {
        let number = |number: &openssl::bn::BigNumRef| to_base64url(&number.to_vec()).to_string();
        let (p, q) = (RSA.p().unwrap(), RSA.q().unwrap());
        let [n, e, d, p, q] = [RSA.n(), RSA.e(), RSA.d(), p, q].map(number);
        json!({"kty": "RSA", "kid": "k-1", "alg": "RS512", "n": n, "e": e, "d": d, "p": p, "q": q, "dp": "AQ"})
            .to_string()
    }

    fn ec_jwk() -> String {
        let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        let mut context = BigNumContext::new().unwrap();
        EC.public_key().affine_coordinates(EC.group(), &mut x, &mut y, &mut context).unwrap();
        let number = |number: &openssl::bn::BigNumRef| to_base64url(&number.to_vec_padded(32).unwrap()).to_string();
        json!({"kty": "EC", "crv": "P-256", "x": number(&x), "y": number(&y), "d": number(EC.private_key())})
            .to_string()
    }

    #[test]
    fn an_rsa_key_signs_with_each_algorithm_in_each_form() {
        let pkcs8 = rsa().private_key_to_pem_pkcs8().unwrap();
        let crlf = String::from_utf8(pkcs8.clone()).unwrap().replace('\n', "\r\n").into_bytes();
        let marked = [b"\xef\xbb\xbf", &pkcs8[..], b"\n\n"].concat();
        for file in [pkcs8, crlf, marked, RSA.private_key_to_pem().unwrap(), rsa_jwk().into_bytes()] {
            let key = PrivateKey::read(&file).unwrap();
            for (algorithm, digest) in [
                (KeyAlgorithm::Rs256, MessageDigest::sha256()),
                (KeyAlgorithm::Rs384, MessageDigest::sha384()),
                (KeyAlgorithm::Rs512, MessageDigest::sha512()),
                (KeyAlgorithm::Ps256, MessageDigest::sha256()),
            ] {
                let signature = key.sign(algorithm, b"message").unwrap();
                let public = rsa();
                let mut verifier = Verifier::new(digest, &public).unwrap();
                if algorithm == KeyAlgorithm::Ps256 {
                    verifier.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
                    verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
                }
                assert!(verifier.verify_oneshot(&signature, b"message").unwrap(), "{algorithm}");
            }
            assert!(key.sign(KeyAlgorithm::Es256, b"message").unwrap_err().contains("RSA"));
        }
        assert_eq!(PrivateKey::read(rsa_jwk().as_bytes()).unwrap().id.as_deref(), Some("k-1"));
    }

    #[test]
    fn a_p256_key_signs_in_each_form() {
        let pkcs8 = PKey::from_ec_key(EC.clone()).unwrap().private_key_to_pem_pkcs8().unwrap();
        for file in [pkcs8, ec_jwk().into_bytes()] {
            let key = PrivateKey::read(&file).unwrap();
            let signature = key.sign(KeyAlgorithm::Es256, b"message").unwrap();
            let [r, s] = [&signature[..32], &signature[32..]].map(|half| BigNum::from_slice(half).unwrap());
            let signature = EcdsaSig::from_private_components(r, s).unwrap();
            assert!(signature.verify(&openssl::sha::sha256(b"message"), &EC).unwrap());
            assert!(key.sign(KeyAlgorithm::Rs512, b"message").unwrap_err().contains("ES256"));
        }
    }

    #[test]
    fn files_of_other_kinds_are_named() {
        let key = rsa();
        let p384 = EcKey::generate(&EcGroup::from_curve_name(Nid::SECP384R1).unwrap()).unwrap();
        let short = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
        let mut public: serde_json::Value = serde_json::from_str(&rsa_jwk()).unwrap();
        public.as_object_mut().unwrap().remove("d");
        for (file, words) in [
            (Vec::new(), "empty"),
            (b" \n".to_vec(), "empty"),
            (b"secret".to_vec(), "PEM"),
            (key.private_key_to_der().unwrap(), "PEM"),
            (key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"x").unwrap(), "password"),
            (RSA.private_key_to_pem_passphrase(Cipher::aes_128_cbc(), b"x").unwrap(), "password"),
            (key.public_key_to_pem().unwrap(), "public"),
            (b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".to_vec(), "certificate"),
            (EC.private_key_to_pem().unwrap(), "SEC1"),
            (PKey::from_ec_key(p384).unwrap().private_key_to_pem_pkcs8().unwrap(), "neither"),
            (short.private_key_to_pem_pkcs8().unwrap(), "2,048"),
            (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec(), "damaged"),
            (b"-----BEGIN PRIVATE KEY-----\n!\n".to_vec(), "damaged"),
            (b"{}".to_vec(), "JWK"),
            (br#"{"kty": "oct", "k": "AA"}"#.to_vec(), "neither"),
            (public.to_string().into_bytes(), "without the private"),
        ] {
            let why = PrivateKey::read(&file).err().unwrap_or("nothing");
            assert!(why.contains(words), "{words}: {why}");
        }
    }
}
