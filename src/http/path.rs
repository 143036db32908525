//! Validation of certificate paths (RFC 5280, 6.1), for the chains that rustls-webpki does not take:
//! with critical policy extensions, with constraints on directory names, or with an issuer's name in
//! another type of string.
//!
//! Written here because the crates that do it bring a revocation and trust store of their own, or
//! verify signatures by other code than TLS does. Strict where RFC 5280 leaves a choice. No policy is
//! asked for, so none is missing, unless an issuer requires one: that is refused.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod names;

use std::cell::Cell;

use der::asn1::{ObjectIdentifier, UintRef};
use der::oid::AssociatedOid;
use der::{AnyRef, Decode, Encode, Reader, SliceReader, Tag};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use x509_cert::Certificate;
use x509_cert::Version;
use x509_cert::ext::pkix::certpolicy::CertificatePolicies;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, InhibitAnyPolicy, KeyUsage, NameConstraints, PolicyConstraints, PolicyMappings,
    SubjectAltName,
};
use x509_cert::name::Name;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const ANY_POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32.0");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// What the TLS library's own verification of RSA takes.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Bounds what a server's chain can cost.
const MAX_CERTIFICATES: usize = 8;
const MAX_SIGNATURES: u32 = 50;

/// Which certificate of a chain is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Server,
    Issuer,
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Server => "it",
            Self::Issuer => "an issuer's certificate",
        })
    }
}

/// Why a chain is refused, after "the certificate is refused: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it is not signed by a trusted issuer")]
    Untrusted,
    #[error("{0} cannot be read")]
    Unreadable(Whose),
    #[error("{0} has the critical extension {1}, which is not supported")]
    CriticalExtension(Whose, ObjectIdentifier),
    #[error("{0} has an RSA key of {1} bits; 2048 to 8192 are supported")]
    KeySize(Whose, usize),
    #[error("{0} is signed with an algorithm that is not supported{1}")]
    Algorithm(Whose, &'static str),
    #[error("{0} has expired")]
    Expired(Whose),
    #[error("{0} is not valid yet")]
    NotValidYet(Whose),
    #[error("an issuer's certificate may not sign certificates")]
    NoCa,
    #[error("more issuers are in its chain than one of them permits")]
    TooLong,
    #[error("{0} is not meant for TLS servers (key usage or extended key usage)")]
    Purpose(Whose),
    #[error("the name constraints of an issuer do not permit its names")]
    Constrained,
    #[error("an issuer requires a certificate policy, which is not supported")]
    PolicyRequired,
}

impl Refusal {
    /// Whether no setting and no other `ca_file` would help.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::CriticalExtension(..) | Self::KeySize(..) | Self::Algorithm(..) | Self::PolicyRequired)
    }
}

type Result<T> = std::result::Result<T, Refusal>;

/// What a path has to lead to, and by which means.
pub(super) struct Trust<'a> {
    pub(super) anchors: &'a [TrustAnchor<'static>],
    pub(super) algorithms: &'a [&'static dyn SignatureVerificationAlgorithm],
    pub(super) now: UnixTime,
}

/// Looks for a valid path from the server's certificate to an anchor. Names of the server itself are
/// not compared.
pub(super) fn validate(server: &[u8], chain: &[CertificateDer<'_>], trust: &Trust<'_>) -> Result<()> {
    let server = Link::read(server, Whose::Server)?;
    let mut unreadable = None;
    let issuers: Vec<_> = chain
        .iter()
        .take(MAX_CERTIFICATES)
        .filter_map(|der| Link::read(der, Whose::Issuer).map_err(|why| unreadable = Some(why)).ok())
        .collect();
    let anchors = trust.anchors.iter().filter_map(Anchor::read).collect();
    let search = Search { trust, issuers, anchors, signatures: Cell::new(MAX_SIGNATURES) };
    search.climb(&mut vec![&server]).map_err(|why| unreadable.filter(|_| why == Refusal::Untrusted).unwrap_or(why))
}

/// The size of a certificate's RSA key, if TLS cannot use it.
pub(super) fn unusable_key(certificate: &[u8]) -> Option<Refusal> {
    let link = Certificate::from_der(certificate).ok()?;
    check_key_size(&link.tbs_certificate.subject_public_key_info, Whose::Server).err()
}

struct Anchor {
    subject: Name,
    key: SubjectPublicKeyInfoOwned,
    constraints: Option<NameConstraints>,
}

impl Anchor {
    /// `None` for one that cannot be read, which then is trusted for nothing.
    fn read(anchor: &TrustAnchor<'_>) -> Option<Self> {
        Some(Self {
            subject: sequence(&anchor.subject)?,
            key: sequence(&anchor.subject_public_key_info)?,
            constraints: match &anchor.name_constraints {
                Some(constraints) => Some(sequence(constraints)?),
                None => None,
            },
        })
    }
}

/// An anchor contains only the contents of its fields.
fn sequence<T: for<'a> Decode<'a>>(content: &[u8]) -> Option<T> {
    T::from_der(&AnyRef::new(Tag::Sequence, content).ok()?.to_der().ok()?).ok()
}

/// A certificate with what its extensions say.
struct Link {
    whose: Whose,
    certificate: Certificate,
    /// What is signed, as it came.
    signed: Vec<u8>,
    basic: Option<BasicConstraints>,
    usage: Option<KeyUsage>,
    purposes: Option<ExtendedKeyUsage>,
    alternatives: Vec<GeneralName>,
    constraints: Option<NameConstraints>,
}

impl Link {
    fn read(der: &[u8], whose: Whose) -> Result<Self> {
        let unreadable = |_: der::Error| Refusal::Unreadable(whose);
        let certificate = Certificate::from_der(der).map_err(unreadable)?;
        let signed = signed_part(der).map_err(unreadable)?.to_vec();
        let tbs = &certificate.tbs_certificate;
        if tbs.version != Version::V3 || tbs.signature != certificate.signature_algorithm {
            return Err(Refusal::Unreadable(whose));
        }
        let extensions = tbs.extensions.clone().unwrap_or_default();
        let mut link = Self {
            whose,
            certificate,
            signed,
            basic: None,
            usage: None,
            purposes: None,
            alternatives: Vec::new(),
            constraints: None,
        };
        for (number, extension) in extensions.iter().enumerate() {
            if extensions[..number].iter().any(|other| other.extn_id == extension.extn_id) {
                return Err(Refusal::Unreadable(whose));
            }
            let value = extension.extn_value.as_bytes();
            match extension.extn_id {
                BasicConstraints::OID => link.basic = Some(Decode::from_der(value).map_err(unreadable)?),
                KeyUsage::OID => link.usage = Some(Decode::from_der(value).map_err(unreadable)?),
                ExtendedKeyUsage::OID => link.purposes = Some(Decode::from_der(value).map_err(unreadable)?),
                SubjectAltName::OID => link.alternatives = SubjectAltName::from_der(value).map_err(unreadable)?.0,
                NameConstraints::OID => link.constraints = Some(Decode::from_der(value).map_err(unreadable)?),
                CertificatePolicies::OID => drop(CertificatePolicies::from_der(value).map_err(unreadable)?),
                InhibitAnyPolicy::OID => drop(InhibitAnyPolicy::from_der(value).map_err(unreadable)?),
                PolicyMappings::OID => {
                    let mappings = PolicyMappings::from_der(value).map_err(unreadable)?;
                    let is_any = |oid| oid == ANY_POLICY;
                    if mappings
                        .0
                        .iter()
                        .any(|one| is_any(one.issuer_domain_policy) || is_any(one.subject_domain_policy))
                    {
                        return Err(Refusal::Unreadable(whose));
                    }
                }
                PolicyConstraints::OID => {
                    let constraints = PolicyConstraints::from_der(value).map_err(unreadable)?;
                    if constraints.require_explicit_policy.is_some() {
                        return Err(Refusal::PolicyRequired);
                    }
                }
                other if extension.critical => return Err(Refusal::CriticalExtension(whose, other)),
                _ => {}
            }
        }
        Ok(link)
    }

    fn key(&self) -> &SubjectPublicKeyInfoOwned {
        &self.certificate.tbs_certificate.subject_public_key_info
    }

    fn check_validity(&self, now: UnixTime) -> Result<()> {
        let validity = &self.certificate.tbs_certificate.validity;
        let now = std::time::Duration::from_secs(now.as_secs());
        if now < validity.not_before.to_unix_duration() {
            return Err(Refusal::NotValidYet(self.whose));
        }
        if now > validity.not_after.to_unix_duration() {
            return Err(Refusal::Expired(self.whose));
        }
        Ok(())
    }

    /// An issuer with that many others between it and the server.
    fn check_issuer(&self, below: usize) -> Result<()> {
        let basic = self.basic.as_ref().filter(|basic| basic.ca).ok_or(Refusal::NoCa)?;
        if basic.path_len_constraint.is_some_and(|limit| below > usize::from(limit)) {
            return Err(Refusal::TooLong);
        }
        if self.usage.is_some_and(|usage| !usage.key_cert_sign()) || self.certificate.tbs_certificate.subject.is_empty()
        {
            return Err(Refusal::NoCa);
        }
        Ok(())
    }

    fn check_purpose(&self) -> Result<()> {
        let for_servers = self.purposes.as_ref().is_none_or(|purposes| purposes.0.contains(&SERVER_AUTH));
        // A server signs its handshake.
        let signs = self.whose == Whose::Issuer || self.usage.is_none_or(|usage| usage.digital_signature());
        if for_servers && signs { Ok(()) } else { Err(Refusal::Purpose(self.whose)) }
    }
}

struct Search<'a> {
    trust: &'a Trust<'a>,
    issuers: Vec<Link>,
    anchors: Vec<Anchor>,
    signatures: Cell<u32>,
}

impl Search<'_> {
    /// Goes on from the last certificate of `path`, which begins with the server's.
    fn climb<'l>(&'l self, path: &mut Vec<&'l Link>) -> Result<()> {
        let Some(&last) = path.last() else { return Err(Refusal::Untrusted) };
        let issuer_name = &last.certificate.tbs_certificate.issuer;
        let mut refusal = Refusal::Untrusted;
        let mut note = |why| {
            if refusal == Refusal::Untrusted {
                refusal = why;
            }
        };
        for anchor in self.anchors.iter().filter(|anchor| names::equal(&anchor.subject, issuer_name)) {
            match self.check_signature(last, &anchor.key).and_then(|()| self.check_path(path, anchor)) {
                Ok(()) => return Ok(()),
                Err(why) => note(why),
            }
        }
        for issuer in &self.issuers {
            let subject = &issuer.certificate.tbs_certificate.subject;
            if path.iter().any(|used| std::ptr::eq(*used, issuer)) || !names::equal(subject, issuer_name) {
                continue;
            }
            let result = self.check_signature(last, issuer.key()).and_then(|()| {
                path.push(issuer);
                let result = self.climb(path);
                path.pop();
                result
            });
            match result {
                Ok(()) => return Ok(()),
                Err(why) => note(why),
            }
        }
        Err(refusal)
    }

    fn check_path(&self, path: &[&Link], anchor: &Anchor) -> Result<()> {
        for (number, link) in path.iter().enumerate() {
            link.check_validity(self.trust.now)?;
            link.check_purpose()?;
            if let Some(below) = number.checked_sub(1) {
                link.check_issuer(below)?;
            }
            let above = path[number + 1..].iter().map(|issuer| &issuer.constraints);
            let tbs = &link.certificate.tbs_certificate;
            if !above.chain([&anchor.constraints]).flatten().all(|one| names::permitted(one, tbs, &link.alternatives)) {
                return Err(Refusal::Constrained);
            }
        }
        Ok(())
    }

    fn check_signature(&self, link: &Link, key: &SubjectPublicKeyInfoOwned) -> Result<()> {
        let Some(left) = self.signatures.get().checked_sub(1) else { return Err(Refusal::Untrusted) };
        self.signatures.set(left);
        check_key_size(key, Whose::Issuer)?;
        let unreadable = Refusal::Unreadable(link.whose);
        let signature_id = content(&link.certificate.signature_algorithm).ok_or(unreadable.clone())?;
        let key_id = content(&key.algorithm).ok_or(unreadable.clone())?;
        let bits = key.subject_public_key.as_bytes().ok_or(unreadable.clone())?;
        let signature = link.certificate.signature.as_bytes().ok_or(unreadable)?;
        let mut fitting = self
            .trust
            .algorithms
            .iter()
            .filter(|one| *one.signature_alg_id() == *signature_id && *one.public_key_alg_id() == *key_id)
            .peekable();
        if fitting.peek().is_none() {
            return Err(Refusal::Algorithm(link.whose, shown(link.certificate.signature_algorithm.oid)));
        }
        if fitting.any(|one| one.verify_signature(bits, &link.signed, signature).is_ok()) {
            return Ok(());
        }
        Err(Refusal::Untrusted)
    }
}

fn check_key_size(key: &SubjectPublicKeyInfoOwned, whose: Whose) -> Result<()> {
    if key.algorithm.oid != RSA {
        return Ok(());
    }
    let bits = modulus_bits(key.subject_public_key.raw_bytes()).map_err(|_| Refusal::Unreadable(whose))?;
    if RSA_BITS.contains(&bits) { Ok(()) } else { Err(Refusal::KeySize(whose, bits)) }
}

fn modulus_bits(key: &[u8]) -> der::Result<usize> {
    let mut content = SliceReader::new(AnyRef::from_der(key)?.value())?;
    let modulus = UintRef::decode(&mut content)?;
    let leading = modulus.as_bytes().first().map_or(0, |first| first.leading_zeros() as usize);
    Ok(8 * modulus.as_bytes().len() - leading)
}

/// The signed part of a certificate, byte for byte.
fn signed_part(der: &[u8]) -> der::Result<&[u8]> {
    SliceReader::new(AnyRef::from_der(der)?.value())?.tlv_bytes()
}

/// A sequence without its tag and length, as the TLS library compares algorithms.
fn content(value: &impl Encode) -> Option<Vec<u8>> {
    Some(AnyRef::from_der(&value.to_der().ok()?).ok()?.value().to_vec())
}

/// The old algorithms that may still be met.
fn shown(oid: ObjectIdentifier) -> &'static str {
    match oid.to_string().as_str() {
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => " (SHA-1)",
        "1.2.840.113549.1.1.4" => " (MD5)",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
