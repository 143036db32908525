//! A card for benchmarks: its user, the folder in which the helper finds its token, and bare C programs that are
//! started as the helper is.

use std::env;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use ticketapi::cancel::CancelToken;
use ticketapi::prompt::{PinRequest, Prompter};
use ticketapi::ssb::Role;
use ticketapi::{Pin, Result};
use ticketapi_testkit::artifacts::scripted_module;
use ticketapi_testkit::{CardIdentity, SoftHsm};

pub const PIN: &str = "4821";

/// Answers at once, and chooses the first role.
pub struct User;

impl Prompter for User {
    fn pin(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<Pin> {
        Ok(Pin::new(PIN.into()))
    }

    fn use_last_try(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<bool> {
        Ok(false)
    }

    fn role(&self, _: &[Role], _: &CancelToken) -> Result<usize> {
        Ok(0)
    }
}

/// Passes this run's folder to the process that measures.
const FOLDER: &str = "TICKETAPI_BENCH_FOLDER";

/// Runs this program again with the environment in which the helper and the floor find the tokens of [`token`], and
/// has that process measure. A wrapper script would be measured too.
pub fn with_tokens(measure: fn(&Path) -> ExitCode) -> ExitCode {
    if let Some(folder) = env::var_os(FOLDER) {
        return measure(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(env::current_exe().unwrap())
        .args(env::args_os().skip(1))
        .env(FOLDER, folder.path())
        .env("SOFTHSM2_CONF", folder.path().join("softhsm2.conf"))
        .status()
        .unwrap();
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes a token with this card.
pub fn token(folder: &Path, card: &CardIdentity) -> SoftHsm {
    let tokens = SoftHsm::new().unwrap();
    tokens.add_card("NHS card", PIN, card).unwrap();
    std::fs::copy(tokens.conf(), folder.join("softhsm2.conf")).unwrap();
    tokens
}

/// Compiles a bare program below `benches`.
pub fn compile(folder: &Path, source: &str) -> PathBuf {
    let path = folder.join("bare");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(source);
    let compiled = Command::new("cc").args(["-std=c11", "-O2", "-o"]).arg(&path).arg(source).arg("-ldl").status();
    assert!(compiled.unwrap().success());
    path
}

/// Starts a bare program as the helper is started.
pub fn start(program: &Path, module: &Path) -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(program)
        .arg(module)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    (child, ours)
}

/// Checks that both make the same calls to the module that they are given; otherwise they cannot be compared.
pub fn check_calls(folder: &Path, module: &Path, ours: impl FnOnce(&Path), floor: impl FnOnce(&Path)) {
    let (logging, log) = (folder.join("logging.so"), folder.join("calls"));
    std::fs::copy(scripted_module(), &logging).unwrap();
    let script = format!("module {}\nlog {}\n", module.display(), log.display());
    std::fs::write(folder.join("logging.so.script"), script).unwrap();
    let calls = || {
        let calls = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        calls
    };
    ours(&logging);
    let ours = calls();
    assert!(ours.contains("C_Login") && ours.ends_with("C_Finalize\n"), "{ours}");
    floor(&logging);
    let floor = calls();
    assert!(ours == floor, "they differ: {}", differ(&ours, &floor));
}

/// Shows the first calls that differ.
fn differ(ours: &str, floor: &str) -> String {
    let mut pairs = ours.lines().zip(floor.lines()).enumerate();
    let differs = pairs.find(|(_, (ours, floor))| ours != floor);
    differs.map_or_else(|| "one makes more calls".to_owned(), |(at, pair)| format!("call {at}: {pair:?}"))
}
