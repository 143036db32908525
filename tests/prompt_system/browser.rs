//! Pages in the browser, and their addresses where there is none.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::host::{PAGE, host, host_on_terminal};
use crate::person::Person;
use crate::support::{PATIENCE, script};

const NOTICE: &str = "Log in on the page in your browser. If it shows an error, cancel here";

fn wait_for(file: &std::path::Path) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        match fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => assert!(Instant::now() < until, "{} was not written", file.display()),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_desktops_browser_opens_the_page_and_a_window_waits_for_the_login() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    script(&path("xdg-open"), "echo chatter; echo chatter >&2; printf '%s\\n' \"$@\" > $0.given\n");
    script(
        &path("zenity"),
        "printf '%s\\n' \"$1\" > $0.title; read -r line; printf '%s\\n' \"$line\" > $0.line; exec /bin/sleep 600\n",
    );
    let mut login = host("page 0", folder.path());
    login.env("DISPLAY", ":99").env("TICKETAPI_SERVICE", "ehealth_dk");
    let login = login.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(wait_for(&path("xdg-open.given")), format!("{PAGE}\n"));
    assert_eq!(wait_for(&path("zenity.line")), format!("#{NOTICE}\n"));
    assert_eq!(wait_for(&path("zenity.title")), "--title=eHealth login\n");
    fs::write(path("card"), "").unwrap();
    let output = login.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(stdout.contains("a card, gone at once\n"), "{stdout}");
    assert!(!stdout.contains("chatter") && !stderr.contains("chatter"), "{stdout}{stderr}");
}

#[test]
fn without_a_desktop_the_terminal_shows_the_address_and_a_notice_that_goes_away() {
    let mut person = Person::asked("page 0");
    person.sees_text(&format!("{NOTICE} (Ctrl-C"));
    let screen = person.written();
    assert!(screen.contains(&format!("\r\n{PAGE}\r\n")), "{screen}");
    assert!(screen.contains("on this computer") && screen.contains('█'), "{screen}");
    person.press("\x03");
    assert!(person.outcome().contains("cancelled, gone at once\n"));
    assert!(!person.screen().contains(NOTICE), "{}", person.screen());
}

#[test]
fn browser_none_prints_the_address_on_standard_error_alone() {
    let folder = tempfile::tempdir().unwrap();
    script(&folder.path().join("xdg-open"), "touch $0.started\n");
    fs::write(folder.path().join("card"), "").unwrap();
    let mut login = host("page 0", folder.path());
    login.env("DISPLAY", ":99").env("TICKETAPI_BROWSER", "none").env("TICKETAPI_PROMPTER", "none");
    let output = login.output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(stdout.contains("a card, gone at once\n") && !stdout.contains(PAGE), "{stdout}");
    assert!(stderr.contains(&format!("\n{PAGE}\n")) && !stderr.contains('█'), "{stderr}");
    assert!(!folder.path().join("xdg-open.started").exists());
}

#[test]
fn without_desktop_and_terminal_a_login_fails_and_says_what_to_set() {
    let folder = tempfile::tempdir().unwrap();
    let output = host("page 0", folder.path()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("NoPrompter: there is neither a desktop for a browser nor a terminal\n"), "{stdout}");
    let output = host("page 0", folder.path()).env("DISPLAY", ":99").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("NoPrompter: none of the programs that open a browser is installed: xdg-open"), "{stdout}");
}

#[test]
fn a_background_job_is_not_stopped_by_an_address_for_the_terminal() {
    let mut person = Person::at_terminal(|folder| host_on_terminal("page 0", folder, "set -m; \"$@\" & wait $!"));
    assert!(person.outcome().contains("NoPrompter: there is neither a desktop for a browser nor a terminal\n"));
}
