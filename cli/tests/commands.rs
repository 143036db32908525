//! The commands for sessions, with the simulator and a software card.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Agent, Desk, Run, UID};
use ticketapi_testkit::artifacts::{helper_program, opensc_module};
use ticketapi_testkit::{CardSpec, Endpoint, Misbehaviour};

const PATIENCE: Duration = Duration::from_secs(60);

fn ticket_is_in(run: &Run, desk: &Desk) -> bool {
    let tickets = desk.spine.log().into_iter().filter_map(|entry| match entry.answer {
        ticketapi_testkit::spine::Outcome::Ticket(ticket) => Some(ticket),
        _ => None,
    });
    let tickets: Vec<_> = tickets.collect();
    assert!(!tickets.is_empty(), "there was a login");
    tickets.iter().any(|ticket| run.stdout.contains(ticket) || run.stderr.contains(ticket))
}

#[test]
fn login_shows_the_user_and_ends_the_session_if_there_is_no_agent() {
    let desk = Desk::new();
    let run = desk.run(&["login"]);
    let role = &desk.spine.roles()[1];
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.starts_with(&format!("user    NURSE A ({UID})\nrole    ")), "{}", run.stdout);
    assert!(run.stdout.ends_with(&format!(" [{}]\nticket  AQIC5w…\n", role.id)), "{}", run.stdout);
    assert_eq!(run.stderr, "There is no agent to keep the session, so it has been ended again.\n");
    assert!(!ticket_is_in(&run, &desk));
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn login_in_json_has_user_and_role_and_no_whole_ticket() {
    let desk = Desk::new();
    let run = desk.run(&["login", "--json"]);
    let shown = run.json();
    assert_eq!(shown["user"], json!({ "uid": UID, "name": "NURSE A" }));
    assert_eq!(shown["role"]["id"], desk.spine.roles()[1].id);
    assert_eq!((&shown["ticket"], &shown["kept"]), (&json!("AQIC5w…"), &json!(false)));
    assert_eq!((&shown["minutes"], &shown["idle_minutes"]), (&json!(600), &json!(600)));
    assert!(!ticket_is_in(&run, &desk));
}

#[test]
fn ticket_prints_only_the_ticket_and_leaves_it_valid() {
    let desk = Desk::new();
    let run = desk.run(&["ticket"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let ticket = run.stdout.strip_suffix('\n').unwrap();
    assert!(desk.spine.end_session(ticket), "it is the ticket of a live session");
    assert!(run.stderr.contains("until the service ends it, after 600 minutes"), "{}", run.stderr);
    let run = desk.run(&["ticket", "--json"]);
    assert!(desk.spine.end_session(run.json()["ticket"].as_str().unwrap()));
}

#[test]
fn a_session_is_ended_if_nobody_reads_its_ticket() {
    let desk = Desk::new();
    let mut child = desk.command(&["ticket"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn ticket_with_no_auth_does_not_prompt() {
    let desk = Desk::new();
    let run = desk.run(&["ticket", "--no-auth"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert_eq!(run.stderr, "session: nobody is logged in\nLog in first.\n");
    assert_eq!(desk.spine.connections(), 0);
}

#[test]
fn roles_lists_the_ids_that_the_setting_accepts() {
    // Also for a user who has set a role that does not exist.
    let desk = Desk::new().set("role", "42");
    let run = desk.run(&["roles"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let ids: Vec<_> = desk.spine.roles().into_iter().map(|role| role.id).collect();
    let lines: Vec<_> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 3);
    for (line, id) in lines.iter().zip(&ids) {
        assert!(line.ends_with(&format!(" [{id}]")), "{line}");
    }
    let shown = desk.run(&["roles", "--json"]).json();
    let shown: Vec<_> = shown["roles"].as_array().unwrap().iter().map(|role| role["id"].clone()).collect();
    assert_eq!(shown, ids);
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn status_and_logout_without_an_agent_find_no_session_and_do_not_prompt() {
    let desk = Desk::new();
    for command in ["status", "logout"] {
        let run = desk.run(&[command]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let why = format!("no ticketapi agent is running: {} does not exist", desk.text("run/ticketapi"));
        assert_eq!(run.stdout, format!("Nobody is logged in: {why}.\n"));
        let shown = desk.run(&[command, "--json"]).json();
        assert_eq!(
            shown,
            json!({ "logged_in": false, "session": null, "locked": false, "agent": null, "reason": why })
        );
    }
    assert_eq!(desk.spine.connections(), 0);
}

#[test]
fn assertion_shows_what_the_user_may_do_in_the_role() {
    let desk = Desk::new();
    let run = desk.run(&["assertion"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let role = &desk.spine.roles()[1];
    assert!(run.stdout.starts_with(&format!("user    NURSE A ({UID})\nrole    ")), "{}", run.stdout);
    assert!(run.stdout.contains(&format!(" [{}]\nmay     ", role.id)), "{}", run.stdout);
    assert_eq!(desk.spine.open_sessions(), 0);
    let run = desk.run(&["assertion", "--json"]);
    let shown = run.json();
    assert_eq!((&shown["user"]["uid"], &shown["role"]), (&json!(UID), &json!(role.id)));
    assert_eq!(shown["roles"].as_array().unwrap().len(), 3);
    assert!(shown["roles"][1]["business_function_codes"].is_array(), "{shown}");
    assert!(!ticket_is_in(&run, &desk));
}

#[test]
fn with_an_agent_one_login_serves_every_command_until_logout() {
    let desk = Desk::new();
    let agent = Agent::start(&desk);
    assert_eq!(desk.run(&["status", "--json"]).json()["logged_in"], false);
    assert_eq!(desk.run(&["ticket", "--no-auth"]).code, 1);

    let login = desk.run(&["login", "--json"]);
    assert_eq!((login.code, &login.json()["kept"]), (0, &json!(true)), "{}", login.stderr);
    assert_eq!(login.stderr, "");
    // From here on a prompt would fail.
    desk.answering_pin("exit 1");
    let ticket = desk.run(&["ticket", "--no-auth"]);
    assert_eq!((ticket.code, ticket.stderr.as_str()), (0, ""));
    assert_eq!(desk.run(&["ticket"]).stdout, ticket.stdout);
    let status = desk.run(&["status", "--json"]).json();
    assert_eq!((&status["logged_in"], &status["session"]["user"]["uid"]), (&json!(true), &json!(UID)));
    assert_eq!(status["agent"]["pid"], agent.0.id());
    assert_eq!(desk.run(&["roles"]).stdout.lines().count(), 3);
    assert_eq!(desk.run(&["assertion", "--json"]).json()["user"]["uid"], UID);
    assert_eq!(desk.spine.open_sessions(), 1);

    assert_eq!(desk.run(&["logout"]).stdout, "Logged out.\n");
    assert_eq!(desk.spine.open_sessions(), 0);
    assert_eq!(desk.run(&["status"]).stdout, "Nobody is logged in.\n");
}

#[test]
fn a_missing_agent_that_is_required_gives_code_5() {
    let desk = Desk::new().set("agent", "require");
    for command in [&["login"][..], &["ticket", "--no-auth"], &["status"], &["logout"]] {
        let run = desk.run(command);
        assert_eq!(run.code, 5, "{command:?}: {}", run.stderr);
        assert!(run.stderr.starts_with("session: no ticketapi agent is running: "), "{}", run.stderr);
    }
    assert_eq!(desk.spine.connections(), 0);
}

#[test]
fn the_agent_ends_its_session_on_a_signal() {
    let desk = Desk::new();
    let mut agent = Agent::start(&desk);
    assert_eq!(desk.run(&["login"]).code, 0);
    let sent = std::process::Command::new("kill").args(["-TERM", &agent.0.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(agent.0.wait().unwrap().code(), Some(0));
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn settings_come_from_the_file_then_the_environment_then_the_command_line() {
    let desk = Desk::new().without("role");
    let ids: Vec<_> = desk.spine.roles().into_iter().map(|role| role.id).collect();
    std::fs::write(desk.path("settings.toml"), format!("role = \"{}\"\n", ids[0])).unwrap();
    let file = desk.text("settings.toml");
    let role = |command: &mut std::process::Command| Run::of(command.output().unwrap()).json()["role"]["id"].clone();
    assert_eq!(role(&mut desk.command(&["login", "--json", "--config", &file])), ids[0]);
    let mut command = desk.command(&["login", "--json", "--config", &file]);
    assert_eq!(role(command.env("TICKETAPI_ROLE", &ids[1])), ids[1]);
    let mut command = desk.command(&["login", "--json", "--config", &file, "--set", &format!("role={}", ids[2])]);
    assert_eq!(role(command.env("TICKETAPI_ROLE", &ids[1])), ids[2]);
}

#[test]
fn an_error_says_what_happened_and_what_to_do_and_has_its_groups_exit_code() {
    let expired = |desk: &Desk| {
        desk.identity(&CardSpec::new(UID).expired()).write_pkcs12(&desk.path("expired.p12"), support::PIN).unwrap();
    };
    let cases: [(&str, &str, &str, i32, &str, &str); 5] = [
        ("ca_file", "", "", 1, "generic", "Tls"),
        ("software_card", "expired.p12", "", 3, "card device", "CertificateNotValid"),
        ("role", "", "42", 4, "authentication", "UserNotValid"),
        ("digest", "", "md5", 5, "config", "Configuration"),
        ("pinentry", "nowhere/pinentry", "", 5, "config", "NoPrompter"),
    ];
    for (key, file, value, code, group, kind) in cases {
        let desk = Desk::new();
        expired(&desk);
        // Another CA with the same name.
        let other = Desk::new();
        let value = match (key, file) {
            ("ca_file", _) => other.text("ca.pem"),
            (_, "") => value.to_owned(),
            _ => desk.text(file),
        };
        let desk = desk.set(key, &value);
        let run = desk.run(&["login"]);
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{key}: {}", run.stderr);
        let told = desk.run(&["login", "--json"]);
        let error = &told.json()["error"];
        assert_eq!((told.code, &error["group"], &error["kind"]), (code, &json!(group), &json!(kind)), "{error}");
        let (message, remedy) = (error["message"].as_str().unwrap(), error["remedy"].as_str().unwrap());
        assert_eq!(run.stderr, format!("{}: {message}\n{remedy}\n", error["stage"].as_str().unwrap()));
        assert_eq!(desk.spine.open_sessions(), 0);
    }
}

#[test]
fn a_wrong_command_line_gives_code_2() {
    let desk = Desk::new();
    assert_eq!(desk.run(&["log-in"]).code, 2);
    assert_eq!(desk.run(&[]).code, 2);
    let run = desk.run(&["login", "--set", "role"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("there is no = in it"), "{}", run.stderr);
    let run = desk.run(&["login", "--json", "--set", "role"]);
    let error = &run.json()["error"];
    assert_eq!((run.code, run.stderr.as_str(), &error["kind"]), (2, "", &json!("Usage")));
    assert!(error["message"].as_str().unwrap().contains("there is no = in it"), "{error}");
    // Text that the user asked for is not an error.
    let run = desk.run(&["login", "--json", "--help"]);
    assert_eq!((run.code, run.stdout.contains("Usage: ticketapi login")), (0, true));
}

#[test]
fn the_brokers_text_cannot_control_the_terminal() {
    let desk = Desk::with(|spine| spine.roles(1).display_name("EVE\u{9b}31m\u{85}user ADMIN")).without("role");
    let run = desk.run(&["login"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stdout.chars().any(|c| c.is_control() && c != '\n'), "{:?}", run.stdout);
    assert_eq!(run.stdout.lines().count(), 3, "{:?}", run.stdout);
    let run = desk.run(&["login", "--json"]);
    assert!(!run.stdout.chars().any(|c| c.is_control() && c != '\n'), "{:?}", run.stdout);
}

#[test]
fn without_a_terminal_there_is_no_progress_and_no_colour() {
    let desk = Desk::new();
    for command in [&["login"][..], &["doctor"], &["login", "--set", "digest=md5"]] {
        let run = desk.run(command);
        assert!(!run.stdout.contains('\x1b') && !run.stderr.contains('\x1b'), "{}{}", run.stdout, run.stderr);
    }
}

/// Runs the program on a terminal of its own (`script` of util-linux).
fn on_a_terminal(desk: &Desk, arguments: &[&str], no_color: bool) -> String {
    let inner = desk.command(arguments);
    let words = std::iter::once(inner.get_program()).chain(inner.get_args());
    let line: Vec<_> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut command = std::process::Command::new("script");
    command.args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"]).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
    if no_color {
        command.env("NO_COLOR", "1");
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn on_a_terminal_progress_is_shown_and_errors_are_coloured() {
    let desk = Desk::new();
    let seen = on_a_terminal(&desk, &["login"], false);
    assert!(seen.contains("\r\x1b[2KLogging in …"), "{seen:?}");
    let seen = on_a_terminal(&desk, &["login", "--set", "digest=md5"], false);
    assert!(seen.contains("\x1b[1m\x1b[31mconfiguration: "), "{seen:?}");
    let seen = on_a_terminal(&desk, &["login", "--set", "digest=md5"], true);
    assert!(seen.contains("configuration: ") && !seen.contains("\x1b["), "{seen:?}");
}

#[test]
fn ctrl_c_ends_the_session_that_a_login_has_begun() {
    let desk = Desk::new();
    let held = desk.spine.hold(Endpoint::SelectRole);
    let mut child = desk.command(&["login"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    assert!(desk.spine.wait_for(PATIENCE, |log| log.iter().any(|entry| entry.endpoint == Some(Endpoint::SelectRole))));
    interrupt(&child);
    let status = child.wait().unwrap();
    drop(held);
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!((status.code(), status.signal()), (Some(4), None), "{told}");
    assert!(told.starts_with("role selection: the login was cancelled\n"), "{told}");
    assert!(desk.spine.wait_for_sessions(PATIENCE, 0));
}

#[test]
fn a_termination_signal_closes_the_pin_window() {
    for signal in ["INT", "TERM", "HUP"] {
        let desk = Desk::new();
        desk.answering_pin("echo >$0.asked; exec sleep 600");
        let mut child = desk.command(&["login"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        while !desk.path("pinentry.asked").exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(4), "{signal}");
        assert_eq!(desk.spine.open_sessions(), 0);
    }
}

#[test]
fn a_termination_signal_ends_a_command_that_waits_for_a_silent_broker() {
    // It accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", silent.local_addr().unwrap().port());
    for command in ["login", "roles", "doctor"] {
        let desk = Desk::new().set("base_url", &url);
        let mut child = desk.command(&[command]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let connection = silent.accept().unwrap();
        send(&child, "TERM");
        let sent = Instant::now();
        assert_eq!(child.wait().unwrap().code(), Some(4), "{command}");
        assert!(sent.elapsed() < Duration::from_secs(10), "{command}: {:?}", sent.elapsed());
        drop(connection);
    }
}

/// Paths that are not regular files of moderate size: reading them would block or fill the memory.
fn unreadable_files(desk: &Desk) -> Vec<String> {
    let (fifo, huge) = (desk.path("fifo"), desk.path("huge"));
    assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&fifo).status().unwrap().success());
    // A sparse file.
    std::fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    vec![desk.text("fifo"), "/dev/zero".to_owned(), desk.text("huge"), desk.text("run")]
}

/// Waits for a program that should end by itself.
fn in_time(command: &mut std::process::Command) -> Run {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let give_up = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > give_up {
            child.kill().unwrap();
            panic!("it does not end: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Run::of(child.wait_with_output().unwrap())
}

#[test]
fn a_pipe_a_device_or_a_huge_file_as_configuration_is_an_error_at_once() {
    let desk = Desk::new();
    for file in unreadable_files(&desk) {
        for command in ["login", "doctor", "agent"] {
            let run = in_time(desk.command(&[command]).args(["--config", &file]));
            assert_eq!(run.code, 5, "{command}, {file}: {}", run.stderr);
            assert!((run.stdout + &run.stderr).contains(&format!("{file} cannot be read: ")), "{command}, {file}");
        }
        for key in ["ca_file", "software_card"] {
            let run = in_time(desk.command(&["login"]).args(["--set", &format!("{key}={file}")]));
            assert_eq!(run.code, 5, "{key}={file}: {}", run.stderr);
            assert!(run.stderr.contains(&file) && run.stderr.contains("cannot be read: "), "{key}: {}", run.stderr);
        }
    }
    assert_eq!(desk.spine.open_sessions(), 0);
}

#[test]
fn a_pipe_a_device_or_a_huge_file_as_opensc_configuration_does_not_delay_the_card() {
    let desk = Desk::new();
    let helper = helper_program().to_str().unwrap().to_owned();
    let files = unreadable_files(&desk);
    let desk = desk.without("software_card").set("helper", &helper).set("pkcs11_module", opensc_module());
    for file in files {
        let mut command = desk.command(&["login"]);
        let run = in_time(command.env("OPENSC_CONF", &file).env("PCSCLITE_CSOCK_NAME", "/nowhere"));
        assert_eq!(run.code, 3, "{file}: {}", run.stderr);
    }
}

#[test]
fn a_second_ctrl_c_does_not_wait() {
    let desk = Desk::new();
    let _held = (desk.spine.hold(Endpoint::SelectRole), desk.spine.hold(Endpoint::Logout));
    let mut child = desk.command(&["login"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    assert!(desk.spine.wait_for(PATIENCE, |log| log.iter().any(|entry| entry.endpoint == Some(Endpoint::SelectRole))));
    interrupt(&child);
    assert!(desk.spine.wait_for(PATIENCE, |log| log.iter().any(|entry| entry.endpoint == Some(Endpoint::Logout))));
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

fn interrupt(child: &std::process::Child) {
    send(child, "INT");
}

fn send(child: &std::process::Child, signal: &str) {
    let sent = std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn completions_and_man_pages_name_every_command() {
    let desk = Desk::new();
    let program = env!("CARGO_BIN_EXE_ticketapi-files");
    let made = std::process::Command::new(program).arg(desk.path("made")).status().unwrap();
    assert!(made.success());
    let read = |name: &str| std::fs::read_to_string(desk.path("made").join(name)).unwrap();
    for command in ["login", "ticket", "status", "roles", "assertion", "logout", "agent", "doctor"] {
        for file in ["ticketapi", "_ticketapi", "ticketapi.fish", "ticketapi.1"] {
            assert!(read(file).contains(command), "{file}: {command}");
        }
        assert!(read(&format!("ticketapi-{command}.1")).contains("KEY=VALUE"));
    }
    assert!(read("ticketapi.1").contains("Exit codes"));
}

#[test]
fn a_refusal_shows_the_brokers_reason() {
    let desk = Desk::new();
    desk.spine.misbehave(Endpoint::Validate, Misbehaviour::Refuse("The smartcard has been revoked".into()));
    let run = desk.run(&["login"]);
    assert_eq!(run.code, 4);
    assert!(run.stderr.contains("The smartcard has been revoked"), "{}", run.stderr);
}

#[test]
fn a_change_needs_a_session_that_an_agent_holds() {
    let desk = Desk::new();
    for command in [&["change-role"][..], &["context", "--organization", "https://org.example/1"]] {
        let run = desk.run(command);
        assert_eq!((run.code, run.stdout.as_str()), (1, ""));
        assert!(
            run.stderr.starts_with("session: nobody is logged in: no ticketapi agent is running"),
            "{}",
            run.stderr
        );
    }
    assert_eq!(desk.spine.connections(), 0);
}

#[test]
fn the_broker_has_neither_changes_nor_contexts_nor_claims_and_the_session_goes_on() {
    let desk = Desk::new();
    let _agent = Agent::start(&desk);
    assert_eq!(desk.run(&["login"]).code, 0);
    for command in [
        &["change-role"][..],
        &["context", "--care-team", "https://team.example/1", "--patient", "https://patient.example/1"],
        &["context", "--list"],
        &["claims"],
    ] {
        let run = desk.run(command);
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{command:?}");
        assert!(run.stderr.starts_with("session: the identity service has no "), "{}", run.stderr);
    }
    assert!(desk.run(&["status"]).stdout.starts_with("user    NURSE A"));
}
