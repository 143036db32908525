//! The client's secret or key.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ticketapi::Result;
use ticketapi_testkit::oidc::{Algorithm, Client, Endpoint, Key};

use crate::trial::{Trial, engine};

/// Writes a file with this mode.
pub fn write(path: &Path, bytes: &[u8], mode: u32) {
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// A login with an engine of its own, which may fail before.
fn log_in(trial: &Trial) -> Result<()> {
    let engine = engine(trial.house.config.clone(), &trial.person)?;
    engine.get_ticket()?;
    engine.destroy_ticket()
}

const SECRET: &str = "the secret of a client";

#[test]
fn a_file_that_holds_no_secret_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    write(&file, SECRET.as_bytes(), 0o600);
    let settings = [("client_auth", "client_secret"), ("client_secret_file", file.to_str().unwrap())];
    let trial = Trial::with("oidc", &settings, |provider| provider.client(Client::with_secret("x", SECRET)));
    let huge = vec![b'x'; 1 << 20];
    for (name, bytes, mode) in [
        ("only a line end", &b"\n"[..], 0o600),
        ("no text", b"\xff\xfe\x00\x01", 0o600),
        ("larger than any secret", &huge, 0o600),
    ] {
        write(&file, bytes, mode);
        let error = trial.fails(name, || log_in(&trial));
        assert!(error.to_string().contains(file.to_str().unwrap()), "{name}: {error}");
        assert!(!error.to_string().contains(SECRET), "{name}: {error}");
    }
    std::fs::remove_file(&file).unwrap();
    trial.fails("missing", || log_in(&trial));
    std::fs::create_dir(&file).unwrap();
    trial.fails("a folder", || log_in(&trial));
    std::fs::remove_dir(&file).unwrap();
    assert_eq!(trial.person.addresses().len(), 0, "known before the user logs in");

    write(&file, b"another secret\n", 0o600);
    let error = trial.fails("wrong", || log_in(&trial));
    assert!(!error.to_string().contains("another secret"), "{error}");
    for line_end in ["\n", "\r\n", ""] {
        write(&file, format!("{SECRET}{line_end}").as_bytes(), 0o600);
        log_in(&trial).unwrap_or_else(|error| panic!("{line_end:?}: {error}"));
    }
    trial.no_session_is_left("secret");
}

#[test]
fn a_file_that_holds_no_key_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let [file, other] = ["key", "other"].map(|name| folder.path().join(name));
    let key = Key::new(Algorithm::Rs512, 5).unwrap().key_id("test-client-1");
    key.write_pkcs8(&file).unwrap();
    let pem = std::fs::read(&file).unwrap();
    Key::new(Algorithm::Es256, 0).unwrap().write_pkcs8(&other).unwrap();
    let elliptic = std::fs::read(&other).unwrap();
    let settings = [
        ("client_auth", "private_key_jwt"),
        ("client_key_id", "test-client-1"),
        ("client_key_file", file.to_str().unwrap()),
    ];
    let trial = Trial::with("cis2", &settings, |provider| provider.client(Client::with_key("c", &key).unwrap()));
    let public = b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n";
    for (name, bytes, mode) in [
        ("readable by everybody", pem.as_slice(), 0o604),
        ("empty", b"", 0o600),
        ("cut", &pem[..pem.len() / 2], 0o600),
        ("of another kind", &elliptic, 0o600),
        ("a public key", public, 0o600),
        ("no key", b"a secret after all\n", 0o600),
    ] {
        write(&file, bytes, mode);
        let error = trial.fails(name, || log_in(&trial));
        assert!(error.to_string().contains(file.to_str().unwrap()), "{name}: {error}");
        assert!(!error.to_string().contains("after all"), "{name}: {error}");
    }
    assert_eq!(trial.person.addresses().len(), 0, "known before the user logs in");
    write(&file, &pem, 0o600);
    log_in(&trial).unwrap();
    trial.no_session_is_left("key");
}

#[test]
fn a_key_that_the_provider_does_not_know_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let key = Key::new(Algorithm::Rs512, 5).unwrap().key_id("test-client-1");
    key.write_pkcs8(&file).unwrap();
    let settings = [
        ("client_auth", "private_key_jwt"),
        ("client_key_id", "another-key"),
        ("client_key_file", file.to_str().unwrap()),
    ];
    let trial = Trial::with("cis2", &settings, |provider| provider.client(Client::with_key("c", &key).unwrap()));
    let error = trial.fails("unknown kid", || trial.engine.get_ticket().map(drop));
    assert!(error.to_string().contains("client"), "{error}");
    assert_eq!(trial.provider().log_of(Endpoint::Token).len(), 1);
    trial.no_session_is_left("unknown kid");
}
