//! Checks what is sent to the broker with the openssl program.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ticketapi_testkit::{CardSpec, Endpoint, TestCa};

use crate::support::{UID, User};
use crate::tokens::Tokens;

#[test]
fn openssl_accepts_what_is_sent_with_keys_of_every_size() {
    let mut tokens = Tokens::none();
    let sizes = [1024, 2048, 4096].map(|bits| {
        let label = format!("card {bits}");
        let serial = tokens.add(&label, &CardSpec::new(UID).key_bits(bits));
        (bits, label, serial)
    });
    let (ca, stranger) = (tokens.desk.path("ca-of-cards.pem"), tokens.desk.path("stranger.pem"));
    fs::write(&ca, tokens.desk.ca.certificate_pem().unwrap()).unwrap();
    fs::write(&stranger, TestCa::new().unwrap().certificate_pem().unwrap()).unwrap();
    for (bits, label, serial) in sizes {
        for (by_label, by_serial) in [(Some(&label), None), (None, Some(&serial))] {
            tokens.desk.config.token_label = by_label.cloned();
            tokens.desk.config.token_serial = by_serial.cloned();
            tokens.desk.spine.clear_log();
            let engine = tokens.engine(&User::new());
            engine.get_ticket().unwrap();
            engine.destroy_ticket().unwrap();

            let log = tokens.desk.spine.log();
            let sent = log.iter().find(|entry| entry.endpoint == Some(Endpoint::Validate)).unwrap();
            let response = BASE64.decode(sent.parameter("response").unwrap()).unwrap();
            let message = tokens.desk.path("response.eml");
            fs::write(&message, response).unwrap();
            let challenge = BASE64.decode(sent.parameter("challenge").unwrap()).unwrap();
            assert_eq!(verified(&message, &ca).as_ref(), Some(&challenge), "{bits} bits");
            assert_eq!(verified(&message, &stranger), None, "{bits} bits");
            assert_eq!(key_bits(&message), bits);
        }
    }
}

/// The content of an S/MIME message that was signed with a card of `ca`.
fn verified(message: &Path, ca: &Path) -> Option<Vec<u8>> {
    let mut openssl = Command::new("openssl");
    openssl.args(["cms", "-verify", "-binary", "-inform", "SMIME", "-purpose", "any", "-in"]).arg(message);
    let output = openssl.arg("-CAfile").arg(ca).output().unwrap();
    output.status.success().then_some(output.stdout)
}

/// The size of the key in the message's certificate.
fn key_bits(message: &Path) -> u32 {
    let script = "openssl smime -pk7out -in \"$0\" | openssl pkcs7 -print_certs | openssl x509 -noout -text";
    let output = Command::new("sh").args(["-ec", script]).arg(message).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("Public-Key:")).unwrap();
    line.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}
