//! The browser of the computer, started as a program of its own.
//!
//! Own code, because the crates that open browsers run whatever the `PATH` names, and either wait for the browser
//! or cannot tell that it has failed.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Browser, BrowserChoice, LoginPage, Opened, qr};
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::child::{Process, set_apart};
use crate::os::{privilege, thread};
use crate::prompt::{Terminal, desktop, program, shown, text};

/// What opens a page in the browser that the user has chosen.
#[cfg(all(unix, not(target_os = "macos")))]
const OPENERS: [&str; 3] = ["xdg-open", "x-www-browser", "sensible-browser"];
#[cfg(target_os = "macos")]
const OPENERS: [&str; 1] = ["open"];
#[cfg(windows)]
const OPENERS: [&str; 1] = ["rundll32.exe"];

/// A program that fails within this time has shown no page. Later, the user has closed the browser.
const STARTING: Duration = Duration::from_secs(8);

/// How often the program is checked while it starts, and later.
const SOON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_secs(1);

/// Opens pages as the setting `browser` says.
#[derive(Debug)]
pub struct SystemBrowser {
    choice: BrowserChoice,
    /// Browsers that were still running when their login ended, to be reaped.
    running: Arc<Mutex<Vec<Process>>>,
}

impl SystemBrowser {
    /// Opens pages with what `choice` names.
    pub fn new(choice: BrowserChoice) -> Self {
        Self { choice, running: Arc::default() }
    }

    /// Returns the program that would open a page now; `None` if its address would be printed. Starts nothing.
    ///
    /// # Errors
    ///
    /// [`NoPrompter`](ErrorKind::NoPrompter) if neither is possible.
    pub fn program(&self) -> Result<Option<PathBuf>> {
        match self.way()? {
            Way::Programs(programs) => Ok(programs.into_iter().next()),
            Way::Terminal | Way::StandardError => Ok(None),
        }
    }

    fn way(&self) -> Result<Way> {
        match &self.choice {
            BrowserChoice::None => Ok(Way::StandardError),
            BrowserChoice::Program(name) => match program::locate(name) {
                Ok(found) => Ok(Way::Programs(vec![found])),
                Err(error) => Err(no_browser(format!("{} cannot be used: {error}", name.display())).because(error)),
            },
            BrowserChoice::System => {
                let has_desktop = cfg!(any(target_os = "macos", windows)) || desktop::is_there();
                let programs: Vec<_> = OPENERS.into_iter().filter_map(program::find).collect();
                if has_desktop && !programs.is_empty() {
                    Ok(Way::Programs(programs))
                } else if Terminal::is_there() {
                    Ok(Way::Terminal)
                } else if has_desktop {
                    let tried = OPENERS.join(", ");
                    Err(no_browser(format!("none of the programs that open a browser is installed: {tried}")))
                } else {
                    Err(no_browser("there is neither a desktop for a browser nor a terminal".into()))
                }
            }
        }
    }

    /// Starts the programs one after the other, until one works, on a thread that watches it.
    fn start(&self, programs: Vec<PathBuf>, address: &str) -> Opened {
        let failed = CancelToken::new();
        let (trouble, running, address) = (failed.clone(), Arc::clone(&self.running), address.to_owned());
        reap(&running);
        let thread = shown::while_kept(move |stop| {
            let mut problem = String::new();
            for (program, arguments) in commands(programs) {
                match run(&program, &arguments, &address, stop) {
                    Ok(Ended::Stopped(child)) => {
                        running.lock().unwrap_or_else(PoisonError::into_inner).push(child);
                        return;
                    }
                    Ok(Ended::Worked) => return,
                    Ok(Ended::Failed(why)) => problem = format!("{} {why}", program.display()),
                    Err(error) => problem = format!("{} cannot be started: {error}", program.display()),
                }
                tracing::debug!(%problem, "a browser could not be started");
            }
            trouble.cancel_because(format!("no browser could be started: {problem}"));
        });
        Opened::watched(thread, failed)
    }
}

/// How a page is shown.
enum Way {
    /// By the first of these programs that works.
    Programs(Vec<PathBuf>),
    Terminal,
    StandardError,
}

impl Browser for SystemBrowser {
    fn open(&self, page: &LoginPage<'_>, cancel: &CancelToken) -> Result<Opened> {
        let not_printed = |error: io::Error| no_browser(format!("the address cannot be printed: {error}"));
        match self.way()? {
            Way::Programs(programs) => Ok(self.start(programs, page.address)),
            Way::Terminal => {
                let text = |columns| words(page, Some(columns));
                Terminal::new(None).print(text, cancel).map_err(not_printed)?;
                Ok(Opened::default())
            }
            Way::StandardError => {
                let mut stderr = io::stderr().lock();
                let columns = stderr.is_terminal().then(|| columns(&stderr));
                stderr.write_all(words(page, columns).as_bytes()).map_err(not_printed)?;
                Ok(Opened::default())
            }
        }
    }
}

/// How the run of a program ended.
enum Ended {
    /// It did its work, or ran for long.
    Worked,
    /// It is still running, and the login has ended.
    Stopped(Process),
    Failed(String),
}

/// Returns each program with the arguments before the address.
fn commands(programs: Vec<PathBuf>) -> Vec<(PathBuf, Vec<OsString>)> {
    let manager = is_service().then(|| program::find("systemd-run")).flatten();
    let through = |program: &PathBuf| manager.clone().map(|manager| (manager, manager_arguments(program)));
    programs
        .into_iter()
        .flat_map(|program| through(&program).into_iter().chain([(program.clone(), opener_arguments(&program))]))
        .collect()
}

/// Returns the arguments of an opener of Windows, which calls this function.
fn opener_arguments(program: &Path) -> Vec<OsString> {
    let is_opener = cfg!(windows) && program.ends_with(OPENERS[0]);
    is_opener.then(|| "url.dll,FileProtocolHandler".into()).into_iter().collect()
}

/// Returns `true` if this process is a service of systemd, such as the agent. Browsers cannot live in the sandbox of a
/// service, and would end with it.
fn is_service() -> bool {
    privilege::variable("SYSTEMD_EXEC_PID").is_some_and(|id| *id == *std::process::id().to_string())
}

/// Returns the arguments that make systemd-run start a program as a service of the user's, and wait for it.
fn manager_arguments(program: &Path) -> Vec<OsString> {
    const DESKTOP: [&str; 5] = ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_CURRENT_DESKTOP"];
    // What the program starts lives on.
    let fixed = ["--user", "--quiet", "--collect", "--wait", "--property=ExitType=cgroup"].map(OsString::from);
    let variables = DESKTOP.into_iter().filter_map(|name| {
        let mut argument = OsString::from(format!("--setenv={name}="));
        argument.push(std::env::var_os(name)?);
        Some(argument)
    });
    fixed.into_iter().chain(variables).chain(["--".into(), program.into()]).collect()
}

/// Runs `program`, with the libraries that this process has set or the system's.
fn run(program: &Path, arguments: &[OsString], address: &str, stop: &CancelToken) -> io::Result<Ended> {
    /// The exit code of a program whose libraries cannot be loaded.
    const NOT_LOADED: Option<i32> = Some(127);
    let mut command = privilege::command(program);
    command.args(arguments).arg(address);
    // A browser outlives the login and says much: keep it off the host's files and its terminal's signals.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    set_apart(&mut command);
    let (ended, code) = watch(&mut command, stop)?;
    if code == NOT_LOADED && program::has_libraries_of_its_own() {
        return Ok(watch(program::without_libraries(&mut command), stop)?.0);
    }
    Ok(ended)
}

/// Also returns the exit code of a program that failed.
fn watch(command: &mut Command, stop: &CancelToken) -> io::Result<(Ended, Option<i32>)> {
    let starting = Instant::now() + STARTING;
    let mut child = thread::spawn(command)?;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() || Instant::now() >= starting => return Ok((Ended::Worked, None)),
            Ok(Some(status)) => return Ok((Ended::Failed(format!("ended with {status}")), status.code())),
            Ok(None) => {}
            // A host that ignores SIGCHLD has no children to wait for.
            Err(_) => return Ok((Ended::Worked, None)),
        }
        if stop.wait(if Instant::now() < starting { SOON } else { LATER }) {
            return Ok((Ended::Stopped(child), None));
        }
    }
}

/// Reaps the browsers of earlier logins that have ended.
fn reap(running: &Mutex<Vec<Process>>) {
    let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
    running.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// The width of the terminal that is standard error.
#[cfg(unix)]
fn columns(stderr: &io::StderrLock<'_>) -> usize {
    rustix::termios::tcgetwinsize(stderr).map_or(80, |size| size.ws_col.into())
}

#[cfg(windows)]
fn columns(_: &io::StderrLock<'_>) -> usize {
    80
}

/// The address for a user who opens it; as a QR code too, if `columns` has room for it.
fn words(page: &LoginPage<'_>, columns: Option<usize>) -> String {
    let code = columns.and_then(|columns| qr::code(page.address, columns)).unwrap_or_default();
    format!("{}{code}", text::open_page(page))
}

fn no_browser(detail: String) -> Error {
    Error::new(ErrorKind::NoPrompter, Stage::Browser, detail)
}

#[cfg(test)]
#[cfg(any(feature = "nuts", feature = "oidc"))]
mod tests {
    use super::*;

    const PAGE: LoginPage<'static> = LoginPage {
        address: "https://id.example/login?a=b&c='$(x)",
        redirect_uri: Some("http://127.0.0.1:5000/callback"),
    };

    /// Browsers that are shell scripts.
    #[cfg(unix)]
    mod scripts {
        use std::fs;

        use super::*;

        struct Desk(tempfile::TempDir);

        impl Desk {
            fn new() -> Self {
                Self(tempfile::tempdir().unwrap())
            }

            /// A browser: a script that runs in this folder. Other tests fork meanwhile, and a program that is open
            /// for writing cannot be run: the shell reads the script.
            fn program(&self, name: &str, script: &str) -> PathBuf {
                let folder = self.0.path();
                let file = folder.join(name);
                fs::write(folder.join(format!("{name}.sh")), format!("cd {}\n{script}\n", folder.display())).unwrap();
                let copied = std::process::Command::new("sh")
                    .arg("-c")
                    .arg(format!("printf '#!/bin/sh\\n. {0}.sh\\n' >{0} && chmod 700 {0}", file.display()))
                    .status();
                assert!(copied.unwrap().success());
                file
            }

            fn read(&self, name: &str) -> String {
                let until = Instant::now() + Duration::from_secs(20);
                loop {
                    match fs::read_to_string(self.0.path().join(name)) {
                        Ok(text) if text.ends_with('\n') => return text,
                        _ => assert!(Instant::now() < until, "{name} was not written"),
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }

        fn open(program: PathBuf) -> Result<Opened> {
            SystemBrowser::new(BrowserChoice::Program(program)).open(&PAGE, &CancelToken::new())
        }

        fn problem(opened: &Opened) -> String {
            assert!(opened.failed().wait(Duration::from_secs(20)), "the browser has not failed");
            opened.failed().reason().unwrap()
        }

        #[test]
        fn the_browser_gets_the_address_as_one_argument_and_no_files_of_the_host() {
            let desk = Desk::new();
            let file = |number: u8| format!("$(readlink /proc/self/fd/{number})");
            let files = [0, 3, 2].map(file).join(" ");
            // A command substitution has its own standard output.
            let script = format!("exec 3>&1; echo \"$#|$1|{files}\" >got");
            let opened = open(desk.program("browser", &script)).unwrap();
            assert_eq!(desk.read("got"), format!("1|{}|/dev/null /dev/null /dev/null\n", PAGE.address));
            assert!(!opened.failed().wait(Duration::from_millis(200)));
        }

        #[test]
        fn a_browser_that_goes_on_is_left_running_when_the_login_has_ended() {
            let desk = Desk::new();
            let script = "echo started >started\nwhile [ ! -e end ]; do sleep 0.02; done\necho ended >ended";
            let browser = SystemBrowser::new(BrowserChoice::Program(desk.program("browser", script)));
            let opened = browser.open(&PAGE, &CancelToken::new()).unwrap();
            desk.read("started");
            let began = Instant::now();
            drop(opened);
            assert!(began.elapsed() < Duration::from_secs(2));
            assert_eq!(browser.running.lock().unwrap().len(), 1);
            fs::write(desk.0.path().join("end"), "").unwrap();
            assert_eq!(desk.read("ended"), "ended\n");
            let until = Instant::now() + Duration::from_secs(20);
            while !browser.running.lock().unwrap().is_empty() {
                assert!(Instant::now() < until, "the browser was not reaped");
                reap(&browser.running);
            }
        }

        #[test]
        fn a_browser_that_cannot_start_is_noticed_at_once() {
            let desk = Desk::new();
            let failing = desk.program("failing", "exit 3");
            let reason = problem(&open(failing.clone()).unwrap());
            assert_eq!(reason, format!("no browser could be started: {} ended with exit status: 3", failing.display()));
            let broken = desk.program("broken", "");
            fs::write(&broken, "#!/no/such/interpreter\n").unwrap();
            let reason = problem(&open(broken.clone()).unwrap());
            let expected = format!("no browser could be started: {} cannot be started: ", broken.display());
            assert!(reason.starts_with(&expected), "{reason}");
            let error = open("/no/such/browser".into()).err().unwrap();
            assert_eq!((error.kind(), error.stage()), (&ErrorKind::NoPrompter, Stage::Browser));
            assert!(error.detail().starts_with("/no/such/browser cannot be used: "), "{error}");
            assert!(error.remedy().contains("browser"), "{}", error.remedy());
        }

        #[test]
        fn the_next_opener_is_tried_where_one_fails() {
            let desk = Desk::new();
            let programs = vec![desk.program("first", "exit 4"), desk.program("second", "echo \"$1\" >got")];
            let opened = SystemBrowser::new(BrowserChoice::System).start(programs, PAGE.address);
            assert_eq!(desk.read("got"), format!("{}\n", PAGE.address));
            assert!(!opened.failed().is_cancelled());
        }
    }

    #[test]
    fn a_service_has_the_users_systemd_start_the_browser_and_any_other_program_does_not() {
        let programs = vec![PathBuf::from("/usr/bin/xdg-open")];
        // This test is no service.
        assert_eq!(commands(programs), [("/usr/bin/xdg-open".into(), vec![])]);
        let arguments = manager_arguments(Path::new("/usr/bin/xdg-open"));
        assert_eq!(arguments[arguments.len() - 2..], ["--", "/usr/bin/xdg-open"]);
        assert!(arguments.contains(&"--wait".into()) && arguments.contains(&"--property=ExitType=cgroup".into()));
    }

    #[test]
    fn the_printed_address_says_where_it_must_be_opened() {
        let text = words(&PAGE, None);
        assert!(text.contains(&format!("\n{}\n", PAGE.address)), "{text}");
        assert!(text.contains("on this computer") && text.contains("http://127.0.0.1:5000"), "{text}");
        let with_code = words(&PAGE, Some(80));
        assert!(with_code.len() > text.len() + 500 && with_code.starts_with(&text), "{with_code}");
    }

    /// Scans the codes on a terminal that shows `text`, with four pixels for each half of a character. What is not black
    /// is light.
    fn scan(text: &str, columns: u16) -> Vec<String> {
        let rows = u16::try_from(text.lines().count() + 20).unwrap();
        let mut terminal = vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 0);
        terminal.process(text.replace('\n', "\r\n").as_bytes());
        let is_light = |row: usize, column: usize| {
            let (row, half) = (u16::try_from(row / 2).unwrap(), row % 2);
            let cell = terminal.screen().cell(row, u16::try_from(column).unwrap()).unwrap();
            let is_foreground = match cell.contents() {
                "█" => true,
                "▀" => half == 0,
                "▄" => half == 1,
                _ => false,
            };
            let colour = if is_foreground { cell.fgcolor() } else { cell.bgcolor() };
            colour != vt100::Color::Idx(0)
        };
        let (width, height) = (usize::from(columns), 2 * usize::from(rows));
        let pixel = |x: usize, y: usize| if is_light(y / 4, x / 4) { 255 } else { 0 };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(4 * width, 4 * height, pixel);
        image.detect_grids().iter().map(|code| code.decode().unwrap().1).collect()
    }

    #[test]
    fn the_code_on_a_terminal_leads_to_the_page_and_the_words_say_from_where_it_leads_back() {
        let long = format!("https://id.example/auth?{}state=x", "nonce=0123456789ABCDEF&".repeat(25));
        for address in [PAGE.address, &long] {
            let page = LoginPage { address, ..PAGE };
            let text = words(&page, Some(180));
            assert_eq!(scan(&text, 200), [address], "{text}");
            let limits = format!(
                "A browser of another device cannot finish the login, unless {} leads here from there.",
                PAGE.redirect_uri.unwrap()
            );
            assert!(text.contains(&limits), "{text}");
            // A login that ends on the page can be finished on the device that scans the code.
            assert!(!words(&LoginPage::without_redirect(address), Some(180)).contains("another device"));
        }
    }
}
