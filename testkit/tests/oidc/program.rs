//! The program `oidc-simulator`, as a supplier runs it.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::common::output_of;
use crate::common::simulator::Simulator;
use crate::party::{CHALLENGE, encode};

const PROGRAM: &str = env!("CARGO_BIN_EXE_oidc-simulator");

#[test]
fn it_prints_the_settings_and_logs_a_browser_in() {
    let mut simulator = Simulator::start(PROGRAM, &["--roles", "6", "--sub", "anna"], "");
    let (issuer, client_id) = (simulator.value("issuer"), simulator.value("client_id"));
    let ca_file = simulator.value("ca_file");
    assert!(simulator.skip_to("On the login page").ends_with("anna and pw-anna"));
    assert_eq!(simulator.skip_to("SERVICE"), "export TICKETAPI_SERVICE='cis2'");
    assert_eq!(simulator.line(), format!("export TICKETAPI_ISSUER='{issuer}'"));
    assert_eq!(simulator.line(), format!("export TICKETAPI_CLIENT_ID='{client_id}'"));
    assert_eq!(simulator.line(), format!("export TICKETAPI_CA_FILE='{ca_file}'"));

    // The client's listener.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let redirect_uri = format!("http://{}/callback", listener.local_addr().unwrap());
    let query = encode(&[
        ("response_type", "code"),
        ("client_id", &client_id),
        ("redirect_uri", &redirect_uri),
        ("scope", "openid selectedrole"),
        ("prompt", "login"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]);
    let listening = std::thread::spawn(move || {
        use std::io::Write;
        let mut stream = listener.accept().unwrap().0;
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nWelcome\n").unwrap();
        String::from_utf8(request[..length].to_vec()).unwrap()
    });
    let url = format!("{issuer}/authorize?{query}");
    let role = ticketapi_testkit::oidc::nrbac_role(3)["person_roleid"].as_str().unwrap().to_owned();
    let browse = |role: &str| {
        let user = ["--user", "anna", "--password", "pw-anna", "--role", role];
        output_of(PROGRAM, &[&["--browse", &url, "--ca-file", &ca_file][..], &user].concat(), &[])
    };
    assert!(browse("of somebody else").contains("not one of your roles"));
    let page = browse(&role);
    assert_eq!(page.trim(), "Welcome");
    assert!(listening.join().unwrap().contains("/callback?session_state="));
    assert!(simulator.skip_to("a code").contains("roleid="));
    simulator.end(Signal::INT);
}

#[test]
fn it_writes_a_secret_or_a_key_for_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client");
    let path = file.to_str().unwrap();
    for (option, setting, content) in [
        ("--write-secret", "CLIENT_SECRET_FILE", ""),
        ("--write-key", "CLIENT_KEY_FILE", "-----BEGIN PRIVATE KEY-----"),
    ] {
        let mut simulator = Simulator::start(PROGRAM, &["--http", "--service", "oidc", "--auto", option, path], "");
        assert!(simulator.value("issuer").starts_with("http://127.0.0.1:"));
        assert_eq!(simulator.skip_to(setting), format!("export TICKETAPI_{setting}='{path}'"));
        assert!(std::fs::read_to_string(&file).unwrap().starts_with(content));
        assert_eq!(mode_of(&file), 0o600);
        simulator.end(Signal::TERM);
    }
}

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn it_misbehaves_as_told() {
    let arguments = ["--http", "--service", "ehealth_dk", "--misbehave", "discovery=status:503"];
    let mut simulator = Simulator::start(PROGRAM, &arguments, "");
    let issuer = simulator.value("issuer");
    assert!(issuer.ends_with("/auth/realms/ehealth"), "{issuer}");
    let url = format!("{issuer}/.well-known/openid-configuration");
    assert!(output_of(PROGRAM, &["--browse", &url], &[]).contains("503"));
    assert!(simulator.skip_to("openid-configuration").contains("misbehaved: Status(503)"));
    simulator.end(Signal::TERM);
}

#[test]
fn it_helps() {
    let help = output_of(PROGRAM, &["--help"], &[]);
    for word in ["--write-key", "hs256-public-key", "userinfo", "--browse"] {
        assert!(help.contains(word), "{word}");
    }
    assert!(help.lines().all(|line| line.len() <= 110), "lines too long for a terminal");
}

#[test]
fn a_wrong_command_line_is_refused() {
    for (arguments, problem) in [
        (&["--misbehave", "token=kindness"][..], "no misbehaviour is called \"kindness\""),
        (&["--misbehave", "nowhere=reset"], "no endpoint is called \"nowhere\""),
        (&["--roles", "10001"], "0 to 10000"),
        (&["--service", "ssb"], "cis2, ehealth_dk and oidc"),
        (&["--write-key", "a", "--write-secret", "b"], "do not go together"),
        (&["--algorithm", "HS256"], "no algorithm is called \"HS256\""),
    ] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(problem) && text.contains("--help"), "{arguments:?}: {text}");
    }
}
