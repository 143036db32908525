//! Desktop prompts, by programs that record their arguments and answer.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::host::{host, roles};
use crate::support::{PATIENCE, script};

/// A desktop with these programs. Each writes its arguments, one per line, to `<name>.given`.
struct Desktop {
    folder: TempDir,
}

impl Desktop {
    fn with(programs: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, body) in programs {
            let given = "PATH=/usr/bin:/bin\nfor argument; do printf '%s\\n' \"$argument\"; done > $0.new\n\
                         mv $0.new $0.given\n";
            script(&folder.path().join(name), &format!("{given}{body}\n"));
        }
        Self { folder }
    }

    fn host(&self, question: &str) -> Command {
        let mut host = host(question, self.folder.path());
        host.env("DISPLAY", ":99");
        host
    }

    fn asked(&self, question: &str) -> String {
        outcome(self.host(question).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn given(&self, program: &str) -> Vec<String> {
        let given = fs::read_to_string(self.folder.path().join(program).with_extension("given")).unwrap();
        given.lines().map(str::to_owned).collect()
    }

    /// Asks, and creates `file` after `program` was started.
    fn asked_until(&self, question: &str, program: &str, file: &str) -> String {
        let host = self.host(question).stdout(Stdio::piped()).spawn().unwrap();
        self.wait_for(&if program.contains('.') { program.to_owned() } else { format!("{program}.given") });
        fs::write(self.folder.path().join(file), "").unwrap();
        outcome(host)
    }

    fn wait_for(&self, file: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.folder.path().join(file).exists() {
            assert!(Instant::now() < until, "there is no {file}");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn outcome(host: Child) -> String {
    let output = host.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

/// A pinentry that gives this answer to each question.
fn pinentry(answer: &str) -> String {
    format!(
        "echo OK\nwhile read -r line; do echo \"$line\" >> $0.heard\n\
         case $line in GETPIN|CONFIRM) touch $0.asked; {answer};; *) echo OK;; esac; done"
    )
}

/// A role's row on zenity's standard input.
fn row(number: usize) -> String {
    let role = &roles(number + 1)[number];
    format!("{}\n{}\n{}\n{number}\n", role.name, role.organisation, role.organisation_code)
}

const FOR_EVER: &str = "exec sleep 600";

#[test]
fn zenity_shows_the_roles_in_columns_and_returns_the_chosen_number() {
    let desktop = Desktop::with(&[("zenity", "cat > $0.rows; echo 1")]);
    assert!(desktop.asked("role 5").contains("answer: 1\n"));
    // No role is on the command line, which every user of the computer can read.
    let expected = "--title=NHS Spine login|--list|--width=900|--height=600|--text=Choose your role|\
         --column=Role|--column=Organisation|--column=Code|--column=Number|--hide-column=4|--print-column=4";
    assert_eq!(desktop.given("zenity").join("|"), expected);
    let rows = fs::read_to_string(desktop.folder.path().join("zenity.rows")).unwrap();
    assert_eq!(rows, (0..5).map(row).collect::<String>());
}

#[test]
fn a_window_has_a_locale_that_can_show_every_name() {
    let told = "echo \"LC_ALL is $LC_ALL\" > $0.locale; echo 1";
    for (name, value, told_to_zenity) in [
        ("LANG", "en_GB.UTF-8", ""),
        ("LC_CTYPE", "cy_GB.utf8", ""),
        ("LC_ALL", "C", "C.UTF-8"),
        ("LANG", "en_GB", "C.UTF-8"),
        ("LANG", "", "C.UTF-8"),
    ] {
        let desktop = Desktop::with(&[("zenity", told)]);
        let host = desktop.host("role 3").env(name, value).stdout(Stdio::piped()).spawn().unwrap();
        assert!(outcome(host).contains("answer: 1\n"));
        let locale = fs::read_to_string(desktop.folder.path().join("zenity.locale")).unwrap();
        assert_eq!(locale, format!("LC_ALL is {told_to_zenity}\n"), "{name}={value}");
    }
}

#[test]
fn a_double_click_in_zenity_counts_once() {
    assert!(Desktop::with(&[("zenity", "echo '2|2'")]).asked("role 3").contains("answer: 2\n"));
}

#[test]
fn zenity_left_without_a_choice_cancels_and_one_that_fails_does_not() {
    for body in ["exit $ZENITY_CANCEL", "exit $ZENITY_ESC", "exit 0"] {
        assert!(Desktop::with(&[("zenity", body)]).asked("role 3").contains("cancelled: "), "{body}");
    }
    // zenity exits like this if it cannot open the display.
    assert!(Desktop::with(&[("zenity", "exit 1")]).asked("role 3").contains("NoPrompter: "));
}

#[test]
fn a_number_without_a_role_is_refused() {
    for printed in ["3", "-1", "x", "--help"] {
        let desktop = Desktop::with(&[("zenity", &format!("echo '{printed}'"))]);
        assert!(desktop.asked("role 3").contains("NoPrompter: "), "{printed}");
    }
}

#[test]
fn zenity_asks_for_a_search_text_for_more_than_five_roles() {
    // The first search finds nothing; the second time the user wants to search again.
    let body = "echo \"$@\" >> $0.questions; cat > $0.rows\n\
                case $(wc -l < $0.questions) in\n\
                1) echo doctor;; 2) echo 'RX1 nurse';; 3) echo search;; 4) echo 'rx299';; 5) echo 299;; esac";
    let desktop = Desktop::with(&[("zenity", body)]);
    assert!(desktop.asked("big-role 300").contains("answer: 299\n"));
    let questions = fs::read_to_string(desktop.folder.path().join("zenity.questions")).unwrap();
    let search = "Search by organisation, code or role (nothing shows all 300)";
    let asked: Vec<_> = questions.lines().map(|line| line.split_once("--text=").unwrap().1).collect();
    let lists: Vec<_> = asked.iter().map(|asked| asked.starts_with("Choose your role --column")).collect();
    assert_eq!(lists, [false, false, true, false, true], "{questions}");
    assert_eq!((asked[0], asked[1]), (search, &*format!("There is no such role. {search}")));
    let rows = fs::read_to_string(desktop.folder.path().join("zenity.rows")).unwrap();
    assert_eq!(rows, row(299) + "Search again\n \n \nsearch\n");
    // No typed or found text is on a command line.
    assert!(!questions.contains("RX") && !questions.contains("TRUST") && !questions.contains("doctor"), "{questions}");
    for (question, first) in [("role 5", "--list"), ("role 6", "--entry")] {
        let desktop = Desktop::with(&[("zenity", "exit $ZENITY_CANCEL")]);
        assert!(desktop.asked(question).contains("cancelled: "), "{question}");
        assert_eq!(desktop.given("zenity")[1], first);
    }
}

#[test]
fn rofi_gets_a_line_for_each_role_and_returns_the_chosen_number() {
    let desktop = Desktop::with(&[("rofi", "cat > $0.lines; echo 120")]);
    assert!(desktop.asked("big-role 300").contains("answer: 120\n"));
    assert_eq!(desktop.given("rofi"), ["-dmenu", "-i", "-no-custom", "-format", "i", "-p", "Choose your role"]);
    let lines = fs::read_to_string(desktop.folder.path().join("rofi.lines")).unwrap();
    assert_eq!(lines.lines().count(), 300);
    assert_eq!(lines.lines().nth(299), Some("Porter  TRUST 299                            RX299"));
    assert!(Desktop::with(&[("rofi", "exit 1")]).asked("role 3").contains("cancelled: "));
}

#[test]
fn zenity_is_preferred_to_rofi_and_kdialog_is_never_used() {
    let all = [("zenity", "echo 0"), ("rofi", "echo 1"), ("kdialog", "echo 2")];
    for first in 0..2 {
        assert!(Desktop::with(&all[first..]).asked("role 3").contains(&format!("answer: {first}\n")));
    }
    assert!(Desktop::with(&all[2..]).asked("role 3").contains("NoPrompter: nobody can be asked for the role"));
}

#[test]
fn settings_and_desktop_select_the_prompter() {
    let desktop = Desktop::with(&[
        ("zenity", "echo 0"),
        ("chooser", "tail -n 1"),
        ("pinentry", &pinentry("echo 'D found'; echo OK")),
        ("other", &pinentry("echo 'D set'; echo OK")),
    ]);
    let (chooser, other) = (desktop.folder.path().join("chooser"), desktop.folder.path().join("other"));
    let (chooser, other) = (chooser.to_str().unwrap(), other.to_str().unwrap());
    let none = "DISPLAY";
    for (question, settings, outcome) in [
        ("role 3", vec![], "answer: 0"),
        ("role 3", vec![("TICKETAPI_ROLE_COMMAND", chooser)], "answer: 2"),
        ("role 3", vec![("TICKETAPI_PROMPTER", "desktop")], "answer: 0"),
        ("role 3", vec![("TICKETAPI_PROMPTER", "terminal")], "NoPrompter: the terminal cannot be used"),
        ("role 3", vec![("TICKETAPI_PROMPTER", "none")], "NoPrompter: nobody can be asked for the role"),
        ("role 3", vec![(none, "")], "NoPrompter: nobody can be asked for the role"),
        ("role 3", vec![(none, ""), ("WAYLAND_DISPLAY", "wayland-0")], "answer: 0"),
        ("pin 0", vec![], "answer: found"),
        ("pin 0", vec![("TICKETAPI_PINENTRY", other)], "answer: set"),
        ("pin 0", vec![(none, "")], "answer: found"),
        ("pin 0", vec![("TICKETAPI_PINENTRY", other), (none, "")], "answer: set"),
        ("pin 0", vec![("TICKETAPI_PROMPTER", "terminal")], "NoPrompter: the terminal cannot be used"),
        ("pin 0", vec![("TICKETAPI_PROMPTER", "none")], "NoPrompter: nobody can be asked for the PIN"),
    ] {
        let host = desktop.host(question).envs(settings.iter().copied()).stdout(Stdio::piped()).spawn();
        let told = self::outcome(host.unwrap());
        assert!(told.contains(outcome), "{question} {settings:?}: {told}");
    }
}

#[test]
fn another_thread_cancels_each_window_within_200_ms() {
    for program in ["zenity", "rofi"] {
        for question in ["role 3", "big-role 300"] {
            let outcome = Desktop::with(&[(program, FOR_EVER)]).asked_until(question, program, "cancel");
            assert!(outcome.contains("cancelled: ") && outcome.contains("at once\n"), "{program}: {outcome}");
        }
    }
    for question in ["pin 0", "last-try 1"] {
        let desktop = Desktop::with(&[("pinentry", &pinentry(FOR_EVER))]);
        let outcome = desktop.asked_until(question, "pinentry", "cancel");
        assert!(outcome.contains("cancelled: ") && outcome.contains("at once\n"), "{question}: {outcome}");
    }
    let outcome = Desktop::with(&[("zenity", FOR_EVER)]).asked_until("card 0", "zenity", "cancel");
    assert!(outcome.contains("cancelled, gone at once\nat once\n"), "{outcome}");
}

#[test]
fn a_window_that_nobody_answers_closes_at_the_time_out() {
    for program in ["zenity", "rofi"] {
        let desktop = Desktop::with(&[(program, FOR_EVER)]);
        let host = desktop.host("big-role 300").env("TICKETAPI_PROMPT_TIMEOUT", "1").stdout(Stdio::piped()).spawn();
        assert!(outcome(host.unwrap()).contains("cancelled: no role was chosen in time\n"), "{program}");
    }
}

#[test]
fn the_window_insert_your_card_closes_when_the_card_is_inserted() {
    let zenity = Desktop::with(&[(
        "zenity",
        "echo $$ > $0.pid; read -r line; printf '%s\\n' \"$line\" > $0.line; exec sleep 600",
    )]);
    fs::write(zenity.folder.path().join("absence"), "<b>& a\\nb").unwrap();
    assert!(zenity.asked_until("card 0", "zenity.line", "card").contains("a card, gone at once\n"));
    assert_eq!(
        zenity.given("zenity"),
        ["--title=NHS Spine login", "--progress", "--pulsate", "--width=420", "--text=", "--cancel-label=Cancel"]
    );
    let line = fs::read_to_string(zenity.folder.path().join("zenity.line")).unwrap();
    assert_eq!(line, "#Card not recognised: <b>& a\\\\nb\n");
    let pid = fs::read_to_string(zenity.folder.path().join("zenity.pid")).unwrap();
    assert!(!fs::exists(format!("/proc/{}", pid.trim())).unwrap(), "the window is still there");

    let pinentry = Desktop::with(&[("rofi", "exit 1"), ("pinentry", &pinentry(FOR_EVER))]);
    assert!(pinentry.asked_until("card 0", "pinentry", "card").contains("a card, gone at once\n"));
}

#[test]
fn the_cancel_button_of_the_window_insert_your_card_cancels() {
    let cancel = pinentry("echo 'ERR 83886179 cancelled'");
    for (program, body) in [("zenity", "exit $ZENITY_CANCEL"), ("pinentry", &cancel)] {
        let outcome = Desktop::with(&[(program, body)]).asked("card 0");
        assert!(outcome.contains("cancelled, gone at once\n"), "{program}: {outcome}");
    }
}

#[test]
fn waiting_continues_if_the_window_is_hidden_or_cannot_be_shown() {
    let hide = pinentry("echo OK");
    for (program, body) in [("zenity", "exit 0"), ("zenity", "exit 1"), ("pinentry", &hide)] {
        let outcome = Desktop::with(&[(program, body)]).asked_until("card 0", program, "card");
        assert!(outcome.contains("a card, gone at once\n"), "{program}: {outcome}");
    }
}

#[test]
fn programs_that_cannot_start_with_the_hosts_libraries_start_without_them() {
    let broken = "[ -z \"$LD_LIBRARY_PATH\" ] || exit 127\n";
    let pinentry = pinentry("echo 'D 4821'; echo OK");
    let programs = [("pinentry", broken.to_owned() + &pinentry), ("zenity", format!("{broken}cat >/dev/null; echo 1"))];
    let desktop = Desktop::with(&programs.each_ref().map(|(name, body)| (*name, &**body)));
    for (question, answer) in [("pin 0", "answer: 4821\n"), ("role 3", "answer: 1\n")] {
        let mut host = desktop.host(question);
        let told = outcome(host.env("LD_LIBRARY_PATH", "/nowhere").stdout(Stdio::piped()).spawn().unwrap());
        assert!(told.contains(answer), "{question}: {told}");
    }
}

#[test]
fn a_pinentry_gets_the_terminal_and_the_language() {
    let desktop = Desktop::with(&[("pinentry", &pinentry("echo 'D 4821'; echo OK"))]);
    desktop.asked("pin 0");
    let heard = fs::read_to_string(desktop.folder.path().join("pinentry.heard")).unwrap();
    assert!(heard.contains("OPTION lc-ctype=en_GB.UTF-8\n"), "{heard}");
    assert!(heard.contains("OPTION ttyname=/dev/tty\n"), "{heard}");
    // A variable without value is not passed.
    assert!(!heard.contains("OPTION ttytype"), "{heard}");
}

#[test]
fn pinentry_shows_the_same_texts() {
    let desktop = Desktop::with(&[("pinentry", &pinentry("echo 'D 4821'; echo OK"))]);
    assert!(desktop.asked("pin 2").contains("answer: 4821\n"));
    let heard = fs::read_to_string(desktop.folder.path().join("pinentry.heard")).unwrap();
    assert!(
        heard.contains(
            "SETDESC Enter your PIN (2 tries left)%0ANHS Spine login: card of user 123456789012 (NHS card)\n"
        ),
        "{heard}"
    );
    assert!(heard.contains("SETERROR Wrong PIN.\n"), "{heard}");
}
