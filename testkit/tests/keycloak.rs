//! The real Keycloak: it starts, logs users in with and without a real browser, and ends.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use ticketapi_testkit::chromium::Chromium;
use ticketapi_testkit::keycloak::{CIS2_WITH_SECRET, EHEALTH_PUBLIC, password};
use ticketapi_testkit::{Browser, Keycloak, Page};

/// What a program would open. The challenge is of no verifier.
fn address(keycloak: &Keycloak, realm: &str, client: &str, more: &str) -> String {
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    format!(
        "{}/protocol/openid-connect/auth?response_type=code&client_id={client}&state=s&nonce=n&code_challenge={challenge}\
         &code_challenge_method=S256&{more}",
        keycloak.issuer(realm)
    )
}

/// Takes one redirect, and answers it with a page.
fn program(listener: TcpListener) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            // Chromium opens connections that it may not use.
            for mut stream in listener.incoming().flatten() {
                let tell = tell.clone();
                thread::spawn(move || {
                    let mut request = vec![0; 8192];
                    let length = stream.read(&mut request).unwrap();
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n<title>Done</title><p>Done")
                        .unwrap();
                    tell.send(String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned())
                });
            }
        });
        told.iter().find(|request| request.contains("/callback")).unwrap()
    })
}

fn has_code(page: &Page) -> bool {
    page.url.contains("/callback?") && page.url.contains("&code=")
}

#[test]
fn users_log_in_and_the_server_ends_with_what_it_made() {
    let keycloak = Keycloak::start().unwrap();
    let folder = keycloak.ca_file().parent().unwrap().to_owned();

    // eHealth, without a window.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let redirect =
        format!("redirect_uri=http%3A%2F%2F127.0.0.1%3A{}%2Fcallback", listener.local_addr().unwrap().port());
    let mut browser = Browser::new(keycloak.ca_file());
    let open = address(&keycloak, "ehealth", EHEALTH_PUBLIC, &format!("scope=openid&{redirect}"));
    assert_eq!(keycloak.open_sessions("ehealth", "anna").unwrap(), 0);
    let program_of_anna = program(listener);
    let last = browser.log_in(&open, "anna", &password("anna"), None).unwrap();
    assert!(has_code(&last) && last.text.contains("Done"), "{last:?}");
    let request = program_of_anna.join().unwrap();
    assert!(request.starts_with("GET /callback?state=s&session_state=") && request.contains("&code="), "{request}");
    assert_eq!(keycloak.open_sessions("ehealth", "anna").unwrap(), 1);

    // The same user is not asked again; another may come after "Restart login".
    assert!(has_code(&browser.open(&open).unwrap()));
    let again = open.clone() + "&prompt=login";
    assert!(has_code(&browser.log_in(&again, "bent", &password("bent"), None).unwrap()));
    assert_eq!(keycloak.open_sessions("ehealth", "bent").unwrap(), 1);
    let refused = Browser::new(keycloak.ca_file()).log_in(&open, "anna", "wrong", None).unwrap();
    assert!(!has_code(&refused) && refused.text.contains("Invalid username or password"), "{refused:?}");

    // What an administrator does.
    keycloak.add_user("ehealth", "eva", "anna").unwrap();
    let log_eva_in = || Browser::new(keycloak.ca_file()).log_in(&open, "eva", &password("eva"), None).unwrap();
    assert!(has_code(&log_eva_in()));
    keycloak.end_sessions("ehealth", "eva").unwrap();
    assert_eq!(keycloak.open_sessions("ehealth", "eva").unwrap(), 0);
    keycloak.set_enabled("ehealth", "eva", false).unwrap();
    assert!(!has_code(&log_eva_in()));
    let keys = format!("{}/protocol/openid-connect/certs", keycloak.issuer("ehealth"));
    let count = |browser: &mut Browser| browser.open(&keys).unwrap().text.matches("\"sig\"").count();
    let before = count(&mut browser);
    keycloak.rotate_keys("ehealth").unwrap();
    assert_eq!(count(&mut browser), before + 1);

    // CIS2, with roles, in a real browser.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let redirect =
        format!("redirect_uri=http%3A%2F%2F127.0.0.1%3A{}%2Fcallback", listener.local_addr().unwrap().port());
    let chromium = Chromium::start().unwrap();
    let profile = chromium.folder().to_owned();
    let open =
        address(&keycloak, "cis2", CIS2_WITH_SECRET, &format!("scope=openid%20selectedrole&prompt=login&{redirect}"));
    let program = program(listener);
    assert_eq!(chromium.log_in(&open, "six", &password("six"), Some("555100000003")).unwrap(), "Done");
    assert!(chromium.url().unwrap().contains("/callback?state=s"));
    assert!(program.join().unwrap().contains("&code="));
    assert_eq!(keycloak.open_sessions("cis2", "six").unwrap(), 1);
    drop(chromium);
    assert!(!profile.exists());

    drop(keycloak);
    assert!(!folder.exists());
    assert!(!names_a_process(&folder) && !names_a_process(&profile));
}

fn names_a_process(folder: &Path) -> bool {
    let folder = folder.to_str().unwrap();
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        std::fs::read(process.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(folder))
    })
}
