//! The commands for sessions at an OpenID provider, with a simulated one and a browser without a screen.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Agent, Desk, Run, script};
use ticketapi_testkit::Browser;
use ticketapi_testkit::oidc::{Endpoint, Misbehaviour, OidcBuilder, OidcProvider};

const PATIENCE: Duration = Duration::from_secs(60);

/// A desk whose logins are at this provider, in a browser that opens each page there is.
struct Site {
    desk: Desk,
    provider: OidcProvider,
    _user: mpsc::Sender<()>,
}

impl Site {
    fn new(service: &str, set_up: impl FnOnce(OidcBuilder) -> OidcBuilder) -> Self {
        let provider = set_up(OidcProvider::builder()).start().unwrap();
        let desk = Desk::new().without("base_url").without("software_card").without("role");
        script(&desk.path("browser"), "echo chatter; printf '%s\\n' \"$1\" >$0.new; mv $0.new $0.address\n");
        fs::copy(provider.ca_file(), desk.path("provider.pem")).unwrap();
        let (browser, ca_file) = (desk.text("browser"), desk.text("provider.pem"));
        let desk = desk
            .set("service", service)
            .set("issuer", &provider.issuer())
            .set("client_id", &provider.client_id())
            .set("ca_file", &ca_file)
            .set("bind_card", "false")
            .set("login_timeout", "60")
            .set("browser", &browser);
        let (user, ended) = mpsc::channel();
        let (address, ca_file) = (desk.path("browser.address"), provider.ca_file().to_owned());
        thread::spawn(move || browse(&address, &ca_file, &ended));
        Self { desk, provider, _user: user }
    }

    fn set(self, key: &str, value: &str) -> Self {
        Self { desk: self.desk.set(key, value), ..self }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let run = self.desk.run(arguments);
        assert!(!run.stdout.contains("chatter") && !run.stderr.contains("chatter"), "{}{}", run.stdout, run.stderr);
        run
    }

    fn done(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
        run.stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let run = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stdout);
        run.json()
    }

    /// Each login opens the provider's page once.
    fn logins(&self) -> usize {
        self.provider.log_of(Endpoint::Authorize).len()
    }
}

/// Plays the user's browser until the test ends: opens the address that the program `browser` was given.
fn browse(address: &Path, ca_file: &Path, ended: &mpsc::Receiver<()>) {
    let mut browser = Browser::new(ca_file);
    while matches!(ended.recv_timeout(Duration::from_millis(5)), Err(mpsc::RecvTimeoutError::Timeout)) {
        if let Ok(url) = fs::read_to_string(address) {
            fs::remove_file(address).unwrap();
            let _ = browser.open(url.trim());
        }
    }
}

#[test]
fn a_login_in_the_browser_shows_the_user_and_is_ended_again_if_there_is_no_agent() {
    let site = Site::new("cis2", OidcBuilder::cis2).set("role_command", "sed -n 2p");
    let run = site.run(&["login"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.starts_with("user    TEST USER (555021935107)\nrole    "), "{}", run.stdout);
    assert_eq!(run.stderr, "There is no agent to keep the session, so it has been ended again.\n");
    assert!(site.provider.wait_for_sessions(PATIENCE, 0));
    let all = run.stdout + &run.stderr;
    for secret in site.provider.secrets() {
        assert!(!all.contains(&secret), "{secret}");
    }
}

#[test]
fn the_programs_of_a_desk_share_one_login_and_one_logout_ends_it_at_the_provider() {
    let site = Site::new("cis2", OidcBuilder::cis2).set("role_command", "sed -n 2p");
    let _agent = Agent::start(&site.desk);
    let ticket = site.done(&["ticket"]);
    assert_eq!(ticket.matches('.').count(), 2, "{ticket}");
    assert_eq!(site.done(&["ticket", "--no-auth"]), ticket);
    assert_eq!(site.json(&["ticket"]), json!({ "ticket": ticket.trim() }));
    let status = site.json(&["status"]);
    let role = status["session"]["role"]["id"].as_str().unwrap();
    assert!(status["session"]["expires"].as_str().unwrap().ends_with('Z'), "{status}");
    assert_eq!(status["session"]["user"], json!({ "uid": "555021935107", "name": "TEST USER" }));
    let roles = site.json(&["roles"]);
    let roles: Vec<_> = roles["roles"].as_array().unwrap().iter().map(|role| role["id"].as_str().unwrap()).collect();
    assert_eq!((roles.len(), roles[1]), (3, role));
    let claims = site.json(&["claims"]);
    assert_eq!((&claims["sub"], &claims["nhsid_useruid"]), (&json!("555021935107"), &json!("555021935107")));
    assert_eq!((site.logins(), site.provider.open_sessions()), (1, 1));
    assert_eq!(site.done(&["logout"]), "Logged out.\n");
    assert!(site.provider.wait_for_sessions(PATIENCE, 0));
    assert_eq!(site.run(&["ticket", "--no-auth"]).code, 1);
}

#[test]
fn the_role_is_changed_in_the_same_session() {
    let site = Site::new("cis2", OidcBuilder::cis2);
    let choice = site.desk.path("choice");
    let site = site.set("role_command", &format!("sed -n -f {}", choice.display()));
    fs::write(&choice, "1p").unwrap();
    let _agent = Agent::start(&site.desk);
    let before = site.json(&["login"])["role"]["id"].clone();
    fs::write(&choice, "3p").unwrap();
    let changed = site.json(&["change-role"]);
    assert_ne!(changed["role"]["id"], before);
    assert_eq!(site.json(&["status"])["session"]["role"], changed["role"]);
    assert!(site.done(&["change-role"]).starts_with("user    TEST USER (555021935107)\nrole    "));
    assert_eq!((site.logins(), site.provider.open_sessions()), (1, 1));
    // The user chooses none: everything stays.
    fs::write(&choice, "9p").unwrap();
    assert_eq!(site.run(&["change-role"]).code, 4);
    assert_eq!(site.json(&["status"])["session"]["role"], changed["role"]);
}

#[test]
fn contexts_are_listed_with_whole_ids_and_switched_for_every_program() {
    let site = Site::new("ehealth_dk", OidcBuilder::ehealth_dk);
    let _agent = Agent::start(&site.desk);
    let before = site.done(&["ticket"]);
    let listed = site.done(&["context", "--list"]);
    let shown = site.json(&["context", "--list"]);
    let ids = shown["organizations"].as_array().unwrap().iter().chain(shown["care_teams"].as_array().unwrap());
    let ids: Vec<_> = ids.map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 4, "{shown}");
    for id in &ids {
        assert!(listed.contains(&format!("\n    {id}\n")), "{listed}");
    }
    let team = shown["care_teams"][0]["id"].as_str().unwrap();
    assert!(listed.contains("care team     Team 1 (") && team.ends_with("CareTeam/1"), "{listed}");
    assert!(site.done(&["context", "--care-team", team]).starts_with("user    Anna Testsen (anna)\n"));
    let after = site.done(&["ticket", "--no-auth"]);
    assert_ne!(after, before);
    // One that the service refuses changes nothing.
    let refused = site.run(&["context", "--care-team", "https://organization.test.example/fhir/CareTeam/9"]);
    assert_eq!((refused.code, &*refused.stdout), (4, ""), "{}", refused.stderr);
    assert_eq!(site.done(&["ticket", "--no-auth"]), after);
    assert_eq!(site.run(&["context", "--patient", "https://patient.example/1"]).code, 2);
    let unknown = site.run(&["assertion"]);
    assert_eq!(unknown.code, 1);
    assert!(
        unknown.stderr.starts_with("session: the identity service does not answer this question\n"),
        "{}",
        unknown.stderr
    );
    assert_eq!((site.logins(), site.provider.open_sessions()), (1, 1));
}

#[test]
fn browser_none_prints_the_address_on_standard_error_and_the_ticket_alone_on_standard_output() {
    let site = Site::new("oidc", |provider| provider).set("browser", "none");
    let mut command = site.desk.command(&["ticket"]);
    let errors = site.desk.path("errors");
    command.stderr(fs::File::create(&errors).unwrap());
    let login = thread::spawn(move || command.output().unwrap());
    let until = Instant::now() + PATIENCE;
    let address = loop {
        let text = fs::read_to_string(&errors).unwrap();
        let printed = text.lines().find(|line| line.starts_with("https://")).map(str::to_owned);
        match printed.filter(|_| text.contains("another device")) {
            Some(address) => break address,
            None => assert!(Instant::now() < until, "no address was printed: {text}"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    let page = Browser::new(site.provider.ca_file()).open(&address).unwrap();
    assert!(page.text.contains("You are logged in"), "{}", page.text);
    let stdout = String::from_utf8(login.join().unwrap().stdout).unwrap();
    assert_eq!((stdout.lines().count(), stdout.contains("http")), (1, false), "{stdout}");
    assert!(!fs::read_to_string(&errors).unwrap().contains(stdout.trim()));
}

#[test]
fn a_login_that_the_user_or_the_browser_ends_fails_at_once_and_says_why() {
    let site = Site::new("oidc", |provider| provider);
    site.provider.misbehave(Endpoint::Authorize, Misbehaviour::Error("access_denied".into()));
    let began = Instant::now();
    let run = site.run(&["login"]);
    assert_eq!((run.code, &*run.stdout), (4, ""));
    assert!(run.stderr.contains("access_denied"), "{}", run.stderr);
    script(&site.desk.path("browser"), "exit 3\n");
    let run = site.run(&["login"]);
    assert_eq!(run.code, 5);
    assert!(run.stderr.contains("browser ended with exit status: 3"), "{}", run.stderr);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(site.provider.open_sessions(), 0);
}
