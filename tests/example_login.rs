//! Runs `examples/login.rs` as a user would: settings in the environment, prompts by programs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use support::{Desk, PIN, UID, script};

struct Run {
    desk: Desk,
}

impl Run {
    fn new() -> Self {
        let desk = Desk::with(|spine| spine.roles(3).display_name("NURSE A"));
        script(
            &desk.path("pinentry"),
            &format!("echo OK\nwhile read -r line; do case $line in GETPIN) echo 'D {PIN}'; esac; echo OK; done\n"),
        );
        Self { desk }
    }

    /// Runs the example with `arguments` and with these settings besides the necessary ones.
    fn login(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
        self.run(Command::new(example()).args(arguments), settings)
    }

    fn run(&self, command: &mut Command, settings: &[(&str, &str)]) -> Output {
        let desk = &self.desk;
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TICKETAPI_BASE_URL", desk.spine.url())
            .env("TICKETAPI_CA_FILE", desk.path("ca.pem"))
            .env("TICKETAPI_SOFTWARE_CARD", desk.path("card.p12"))
            .env("TICKETAPI_PINENTRY", desk.path("pinentry"))
            .env("TICKETAPI_ROLE_COMMAND", "sed -n 2p")
            .envs(settings.iter().copied())
            .output()
            .unwrap()
    }
}

fn example() -> PathBuf {
    let this_test = std::env::current_exe().unwrap();
    this_test.ancestors().nth(2).unwrap().join("examples/login")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn where_no_thread_can_be_started_the_login_fails() {
    let run = Run::new();
    // The standard library reads this for the stacks of threads.
    let output = run.login(&[], &[("RUST_MIN_STACK", "1000000000000000")]);
    assert!(!output.status.success());
    let stderr = text(&output.stderr);
    assert!(stderr.contains("no thread could be started"), "{stderr}");
    assert!(stderr.contains("\nClose programs that you do not need"), "{stderr}");
    assert_eq!(run.desk.spine.open_sessions(), 0);
}

#[test]
fn with_any_number_of_file_descriptors_it_logs_in_or_says_that_there_are_too_few() {
    let run = Run::new();
    let mut logins = 0;
    for limit in 6..24 {
        let shell = format!("ulimit -n {limit} && exec \"$0\"");
        let output = run.run(Command::new("sh").args(["-c", &shell]).arg(example()), &[]);
        let stderr = text(&output.stderr);
        if output.status.success() {
            logins += 1;
        } else {
            assert!(stderr.contains("Too many open files (os error 24)\nClose programs"), "{limit}: {stderr}");
        }
        assert_eq!(run.desk.spine.open_sessions(), 0);
    }
    assert!(0 < logins && logins < 18, "{logins}");
}

#[test]
fn it_prints_the_user_and_a_shortened_ticket() {
    let run = Run::new();
    let output = run.login(&[], &[]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains(&format!("user    NURSE A ({UID})\n")), "{stdout}");
    assert!(stdout.contains(&format!("[{}]\n", run.desk.spine.roles()[1].id)), "{stdout}");
    assert!(stdout.contains("ticket  AQIC5w…\n"), "{stdout}");
    assert_eq!(run.desk.spine.open_sessions(), 0, "it logs out");
}

#[test]
fn json_contains_every_role_and_the_whole_ticket_only_on_request() {
    let run = Run::new();
    let short: Value = serde_json::from_slice(&run.login(&["--json"], &[]).stdout).unwrap();
    assert_eq!(short["user"]["uid"], UID);
    assert_eq!(short["roles"].as_array().unwrap().len(), 3);
    assert_eq!(short["role"], short["roles"][1]["id"]);
    assert_eq!(short["ticket"], "AQIC5w…");
    let whole: Value = serde_json::from_slice(&run.login(&["--json", "--show-ticket"], &[]).stdout).unwrap();
    assert!(whole["ticket"].as_str().unwrap().ends_with("#"), "{}", whole["ticket"]);
}

#[test]
fn an_error_is_printed_with_its_remedy_and_has_its_exit_code() {
    let run = Run::new();
    let output = run.login(&[], &[("TICKETAPI_ROLE", "42")]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("role selection: the user does not have the role 42"), "{stderr}");
    assert!(stderr.contains("Registration Authority"), "{stderr}");
    assert_eq!(run.desk.spine.open_sessions(), 0);
}

#[test]
fn an_error_in_json_has_kind_stage_and_remedy() {
    let run = Run::new();
    let output = run.login(&["--json"], &[("TICKETAPI_DIGEST", "md5")]);
    assert_eq!(output.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["error"]["kind"], "Configuration");
    assert_eq!(error["error"]["message"], "configuration: TICKETAPI_DIGEST: \"md5\" is not one of sha1, sha256");
    assert!(!error["error"]["remedy"].as_str().unwrap().is_empty());
}

#[test]
fn an_unknown_option_shows_the_usage() {
    let output = Run::new().login(&["--pin", "1234"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("usage: login [--json] [--show-ticket]"));
}
