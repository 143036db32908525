//! Signed JWTs in their compact form (RFC 7515).
//!
//! The signatures are verified by ring, which TLS uses already. The crate `jsonwebtoken` would do nothing here but
//! call it: since version 10 it takes its cryptography from a provider for the whole process, which a library must
//! not choose for its host; and it decodes tokens into memory that it does not wipe.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::base64url::base64url;
use super::json;
use super::keys::KeySet;
use crate::secret::SecretBytes;

/// An algorithm that providers may sign with. HMAC and `none` are not among them: anybody who knows the client's
/// secret could make tokens with the first, and anybody at all with the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Ps256,
    Es256,
}

impl Algorithm {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
        }
    }

    fn read(name: &str) -> Option<Self> {
        [Self::Rs256, Self::Ps256, Self::Es256].into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

/// Why a signed text cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadJws {
    #[error("it is not a signed JWT")]
    NotSigned,
    #[error("it is not signed with RS256, PS256 or ES256")]
    Algorithm,
    #[error("it has critical headers that are not known")]
    Critical,
    #[error("it is signed with a key that the provider does not publish")]
    UnknownKey,
    #[error("it is signed with an RSA key of less than 2,048 bits")]
    ShortKey,
    #[error("its signature is wrong")]
    Signature,
}

/// A text whose signature has not been verified yet: its payload is out of reach.
pub(super) struct UnverifiedJws<'a> {
    algorithm: Algorithm,
    key_id: Option<String>,
    message: &'a [u8],
    payload: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> UnverifiedJws<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, BadJws> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            kid: Option<String>,
            crit: Option<serde::de::IgnoredAny>,
        }

        let (message, signature) = text.rsplit_once('.').ok_or(BadJws::NotSigned)?;
        let (header, payload) = message.split_once('.').ok_or(BadJws::NotSigned)?;
        let header = base64url(header.as_bytes()).ok_or(BadJws::NotSigned)?;
        let header: Header = json::read(&header).map_err(|_| BadJws::NotSigned)?;
        let algorithm = Algorithm::read(&header.alg).ok_or(BadJws::Algorithm)?;
        if header.crit.is_some() {
            return Err(BadJws::Critical);
        }
        let signature = base64url(signature.as_bytes()).ok_or(BadJws::NotSigned)?;
        Ok(Self { algorithm, key_id: header.kid, message: message.as_bytes(), payload: payload.as_bytes(), signature })
    }

    /// Returns the payload, if one of `keys` has signed it.
    pub(super) fn verify(&self, keys: &KeySet) -> Result<SecretBytes, BadJws> {
        let mut result = Err(BadJws::UnknownKey);
        for key in keys.candidates(self.key_id.as_deref(), self.algorithm) {
            if key.has_signed(self.algorithm, self.message, &self.signature) {
                return base64url(self.payload).map(Zeroizing::new).ok_or(BadJws::NotSigned);
            }
            result = match self.key_id {
                _ if key.is_short() => Err(BadJws::ShortKey),
                Some(_) => Err(BadJws::Signature),
                // It may be one that the provider has had for a short time.
                None => Err(BadJws::UnknownKey),
            };
        }
        result
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::LazyLock;

    use openssl::ec::{EcGroup, EcKey};
    use openssl::ecdsa::EcdsaSig;
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::pkey::{PKey, Private};
    use openssl::rsa::{Padding, Rsa};
    use openssl::sha::sha256;
    use openssl::sign::Signer;
    use serde_json::{Value, json};

    use super::super::base64url::to_base64url;
    use super::*;

    /// Keys of a provider.
    pub(in super::super) static RSA: LazyLock<Rsa<Private>> = LazyLock::new(|| Rsa::generate(2048).unwrap());
    pub(in super::super) static OTHER_RSA: LazyLock<Rsa<Private>> = LazyLock::new(|| Rsa::generate(2048).unwrap());
    pub(in super::super) static EC: LazyLock<EcKey<Private>> =
        LazyLock::new(|| EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap());

    pub(in super::super) fn rsa_jwk(key: &Rsa<Private>, id: &str) -> Value {
        let (n, e) = (to_base64url(&key.n().to_vec()), to_base64url(&key.e().to_vec()));
        json!({"kty": "RSA", "use": "sig", "kid": id, "alg": "RS256", "n": *n, "e": *e})
    }

    fn ec_jwk(key: &EcKey<Private>, id: &str) -> Value {
        let (mut x, mut y) = (openssl::bn::BigNum::new().unwrap(), openssl::bn::BigNum::new().unwrap());
        let mut context = openssl::bn::BigNumContext::new().unwrap();
        key.public_key().affine_coordinates(key.group(), &mut x, &mut y, &mut context).unwrap();
        let [x, y] = [x, y].map(|number| to_base64url(&number.to_vec_padded(32).unwrap()));
        json!({"kty": "EC", "use": "sig", "kid": id, "crv": "P-256", "x": *x, "y": *y})
    }

    pub(in super::super) fn key_set(keys: &[Value]) -> KeySet {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    pub(in super::super) fn signed(header: &Value, payload: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let message = format!("{}.{}", *to_base64url(header.to_string().as_bytes()), *to_base64url(payload.as_bytes()));
        let signature = sign(message.as_bytes());
        format!("{message}.{}", *to_base64url(&signature))
    }

    pub(in super::super) fn rs256(key: &Rsa<Private>) -> impl Fn(&[u8]) -> Vec<u8> {
        let key = PKey::from_rsa(key.clone()).unwrap();
        move |message| {
            let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
            signer.sign_oneshot_to_vec(message).unwrap()
        }
    }

    fn ps256(key: &Rsa<Private>) -> impl Fn(&[u8]) -> Vec<u8> {
        let key = PKey::from_rsa(key.clone()).unwrap();
        move |message| {
            let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer.set_rsa_pss_saltlen(openssl::sign::RsaPssSaltlen::DIGEST_LENGTH).unwrap();
            signer.sign_oneshot_to_vec(message).unwrap()
        }
    }

    fn es256(key: &EcKey<Private>) -> impl Fn(&[u8]) -> Vec<u8> {
        let key = key.clone();
        move |message| {
            let signature = EcdsaSig::sign(&sha256(message), &key).unwrap();
            [signature.r().to_vec_padded(32).unwrap(), signature.s().to_vec_padded(32).unwrap()].concat()
        }
    }

    fn payload(text: &str, keys: &KeySet) -> Result<Vec<u8>, BadJws> {
        Ok(UnverifiedJws::read(text)?.verify(keys)?.to_vec())
    }

    #[test]
    fn each_algorithm_is_verified_with_the_key_of_its_id() {
        let mut pss = rsa_jwk(&OTHER_RSA, "pss");
        pss["alg"] = json!("PS256");
        let keys = key_set(&[ec_jwk(&EC, "ec"), pss, rsa_jwk(&RSA, "rsa")]);
        for text in [
            signed(&json!({"alg": "RS256", "kid": "rsa"}), "{}", rs256(&RSA)),
            signed(&json!({"alg": "PS256", "kid": "pss"}), "{}", ps256(&OTHER_RSA)),
            signed(&json!({"alg": "ES256", "kid": "ec"}), "{}", es256(&EC)),
            signed(&json!({"alg": "ES256"}), "{}", es256(&EC)),
        ] {
            assert_eq!(payload(&text, &keys).unwrap(), b"{}");
        }
    }

    #[test]
    fn without_an_id_each_key_that_fits_is_tried() {
        let keys = key_set(&[rsa_jwk(&OTHER_RSA, "old"), rsa_jwk(&RSA, "new")]);
        let text = signed(&json!({"alg": "RS256"}), "{}", rs256(&RSA));
        assert!(payload(&text, &keys).is_ok());
        assert_eq!(payload(&text, &key_set(&[rsa_jwk(&OTHER_RSA, "old")])), Err(BadJws::UnknownKey));
        let mut nameless = rsa_jwk(&RSA, "");
        nameless.as_object_mut().unwrap().remove("kid");
        assert!(
            payload(&signed(&json!({"alg": "RS256", "kid": "x"}), "{}", rs256(&RSA)), &key_set(&[nameless])).is_ok()
        );
    }

    #[test]
    fn other_algorithms_are_refused_whatever_signed() {
        let keys = key_set(&[rsa_jwk(&RSA, "rsa")]);
        let public = RSA.public_key_to_pem().unwrap();
        let hmac = |message: &[u8]| {
            let key = PKey::hmac(&public).unwrap();
            Signer::new(MessageDigest::sha256(), &key).unwrap().sign_oneshot_to_vec(message).unwrap()
        };
        for algorithm in ["none", "None", "HS256", "HS512", "RS384", "rs256", "EdDSA", ""] {
            let text = signed(&json!({"alg": algorithm, "kid": "rsa"}), "{}", hmac);
            assert_eq!(payload(&text, &keys), Err(BadJws::Algorithm), "{algorithm}");
        }
        let unsigned = signed(&json!({"alg": "none"}), "{}", |_| Vec::new());
        assert_eq!(payload(&unsigned, &keys), Err(BadJws::Algorithm));
    }

    #[test]
    fn a_wrong_signature_or_key_is_refused() {
        let keys = key_set(&[rsa_jwk(&RSA, "rsa"), ec_jwk(&EC, "ec")]);
        let header = json!({"alg": "RS256", "kid": "rsa"});
        let good = signed(&header, r#"{"sub":"a"}"#, rs256(&RSA));
        let (message, signature) = good.rsplit_once('.').unwrap();
        let other = signed(&header, r#"{"sub":"b"}"#, rs256(&RSA));
        let moved = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
        for (text, why) in [
            (moved, BadJws::Signature),
            (format!("{message}."), BadJws::Signature),
            (signed(&header, "{}", rs256(&OTHER_RSA)), BadJws::Signature),
            (signed(&header, "{}", ps256(&RSA)), BadJws::Signature),
            (signed(&json!({"alg": "RS256", "kid": "x"}), "{}", rs256(&RSA)), BadJws::UnknownKey),
            (signed(&json!({"alg": "ES256", "kid": "rsa"}), "{}", es256(&EC)), BadJws::UnknownKey),
            // The key says that it is for RS256 alone.
            (signed(&json!({"alg": "PS256", "kid": "rsa"}), "{}", ps256(&RSA)), BadJws::UnknownKey),
            (signed(&json!({"alg": "RS256", "crit": ["b64"], "b64": false}), "{}", rs256(&RSA)), BadJws::Critical),
        ] {
            assert_eq!(payload(&text, &keys), Err(why), "{text}");
        }
    }

    #[test]
    fn a_short_key_signs_nothing_that_counts() {
        let short = Rsa::generate(1024).unwrap();
        let text = signed(&json!({"alg": "RS256", "kid": "s"}), "{}", rs256(&short));
        assert_eq!(payload(&text, &key_set(&[rsa_jwk(&short, "s")])), Err(BadJws::ShortKey));
    }

    #[test]
    fn keys_that_sign_no_tokens_are_left_out() {
        let other = |change: &dyn Fn(&mut Value)| {
            let mut key = rsa_jwk(&RSA, "rsa");
            change(&mut key);
            let text = signed(&json!({"alg": "RS256", "kid": "rsa"}), "{}", rs256(&RSA));
            payload(&text, &key_set(&[key]))
        };
        for change in [
            &(|key: &mut Value| key["use"] = json!("enc")) as &dyn Fn(&mut Value),
            &|key| key["alg"] = json!("RSA-OAEP"),
            &|key| key["kty"] = json!("oct"),
            &|key| key["key_ops"] = json!(["encrypt"]),
            &|key| key["n"] = json!("!"),
            &|key| key["n"] = json!(null),
        ] {
            assert_eq!(other(change), Err(BadJws::UnknownKey));
        }
        // As Keycloak does, and one with a leading zero.
        assert!(other(&|key| key["key_ops"] = json!(["verify"])).is_ok());
        assert!(other(&|key| key["n"] = json!(*to_base64url(&[&[0], &RSA.n().to_vec()[..]].concat()))).is_ok());
    }

    #[test]
    fn the_right_one_of_a_thousand_keys_is_found() {
        let mut keys: Vec<_> = (0..1000).map(|number| rsa_jwk(&OTHER_RSA, &number.to_string())).collect();
        keys.push(rsa_jwk(&RSA, "rsa"));
        let text = signed(&json!({"alg": "RS256", "kid": "rsa"}), "{}", rs256(&RSA));
        assert!(payload(&text, &key_set(&keys)).is_ok());
    }

    #[test]
    fn what_is_no_compact_jws_is_refused() {
        let good = signed(&json!({"alg": "RS256"}), "{}", rs256(&RSA));
        let twice = signed(&Value::Null, "{}", rs256(&RSA));
        let double = format!("{}.e30.AA", *to_base64url(br#"{"alg":"RS256","alg":"RS256"}"#));
        for text in ["", ".", "..", "a.b", "a.b.c.d", &twice, &double, &format!("{good}="), &format!(" {good}")] {
            assert_eq!(payload(text, &key_set(&[rsa_jwk(&RSA, "rsa")])), Err(BadJws::NotSigned), "{text}");
        }
    }

    #[test]
    fn a_key_set_that_cannot_be_read_is_an_error() {
        for text in ["", "<html>", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": [1]}"#, r#"{"keys": [], "keys": []}"#] {
            assert!(KeySet::read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(KeySet::read(br#"{"keys": [{}]}"#).is_ok());
    }
}
