//! Pinentry programs and role choosers that follow a script.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use support::{kind, script};
use tempfile::TempDir;
use ticketapi::cancel::CancelToken;
use ticketapi::card::{PinStatus, PinTries};
use ticketapi::prompt::{NoPrompter, PinProblem, PinRequest, Pinentry, Prompter, RoleCommand};
use ticketapi::ssb::Role;
use ticketapi::{ErrorKind, Result};

/// A pinentry as a shell script: it answers GETPIN and CONFIRM with `answer`, everything else with OK, and writes
/// the commands that it gets to a file.
struct ScriptedPinentry {
    folder: TempDir,
}

impl ScriptedPinentry {
    fn new(answer: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let heard = folder.path().join("heard");
        script(
            &folder.path().join("pinentry"),
            &format!(
                "echo 'OK Pleased to meet you'\n\
                 while read -r line; do\n\
                   echo \"$line\" >> {heard:?}\n\
                   case $line in\n\
                     GETPIN|CONFIRM) {answer} ;;\n\
                     *) echo OK ;;\n\
                   esac\n\
                 done\n"
            ),
        );
        Self { folder }
    }

    fn prompter(&self) -> Pinentry {
        Pinentry::new(self.folder.path().join("pinentry"), Some(Duration::from_secs(30)))
    }

    fn commands(&self) -> String {
        fs::read_to_string(self.folder.path().join("heard")).unwrap()
    }
}

fn request(tries: PinTries, problem: Option<PinProblem>) -> PinRequest<'static> {
    let mut request = PinRequest::new("NHS card", PinStatus::new(tries, 4, 8));
    (request.uid, request.problem) = (Some("123456789012"), problem);
    request
}

fn first_time() -> PinRequest<'static> {
    request(PinTries::Unknown, None)
}

#[test]
fn the_typed_pin_is_returned() {
    let pinentry = ScriptedPinentry::new("echo 'D 12%25%0A4'; echo OK");
    let pin = pinentry.prompter().pin(&first_time(), &CancelToken::new()).unwrap();
    assert_eq!(pin.expose(), "12%\n4");
    assert!(
        pinentry
            .commands()
            .contains("SETDESC Enter your PIN%0ANHS Spine login: card of user 123456789012 (NHS card)\n")
    );
}

#[test]
fn a_wrong_pin_is_shown_with_the_tries_left() {
    let pinentry = ScriptedPinentry::new("echo 'D 1234'; echo OK");
    let problem = PinProblem::Incorrect { tries_left: Some(2) };
    pinentry.prompter().pin(&request(PinTries::Low, Some(problem)), &CancelToken::new()).unwrap();
    assert!(pinentry.commands().contains("SETERROR Wrong PIN.\n"));
    assert!(pinentry.commands().contains("SETDESC Enter your PIN (2 tries left)%0A"));
}

#[test]
fn a_pin_of_the_wrong_length_is_shown_with_the_lengths() {
    let pinentry = ScriptedPinentry::new("echo 'D 1234'; echo OK");
    let request = request(PinTries::Unknown, Some(PinProblem::WrongLength));
    pinentry.prompter().pin(&request, &CancelToken::new()).unwrap();
    assert!(pinentry.commands().contains("SETERROR The PIN has 4 to 8 characters. It was not tried.\n"));
}

#[test]
fn the_cancel_button_cancels() {
    let pinentry = ScriptedPinentry::new("echo 'ERR 83886179 Operation cancelled <Pinentry>'");
    assert_eq!(kind(pinentry.prompter().pin(&first_time(), &CancelToken::new())), ErrorKind::Cancelled);
}

#[test]
fn the_last_try_needs_an_explicit_yes() {
    let last = request(PinTries::Last, None);
    let yes = ScriptedPinentry::new("echo OK");
    assert!(yes.prompter().use_last_try(&last, &CancelToken::new()).unwrap());
    assert!(yes.commands().contains("This is the last try: a wrong PIN locks the card."));
    let no = ScriptedPinentry::new("echo 'ERR 83886194 Not confirmed <Pinentry>'");
    assert!(!no.prompter().use_last_try(&last, &CancelToken::new()).unwrap());
}

#[test]
fn a_pinentry_without_a_screen_counts_as_no_prompter() {
    let pinentry = ScriptedPinentry::new("echo 'ERR 83918950 Inappropriate ioctl for device <Pinentry>'");
    assert_eq!(kind(pinentry.prompter().pin(&first_time(), &CancelToken::new())), ErrorKind::NoPrompter);
}

#[test]
fn a_missing_pinentry_is_named() {
    let missing = Pinentry::new("/nowhere/pinentry", None);
    let error = missing.pin(&first_time(), &CancelToken::new()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoPrompter);
    assert!(error.detail().contains("/nowhere/pinentry"));
}

#[test]
fn a_pinentry_that_dies_counts_as_no_prompter() {
    let pinentry = ScriptedPinentry::new("exit 1");
    assert_eq!(kind(pinentry.prompter().pin(&first_time(), &CancelToken::new())), ErrorKind::NoPrompter);
}

#[test]
fn a_pinentry_that_cannot_start_is_named_with_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("pinentry");
    let said = "error while loading shared libraries:\\033[2J libassuan.so.0\\n";
    // Its standard error may be more than anybody reads.
    for rest in ["", "head -c 1000000 /dev/zero | tr '\\0' x >&2"] {
        script(&program, &format!("printf '{said}' >&2; {rest}\nexit 127"));
        let error = Pinentry::new(&program, None).pin(&first_time(), &CancelToken::new()).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::NoPrompter);
        let told = "ended before it could ask: error while loading shared libraries: [2J libassuan.so.0";
        assert!(error.detail().contains(told), "{error}");
        assert!(error.detail().len() < 600, "{error}");
    }
}

/// A pinentry that refuses these commands, as if it did not know them.
fn refusing(commands: &str) -> ScriptedPinentry {
    ScriptedPinentry::new(&format!("echo 'D 1234'; echo OK ;;\n {commands}) echo 'ERR 536871187 Unknown IPC command'"))
}

#[test]
fn a_pinentry_without_the_commands_for_texts_still_asks_for_the_pin() {
    let pinentry = refusing("SETTITLE*|SETPROMPT*|SETERROR*|SETOK*|SETCANCEL*|OPTION*");
    assert_eq!(pinentry.prompter().pin(&first_time(), &CancelToken::new()).unwrap().expose(), "1234");
    assert!(pinentry.prompter().use_last_try(&request(PinTries::Last, None), &CancelToken::new()).unwrap());
    // The problem is shown in another way.
    let problem = PinProblem::Incorrect { tries_left: Some(2) };
    pinentry.prompter().pin(&request(PinTries::Low, Some(problem)), &CancelToken::new()).unwrap();
    assert!(
        pinentry.commands().contains("SETDESC Wrong PIN.%0AEnter your PIN (2 tries left)%0A"),
        "{}",
        pinentry.commands()
    );
    // Without SETDESC the user would not see the tries left or the card.
    assert_eq!(kind(refusing("SETDESC*").prompter().pin(&first_time(), &CancelToken::new())), ErrorKind::NoPrompter);
}

#[test]
fn a_long_text_fits_into_a_line_of_the_pinentry() {
    let label = "雪".repeat(600);
    let pinentry = ScriptedPinentry::new("echo 'D 1234'; echo OK");
    let request = PinRequest::new(&label, PinStatus::new(PinTries::Last, 4, 8));
    assert_eq!(pinentry.prompter().pin(&request, &CancelToken::new()).unwrap().expose(), "1234");
    let commands = pinentry.commands();
    let longest = commands.lines().map(str::len).max().unwrap();
    assert!((900..1000).contains(&longest), "{longest}: {commands}");
    assert!(commands.contains("SETDESC Enter your PIN (last try: a wrong PIN locks the card)"), "{commands}");
}

#[test]
fn endless_output_of_a_pinentry_is_refused() {
    let pinentry = ScriptedPinentry::new("head -c 100000 /dev/zero | tr '\\0' x; echo");
    assert_eq!(kind(pinentry.prompter().pin(&first_time(), &CancelToken::new())), ErrorKind::NoPrompter);
}

#[test]
fn a_pin_prompt_that_nobody_answers_counts_as_cancelled() {
    let pinentry = ScriptedPinentry::new("exec sleep 600");
    let prompter = Pinentry::new(pinentry.folder.path().join("pinentry"), Some(Duration::from_millis(300)));
    let error = prompter.pin(&first_time(), &CancelToken::new()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Cancelled);
    assert_eq!(error.detail(), "the PIN was not entered in time");
}

/// Cancels as soon as `started` exists. Returns how long `ask` took from then on.
fn cancelled_while(started: PathBuf, ask: impl FnOnce(&CancelToken) -> ErrorKind) -> (ErrorKind, Duration) {
    let cancel = CancelToken::new();
    let canceller = thread::spawn({
        let cancel = cancel.clone();
        move || {
            while !started.exists() {
                thread::sleep(Duration::from_millis(5));
            }
            let now = Instant::now();
            cancel.cancel();
            now
        }
    });
    let kind = ask(&cancel);
    let ended = Instant::now();
    (kind, ended.saturating_duration_since(canceller.join().unwrap()))
}

#[test]
fn cancelling_closes_the_pin_window_within_200_ms() {
    let pinentry = ScriptedPinentry::new("touch $0.asked; exec sleep 600");
    let asked = pinentry.folder.path().join("pinentry.asked");
    let (kind, time) = cancelled_while(asked, |cancel| kind(pinentry.prompter().pin(&first_time(), cancel)));
    assert_eq!(kind, ErrorKind::Cancelled);
    assert!(time < Duration::from_millis(200), "{time:?}");
}

fn roles() -> Vec<Role> {
    ["ST CLEMENT'S SURGERY", "A \"B\", C & D [north]"]
        .iter()
        .zip(["102048879984", "555050250101"])
        .map(|(organisation, id)| {
            let mut role = Role::new(id, "D82105", "Registration Authority Manager");
            role.organisation = (*organisation).into();
            (role.role_type, role.sub_type) = ("Admin & Clerical".into(), "Management - A & C".into());
            role
        })
        .collect()
}

fn choose(body: &str) -> Result<usize> {
    choose_of(&roles(), body)
}

fn choose_of(roles: &[Role], body: &str) -> Result<usize> {
    let folder = tempfile::tempdir().unwrap();
    let chooser = folder.path().join("chooser");
    script(&chooser, body);
    let command = RoleCommand::new(vec![chooser.to_str().unwrap().into()], Some(Duration::from_secs(30)));
    command.role(roles, &CancelToken::new())
}

#[test]
fn the_chosen_line_selects_the_role() {
    assert_eq!(choose("head -n 1").unwrap(), 0);
    assert_eq!(choose("tail -n 1").unwrap(), 1);
    assert_eq!(choose("grep 'north'").unwrap(), 1);
}

#[test]
fn a_chooser_need_not_read_to_the_end() {
    assert_eq!(choose("read -r first; echo \"$first\"").unwrap(), 0);
    assert_eq!(choose("exec <&-; echo 'x [555050250101]'").unwrap(), 1);
    // More than fits into the pipe.
    let many: Vec<_> = std::iter::repeat_with(roles).take(5000).flatten().collect();
    assert_eq!(choose_of(&many, "read -r first; exec <&-; echo \"$first\"").unwrap(), 0);
}

#[test]
fn a_chooser_left_with_escape_cancels() {
    assert_eq!(kind(choose("exit 1")), ErrorKind::Cancelled);
    assert_eq!(kind(choose("cat > /dev/null; exit 130")), ErrorKind::Cancelled);
    assert_eq!(kind(choose("cat > /dev/null")), ErrorKind::Cancelled);
}

#[test]
fn a_chooser_that_fails_does_not_count_as_cancelled() {
    assert_eq!(kind(choose("exit 127")), ErrorKind::NoPrompter);
}

#[test]
fn a_line_that_was_not_offered_is_refused() {
    for line in ["something", "x [999]", "[", "]", "102048879984"] {
        assert_eq!(kind(choose(&format!("cat > /dev/null; echo '{line}'"))), ErrorKind::NoPrompter, "{line}");
    }
}

#[test]
fn a_chooser_that_nobody_answers_counts_as_cancelled() {
    let command = RoleCommand::new(vec!["sleep".into(), "600".into()], Some(Duration::from_millis(300)));
    let error = command.role(&roles(), &CancelToken::new()).unwrap_err();
    assert_eq!((error.kind(), error.detail()), (&ErrorKind::Cancelled, "no role was chosen in time"));
}

#[test]
fn endless_output_of_a_chooser_is_refused() {
    for body in ["exec yes", "exec head -c 100000 /dev/zero"] {
        let error = choose(body).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::NoPrompter);
        assert!(error.detail().ends_with("printed more than a line that was chosen"), "{error}");
    }
}

#[test]
fn cancelling_closes_the_chooser_within_200_ms() {
    let folder = tempfile::tempdir().unwrap();
    let chooser = folder.path().join("chooser");
    script(&chooser, "touch $0.asked; exec sleep 600");
    let command = RoleCommand::new(vec![chooser.to_str().unwrap().into()], None);
    let (kind, time) =
        cancelled_while(folder.path().join("chooser.asked"), |cancel| kind(command.role(&roles(), cancel)));
    assert_eq!(kind, ErrorKind::Cancelled);
    assert!(time < Duration::from_millis(200), "{time:?}");
}

#[test]
fn without_programs_there_is_no_prompter() {
    let cancel = CancelToken::new();
    assert_eq!(kind(NoPrompter.pin(&first_time(), &cancel)), ErrorKind::NoPrompter);
    assert_eq!(kind(NoPrompter.use_last_try(&first_time(), &cancel)), ErrorKind::NoPrompter);
    assert_eq!(kind(NoPrompter.role(&roles(), &cancel)), ErrorKind::NoPrompter);
}

#[test]
fn a_program_that_others_can_change_is_not_started() {
    use std::os::unix::fs::PermissionsExt;
    let pinentry = ScriptedPinentry::new("echo D 1234; echo OK");
    let folder = pinentry.folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    let error = pinentry.prompter().pin(&first_time(), &CancelToken::new()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoPrompter);
    assert!(error.detail().contains(&format!("{} can be changed by other users", folder.display())), "{error}");
    let words = vec![folder.join("pinentry").display().to_string()];
    let error = RoleCommand::new(words, None).role(&[], &CancelToken::new()).unwrap_err();
    assert!(error.detail().contains("can be changed by other users"), "{error}");
    assert!(!folder.join("heard").exists());
}
