//! Which servers are trusted, and the errors for the others.

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Extension, X509Name};
use rcgen::{CertificateParams, CustomExtension};
use rustls::ALL_VERSIONS;
use rustls::version::{TLS12, TLS13};
use ticketapi::ErrorKind;
use ticketapi::ssb::HttpsSettings;

use crate::server::{Ca, Peer, Server};
use crate::{activate, assert_error, broker, log_in, over_tls, to_url};

#[test]
fn both_versions_of_tls_are_supported() {
    let ca = Ca::new();
    for version in [&TLS12, &TLS13] {
        let server = Server::tls(ca.server(&["127.0.0.1"], 2099, &[version]), broker);
        log_in(&mut over_tls(&server, &ca));
        assert_eq!(server.handshakes(), 1);
    }
}

#[test]
fn a_server_that_is_not_the_broker_gets_no_request() {
    let (ca, other) = (Ca::new(), Ca::new());
    for (config, why) in [
        (other.server(&["127.0.0.1"], 2099, ALL_VERSIONS), "it is not signed by a trusted issuer"),
        (ca.server(&["gas.example"], 2099, ALL_VERSIONS), "it is not for the name 127.0.0.1"),
        (ca.server(&["127.0.0.1"], 2018, ALL_VERSIONS), "it has expired"),
    ] {
        let server = Server::tls(config, broker);
        let error = activate(&mut over_tls(&server, &ca)).unwrap_err();
        assert_error(&error, ErrorKind::Tls, why);
        assert!(error.detail().contains(&server.address.to_string()), "{error}");
        assert_eq!(server.requests(), [""; 0]);
    }
    let plain = Server::plain(|peer| {
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
        peer.wait_until_closed();
    });
    assert_error(&activate(&mut over_tls(&plain, &ca)).unwrap_err(), ErrorKind::Tls, "no TLS connection");
}

#[test]
fn trust_anchors_that_cannot_be_read_are_a_configuration_error() {
    let (server, mut no_pem, mut no_certificate) =
        (Server::plain(broker), tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    no_pem.write_all(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    no_certificate.write_all(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let empty = tempfile::NamedTempFile::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("ca.pem");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let writable = tempfile::NamedTempFile::new().unwrap();
    writable.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    for (file, why) in [
        (pipe.as_path(), "not a regular file"),
        (writable.path(), "can be changed by other users"),
        ("/nowhere/ca.pem".as_ref(), "cannot be read"),
        (no_pem.path(), "not in PEM form"),
        (no_certificate.path(), "contains something that is not a certificate"),
        (empty.path(), "it is empty"),
    ] {
        let settings = HttpsSettings { ca_file: Some(file.to_owned()), ..Default::default() };
        let error = activate(&mut to_url(&format!("https://{}", server.address), settings)).unwrap_err();
        assert_error(&error, ErrorKind::Configuration, why);
        assert!(error.detail().contains(file.to_str().unwrap()), "{error}");
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_ca_file_is_checked_at_each_login_and_read_again_when_it_has_changed() {
    let ca = Ca::new();
    let server = Server::tls(ca.server(&["127.0.0.1"], 2100, &[&TLS13]), broker);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let log_in = || {
        let settings = HttpsSettings { ca_file: Some(file.clone()), ..Default::default() };
        activate(&mut to_url(&format!("https://{}", server.address), settings))
    };
    std::fs::copy(ca.file.path(), &file).unwrap();
    log_in().unwrap();
    log_in().unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    assert_error(&log_in().unwrap_err(), ErrorKind::Configuration, "can be changed by other users");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    log_in().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    assert_error(&log_in().unwrap_err(), ErrorKind::Configuration, "can be changed by other users");
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_error(&log_in().unwrap_err(), ErrorKind::Configuration, "cannot be read");
    std::fs::copy(Ca::new().file.path(), &file).unwrap();
    assert_error(&log_in().unwrap_err(), ErrorKind::Tls, "it is not signed by a trusted issuer");
    std::fs::copy(ca.file.path(), &file).unwrap();
    log_in().unwrap();
}

fn with_critical(oid: &[u64], content: &[u8]) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
    params
}

#[test]
fn a_server_with_critical_policies_is_trusted_if_issuer_and_name_are_right() {
    let (ca, other) = (Ca::new(), Ca::new());
    let any_policy = b"\x30\x08\x30\x06\x06\x04\x55\x1d\x20\x00";
    let mut params = with_critical(&[2, 5, 29, 32], any_policy);
    for version in [&TLS12, &TLS13] {
        let server = Server::tls(ca.server_with(&params, &[version]), broker);
        log_in(&mut over_tls(&server, &ca));
        let error = activate(&mut over_tls(&server, &other)).unwrap_err();
        assert_error(&error, ErrorKind::Tls, "it is not signed by a trusted issuer");
    }
    params.subject_alt_names = CertificateParams::new(vec!["gas.example".to_owned()]).unwrap().subject_alt_names;
    let server = Server::tls(ca.server_with(&params, ALL_VERSIONS), broker);
    let error = activate(&mut over_tls(&server, &ca)).unwrap_err();
    assert_error(&error, ErrorKind::Tls, "it is not for the name 127.0.0.1");
}

#[test]
fn faults_that_no_setting_can_mend_are_not_reported_as_a_missing_issuer() {
    let ca = Ca::new();
    for (config, says) in [
        (ca.server(&[], 2099, ALL_VERSIONS), "names no host in subjectAltName"),
        (
            ca.server_with(&with_critical(&[1, 2, 3, 4], b"\x05\0"), ALL_VERSIONS),
            "it has the critical extension 1.2.3.4, which is not supported",
        ),
    ] {
        let server = Server::tls(config, broker);
        let error = activate(&mut over_tls(&server, &ca)).unwrap_err();
        assert_error(&error, ErrorKind::TlsNotSupported, says);
        assert!(!error.remedy().contains("ca_file"), "{}", error.remedy());
        assert_eq!(server.requests(), [""; 0]);
    }
}

#[test]
fn the_alert_of_a_server_that_ends_the_handshake_is_shown_in_words() {
    let ca = Ca::new();
    for (alert, kind, says) in [
        (
            '\x28',
            ErrorKind::TlsNotSupported,
            "cipher suite or version in common with ticketapi, which supports TLS 1.3",
        ),
        ('\x46', ErrorKind::TlsNotSupported, "offers only older versions of TLS"),
        ('\x47', ErrorKind::TlsNotSupported, "no cipher suite in common"),
        ('\x74', ErrorKind::TlsNotSupported, "requires a client certificate"),
        ('\x70', ErrorKind::Tls, "says that it is not 127.0.0.1"),
        ('\x50', ErrorKind::Tls, "with the alert InternalError"),
    ] {
        let server = Server::plain(move |peer: &mut Peer| {
            peer.send(&format!("\x15\x03\x03\0\x02\x02{alert}"));
            peer.wait_until_closed();
        });
        assert_error(&activate(&mut over_tls(&server, &ca)).unwrap_err(), kind, says);
    }
}

#[test]
fn a_server_key_that_is_too_short_is_reported() {
    let (ca_key, key) = (PKey::ec_gen("prime256v1").unwrap(), PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap());
    let issue = |subject: &str, key: &PKeyRef<Private>, extension: X509Extension| {
        let mut certificate = X509::builder().unwrap();
        certificate.set_version(2).unwrap();
        certificate.set_subject_name(&common_name(subject)).unwrap();
        certificate.set_issuer_name(&common_name("Test CA")).unwrap();
        certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        certificate.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        certificate.set_pubkey(key).unwrap();
        certificate.append_extension(extension).unwrap();
        certificate.sign(&ca_key, MessageDigest::sha256()).unwrap();
        certificate.build()
    };
    let ca = issue("Test CA", &ca_key, BasicConstraints::new().critical().ca().build().unwrap());
    let context = X509::builder().unwrap();
    let address = SubjectAlternativeName::new().ip("127.0.0.1").build(&context.x509v3_context(None, None)).unwrap();
    let certificate = issue("127.0.0.1", &key, address);
    let mut ca_file = tempfile::NamedTempFile::new().unwrap();
    ca_file.write_all(&ca.to_pem().unwrap()).unwrap();

    // rustls does not support signatures with such a key.
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_security_level(0);
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || acceptor.accept(listener.accept().unwrap().0).is_ok());

    let settings = HttpsSettings { ca_file: Some(ca_file.path().to_owned()), ..Default::default() };
    let error = activate(&mut to_url(&url, settings)).unwrap_err();
    assert_error(&error, ErrorKind::TlsNotSupported, "it has an RSA key of 1024 bits; 2048");
    assert!(!server.join().unwrap());
}

fn common_name(name: &str) -> X509Name {
    let mut builder = X509Name::builder().unwrap();
    builder.append_entry_by_text("CN", name).unwrap();
    builder.build()
}
