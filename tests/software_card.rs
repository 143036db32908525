//! Cards in PKCS#12 files made by OpenSSL and by Java.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/pkcs12.rs"]
mod file;
#[path = "support/memory.rs"]
mod memory;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use memory::{FORMS, Masked};
use ticketapi::cancel::CancelToken;
use ticketapi::card::software::SoftwareCardReader;
use ticketapi::card::{CardReader, PinTries, SmartCard};
use ticketapi::challenge::Digest;
use ticketapi::{Error, ErrorKind, Pin, Result, Stage};

const PASSWORD: &str = "password";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pkcs12").join(name)
}

fn insert(path: &Path) -> Result<Box<dyn SmartCard>> {
    insert_into(&SoftwareCardReader::new(path.to_owned()))
}

fn insert_into(reader: &SoftwareCardReader) -> Result<Box<dyn SmartCard>> {
    let mut absent = |_| panic!("a file is not waited for");
    reader.wait_for_card(Duration::ZERO, &mut absent, &CancelToken::new())
}

fn sign(card: &mut dyn SmartCard, pin: &str) -> Result<Vec<u8>> {
    card.sign(Some(Pin::new(pin.to_owned())), Digest::Sha256, b"challenge", &CancelToken::new())
}

/// Signs with the card in `path` and verifies the signature. Returns the user's id.
fn signed_by(path: &Path, pin: &str) -> Result<String> {
    let mut card = insert(path)?;
    let signature = sign(&mut *card, pin)?;
    let certificate = card.certificate().unwrap();
    certificate.verify(Digest::Sha256, b"challenge", &signature)?;
    Ok(certificate.uid().to_owned())
}

/// A PKCS#12 file that OpenSSL makes in its own folder.
struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    /// With the key and certificate of a fixture.
    fn new(password: &str, options: &[&str]) -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        let source = fixture("openssl3.p12");
        let source = source.to_str().unwrap();
        openssl(&["pkcs12", "-in", source, "-passin", "pass:password", "-nodes", "-out", &made.at("pem")]);
        made.export(password, options);
        made
    }

    fn export(&self, password: &str, options: &[&str]) {
        let (pem, password, out) = (self.at("pem"), format!("pass:{password}"), self.at("p12"));
        openssl(&[&["pkcs12", "-export", "-in", &pem, "-passout", &password, "-out", &out], options].concat());
    }

    /// With a new key and its certificate.
    fn with_key(options: &[&str]) -> Self {
        let made = Self { folder: tempfile::tempdir().unwrap() };
        let (pem, key, certificate) = (made.at("pem"), made.at("key"), made.at("certificate"));
        openssl(&[&["genpkey", "-out", &key][..], options].concat());
        openssl(&["req", "-x509", "-key", &key, "-subj", "/CN=555000000005", "-out", &certificate]);
        fs::write(&pem, [fs::read(&key).unwrap(), fs::read(&certificate).unwrap()].concat()).unwrap();
        made.export(PASSWORD, &[]);
        made
    }

    /// Rewrites the file.
    fn rewrite(&self, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        fs::write(self.path(), change(fs::read(self.path()).unwrap())).unwrap();
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("p12")
    }
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn assert_error(error: &Error, kind: ErrorKind, stage: Stage, words: &str) {
    assert_eq!((error.kind(), error.stage()), (&kind, stage));
    assert!(error.detail().contains(words), "{error}");
}

#[track_caller]
fn assert_unusable(path: &Path, words: &str) {
    assert_refused(path, ErrorKind::SoftwareCard, words);
}

#[track_caller]
fn assert_refused(path: &Path, kind: ErrorKind, words: &str) {
    let error = signed_by(path, PASSWORD).unwrap_err();
    assert_error(&error, kind, Stage::Card, words);
    assert!(error.detail().contains(path.to_str().unwrap()), "the file is named: {error}");
}

#[test]
fn cards_of_old_and_new_versions_of_openssl_and_keytool_sign() {
    for (file, uid) in [
        ("openssl-legacy.p12", "555000000001"),
        ("openssl3.p12", "555000000002"),
        ("keytool.p12", "555000000003"),
        ("keytool-legacy.p12", "555000000004"),
    ] {
        assert_eq!(signed_by(&fixture(file), PASSWORD).unwrap(), uid, "{file}");
    }
}

#[test]
fn every_protection_that_openssl_writes_is_supported() {
    let made = Made::new(PASSWORD, &[]);
    for options in [
        &["-legacy", "-certpbe", "PBE-SHA1-RC2-128", "-keypbe", "PBE-SHA1-RC2-128"][..],
        &["-legacy", "-certpbe", "PBE-SHA1-RC2-40", "-keypbe", "PBE-SHA1-2DES"],
        &["-legacy", "-certpbe", "PBE-SHA1-RC4-128", "-keypbe", "PBE-SHA1-RC4-40"],
        &["-legacy", "-certpbe", "PBE-MD5-DES", "-keypbe", "PBE-SHA1-DES"],
        &["-legacy", "-certpbe", "PBE-MD5-RC2-64", "-keypbe", "PBE-SHA1-RC2-64"],
        &["-certpbe", "AES-128-CBC", "-keypbe", "AES-192-CBC"],
        &["-legacy", "-certpbe", "DES-EDE3-CBC", "-keypbe", "DES-CBC"],
        &["-legacy", "-certpbe", "RC2-CBC", "-keypbe", "RC2-40-CBC"],
        &["-legacy", "-certpbe", "RC2-64-CBC", "-keypbe", "RC2-64-CBC"],
        &["-macalg", "md5"],
        &["-macalg", "sha1"],
        &["-macalg", "sha224"],
        &["-macalg", "sha384"],
        &["-macalg", "sha512"],
        &["-macalg", "sha512-224"],
        &["-macalg", "sha512-256"],
        &["-certpbe", "NONE", "-keypbe", "NONE"],
        &["-nomaciter", "-noiter"],
        &["-nomac"],
        &["-nomac", "-legacy"],
        &["-nomac", "-legacy", "-certpbe", "PBE-SHA1-RC4-40", "-keypbe", "PBE-SHA1-RC4-128"],
        &["-nomac", "-certpbe", "NONE"],
    ] {
        made.export(PASSWORD, options);
        assert_eq!(signed_by(&made.path(), PASSWORD).unwrap(), "555000000002", "{options:?}");
        let error = signed_by(&made.path(), "wrong").unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::PinIncorrect { tries_left: None }, "{options:?}");
    }
}

#[test]
fn an_unsupported_protection_is_named() {
    for (options, words) in [
        (&["-keypbe", "CAMELLIA-128-CBC"][..], "an unsupported encryption: 1.2.392.200011.61.1.1.1.2"),
        (&["-macalg", "sha3-256"], "an unsupported MAC: "),
    ] {
        assert_unusable(&Made::new(PASSWORD, options).path(), words);
    }
}

#[test]
fn a_password_may_contain_any_characters() {
    for password in ["", "Grüße 😀"] {
        for options in [&[][..], &["-legacy"], &["-nomac"], &["-nomac", "-legacy"]] {
            let made = Made::new(password, options);
            assert_eq!(signed_by(&made.path(), password).unwrap(), "555000000002", "{password:?} {options:?}");
        }
    }
}

#[test]
fn a_password_in_the_encoding_of_openssl_before_1_1_works() {
    let password = "Grüße 😀";
    let bytes_as_characters: String = password.bytes().map(char::from).collect();
    for options in [&["-legacy"][..], &["-legacy", "-nomac"]] {
        let made = Made::new(&bytes_as_characters, options);
        assert_eq!(signed_by(&made.path(), password).unwrap(), "555000000002", "{options:?}");
        let error = signed_by(&made.path(), "Gruesse").unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::PinIncorrect { tries_left: None });
    }
}

#[test]
fn an_empty_password_may_be_encoded_as_none() {
    let made = Made::new("", &["-nomac", "-certpbe", "NONE", "-keypbe", "NONE"]);
    made.rewrite(|file| file::with_mac(&file, &file::Mac::OfNoPassword));
    assert_eq!(signed_by(&made.path(), "").unwrap(), "555000000002");
    let error = signed_by(&made.path(), "wrong").unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PinIncorrect { tries_left: None });
}

#[test]
fn an_empty_pin_may_be_the_password() {
    assert!(insert(&fixture("openssl3.p12")).unwrap().pin_status().allows(0));
}

#[test]
fn the_mac_of_rfc_9879_is_verified() {
    let made = Made::new(PASSWORD, &["-nomac"]);
    made.rewrite(|file| file::with_mac(&file, &file::Mac::Pbmac1(PASSWORD)));
    assert_eq!(signed_by(&made.path(), PASSWORD).unwrap(), "555000000002");
    let error = signed_by(&made.path(), "wrong").unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PinIncorrect { tries_left: None });
}

#[test]
fn a_file_in_ber_is_parsed() {
    for options in [&[][..], &["-certpbe", "NONE", "-keypbe", "NONE"]] {
        let made = Made::new(PASSWORD, options);
        made.rewrite(|file| file::in_ber(&file));
        assert_eq!(fs::read(made.path()).unwrap()[..2], [0x30, 0x80]);
        assert_eq!(signed_by(&made.path(), PASSWORD).unwrap(), "555000000002", "{options:?}");
    }
}

#[test]
fn bytes_after_the_file_are_ignored() {
    let made = Made::new(PASSWORD, &[]);
    for rest in [&b"\r\n"[..], &[0; 100]] {
        made.export(PASSWORD, &[]);
        made.rewrite(|file| [&file, rest].concat());
        assert_eq!(signed_by(&made.path(), PASSWORD).unwrap(), "555000000002");
    }
}

#[test]
fn only_a_certificate_of_the_settings_issuers_is_used() {
    let reader = SoftwareCardReader::new(fixture("openssl3.p12"));
    let issuer = {
        let mut card = insert_into(&reader).unwrap();
        sign(&mut *card, PASSWORD).unwrap();
        card.certificate().unwrap().issuer_name().unwrap().to_owned()
    };
    let mut card = insert_into(&reader.clone().issuers(vec!["Nobody".into(), issuer])).unwrap();
    sign(&mut *card, PASSWORD).unwrap();
    let mut card = insert_into(&reader.issuers(vec!["Nobody".into()])).unwrap();
    let error = sign(&mut *card, PASSWORD).unwrap_err();
    assert_error(&error, ErrorKind::NoCertificate, Stage::Card, "issued by Nobody");
}

#[test]
fn a_key_with_a_long_public_exponent_signs() {
    for exponent in [
        "3",
        "8589934593",
        "1099511627777",
        "115792089237316195423570985008687907853269984665640564039457584007913129639935",
    ] {
        let options = ["-algorithm", "RSA", "-pkeyopt", &format!("rsa_keygen_pubexp:{exponent}")];
        assert_eq!(signed_by(&Made::with_key(&options).path(), PASSWORD).unwrap(), "555000000005", "{exponent}");
    }
}

#[test]
fn the_certificate_is_known_after_signing_and_the_files_name_before() {
    let mut card = insert(&fixture("openssl3.p12")).unwrap();
    assert_eq!(card.label(), "openssl3.p12");
    assert_eq!(card.pin_status().tries, PinTries::Unknown);
    assert!(card.certificate().is_none());
    sign(&mut *card, PASSWORD).unwrap();
    assert_eq!(card.certificate().unwrap().uid(), "555000000002");
}

#[test]
fn the_right_pin_works_after_a_wrong_one() {
    for file in ["openssl3.p12", "openssl-legacy.p12", "keytool.p12"] {
        let mut card = insert(&fixture(file)).unwrap();
        let error = sign(&mut *card, "wrong").unwrap_err();
        assert_error(&error, ErrorKind::PinIncorrect { tries_left: None }, Stage::Pin, file);
        assert!(card.certificate().is_none());
        sign(&mut *card, PASSWORD).unwrap();
    }
}

#[test]
fn a_login_that_is_cancelled_does_not_sign() {
    let mut card = insert(&fixture("openssl3.p12")).unwrap();
    let cancel = CancelToken::new();
    cancel.cancel();
    let pin = Some(Pin::new(PASSWORD.into()));
    let error = card.sign(pin, Digest::Sha1, b"challenge", &cancel).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Cancelled);
}

#[test]
fn a_path_without_a_readable_file_is_a_configuration_error() {
    let folder = tempfile::tempdir().unwrap();
    assert_refused(&folder.path().join("missing.p12"), ErrorKind::Configuration, "No such file");
    assert_refused(folder.path(), ErrorKind::Configuration, "not a regular file");
    let large = folder.path().join("large.p12");
    fs::File::create(&large).unwrap().set_len((1 << 20) + 1).unwrap();
    assert_refused(Path::new("/dev/zero"), ErrorKind::Configuration, "/dev/zero");
    assert_refused(&large, ErrorKind::Configuration, "too large");
}

#[test]
fn a_malformed_file_is_not_reported_as_a_wrong_pin() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("card.p12");
    let whole = fs::read(fixture("openssl3.p12")).unwrap();
    for broken in [&b""[..], b"-----BEGIN CERTIFICATE-----\n", &whole[..whole.len() - 1]] {
        fs::write(&path, broken).unwrap();
        assert_unusable(&path, "is not a PKCS#12 file, or is damaged");
    }
}

#[test]
fn a_changed_byte_never_causes_a_signature_of_another_key_or_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("card.p12");
    let made = Made::new(PASSWORD, &["-nomaciter", "-noiter"]);
    let whole = fs::read(made.path()).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut changed = whole.clone();
        changed[at] ^= 0x41;
        fs::write(&path, &changed).unwrap();
        let error = signed_by(&path, PASSWORD).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::SoftwareCard | ErrorKind::PinIncorrect { tries_left: None }),
            "byte {at}: {error}"
        );
    }
}

#[test]
fn a_file_that_any_pin_opens_is_refused() {
    let made = Made::new(PASSWORD, &["-nomac", "-certpbe", "NONE", "-keypbe", "NONE"]);
    assert_unusable(&made.path(), "is not protected by a password");
}

#[test]
fn endless_key_derivation_is_refused_at_once() {
    // The password does not protect this number.
    let mut endless = fs::read(fixture("keytool-legacy.p12")).unwrap();
    let rounds = endless.windows(5).position(|bytes| bytes == [2, 3, 0x01, 0x86, 0xa0]).unwrap();
    endless[rounds + 2..rounds + 5].copy_from_slice(&[0x7f, 0xff, 0xff]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("card.p12");
    fs::write(&path, endless).unwrap();
    assert_unusable(&path, "more than 5000000 rounds");
}

#[test]
fn a_certificate_without_key_and_a_key_without_certificate_are_reported() {
    let made = Made::new(PASSWORD, &["-nokeys"]);
    let error = signed_by(&made.path(), PASSWORD).unwrap_err();
    assert_error(&error, ErrorKind::NoKey, Stage::Card, "no private key");

    made.export(PASSWORD, &["-nocerts"]);
    let error = signed_by(&made.path(), PASSWORD).unwrap_err();
    assert_error(&error, ErrorKind::NoCertificate, Stage::Card, "no certificate");
}

#[test]
fn a_card_with_an_elliptic_curve_key_is_not_supported() {
    let made = Made::with_key(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let error = signed_by(&made.path(), PASSWORD).unwrap_err();
    assert_error(&error, ErrorKind::KeyNotSupported, Stage::Card, "555000000005 has a key that is not RSA");
}

#[test]
fn a_card_with_a_key_for_pss_only_is_not_supported() {
    let made = Made::with_key(&["-algorithm", "RSA-PSS"]);
    let error = signed_by(&made.path(), PASSWORD).unwrap_err();
    assert_error(&error, ErrorKind::KeyNotSupported, Stage::Card, "555000000005 has an RSA key for PSS");
}

#[test]
fn an_expired_certificate_is_reported_with_user_and_date() {
    use x509_cert::der::asn1::UtcTime;
    use x509_cert::der::{Decode, Encode};
    use x509_cert::time::Time;

    let made = Made::new(PASSWORD, &[]);
    let (pem, der, key) = (made.at("pem"), made.at("der"), made.at("key"));
    openssl(&["x509", "-in", &pem, "-outform", "DER", "-out", &der]);
    openssl(&["pkey", "-in", &pem, "-out", &key]);
    let mut certificate = x509_cert::Certificate::from_der(&fs::read(&der).unwrap()).unwrap();
    let date = Time::UtcTime(UtcTime::from_unix_duration(Duration::from_secs(1_600_000_000)).unwrap());
    certificate.tbs_certificate.validity.not_before = date;
    certificate.tbs_certificate.validity.not_after = date;
    fs::write(&der, certificate.to_der().unwrap()).unwrap();
    openssl(&["x509", "-inform", "DER", "-in", &der, "-out", &pem]);
    made.export(PASSWORD, &["-inkey", &key]);

    let error = signed_by(&made.path(), PASSWORD).unwrap_err();
    let words = "the certificate of 555000000002 expired on 2020-09-13";
    assert_error(&error, ErrorKind::CertificateNotValid, Stage::Card, words);
}

/// The password of the canary files, masked so that it is nowhere else in memory.
const MASKED_CANARY: [u8; 24] = [
    0xcc, 0xe2, 0xf7, 0xd5, 0x97, 0xd1, 0xd1, 0xe6, 0xd0, 0xf5, 0xd3, 0xcb, 0xf5, 0xcf, 0xc6, 0x93, 0xe0, 0xc4, 0xe7,
    0xe0, 0xf2, 0x92, 0xc0, 0x91,
];

#[test]
fn the_pin_is_nowhere_in_memory_after_signing() {
    let canary = Masked::from_masked(&MASKED_CANARY);
    for (file, right) in
        [("canary.p12", true), ("canary-legacy.p12", true), ("openssl3.p12", false), ("openssl-legacy.p12", false)]
    {
        let planted = FORMS.map(|form| canary.written_as(form));
        let found = canary.forms_in_memory();
        assert!(FORMS.iter().all(|form| found.contains(form)), "only {found:?} of the planted ones");
        drop(planted);
        assert_eq!(canary.forms_in_memory(), [], "before");

        let mut card = insert(&fixture(file)).unwrap();
        let signed = card.sign(Some(Pin::from(canary.unmasked())), Digest::Sha1, b"challenge", &CancelToken::new());
        assert_eq!(signed.is_ok(), right);
        assert_eq!(canary.forms_in_memory(), [], "after signing with {file}");
    }
}
