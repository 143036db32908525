//! The commands for sessions at an employer's Nuts node, with a simulated one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use support::{Agent, Desk, Run, script};
use ticketapi_testkit::Nuts;
use ticketapi_testkit::chromium::Chromium;
use ticketapi_testkit::nuts::visit;

/// A desk whose logins are at a node, with a browser in which the user accepts or rejects.
struct Clinic {
    desk: Desk,
    nuts: Nuts,
    _user: mpsc::Sender<()>,
}

impl Clinic {
    fn new(accepts: bool) -> Self {
        Self::with(move |url| drop(visit(url).unwrap().press(accepts).unwrap()))
    }

    /// With a user who does this with the page's address.
    fn with(user: impl Fn(&str) + Send + 'static) -> Self {
        let nuts = Nuts::builder().start().unwrap();
        let desk = Desk::new().without("base_url").without("software_card").without("role");
        script(&desk.path("browser"), "echo chatter; printf '%s\\n' \"$1\" >$0.new; mv $0.new $0.address\n");
        let browser = desk.text("browser");
        let desk = desk
            .set("service", "nuts")
            .set("nuts_node", &nuts.url())
            .set("allow_http", "true")
            .set("employer", nuts.employer())
            .set("bind_card", "false")
            .set("proxy", "none")
            .set("browser", &browser);
        let (end, ended) = mpsc::channel();
        let address = desk.path("browser.address");
        thread::spawn(move || browse(&address, &user, &ended));
        Self { desk, nuts, _user: end }
    }

    /// Runs a command for the nurse.
    fn run(&self, arguments: &[&str]) -> Run {
        let nurse = ["--employee-identifier", "481", "--employee-initials", "J", "--employee-family-name", "van Dijk"];
        let run = self.desk.run(&[arguments, &nurse, &["--employee-role", "Verpleegkundige niveau 2"]].concat());
        assert!(!run.stdout.contains("chatter"), "{}", run.stdout);
        run
    }
}

/// Shows the user each page that the command has opened.
fn browse(address: &Path, user: &dyn Fn(&str), ended: &mpsc::Receiver<()>) {
    while ended.recv_timeout(Duration::from_millis(10)) == Err(mpsc::RecvTimeoutError::Timeout) {
        if let Ok(url) = fs::read_to_string(address) {
            fs::remove_file(address).unwrap();
            user(url.trim_end());
        }
    }
}

#[test]
fn login_shows_the_employee() {
    let clinic = Clinic::new(true);
    let run = clinic.run(&["login"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.starts_with("user    J van Dijk (481)\nrole    Verpleegkundige niveau 2"), "{}", run.stdout);
    let shown = clinic.run(&["login", "--json"]).json();
    assert_eq!((&shown["user"]["uid"], &shown["role"]["name"]), (&"481".into(), &"Verpleegkundige niveau 2".into()));
    assert_eq!(clinic.nuts.open_sessions(), 0);
}

#[test]
fn a_contract_that_is_rejected_is_a_login_that_was_cancelled() {
    let run = Clinic::new(false).run(&["login"]);
    assert_eq!((run.code, run.stdout.as_str()), (4, ""));
    assert!(run.stderr.contains("the contract was rejected on the node's page"), "{}", run.stderr);
}

#[test]
fn a_login_without_an_employee_says_what_is_missing() {
    let clinic = Clinic::new(true);
    let run = clinic.desk.run(&["login"]);
    assert_eq!(run.code, 5);
    assert!(run.stderr.contains("employee_identifier"), "{}", run.stderr);
    let run = clinic.desk.run(&["login", "--employee-identifier", "481"]);
    assert_eq!(run.code, 5);
    assert!(run.stderr.contains("employee_initials, employee_family_name"), "{}", run.stderr);
}

#[test]
fn the_ticket_and_the_claims_are_the_presentation() {
    let clinic = Clinic::new(true);
    let ticket = clinic.run(&["ticket"]);
    assert!(ticket.code == 0 && ticket.stdout.starts_with("eyJAY29udGV4dCI6"), "{}{}", ticket.stdout, ticket.stderr);
    let claims = clinic.run(&["claims"]).json();
    assert_eq!(claims["verifiableCredential"]["credentialSubject"]["member"]["identifier"], "481");
}

#[test]
fn nuts_token_prints_the_access_token_or_the_reason() {
    let clinic = Clinic::new(true);
    let employer = clinic.nuts.employer();
    let token = clinic.run(&["nuts-token", "--authorizer", employer, "--service", "test"]);
    assert!(token.code == 0 && token.stdout.starts_with("eyJ"), "{}{}", token.stdout, token.stderr);
    let json = clinic.run(&["nuts-token", "--authorizer", employer, "--service", "test", "--json"]).json();
    assert_eq!(json["expires_in"], 60);
    let refused = clinic.run(&["nuts-token", "--authorizer", employer, "--service", "unknown"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (4, ""));
    assert!(refused.stderr.contains("service not found in DID Document"), "{}", refused.stderr);
}

#[test]
fn the_agent_keeps_the_session_of_its_employee() {
    let clinic = Clinic::new(true);
    let desk = ["employee_identifier", "employee_initials", "employee_family_name", "employee_role"]
        .into_iter()
        .zip(["481", "J", "van Dijk", "Verpleegkundige niveau 2"])
        .fold(clinic.desk, |desk, (key, value)| desk.set(key, value));
    let agent = Agent::start(&desk);
    let clinic = Clinic { desk, ..clinic };
    assert_eq!(clinic.run(&["login", "--json"]).json()["kept"], true);
    let logins = clinic.nuts.log().len();
    let ticket = clinic.run(&["ticket", "--no-auth"]);
    assert!(ticket.stdout.starts_with("eyJ"), "{}", ticket.stderr);
    let token = clinic.run(&["nuts-token", "--authorizer", clinic.nuts.employer(), "--service", "test"]);
    assert!(token.stdout.starts_with("eyJ"), "{}", token.stderr);
    assert_eq!(clinic.nuts.log().len(), logins + 1);
    // Another employee has a session of their own.
    let other = ["login", "--employee-identifier", "9", "--json"];
    let run = clinic.desk.run(&other);
    assert_eq!((run.code, &run.json()["kept"]), (0, &false.into()), "{}", run.stderr);
    assert_eq!(clinic.run(&["ticket", "--no-auth"]).stdout, ticket.stdout);
    agent.kill();
}

#[test]
fn the_user_presses_a_button_in_a_real_browser() {
    for (button, code, page) in [("#accept-button", 0, "completed"), ("#reject-button", 4, "cancelled")] {
        let clinic = Clinic::with(move |url| {
            let browser = Chromium::start().unwrap();
            browser.open(url).unwrap();
            assert!(browser.text("#contract").unwrap().contains("act on behalf of CareBears"));
            assert_eq!(browser.text("#employee-name").unwrap(), "J van Dijk");
            browser.click(button).unwrap();
            assert!(browser.text("main").unwrap().contains(page));
        });
        let run = clinic.run(&["login"]);
        assert_eq!(run.code, code, "{}", run.stderr);
    }
}
