//! The checks of settings and prompts, and the doctor's own behaviour.

use crate::Visit;
use crate::support::{Agent, Desk, script};

#[test]
fn with_a_software_card_every_other_check_runs() {
    let desk = Desk::new();
    let visit = Visit::to(&desk);
    let expected = [
        ("configuration", "ok"),
        ("prompt", "ok"),
        ("helper", "skipped"),
        ("service", "skipped"),
        ("reader", "skipped"),
        ("card", "ok"),
        ("module", "skipped"),
        ("token", "skipped"),
        ("certificate", "skipped"),
        ("pin", "skipped"),
        ("name", "skipped"),
        ("connection", "ok"),
        ("tls", "ok"),
        ("clock", "ok"),
        ("agent", "warning"),
    ];
    assert_eq!(visit.states(), expected.map(|(name, state)| (name.to_owned(), state.to_owned())));
    assert_eq!((visit.code, &visit.answer["ok"]), (0, &true.into()));
    assert_eq!(visit.told("module").sentence, "not needed: the card is a file");
    assert_eq!(visit.told("pin").sentence, "a card in a file shows it only after the PIN");
}

#[test]
fn the_doctor_begins_no_session_and_does_not_prompt() {
    let desk = Desk::new();
    desk.answering_pin("touch $0.asked");
    assert_eq!(Visit::to(&desk).code, 0);
    let log = desk.spine.log();
    assert_eq!(
        log.iter().map(|entry| (entry.method.as_str(), entry.path.as_str())).collect::<Vec<_>>(),
        [("GET", "/")]
    );
    assert!(!desk.path("pinentry.asked").exists());
}

#[test]
fn the_text_has_a_line_for_each_check_and_each_remedy_below_it() {
    let desk = Desk::new().set("pinentry", "/nowhere/pinentry");
    let run = desk.run(&["doctor"]);
    assert_eq!(run.code, 5);
    assert!(
        run.stdout.contains(
            "failed   prompt          /nowhere/pinentry, which asks for the PIN, does not exist\n\
             \x20                        → Install pinentry, or set pinentry to the full path of a program like it.\n\
             skipped  card helper     not needed: the card is a file\n"
        ),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("ok       TLS             the server is trusted, "), "{}", run.stdout);
}

#[test]
fn the_configuration_check_shows_the_source_of_each_key() {
    let desk = Desk::new();
    std::fs::write(desk.path("settings.toml"), "card_timeout = 10\nrequire_role = false\n").unwrap();
    let file = desk.text("settings.toml");
    let mut command = desk.command(&["doctor", "--json", "--config", &file]);
    let run = crate::support::Run::of(command.env("TICKETAPI_ROLE", "7").output().unwrap());
    let sentence = format!(
        "{file}, which sets card_timeout (line 1), require_role (line 2); the environment's TICKETAPI_ROLE (overridden); \
         --set base_url, ca_file, software_card, pinentry, role, card_wait"
    );
    assert_eq!(run.json()["checks"][0]["sentence"], sentence);
}

#[test]
fn a_configuration_that_cannot_be_read_skips_every_other_check() {
    let desk = Desk::new();
    let missing = desk.text("missing.toml");
    let run = desk.run(&["doctor", "--json", "--config", &missing]);
    let visit = Visit { code: run.code, answer: run.json() };
    visit.assert_only_failure(
        "configuration",
        5,
        &format!("{missing} cannot be read: No such file or directory (os error 2)"),
    );
    visit.assert_skipped(&["prompt", "helper", "pin", "name", "clock"], "configuration");
}

#[test]
fn a_wrong_setting_is_named() {
    let visit = Visit::to(&Desk::new().set("digest", "md5"));
    visit.assert_only_failure("configuration", 5, "digest: \"md5\" is not one of sha1, sha256");
}

#[test]
fn a_missing_role_chooser_is_named() {
    let visit = Visit::to(&Desk::new().set("role_command", "no-such-chooser -dmenu"));
    visit.assert_only_failure("prompt", 5, "no-such-chooser, which asks for the role, does not exist");
}

#[test]
fn the_prompt_is_the_one_that_the_setting_prompter_chooses() {
    let desk = Desk::new().set("pinentry", "/nowhere/pinentry");
    let visit = Visit::to(&desk.set("prompter", "none"));
    visit.assert_only_failure("prompt", 5, "nobody can be asked for the PIN: prompter is set to none");
    // These tests have no terminal. On a terminal no pinentry is needed.
    let visit = Visit::to(&Desk::new().set("pinentry", "/nowhere/pinentry").set("prompter", "terminal"));
    visit.assert_only_failure("prompt", 5, "nobody can be asked for the PIN: there is no terminal");
}

#[test]
fn a_pinentry_on_the_search_path_is_found() {
    let desk = Desk::new().set("pinentry", "my-pinentry");
    script(&desk.path("my-pinentry"), "");
    let mut command = desk.command(&["doctor", "--json"]);
    let run = crate::support::Run::of(command.env("PATH", desk.folder.path()).output().unwrap());
    let visit = Visit { code: run.code, answer: run.json() };
    assert_eq!(visit.told("prompt").sentence, format!("{} asks for the PIN", desk.text("my-pinentry")));
}

#[test]
fn an_agent_is_shown_with_its_process_id() {
    let desk = Desk::new();
    let agent = Agent::start(&desk);
    let version = env!("CARGO_PKG_VERSION");
    let sentence = format!("version {version} runs as process {}; nobody is logged in", agent.0.id());
    assert_eq!(Visit::to(&desk).told("agent").sentence, sentence);
    assert_eq!(desk.run(&["login"]).code, 0);
    assert!(Visit::to(&desk).told("agent").sentence.ends_with("; somebody is logged in"));
}

#[test]
fn an_agent_that_is_absent_or_has_crashed_is_a_warning_unless_it_is_required() {
    let desk = Desk::new();
    let visit = Visit::to(&desk);
    let told = visit.told("agent");
    let absent = format!("no ticketapi agent is running: {} does not exist", desk.text("run/ticketapi"));
    assert_eq!((told.state.as_str(), told.sentence, visit.code), ("warning", absent.clone(), 0));
    assert!(told.remedy.starts_with("Start the agent"), "{}", told.remedy);
    let desk = desk.set("agent", "require");
    Visit::to(&desk).assert_only_failure("agent", 5, &absent);

    Agent::start(&desk).kill();
    let socket = desk.text("run/ticketapi/agent.sock");
    assert!(std::path::Path::new(&socket).exists(), "a crashed agent leaves its socket");
    let stale = format!("no ticketapi agent is running: no program listens at {socket} any more");
    Visit::to(&desk).assert_only_failure("agent", 5, &stale);

    let visit = Visit::to(&desk.set("agent", "never"));
    assert_eq!(visit.told("agent").sentence, "not used: the setting agent is never");
}
