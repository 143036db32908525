//! The program `spine-simulator`, as a supplier runs it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::output_of;
use common::simulator::Simulator;
use rustix::process::Signal;

const PROGRAM: &str = env!("CARGO_BIN_EXE_spine-simulator");

/// Returns the status and the first bytes that openssl's TLS client receives.
fn fetch(url: &str, ca_file: &Path, request: &str) -> String {
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-connect", url.strip_prefix("https://").unwrap()])
        .arg("-CAfile")
        .arg(ca_file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    client.stdin.as_mut().unwrap().write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    client.wait().unwrap();
    answer
}

#[test]
fn it_prints_its_settings_and_writes_a_card_and_responds() {
    let folder = tempfile::tempdir().unwrap();
    let card = folder.path().join("card.p12");
    let arguments = ["--write-card", card.to_str().unwrap(), "--pin-file", "-", "--uid", "123456789012"];
    let mut simulator = Simulator::start(PROGRAM, &arguments, "4321\n");
    let (url, ca_file) = (simulator.value("url"), PathBuf::from(simulator.value("ca_file")));
    assert_eq!(simulator.value("software_card"), card.to_str().unwrap());
    assert_eq!(simulator.skip_to("BASE_URL"), format!("export TICKETAPI_BASE_URL='{url}'"));
    assert_eq!(simulator.line(), format!("export TICKETAPI_CA_FILE='{}'", ca_file.display()));
    assert_eq!(simulator.line(), format!("export TICKETAPI_SOFTWARE_CARD='{}'", card.display()));

    let p12 = output_of("openssl", &["pkcs12", "-in", card.to_str().unwrap(), "-passin", "pass:4321", "-nokeys"], &[]);
    assert!(p12.contains("CN = 123456789012"), "{p12}");
    let answer = fetch(&url, &ca_file, "GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(simulator.skip_to("/nowhere").contains("HTTP 404"));
    simulator.end(Signal::INT);
}

#[test]
fn a_state_folder_keeps_its_cas_for_later_runs() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let run = || {
        let mut simulator = Simulator::start(PROGRAM, &["--state-dir", state.to_str().unwrap()], "");
        let (url, ca_file) = (simulator.value("url"), simulator.value("ca_file"));
        let answer = fetch(&url, Path::new(&ca_file), "GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        simulator.end(Signal::TERM);
        ["spine-ca.pem", "card-ca.pem"].map(|file| std::fs::read(state.join(file)).unwrap())
    };
    assert_eq!(run(), run());
}

#[test]
fn it_misbehaves_on_request_and_can_be_stopped_meanwhile() {
    let mut simulator = Simulator::start(PROGRAM, &["--http", "--misbehave", "activate=endless"], "");
    let address = simulator.value("url").strip_prefix("http://").unwrap().to_owned();
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.write_all(b"POST /login/authactivate HTTP/1.1\r\nContent-Length: 0\r\n\r\n").unwrap();
    client.read_exact(&mut [0; 1 << 16]).unwrap();
    assert!(simulator.skip_to("authactivate").contains("misbehaved: Endless"));
    simulator.end(Signal::TERM);
}

#[test]
fn help_lists_options_endpoints_and_misbehaviours() {
    let help = output_of(PROGRAM, &["--help"], &[]);
    for word in ["--write-card", "entity-bomb", "select-role", "/saml/RoleAssertion"] {
        assert!(help.contains(word), "{word}");
    }
    assert!(help.lines().all(|line| line.len() <= 110), "lines too long for a terminal");
}

#[test]
fn a_wrong_command_line_is_an_error() {
    for (arguments, problem) in [
        (&["--misbehave", "activate=kindness"][..], "no misbehaviour is called \"kindness\""),
        (&["--misbehave", "nowhere=reset"], "no endpoint is called \"nowhere\""),
        (&["--roles", "1001"], "0 to 1000"),
        (&["--write-card", "x.p12"], "--pin"),
        (&["--frobnicate"], "--frobnicate"),
        (&["--tls", "1.1"], "1.2"),
    ] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(problem) && text.contains("--help"), "{arguments:?}: {text}");
    }
}
