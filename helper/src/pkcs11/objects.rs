//! Certificates and keys on a token, and which of them belong together.

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use ticketapi::card::Certificate;
use ticketapi::card::certificate::{Candidate, PrivateKey, Signer};

use super::error::{CallResult, is_lost};

/// A certificate object.
pub struct CertificateObject {
    /// `CKA_ID`.
    pub id: Vec<u8>,
    pub der: Vec<u8>,
}

/// A private or public key.
pub struct Key {
    pub handle: ObjectHandle,
    id: Vec<u8>,
    /// `CKA_MODULUS`, if the module shows it.
    pub modulus: Option<Vec<u8>>,
    can_decrypt: bool,
    /// `CKA_ALWAYS_AUTHENTICATE`: each use needs the PIN.
    pub always_authenticate: bool,
}

/// Reads the certificates. Skips those that cannot be read, unless none can.
pub fn certificates(session: &Session) -> CallResult<Vec<CertificateObject>> {
    each(session, ObjectClass::CERTIFICATE, |object| {
        let mut certificate = CertificateObject { id: Vec::new(), der: Vec::new() };
        for attribute in session.get_attributes(object, &[AttributeType::Id, AttributeType::Value])? {
            match attribute {
                Attribute::Id(value) => certificate.id = value,
                Attribute::Value(value) => certificate.der = value,
                _ => {}
            }
        }
        Ok(certificate)
    })
}

/// Reads the visible private keys. On most cards there are none before the login.
pub fn private_keys(session: &Session) -> CallResult<Vec<Key>> {
    keys(session, ObjectClass::PRIVATE_KEY, &[AttributeType::Decrypt, AttributeType::AlwaysAuthenticate])
}

/// Reads the public keys, which show that private keys exist before these are visible.
pub fn public_keys(session: &Session) -> CallResult<Vec<Key>> {
    keys(session, ObjectClass::PUBLIC_KEY, &[AttributeType::Encrypt])
}

fn keys(session: &Session, class: ObjectClass, more: &[AttributeType]) -> CallResult<Vec<Key>> {
    each(session, class, |handle| {
        let mut key = Key { handle, id: Vec::new(), modulus: None, can_decrypt: false, always_authenticate: false };
        let mut attributes = session.get_attributes(handle, &[AttributeType::Id, AttributeType::Modulus])?;
        // Not every module knows these attributes, and a login can do without them.
        attributes.extend(session.get_attributes(handle, more).unwrap_or_default());
        for attribute in attributes {
            match attribute {
                Attribute::Id(id) => key.id = id,
                Attribute::Modulus(modulus) => key.modulus = Some(modulus).filter(|modulus| !modulus.is_empty()),
                Attribute::Decrypt(can) | Attribute::Encrypt(can) => key.can_decrypt = can,
                Attribute::AlwaysAuthenticate(always) => key.always_authenticate = always,
                _ => {}
            }
        }
        Ok(key)
    })
}

/// Reads every object of a class. Skips those that cannot be read, unless none can or the card is lost.
fn each<T>(session: &Session, class: ObjectClass, read: impl Fn(ObjectHandle) -> CallResult<T>) -> CallResult<Vec<T>> {
    let (mut objects, mut problem) = (Vec::new(), None);
    for handle in session.find_objects(&[Attribute::Class(class)])? {
        match read(handle) {
            Ok(object) => objects.push(object),
            Err(error) if is_lost(&error) => return Err(error),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    match problem {
        Some(error) if objects.is_empty() => Err(error),
        _ => Ok(objects),
    }
}

impl CertificateObject {
    /// Returns the certificate as a candidate to log in with. A key that is missing from `keys` may be `hidden`.
    pub fn candidate(&self, keys: &[Key], hidden: bool) -> Candidate {
        let parsed = Certificate::from_der(&self.der).ok();
        let key = parsed.and_then(|certificate| keys.iter().find(|key| key.belongs_to(&certificate, &self.id)));
        let private_key = match key {
            Some(_) => PrivateKey::There,
            None if hidden => PrivateKey::Hidden,
            None => PrivateKey::Absent,
        };
        Candidate { der: self.der.clone(), private_key, key_can_decrypt: key.is_some_and(|key| key.can_decrypt) }
    }
}

impl Key {
    /// Returns `true` if this is the key of a certificate with this `CKA_ID`. Compares the modulus, or else the
    /// id.
    pub fn belongs_to(&self, certificate: &Certificate, id: &[u8]) -> bool {
        self.is_of(|modulus| certificate.has_modulus(modulus), id)
    }

    /// Does the same as [`Key::belongs_to`] for a certificate to sign documents with.
    pub fn signs_for(&self, certificate: &Signer, id: &[u8]) -> bool {
        self.is_of(|modulus| certificate.has_modulus(modulus), id)
    }

    fn is_of(&self, has_modulus: impl Fn(&[u8]) -> bool, id: &[u8]) -> bool {
        match &self.modulus {
            Some(modulus) => has_modulus(modulus),
            None => !id.is_empty() && self.id == id,
        }
    }
}
