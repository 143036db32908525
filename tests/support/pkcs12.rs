//! Writes PKCS#12 files in forms that OpenSSL 3.0 can read but not write, or does not know.

use der::asn1::{Any, OctetString};
use der::oid::ObjectIdentifier;
use der::oid::db::{rfc5911, rfc5912, rfc6268};
use der::{Decode, Encode, Sequence};
use hmac::{Hmac, Mac as _};
use pkcs12::kdf::{Pkcs12KeyType, derive_key};
use sha2::Sha256;
use x509_cert::spki::AlgorithmIdentifierOwned;

const SALT: [u8; 8] = *b"saltsalt";
const ROUNDS: u32 = 1000;

/// The MAC that protects a file against changes.
pub enum Mac<'a> {
    /// The MAC of PKCS#12 with SHA-256, without a password.
    OfNoPassword,
    /// The MAC of RFC 9879, with HMAC-SHA-256 in both of its steps.
    Pbmac1(&'a str),
}

#[derive(Sequence)]
struct Pfx {
    version: u8,
    auth_safe: ContentInfo,
    mac: Option<MacData>,
}

#[derive(Sequence)]
struct ContentInfo {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: OctetString,
}

#[derive(Sequence)]
struct MacData {
    mac: DigestInfo,
    salt: OctetString,
    rounds: u32,
}

#[derive(Sequence)]
struct DigestInfo {
    algorithm: AlgorithmIdentifierOwned,
    digest: OctetString,
}

#[derive(Sequence)]
struct Pbmac1 {
    kdf: AlgorithmIdentifierOwned,
    hmac: AlgorithmIdentifierOwned,
}

#[derive(Sequence)]
struct Pbkdf2 {
    salt: OctetString,
    rounds: u32,
    key_length: u16,
    prf: AlgorithmIdentifierOwned,
}

fn algorithm(oid: ObjectIdentifier, parameters: &impl Encode) -> AlgorithmIdentifierOwned {
    let parameters = Any::from_der(&parameters.to_der().unwrap()).unwrap();
    AlgorithmIdentifierOwned { oid, parameters: Some(parameters) }
}

/// Adds a MAC to `file`, which has none.
pub fn with_mac(file: &[u8], mac: &Mac<'_>) -> Vec<u8> {
    let mut pfx = Pfx::from_der(file).unwrap();
    assert!(pfx.mac.is_none());
    let salt = OctetString::new(SALT).unwrap();
    let null = der::asn1::Null;
    let (key, algorithm) = match mac {
        Mac::OfNoPassword => {
            let key = derive_key::<Sha256>(&[], &SALT, Pkcs12KeyType::Mac, ROUNDS.try_into().unwrap(), 32);
            (key, algorithm(rfc5912::ID_SHA_256, &null))
        }
        Mac::Pbmac1(password) => {
            let hmac = algorithm(rfc6268::ID_HMAC_WITH_SHA_256, &null);
            let kdf = Pbkdf2 { salt: salt.clone(), rounds: ROUNDS, key_length: 32, prf: hmac.clone() };
            let mut key = vec![0; 32];
            pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &SALT, ROUNDS, &mut key);
            let pbmac1 = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.14");
            (key, algorithm(pbmac1, &Pbmac1 { kdf: algorithm(rfc5911::ID_PBKDF_2, &kdf), hmac }))
        }
    };
    let mut hmac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    hmac.update(pfx.auth_safe.content.as_bytes());
    let digest = OctetString::new(hmac.finalize().into_bytes().to_vec()).unwrap();
    pfx.mac = Some(MacData { mac: DigestInfo { algorithm, digest }, salt, rounds: ROUNDS });
    pfx.to_der().unwrap()
}

/// Encodes `der` with indefinite lengths and with octet strings in pieces, except for the parts that encryption
/// and MAC cover.
pub fn in_ber(mut der: &[u8]) -> Vec<u8> {
    let mut ber = Vec::new();
    while let [tag, length, rest @ ..] = der {
        let (length, rest) = match usize::from(*length) {
            short @ 0..0x80 => (short, rest),
            long => {
                let (length, rest) = rest.split_at(long & 0x7f);
                (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
        };
        let (contents, after) = rest.split_at(length);
        match tag {
            // An OCTET STRING, or one with an implicit tag.
            0x04 | 0x80 => {
                ber.extend([tag | 0x20, 0x80]);
                for piece in contents.chunks(100) {
                    ber.extend([&[0x04, piece.len() as u8], piece].concat());
                }
                ber.extend([0, 0]);
            }
            tag if tag & 0x20 != 0 => ber.extend([&[*tag, 0x80], &in_ber(contents)[..], &[0, 0]].concat()),
            _ => ber.extend_from_slice(&der[..der.len() - after.len()]),
        }
        der = after;
    }
    ber
}
