use std::time::Duration;

use der::Encode;
use der::asn1::{OctetString, SetOfVec, Utf8StringRef};
use proptest::prelude::*;
use x509_cert::TbsCertificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::Time;

use super::*;

const CAPTURE: &[u8] = include_bytes!("../../../tests/data/identity-agent-response.p7.der");
const DAY: Duration = Duration::from_secs(86400);

/// The moment at which `certificate` is valid, ten days before and after.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_000 * DAY
}

fn time(at: SystemTime) -> Time {
    Time::UtcTime(der::asn1::UtcTime::from_system_time(at).unwrap())
}

/// A card's certificate with a change. No test here verifies its signature.
fn certificate(change: impl FnOnce(&mut TbsCertificate)) -> Vec<u8> {
    let original = crate::challenge::decode(CAPTURE).unwrap().certificate;
    let mut certificate = x509_cert::Certificate::from_der(original.der()).unwrap();
    let tbs = &mut certificate.tbs_certificate;
    tbs.extensions = None;
    tbs.validity = Validity { not_before: time(now() - 10 * DAY), not_after: time(now() + 10 * DAY) };
    change(tbs);
    certificate.to_der().unwrap()
}

fn name(parts: &[(ObjectIdentifier, &str)]) -> Name {
    let part = |(oid, value): &(_, &str)| AttributeTypeAndValue {
        oid: *oid,
        value: Any::encode_from(&Utf8StringRef::new(value).unwrap()).unwrap(),
    };
    let rdn = |part| RelativeDistinguishedName(SetOfVec::try_from(vec![part]).unwrap());
    RdnSequence(parts.iter().map(part).map(rdn).collect())
}

fn add<T: Encode>(tbs: &mut TbsCertificate, extn_id: ObjectIdentifier, value: &T) {
    let extn_value = OctetString::new(value.to_der().unwrap()).unwrap();
    tbs.extensions.get_or_insert_default().push(Extension { extn_id, critical: false, extn_value });
}

fn purpose(oid: ObjectIdentifier) -> impl FnOnce(&mut TbsCertificate) {
    move |tbs| add(tbs, rfc5280::ID_CE_EXT_KEY_USAGE, &ExtendedKeyUsage(vec![oid]))
}

fn usage(usages: impl Into<der::flagset::FlagSet<KeyUsages>>) -> impl FnOnce(&mut TbsCertificate) {
    let usages = KeyUsage(usages.into());
    move |tbs| add(tbs, rfc5280::ID_CE_KEY_USAGE, &usages)
}

fn with_key(der: Vec<u8>) -> Candidate {
    Candidate { der, private_key: PrivateKey::There, key_can_decrypt: false }
}

fn chosen(candidates: &[Candidate]) -> usize {
    choose(candidates, now(), &[]).unwrap().0
}

fn refused(candidates: &[Candidate], issuers: &[&str]) -> (ErrorKind, String) {
    let issuers: Vec<String> = issuers.iter().map(|issuer| issuer.to_string()).collect();
    let error = choose(candidates, now(), &issuers).unwrap_err();
    assert_eq!(error.stage(), Stage::Card);
    (error.kind().clone(), error.detail().to_owned())
}

#[test]
fn the_user_is_the_common_name_of_the_subject() {
    let certificate = Certificate::from_der(&certificate(|_| ())).unwrap();
    assert_eq!(certificate.uid(), "102048843983");
}

/// Encodes a value in DER.
fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = der::Length::try_from(contents.len()).unwrap().to_der().unwrap();
    [&[tag][..], &length, contents].concat()
}

/// Replaces `old` by `new` once in the certificate's bytes, and adapts all lengths around it. Writes forms that
/// the der crate would not write.
fn with_bytes(der: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    fn rewrite(der: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
        if der == old {
            return new.to_vec();
        }
        let mut reader = der::SliceReader::new(der).unwrap();
        let header = der::Header::decode(&mut reader).unwrap();
        let contents = &der[der.len() - usize::try_from(header.length).unwrap()..];
        if !der.windows(old.len()).any(|window| window == old) || !header.tag.is_constructed() {
            return der.to_vec();
        }
        let mut parts = Vec::new();
        let mut rest = contents;
        while !rest.is_empty() {
            let mut reader = der::SliceReader::new(rest).unwrap();
            let length = der::Header::decode(&mut reader).unwrap();
            let whole =
                usize::try_from(length.encoded_len().unwrap()).unwrap() + usize::try_from(length.length).unwrap();
            parts.extend(rewrite(&rest[..whole], old, new));
            rest = &rest[whole..];
        }
        let length = der::Length::try_from(parts.len()).unwrap();
        [der::Header { tag: header.tag, length }.to_der().unwrap(), parts].concat()
    }
    let changed = rewrite(der, old, new);
    assert_ne!(changed, der);
    changed
}

#[test]
fn the_common_name_may_be_a_string_of_any_type() {
    let wide: Vec<u8> = "5550Ωμ😀".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let wider: Vec<u8> = "5550Ωμ😀".chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
    for (tag, value, uid) in [
        (0x0c, "5550Ωμ😀".as_bytes(), Some("5550Ωμ😀")),
        (0x0c, b"5550\xfc", None),
        (0x12, b"5550", Some("5550")),
        (0x13, b"5550", Some("5550")),
        (0x13, b"M\xfcller 5550", Some("Müller 5550")),
        (0x14, b"5550", Some("5550")),
        (0x14, b"M\xfcller 5550", Some("Müller 5550")),
        (0x14, "Müller 5550".as_bytes(), Some("Müller 5550")),
        (0x16, b"M\xfcller 5550", Some("Müller 5550")),
        (0x1a, b"5550", Some("5550")),
        (0x1c, &wider, Some("5550Ωμ😀")),
        (0x1c, &wider[..wider.len() - 1], None),
        (0x1c, b"\x00\x11\x00\x00", None),
        (0x1e, &wide, Some("5550Ωμ😀")),
        (0x1e, &wide[..wide.len() - 1], None),
        (0x1e, b"\xd8\x00", None),
        (0x04, b"5550", None),
        (0x0c, b"55\x0750", None),
        (0x14, b"55\x9050", None),
        (0x0c, "55\u{fffe}50".as_bytes(), None),
        (0x0c, "55\u{9b}50".as_bytes(), None),
        (0x0c, "55\u{2028}50".as_bytes(), None),
        (0x0c, "\u{202e}0555".as_bytes(), None),
        (0x0c, &[b'5'; 257], None),
    ] {
        let der = certificate(|tbs| tbs.subject = name(&[(rfc4519::CN, "x")]));
        let der = with_bytes(&der, &tlv(0x0c, b"x"), &tlv(tag, value));
        let certificate = Certificate::from_der(&der);
        assert_eq!(certificate.as_ref().ok().map(Certificate::uid), uid, "{tag:x} {value:x?}");
    }
}

#[test]
fn an_issuers_name_may_be_a_string_of_any_type() {
    let der = certificate(|tbs| tbs.issuer = name(&[(rfc4519::CN, "x")]));
    let certificate =
        Certificate::from_der(&with_bytes(&der, &tlv(0x0c, b"x"), &tlv(0x1c, b"\0\0\0C\0\0\0A"))).unwrap();
    assert_eq!(certificate.issuer_name(), Some("CA"));
}

/// 2.25 and a UUID: an arc of 128 bits.
const UUID_OID: &[u8] = b"\x06\x14\x69\x83\xb0\xa5\xc6\xd7\xe8\xf9\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x0c";

#[test]
fn oids_may_have_any_length() {
    let short = ObjectIdentifier::new_unwrap("1.2.3.4");
    let replaced = short.to_der().unwrap();
    for der in [
        certificate(|tbs| {
            add(tbs, rfc5280::ID_CE_EXT_KEY_USAGE, &ExtendedKeyUsage(vec![short, rfc5280::ID_KP_CLIENT_AUTH]));
        }),
        certificate(|tbs| add(tbs, short, &der::asn1::Null)),
        certificate(|tbs| tbs.subject = name(&[(short, "x"), (rfc4519::CN, "102048843983")])),
        certificate(|tbs| tbs.issuer = name(&[(short, "x"), (rfc4519::CN, "CA")])),
        certificate(|tbs| tbs.signature.oid = short),
    ] {
        // An extension's value is an octet string, whose length is adapted too.
        let purposes = ExtendedKeyUsage(vec![short, rfc5280::ID_KP_CLIENT_AUTH]).to_der().unwrap();
        let is_purpose = der.windows(purposes.len()).any(|window| window == purposes);
        let der = if is_purpose {
            let longer = [UUID_OID, &rfc5280::ID_KP_CLIENT_AUTH.to_der().unwrap()].concat();
            with_bytes(&der, &tlv(0x04, &purposes), &tlv(0x04, &tlv(0x30, &longer)))
        } else {
            with_bytes(&der, &replaced, UUID_OID)
        };
        let certificate = Certificate::from_der(&der).unwrap();
        assert_eq!((certificate.uid(), certificate.for_login), ("102048843983", is_purpose));
    }
    let key = certificate(|tbs| {
        tbs.subject_public_key_info.algorithm = AlgorithmIdentifierOwned { oid: short, parameters: None };
    });
    let error = Certificate::from_der(&with_bytes(&key, &replaced, UUID_OID)).unwrap_err();
    assert_eq!(error.detail(), "the certificate of 102048843983 has a key that is not RSA");
}

#[test]
fn a_certificate_in_ber_is_parsed_and_kept_unchanged() {
    let der = certificate(|tbs| {
        add(tbs, rfc5280::ID_CE_KEY_USAGE, &KeyUsage(KeyUsages::DigitalSignature.into()));
        tbs.extensions.as_mut().unwrap()[0].critical = true;
    });
    let strict = Certificate::from_der(&der).unwrap();
    assert!(strict.for_signatures_only);
    let (start, end) = (&der[..4], &der[4..]);
    assert_eq!(start[..2], [0x30, 0x82]);
    let response = |certificate: &Certificate| {
        crate::challenge::encode(b"challenge", certificate, Digest::Sha256, b"signature").unwrap()
    };
    for ber in [
        with_bytes(&der, &[0x01, 0x01, 0xff], &[0x01, 0x01, 0x01]),
        with_bytes(&der, &[0x01, 0x01, 0xff], &[0x01, 0x81, 0x01, 0xff]),
        // Trailing zero bits, written out.
        with_bytes(&der, b"\x04\x04\x03\x02\x07\x80", b"\x04\x04\x03\x02\x00\x80"),
    ] {
        let certificate = Certificate::from_der(&ber).unwrap();
        assert_eq!(certificate.der(), ber);
        assert!(response(&certificate).windows(ber.len()).any(|window| window == ber));
        assert_eq!(Certificate { der: der.clone(), ..certificate }, strict);
    }
    for ber in [[&[0x30, 0x80], end, &[0, 0]].concat(), [&[0x30, 0x83, 0, start[2], start[3]], end].concat()] {
        let certificate = Certificate::from_der(&ber).unwrap();
        assert_eq!(certificate, strict);
        assert_eq!(response(&certificate), response(&strict));
    }
    assert!(Certificate::from_der(&[&der[..], &[0]].concat()).is_err());
}

#[test]
fn a_subject_without_exactly_one_common_name_is_refused() {
    let cn = rfc4519::CN;
    for subject in [name(&[]), name(&[(rfc4519::O, "nhs")]), name(&[(cn, "1"), (cn, "2")]), name(&[(cn, "")])] {
        let der = certificate(|tbs| tbs.subject = subject);
        let error = Certificate::from_der(&der).unwrap_err();
        assert_eq!(error.detail(), "the certificate's subject does not have exactly one common name");
    }
}

#[test]
fn serial_numbers_longer_than_the_standard_allows_are_kept_unchanged() {
    let der = certificate(|_| ());
    let serial = [0x80; 25];
    let tbs = RawCertificate::from_der(&der).unwrap();
    let serial = AnyRef::new(Tag::Integer, &serial).unwrap();
    let der = RawCertificate { tbs: super::TbsCertificate { serial, ..tbs.tbs }, ..tbs }.to_der().unwrap();
    assert_eq!(Certificate::from_der(&der).unwrap().serial(), serial);
}

#[test]
fn a_key_that_is_not_rsa_is_not_supported() {
    let ec = certificate(|tbs| {
        tbs.subject_public_key_info.algorithm =
            AlgorithmIdentifierOwned { oid: rfc5912::ID_EC_PUBLIC_KEY, parameters: None };
    });
    let (kind, detail) = refused(&[with_key(ec.clone())], &[]);
    assert_eq!(kind, ErrorKind::KeyNotSupported);
    assert_eq!(detail, "the certificate of 102048843983 has a key that is not RSA");
    assert_eq!(chosen(&[with_key(ec.clone()), with_key(certificate(|_| ()))]), 1);
    // More specific than the error for a key that cannot be parsed.
    let broken = with_key(b"\x30\x03abc".to_vec());
    assert_eq!(refused(&[broken.clone(), with_key(ec), broken], &[]).0, ErrorKind::KeyNotSupported);
}

#[test]
fn a_key_for_pss_or_encryption_only_is_reported() {
    for (oid, words) in [(rfc5912::ID_RSASSA_PSS, "PSS"), (rfc5912::ID_RSAES_OAEP, "for encryption only")] {
        let der = certificate(|tbs| tbs.subject_public_key_info.algorithm.oid = oid);
        let (kind, detail) = refused(&[with_key(der)], &[]);
        assert_eq!(kind, ErrorKind::KeyNotSupported);
        assert!(detail.contains(words) && !detail.contains("not RSA"), "{detail}");
    }
}

#[test]
fn public_exponents_of_up_to_256_bits_are_accepted() {
    for (exponent, supported) in [
        (&[3][..], true),
        (&[1, 0, 0, 0, 1], true),
        (&[0xff; 32], true),
        (&[1; 33], false),
        (&[1], false),
        (&[1, 0, 0], false),
    ] {
        let key = rsa::pkcs1::RsaPublicKey {
            modulus: rsa::pkcs1::UintRef::new(&[0xff; 256]).unwrap(),
            public_exponent: rsa::pkcs1::UintRef::new(exponent).unwrap(),
        };
        let der = certificate(|tbs| {
            let key = der::asn1::BitString::from_bytes(&key.to_der().unwrap()).unwrap();
            tbs.subject_public_key_info.subject_public_key = key;
        });
        let certificate = Certificate::from_der(&der);
        assert_eq!(certificate.is_ok(), supported, "{exponent:x?} {certificate:?}");
        if let Ok(certificate) = certificate {
            assert!(certificate.verify(Digest::Sha256, b"message", &[1; 256]).is_err());
        }
    }
}

#[test]
fn keys_outside_1024_to_4096_bits_are_not_supported() {
    for (bits, supported) in [(1016, false), (1024, true), (4096, true), (4104, false)] {
        let modulus = [&[0][..], &vec![0xff; bits / 8]].concat();
        let key = rsa::pkcs1::RsaPublicKey {
            modulus: rsa::pkcs1::UintRef::new(&modulus).unwrap(),
            public_exponent: rsa::pkcs1::UintRef::new(&[1, 0, 1]).unwrap(),
        };
        let der = certificate(|tbs| {
            let key = der::asn1::BitString::from_bytes(&key.to_der().unwrap()).unwrap();
            tbs.subject_public_key_info.subject_public_key = key;
        });
        match Certificate::from_der(&der) {
            Ok(certificate) => assert!(supported && certificate.key_bits() == bits),
            Err(error) => assert!(!supported && *error.kind() == ErrorKind::KeyNotSupported, "{bits}: {error}"),
        }
    }
}

#[test]
fn an_empty_card_has_no_certificate() {
    assert_eq!(refused(&[], &[]), (ErrorKind::NoCertificate, "the card contains no certificate".into()));
}

#[test]
fn malformed_certificates_are_skipped_and_reported_if_there_is_no_other() {
    let broken = with_key(b"\x30\x03abc".to_vec());
    assert_eq!(chosen(&[broken.clone(), with_key(certificate(|_| ()))]), 1);
    assert_eq!(refused(&[broken], &[]), (ErrorKind::NoCertificate, "the certificate cannot be read".into()));
}

#[test]
fn certificates_without_a_private_key_are_excluded() {
    let without = Candidate { private_key: PrivateKey::Absent, ..with_key(certificate(purpose(SMARTCARD_LOGON))) };
    assert_eq!(chosen(&[without.clone(), with_key(certificate(|_| ()))]), 1);
    assert_eq!(refused(&[without], &[]).0, ErrorKind::NoKey);
}

#[test]
fn expired_certificates_are_excluded_and_reported_with_user_and_date() {
    let expired = with_key(certificate(|tbs| tbs.validity.not_after = time(now() - DAY)));
    assert_eq!(chosen(&[expired.clone(), with_key(certificate(|_| ()))]), 1);
    let detail = "the certificate of 102048843983 expired on 2024-10-03".into();
    assert_eq!(refused(&[expired], &[]), (ErrorKind::CertificateNotValid, detail));
}

#[test]
fn certificates_that_are_not_valid_yet_are_excluded_and_reported_with_user_and_date() {
    let future = with_key(certificate(|tbs| tbs.validity.not_before = time(now() + DAY)));
    assert_eq!(chosen(&[future.clone(), with_key(certificate(|_| ()))]), 1);
    let detail = "the certificate of 102048843983 is not valid before 2024-10-05".into();
    assert_eq!(refused(&[future], &[]), (ErrorKind::CertificateNotValid, detail));
}

#[test]
fn a_certificate_is_valid_from_its_first_second_to_its_last() {
    let brief = certificate(|tbs| tbs.validity = Validity { not_before: time(now()), not_after: time(now()) });
    assert_eq!(chosen(&[with_key(brief)]), 0);
}

#[test]
fn issuers_can_be_limited_to_some_common_names() {
    let from = |issuer: &str| with_key(certificate(|tbs| tbs.issuer = name(&[(rfc4519::CN, issuer)])));
    let candidates = [from("NHS Level 1D"), from("NHS Authentication G2"), from("Other")];
    for (index, issuer) in ["NHS Level 1D", "NHS Authentication G2"].into_iter().enumerate() {
        assert_eq!(choose(&candidates, now(), &[issuer.to_owned()]).unwrap().0, index);
    }
    let detail = "the card contains no certificate issued by NHS or NHS Level 1".into();
    assert_eq!(refused(&candidates, &["NHS", "NHS Level 1"]), (ErrorKind::NoCertificate, detail));
}

#[test]
fn login_purposes_are_preferred_first() {
    let other = Candidate {
        key_can_decrypt: true,
        ..with_key(certificate(|tbs| {
            usage(KeyUsages::DigitalSignature)(tbs);
            purpose(rfc5280::ID_KP_EMAIL_PROTECTION)(tbs);
            tbs.validity.not_before = time(now() - DAY);
        }))
    };
    for oid in [rfc5280::ID_KP_CLIENT_AUTH, SMARTCARD_LOGON] {
        assert_eq!(chosen(&[other.clone(), with_key(certificate(purpose(oid)))]), 1);
    }
}

#[test]
fn signing_without_content_commitment_is_preferred_second() {
    let decrypting = Candidate { key_can_decrypt: true, ..with_key(certificate(|_| ())) };
    let committing = with_key(certificate(usage(KeyUsages::DigitalSignature | KeyUsages::NonRepudiation)));
    let signing = with_key(certificate(usage(KeyUsages::DigitalSignature)));
    assert_eq!(chosen(&[decrypting, committing, signing]), 2);
}

#[test]
fn a_purpose_outranks_a_visible_key_and_a_hidden_key_outranks_none() {
    let seen = |purpose: ObjectIdentifier| with_key(certificate(self::purpose(purpose)));
    let hidden = |purpose| Candidate { private_key: PrivateKey::Hidden, ..seen(purpose) };
    assert_eq!(chosen(&[seen(rfc5280::ID_KP_EMAIL_PROTECTION), hidden(SMARTCARD_LOGON)]), 1);
    assert_eq!(chosen(&[hidden(SMARTCARD_LOGON), seen(SMARTCARD_LOGON)]), 1);
    let absent = Candidate { private_key: PrivateKey::Absent, ..seen(SMARTCARD_LOGON) };
    assert_eq!(chosen(&[absent, hidden(SMARTCARD_LOGON)]), 1);
}

#[test]
fn a_modulus_matches_with_and_without_leading_zeros() {
    let certificate = Certificate::from_der(&certificate(|_| ())).unwrap();
    let modulus = certificate.public_key.n().to_bytes_be();
    let padded = [&[0, 0], &modulus[..]].concat();
    assert!(certificate.has_modulus(&modulus) && certificate.has_modulus(&padded));
    assert!(!certificate.has_modulus(&modulus[1..]) && !certificate.has_modulus(&[]));
}

#[test]
fn a_key_that_can_decrypt_is_preferred_third() {
    let newer = with_key(certificate(|tbs| tbs.validity.not_before = time(now() - DAY)));
    let decrypting = Candidate { key_can_decrypt: true, ..with_key(certificate(|_| ())) };
    assert_eq!(chosen(&[newer, decrypting]), 1);
}

#[test]
fn the_newest_is_preferred_last() {
    let newer = with_key(certificate(|tbs| tbs.validity.not_before = time(now() - DAY)));
    assert_eq!(chosen(&[with_key(certificate(|_| ())), newer, with_key(certificate(|_| ()))]), 1);
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    let days = prop_oneof![Just(-20_i64), Just(-5), Just(5)];
    (any::<[bool; 5]>(), days, 0..3_u8).prop_map(|([login, signing, key, decrypt, readable], from, serial)| {
        let mut der = certificate(|tbs| {
            if login {
                purpose(SMARTCARD_LOGON)(tbs);
            }
            if signing {
                usage(KeyUsages::DigitalSignature)(tbs);
            }
            let from = SystemTime::UNIX_EPOCH + DAY * u32::try_from(20_000 + from).unwrap();
            tbs.validity = Validity { not_before: time(from), not_after: time(from + 10 * DAY) };
            tbs.serial_number = x509_cert::serial_number::SerialNumber::new(&[serial]).unwrap();
        });
        if !readable && serial == 0 {
            der.truncate(100);
        }
        Candidate { der, private_key: PrivateKey::known(key), key_can_decrypt: decrypt }
    })
}

proptest! {
    #[test]
    fn the_choice_does_not_depend_on_the_order(
        (candidates, shuffled) in proptest::collection::vec(any_candidate(), 0..6)
            .prop_flat_map(|candidates| (Just(candidates.clone()), Just(candidates).prop_shuffle())),
    ) {
        let outcome = |candidates: &[Candidate]| match choose(candidates, now(), &[]) {
            Ok((index, certificate)) => {
                assert_eq!(certificate.der(), candidates[index].der);
                Ok(candidates[index].der.clone())
            }
            Err(error) => Err((error.kind().clone(), error.detail().to_owned())),
        };
        prop_assert_eq!(outcome(&candidates), outcome(&shuffled));
    }

    #[test]
    fn reading_takes_any_change_without_a_panic(at in 0..500_usize, value in any::<u8>()) {
        let mut der = certificate(|_| ());
        if let Some(byte) = der.get_mut(at) {
            *byte = value;
        }
        let _ = Certificate::from_der(&der);
    }
}
