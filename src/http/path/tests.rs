//! Chains that are valid or not, and what OpenSSL says of them.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::stack::Stack;
use openssl::x509::extension::BasicConstraints as OpensslBasicConstraints;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509Builder, X509NameBuilder, X509PurposeId, X509StoreContext};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::RootCertStore;

use super::*;

static KEYS: LazyLock<[KeyPair; 5]> = LazyLock::new(|| std::array::from_fn(|_| KeyPair::generate().unwrap()));

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Trust");
    name.push(DnType::CommonName, common);
    name
}

fn ca(common: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name = name(common);
    params
}

/// A root, two issuers below it and the server, each to be changed.
struct Chain {
    upper: CertificateParams,
    lower: CertificateParams,
    server: CertificateParams,
    /// Which key signs the server's certificate; its issuer's is number 2.
    signer: usize,
    /// Whether the server sends its issuers, and in which order.
    sent: [usize; 2],
}

impl Chain {
    fn good() -> Self {
        let mut server = CertificateParams::new(vec!["gas.example".to_owned()]).unwrap();
        server.distinguished_name = name("gas.example");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Self { upper: ca("Upper"), lower: ca("Lower"), server, signer: 2, sent: [0, 1] }
    }

    fn after(changes: &[&Change]) -> Self {
        let mut chain = Self::good();
        changes.iter().for_each(|change| (change.1)(&mut chain));
        chain
    }

    /// The root, the issuers and the server's certificate, as DER.
    fn issue(&self) -> (Vec<u8>, Vec<CertificateDer<'static>>, Vec<u8>) {
        let [root, upper, lower, server, _] = &*KEYS;
        // Issuers sign by the names that they have before a change, whatever they are allowed to.
        let [root_name, upper_name, lower_name] = [ca("Root"), ca("Upper"), ca("Lower")];
        let root_certificate = root_name.self_signed(root).unwrap();
        let issuers = [
            self.upper.signed_by(upper, &Issuer::from_params(&root_name, root)).unwrap(),
            self.lower.signed_by(lower, &Issuer::from_params(&upper_name, upper)).unwrap(),
        ];
        let signer = Issuer::from_params(&lower_name, &KEYS[self.signer]);
        let server = self.server.signed_by(server, &signer).unwrap();
        let sent = self.sent.map(|number| issuers[number].der().clone()).to_vec();
        (root_certificate.der().to_vec(), sent, server.der().to_vec())
    }
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap())
}

fn ours(root: &[u8], sent: &[CertificateDer<'_>], server: &[u8]) -> Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(root.to_vec().into()).unwrap();
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    validate(server, sent, &Trust { anchors: &roots.roots, algorithms, now: now() })
}

fn openssl(root: &[u8], sent: &[CertificateDer<'_>], server: &[u8]) -> bool {
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(X509::from_der(root).unwrap()).unwrap();
    store.set_purpose(X509PurposeId::SSL_SERVER).unwrap();
    store.set_flags(X509VerifyFlags::POLICY_CHECK).unwrap();
    let mut chain = Stack::new().unwrap();
    sent.iter().for_each(|der| chain.push(X509::from_der(der).unwrap()).unwrap());
    let Ok(server) = X509::from_der(server) else { return false };
    let mut context = X509StoreContext::new().unwrap();
    context.init(&store.build(), &server, &chain, |context| context.verify_cert()).unwrap()
}

fn extension(last: u64, critical: bool, content: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, last], content.to_vec());
    extension.set_criticality(critical);
    extension
}

fn permitted(subtree: GeneralSubtree) -> Option<NameConstraints> {
    Some(NameConstraints { permitted_subtrees: vec![subtree], excluded_subtrees: Vec::new() })
}

fn excluded(subtree: GeneralSubtree) -> Option<NameConstraints> {
    Some(NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees: vec![subtree] })
}

fn directory(organisation: &str) -> GeneralSubtree {
    let mut base = DistinguishedName::new();
    base.push(DnType::OrganizationName, DnValue::PrintableString(organisation.try_into().unwrap()));
    GeneralSubtree::DirectoryName(base)
}

fn dns(base: &str) -> GeneralSubtree {
    GeneralSubtree::DnsName(base.to_owned())
}

/// certificatePolicies with anyPolicy, and others as RFC 5280 encodes them.
const ANY: &[u8] = b"\x30\x08\x30\x06\x06\x04\x55\x1d\x20\x00";
const SKIP_0: &[u8] = b"\x02\x01\x00";
const REQUIRE_0: &[u8] = b"\x30\x03\x80\x01\x00";
const INHIBIT_MAPPING_0: &[u8] = b"\x30\x03\x81\x01\x00";
const MAPPING: &[u8] = b"\x30\x0c\x30\x0a\x06\x03\x2a\x03\x04\x06\x03\x2a\x03\x05";
const MAPPING_OF_ANY: &[u8] = b"\x30\x0d\x30\x0b\x06\x04\x55\x1d\x20\x00\x06\x03\x2a\x03\x05";

/// A change of a good chain, and whether it stays valid.
type Change = (&'static str, fn(&mut Chain), std::result::Result<(), Refusal>);

fn changes() -> Vec<Change> {
    use Refusal::*;
    use Whose::*;
    vec![
        ("none", |_| {}, Ok(())),
        ("other order", |c| c.sent = [1, 0], Ok(())),
        ("critical policies of issuers", |c| c.lower.custom_extensions.push(extension(32, true, ANY)), Ok(())),
        ("critical policies of the server", |c| c.server.custom_extensions.push(extension(32, true, ANY)), Ok(())),
        ("critical inhibitAnyPolicy", |c| c.upper.custom_extensions.push(extension(54, true, SKIP_0)), Ok(())),
        ("no mapping", |c| c.upper.custom_extensions.push(extension(36, true, INHIBIT_MAPPING_0)), Ok(())),
        ("a mapping", |c| c.lower.custom_extensions.push(extension(33, true, MAPPING)), Ok(())),
        (
            "a mapping of any policy",
            |c| c.lower.custom_extensions.push(extension(33, true, MAPPING_OF_ANY)),
            Err(Unreadable(Issuer)),
        ),
        ("a required policy", |c| c.upper.custom_extensions.push(extension(36, true, REQUIRE_0)), Err(PolicyRequired)),
        (
            "malformed policies",
            |c| c.lower.custom_extensions.push(extension(32, true, b"\x05\0")),
            Err(Unreadable(Issuer)),
        ),
        ("within a directory", |c| c.upper.name_constraints = permitted(directory("TRUST ")), Ok(())),
        ("not within a directory", |c| c.upper.name_constraints = permitted(directory("Other")), Err(Constrained)),
        ("outside a directory", |c| c.upper.name_constraints = excluded(directory("Other")), Ok(())),
        ("within an excluded directory", |c| c.lower.name_constraints = excluded(directory("trust")), Err(Constrained)),
        ("within a domain", |c| c.lower.name_constraints = permitted(dns("example")), Ok(())),
        ("not within a domain", |c| c.upper.name_constraints = permitted(dns("other")), Err(Constrained)),
        ("within an excluded domain", |c| c.upper.name_constraints = excluded(dns("gas.example")), Err(Constrained)),
        (
            "an address is not in the name",
            |c| {
                c.upper.name_constraints =
                    permitted(GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 0, 0, 0], 8)))
            },
            Ok(()),
        ),
        (
            "not within a network",
            |c| {
                c.server.subject_alt_names.push(rcgen::SanType::IpAddress([192, 0, 2, 1].into()));
                c.upper.name_constraints =
                    excluded(GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([192, 0, 2, 0], 24)));
            },
            Err(Constrained),
        ),
        (
            "an address that is constrained",
            |c| {
                c.server.subject_alt_names.push(rcgen::SanType::Rfc822Name("a@example".try_into().unwrap()));
                c.upper.name_constraints = permitted(GeneralSubtree::Rfc822Name("example".to_owned()));
            },
            Err(Constrained),
        ),
        (
            "an issuer's name in another type of string",
            |c| {
                c.lower.distinguished_name = DistinguishedName::new();
                let [organisation, common] =
                    ["Trust", "lower "].map(|text| DnValue::PrintableString(text.try_into().unwrap()));
                c.lower.distinguished_name.push(DnType::OrganizationName, organisation);
                c.lower.distinguished_name.push(DnType::CommonName, common);
            },
            Ok(()),
        ),
        ("an issuer of another name", |c| c.lower.distinguished_name = name("Another"), Err(Untrusted)),
        ("another key", |c| c.signer = 4, Err(Untrusted)),
        ("an issuer is missing", |c| c.sent = [1, 1], Err(Untrusted)),
        ("no CA", |c| c.lower.is_ca = IsCa::ExplicitNoCa, Err(NoCa)),
        ("no basic constraints", |c| c.lower.is_ca = IsCa::NoCa, Err(NoCa)),
        ("a CA that may not sign", |c| c.lower.key_usages = vec![KeyUsagePurpose::CrlSign], Err(NoCa)),
        ("long enough", |c| c.upper.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)), Ok(())),
        ("too long", |c| c.upper.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)), Err(TooLong)),
        ("an issuer expired", |c| c.upper.not_after = date_time_ymd(2020, 1, 1), Err(Expired(Issuer))),
        ("an issuer not valid yet", |c| c.lower.not_before = date_time_ymd(3000, 1, 1), Err(NotValidYet(Issuer))),
        ("expired", |c| c.server.not_after = date_time_ymd(2020, 1, 1), Err(Expired(Server))),
        ("not valid yet", |c| c.server.not_before = date_time_ymd(3000, 1, 1), Err(NotValidYet(Server))),
        (
            "an issuer of clients",
            |c| c.lower.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Err(Purpose(Issuer)),
        ),
        ("an issuer of servers", |c| c.lower.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth], Ok(())),
        (
            "a client",
            |c| c.server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Err(Purpose(Server)),
        ),
        ("no purpose", |c| c.server.extended_key_usages = Vec::new(), Ok(())),
        ("no signatures", |c| c.server.key_usages = vec![KeyUsagePurpose::CrlSign], Err(Purpose(Server))),
        ("no usage", |c| c.server.key_usages = Vec::new(), Ok(())),
        (
            "an unknown critical extension",
            |c| c.server.custom_extensions.push(extension(99, true, b"\x05\0")),
            Err(CriticalExtension(Server, ObjectIdentifier::new_unwrap("2.5.29.99"))),
        ),
        (
            "an issuer's unknown critical extension",
            |c| c.upper.custom_extensions.push(extension(99, true, b"\x05\0")),
            Err(CriticalExtension(Issuer, ObjectIdentifier::new_unwrap("2.5.29.99"))),
        ),
        ("an unknown extension", |c| c.server.custom_extensions.push(extension(99, false, b"\x05\0")), Ok(())),
        (
            "an extension twice",
            |c| c.server.custom_extensions.extend([extension(99, false, b"\x05\0"), extension(99, false, b"\x05\0")]),
            Err(Unreadable(Server)),
        ),
    ]
}

#[test]
fn each_change_of_a_chain_is_accepted_or_refused_for_its_own_reason() {
    for change in &changes() {
        let (root, sent, server) = Chain::after(&[change]).issue();
        assert_eq!(ours(&root, &sent, &server), change.2, "{}", change.0);
        if change.2.is_ok() {
            assert!(openssl(&root, &sent, &server), "{}", change.0);
        }
    }
}

#[test]
fn no_chain_is_accepted_that_openssl_refuses() {
    let changes = changes();
    let mut accepted = 0;
    for (number, one) in changes.iter().enumerate() {
        for other in &changes[number + 1..] {
            let (root, sent, server) = Chain::after(&[one, other]).issue();
            if ours(&root, &sent, &server).is_ok() {
                accepted += 1;
                assert!(openssl(&root, &sent, &server), "{}, {}", one.0, other.0);
            }
        }
    }
    assert!(accepted > 50, "{accepted}");
}

#[test]
fn a_root_below_a_constrained_anchor_is_constrained() {
    let chain = Chain::good();
    let (_, sent, server) = chain.issue();
    let mut root = ca("Root");
    root.name_constraints = permitted(directory("Other"));
    let root = root.self_signed(&KEYS[0]).unwrap();
    assert_eq!(ours(root.der(), &sent, &server), Err(Refusal::Constrained));
    root_of_its_own(&server);
}

/// A server whose own certificate is trusted, as `openssl req -x509` makes one.
fn root_of_its_own(other: &[u8]) {
    let mut params = Chain::good().server;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&KEYS[3]).unwrap();
    assert_eq!(ours(certificate.der(), &[], certificate.der()), Ok(()));
    assert!(openssl(certificate.der(), &[], certificate.der()));
    assert_eq!(ours(certificate.der(), &[], other), Err(Refusal::Untrusted));
}

#[test]
fn a_chain_without_end_is_not_followed_without_end() {
    // Issuers of one name and key, each of which could have signed each other.
    let lower = ca("Lower");
    let issuers: Vec<_> = (0..30)
        .map(|_| lower.signed_by(&KEYS[2], &Issuer::from_params(&lower, &KEYS[2])).unwrap().der().clone())
        .collect();
    let (root, _, server) = Chain::good().issue();
    let began = std::time::Instant::now();
    assert_eq!(ours(&root, &issuers, &server), Err(Refusal::Untrusted));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn bytes_that_are_changed_make_a_chain_invalid() {
    let (root, sent, server) = Chain::good().issue();
    for at in (0..server.len()).step_by(3) {
        let mut changed = server.clone();
        changed[at] ^= 1;
        assert!(ours(&root, &sent, &changed).is_err(), "byte {at}");
        assert!(ours(&root, &sent, &server[..at]).is_err(), "cut at {at}");
    }
}

/// A certificate by OpenSSL, with keys and algorithms that rcgen does not make.
fn by_openssl(key: &PKey<Private>, issuer: &PKey<Private>, names: [&str; 2], digest: MessageDigest) -> Vec<u8> {
    let [subject, by] = names.map(|common| {
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", common).unwrap();
        name.build()
    });
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&by).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(9).unwrap()).unwrap();
    if subject.try_cmp(&by).unwrap().is_eq() {
        builder.append_extension(OpensslBasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    }
    builder.sign(issuer, digest).unwrap();
    builder.build().to_der().unwrap()
}

#[test]
fn keys_and_algorithms_that_are_too_old_are_named() {
    let rsa = |bits| PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
    let (small, large) = (rsa(1024), rsa(2048));
    let sha256 = MessageDigest::sha256;
    for (root_key, digest, refusal) in [
        (&small, sha256(), Refusal::KeySize(Whose::Issuer, 1024)),
        (&large, MessageDigest::sha1(), Refusal::Algorithm(Whose::Server, " (SHA-1)")),
    ] {
        let root = by_openssl(root_key, root_key, ["Root", "Root"], sha256());
        let server = by_openssl(&large, root_key, ["gas.example", "Root"], digest);
        assert_eq!(ours(&root, &[], &server), Err(refusal.clone()));
        assert!(refusal.is_final());
    }
    let root = by_openssl(&large, &large, ["Root", "Root"], sha256());
    let server = by_openssl(&small, &large, ["gas.example", "Root"], sha256());
    assert_eq!(ours(&root, &[], &server), Ok(()));
    assert_eq!(unusable_key(&server), Some(Refusal::KeySize(Whose::Server, 1024)));
    assert_eq!(unusable_key(&root), None);
}
