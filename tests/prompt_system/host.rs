//! The program that prompts, and how it is started.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ticketapi::cancel::CancelToken;
use ticketapi::card::{Absence, PinStatus, PinTries};
use ticketapi::prompt::{Browser, LoginPage, Notice, PinProblem, PinRequest, Prompter, SystemBrowser, SystemPrompter};
use ticketapi::ssb::Role;
use ticketapi::{Config, Error, ErrorKind};

const QUESTION: &str = "TICKETAPI_TEST_QUESTION";

/// A delay that nobody notices.
const AT_ONCE: Duration = Duration::from_millis(200);

/// The host, which is started in `folder`. It asks `question`, a word and a number, and prints the answer.
/// Creating the file `cancel` there cancels it; the file `card` stands for an inserted card.
pub fn host(question: &str, folder: &Path) -> Command {
    let mut command = Command::new("/usr/bin/setsid");
    command.arg("--wait").arg(std::env::current_exe().unwrap()).args(ARGUMENTS).env_clear();
    configure(&mut command, question, folder);
    command
}

/// Like [`host`], with standard input as the controlling terminal. `shell` starts it as "$@".
pub fn host_on_terminal(question: &str, folder: &Path, shell: &str) -> Command {
    let mut command = on_terminal(&std::env::current_exe().unwrap(), shell);
    command.args(ARGUMENTS);
    configure(&mut command, question, folder);
    command
}

/// Starts `program` in the same way.
pub fn on_terminal(program: &Path, shell: &str) -> Command {
    let mut command = Command::new("/usr/bin/setsid");
    command.args(["--ctty", "--wait", "/bin/sh", "-c", shell, "sh"]).arg(program);
    command.env_clear().env("TERM", "xterm");
    command
}

const ARGUMENTS: [&str; 5] = ["host::runs", "--exact", "--nocapture", "--test-threads=1", "--quiet"];

fn configure(command: &mut Command, question: &str, folder: &Path) {
    command.current_dir(folder).env(QUESTION, question);
    // Only programs that the test puts there are found.
    command.env("PATH", folder).env("XDG_CONFIG_HOME", folder).env("LANG", "en_GB.UTF-8");
}

#[test]
fn runs() {
    let Ok(question) = std::env::var(QUESTION) else { return };
    let prompter = SystemPrompter::new(&Config::load().unwrap());
    let cancel = CancelToken::new();
    let canceller = when_there("cancel", {
        let cancel = cancel.clone();
        move || cancel.cancel()
    });
    let (what, number) = question.split_once(' ').unwrap();
    let number: u8 = number.parse().unwrap_or(0);
    let ended = match what {
        "pin" => said(prompter.pin(&request(number), &cancel).map(|pin| pin.expose().to_owned())),
        "last-try" => said(prompter.use_last_try(&request(1), &cancel)),
        "role" => said(prompter.role(&roles(number.into()), &cancel)),
        "big-role" => said(prompter.role(&roles(300), &cancel)),
        "card" => wait_for_card(prompter.insert_card(&absence(), &cancel), &cancel),
        "reader" => wait_for_card(prompter.enter_pin_on_reader(&request(number), &cancel), &cancel),
        "page" => match SystemBrowser::new(Config::load().unwrap().browser).open(&page(), &cancel) {
            Ok(_opened) => wait_for_card(prompter.browser_opened(&page(), &cancel), &cancel),
            Err(error) => said(Err::<String, _>(error)),
        },
        _ => panic!("{what} is no question"),
    };
    if Path::new("cancel").exists() {
        let took = ended.saturating_duration_since(canceller.join().unwrap());
        println!("{}", if took < AT_ONCE { "at once" } else { "late" });
    }
}

fn said<T: std::fmt::Display>(answer: Result<T, Error>) -> Instant {
    let now = Instant::now();
    match answer {
        Ok(answer) => println!("answer: {answer}"),
        Err(error) if *error.kind() == ErrorKind::Cancelled => println!("cancelled: {}", error.detail()),
        Err(error) => println!("{:?}: {}", error.kind(), error.detail()),
    }
    now
}

/// The address of the page that the question `page` opens.
pub const PAGE: &str = "https://id.example/authorize?state=a&nonce=b";

fn page() -> LoginPage<'static> {
    LoginPage::new(PAGE, "http://127.0.0.1:5000/callback")
}

fn absence() -> Absence {
    std::fs::read_to_string("absence").map_or(Absence::NoCard, Absence::NotRecognised)
}

/// Shows the notice until a card is inserted, or it is cancelled.
fn wait_for_card(notice: Notice, cancel: &CancelToken) -> Instant {
    while !Path::new("card").exists() && !cancel.wait(Duration::from_millis(2)) {}
    let seen = Instant::now();
    drop(notice);
    let gone = Instant::now();
    let at_once = if gone - seen < AT_ONCE { "at once" } else { "late" };
    println!("{}, gone {at_once}", if cancel.is_cancelled() { "cancelled" } else { "a card" });
    gone
}

/// Runs `action` as soon as `file` exists. Returns when that was.
fn when_there(file: &'static str, action: impl FnOnce() + Send + 'static) -> thread::JoinHandle<Instant> {
    thread::spawn(move || {
        while !Path::new(file).exists() {
            thread::sleep(Duration::from_millis(2));
        }
        let now = Instant::now();
        action();
        now
    })
}

/// A request with this many tries left after a wrong PIN; 0 stands for the first request.
fn request(tries_left: u8) -> PinRequest<'static> {
    let (tries, problem) = match tries_left {
        0 => (PinTries::Unknown, None),
        1 => (PinTries::Last, None),
        left => (PinTries::Low, Some(PinProblem::Incorrect { tries_left: Some(left) })),
    };
    let mut request = PinRequest::new("NHS card", PinStatus::new(tries, 4, 8));
    (request.uid, request.problem) = (Some("123456789012"), problem);
    request
}

/// The first role has every character that a chooser could misinterpret.
pub fn roles(count: usize) -> Vec<Role> {
    let names = ["Nurse", "Clerk", "Porter"];
    let role = |number: usize| {
        let mut role = Role::new(&(1000 + number).to_string(), &format!("RX{number}"), names[number % 3]);
        role.organisation = match number {
            0 => "--help <b>Ysbyty Môn</b> & 'Sons\\n'".into(),
            _ => format!("TRUST {number}"),
        };
        (role.role_type, role.sub_type) = ("Clinical".into(), "General".into());
        role
    };
    (0..count).map(role).collect()
}
