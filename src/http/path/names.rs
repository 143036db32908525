//! Names in certificates: when two are the same (RFC 5280, 7.1), and name constraints (4.2.1.10).

use std::borrow::Cow;
use std::net::IpAddr;

use der::asn1::ObjectIdentifier;
use der::{Any, Tag, Tagged};
use x509_cert::TbsCertificate;
use x509_cert::ext::pkix::NameConstraints;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::{Name, RelativeDistinguishedName};

/// `emailAddress`, which an rfc822Name constraint is for as well.
const EMAIL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");

/// Whether two names are the same, whatever type their strings have.
pub(super) fn equal(one: &Name, other: &Name) -> bool {
    one.0.len() == other.0.len() && is_within(one, other)
}

/// Whether `name` begins with all of `base`.
fn is_within(name: &Name, base: &Name) -> bool {
    name.0.len() >= base.0.len() && name.0.iter().zip(&base.0).all(|(one, other)| rdn_equal(one, other))
}

fn rdn_equal(one: &RelativeDistinguishedName, other: &RelativeDistinguishedName) -> bool {
    one.0.len() == other.0.len() && comparable(one) == comparable(other)
}

/// The attributes as they are compared, sorted: a name can have thousands, so that each is not compared with each.
fn comparable(rdn: &RelativeDistinguishedName) -> Vec<(ObjectIdentifier, Value<'_>)> {
    let mut attributes: Vec<_> = rdn.0.iter().map(|attribute| (attribute.oid, Value::of(&attribute.value))).collect();
    attributes.sort();
    attributes
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Value<'a> {
    Text(String),
    Other(Tag, &'a [u8]),
}

impl<'a> Value<'a> {
    fn of(value: &'a Any) -> Self {
        text(value).map_or_else(|| Self::Other(value.tag(), value.value()), |text| Self::Text(folded(&text)))
    }
}

/// The characters of the kinds of string that names are made of.
fn text(value: &Any) -> Option<Cow<'_, str>> {
    let bytes = value.value();
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::VisibleString => {
            str::from_utf8(bytes).ok().map(Cow::Borrowed)
        }
        Tag::BmpString if bytes.len().is_multiple_of(2) => {
            let units: Vec<_> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).ok().map(Cow::Owned)
        }
        _ => None,
    }
}

/// Spaces and the case of ASCII letters make no difference. Other letters do: RFC 5280 wants more,
/// OpenSSL stops here.
fn folded(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase()
}

/// Whether the names of a certificate are all within what one of its issuers may vouch for.
///
/// A constraint of a kind that is not known here refuses every certificate with a name of that kind.
pub(super) fn permitted(constraints: &NameConstraints, tbs: &TbsCertificate, alternatives: &[GeneralName]) -> bool {
    let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
    // Constraints on e-mail addresses apply to those in the subject as well.
    let has_email = tbs.subject.0.iter().flat_map(|rdn| rdn.0.iter()).any(|attribute| attribute.oid == EMAIL);
    let is_unknown = |subtree: &GeneralSubtree| {
        // RFC 5280 knows no other bounds.
        let has_bounds = subtree.minimum != 0 || subtree.maximum.is_some();
        has_bounds || has_email && matches!(subtree.base, GeneralName::Rfc822Name(_))
    };
    if permitted.iter().chain(excluded).any(is_unknown) {
        return false;
    }
    let subject = (!tbs.subject.is_empty()).then(|| GeneralName::DirectoryName(tbs.subject.clone()));
    alternatives.iter().chain(&subject).all(|name| {
        let same_kind = |subtree: &&GeneralSubtree| kind(&subtree.base) == kind(name);
        let mut of_kind = permitted.iter().filter(same_kind).peekable();
        (of_kind.peek().is_none() || of_kind.any(|subtree| permits(&subtree.base, name)))
            && !excluded.iter().filter(same_kind).any(|subtree| excludes(&subtree.base, name))
    })
}

fn kind(name: &GeneralName) -> std::mem::Discriminant<GeneralName> {
    std::mem::discriminant(name)
}

fn permits(base: &GeneralName, name: &GeneralName) -> bool {
    match (base, name) {
        (GeneralName::DnsName(base), GeneralName::DnsName(name)) => is_below(name.as_str(), base.as_str()),
        (GeneralName::IpAddress(base), GeneralName::IpAddress(name)) => {
            in_network(name.as_bytes(), base.as_bytes()).unwrap_or(false)
        }
        (GeneralName::DirectoryName(base), GeneralName::DirectoryName(name)) => is_within(name, base),
        _ => false,
    }
}

fn excludes(base: &GeneralName, name: &GeneralName) -> bool {
    match (base, name) {
        (GeneralName::DnsName(base), GeneralName::DnsName(name)) => {
            let (name, base) = (name.as_str(), base.as_str());
            // A wildcard covers the hosts below it, one of which may be excluded.
            let covers = name.strip_prefix("*.").is_some_and(|above| is_below(base.trim_start_matches('.'), above));
            is_below(name, base) || covers
        }
        (GeneralName::IpAddress(base), GeneralName::IpAddress(name)) => {
            in_network(name.as_bytes(), base.as_bytes()).unwrap_or(true)
        }
        (GeneralName::DirectoryName(base), GeneralName::DirectoryName(name)) => is_within(name, base),
        _ => true,
    }
}

/// Whether `host` is `base` or below it; with a dot before `base`, below it only.
fn is_below(host: &str, base: &str) -> bool {
    let (host, base) = (host.to_ascii_lowercase(), base.to_ascii_lowercase());
    match host.strip_suffix(&*base) {
        Some(rest) => base.is_empty() || rest.is_empty() && !base.starts_with('.') || ends_a_label(rest, &base),
        None => false,
    }
}

fn ends_a_label(rest: &str, base: &str) -> bool {
    if base.starts_with('.') { !rest.is_empty() && !rest.ends_with('.') } else { rest.ends_with('.') }
}

/// Whether an address is in a network, given as address and mask; `None` where they are none.
fn in_network(address: &[u8], network: &[u8]) -> Option<bool> {
    let (network, mask) = network.split_at_checked(network.len() / 2)?;
    let [network, mask] = [ip(network)?, ip(mask)?];
    let address = ip(address)?;
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    };
    // A mask with holes is no network.
    if bits(mask).leading_ones() != bits(mask).count_ones() {
        return None;
    }
    Some(network.is_ipv4() == address.is_ipv4() && (bits(network) ^ bits(address)) & bits(mask) == 0)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use der::asn1::{OctetString, SetOfVec};
    use x509_cert::attr::AttributeTypeAndValue;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_str(text).unwrap()
    }

    fn common_name(tag: Tag, bytes: &[u8]) -> Name {
        let oid = der::asn1::ObjectIdentifier::new_unwrap("2.5.4.3");
        let value = Any::new(tag, bytes).unwrap();
        let rdn = SetOfVec::try_from(vec![AttributeTypeAndValue { oid, value }]).unwrap();
        x509_cert::name::RdnSequence(vec![RelativeDistinguishedName(rdn)])
    }

    #[test]
    fn names_are_the_same_whatever_their_strings_types_and_spaces() {
        let known = common_name(Tag::Utf8String, b"Spine  CA 2");
        for (tag, bytes) in [
            (Tag::PrintableString, &b"spine CA 2"[..]),
            (Tag::Ia5String, b" Spine CA 2 "),
            (Tag::BmpString, b"\0S\0p\0i\0n\0e\0 \0C\0A\0 \x002"),
        ] {
            assert!(equal(&known, &common_name(tag, bytes)), "{tag}");
        }
        for (tag, bytes) in [(Tag::PrintableString, &b"SpineCA 2"[..]), (Tag::OctetString, b"Spine  CA 2")] {
            assert!(!equal(&known, &common_name(tag, bytes)), "{tag}");
        }
        assert!(!equal(&name("CN=a,O=b"), &name("CN=a")));
        assert!(!equal(&name("CN=a,O=b"), &name("O=b,CN=a")));
        assert!(equal(&name("CN=a+OU=c,O=b"), &name("OU=C+CN=A,O=B")));
        assert!(!equal(&name("CN=a+OU=c"), &name("CN=a+OU=d")));
    }

    fn dns(text: &str) -> GeneralName {
        GeneralName::DnsName(text.to_owned().try_into().unwrap())
    }

    fn address(bytes: &[u8]) -> GeneralName {
        GeneralName::IpAddress(OctetString::new(bytes).unwrap())
    }

    #[test]
    fn hosts_are_within_their_domain_and_wildcards_must_not_reach_out() {
        for (base, host, within) in [
            ("example.nhs.uk", "example.nhs.uk", true),
            ("example.nhs.uk", "GAS.Example.nhs.uk", true),
            ("example.nhs.uk", "badexample.nhs.uk", false),
            (".example.nhs.uk", "gas.example.nhs.uk", true),
            (".example.nhs.uk", "example.nhs.uk", false),
            ("gas.example.nhs.uk", "example.nhs.uk", false),
            ("", "anything", true),
            ("example.nhs.uk", "*.example.nhs.uk", true),
            ("gas.example.nhs.uk", "*.example.nhs.uk", false),
        ] {
            assert_eq!(permits(&dns(base), &dns(host)), within, "{base} {host}");
        }
        assert!(excludes(&dns("gas.example.nhs.uk"), &dns("*.example.nhs.uk")));
        assert!(excludes(&dns(".gas.example.nhs.uk"), &dns("*.example.nhs.uk")));
        assert!(excludes(&dns("example.nhs.uk"), &dns("gas.example.nhs.uk")));
        assert!(!excludes(&dns("gas.example.nhs.uk"), &dns("*.other.nhs.uk")));
    }

    #[test]
    fn addresses_are_within_their_network() {
        let network = address(&[10, 1, 0, 0, 255, 255, 0, 0]);
        assert!(permits(&network, &address(&[10, 1, 2, 3])) && excludes(&network, &address(&[10, 1, 2, 3])));
        assert!(!permits(&network, &address(&[10, 2, 2, 3])) && !excludes(&network, &address(&[10, 2, 2, 3])));
        assert!(!permits(&network, &address(&[0; 16])));
        // What is no network permits nothing and excludes everything.
        for bad in [&[10, 1, 0, 0, 255, 0, 255, 0][..], &[10, 1, 0], &[]] {
            assert!(!permits(&address(bad), &address(&[10, 1, 2, 3])));
            assert!(excludes(&address(bad), &address(&[10, 1, 2, 3])));
        }
    }

    #[test]
    fn directories_are_within_their_base() {
        let base = GeneralName::DirectoryName(name("OU=CA,O=nhs"));
        for (subject, within) in [("CN=x,OU=ca,O=NHS", true), ("OU=CA,O=nhs", true), ("CN=x,O=nhs", false)] {
            let subject = GeneralName::DirectoryName(name(subject));
            assert_eq!((permits(&base, &subject), excludes(&base, &subject)), (within, within));
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let uri = |text: &str| GeneralName::UniformResourceIdentifier(text.to_owned().try_into().unwrap());
        assert!(!permits(&uri("a"), &uri("a")));
        assert!(excludes(&uri("b"), &uri("a")));
    }
}
