//! Programs that end when the process that started them ends, however that happens.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::{Context, Error, Result};

/// Runs the program in a process group of its own, and ends the group when standard input ends. A process
/// that is killed, or that keeps the program in a `static`, runs no destructor: so the shell removes the folder.
const SCRIPT: &str = r#"
signal=$1 folder=$2
shift 2
setsid "$@" </dev/null 2>&1 &
exec >/dev/null
read -r _
# It may not be in a group of its own yet.
{ kill -s "$signal" -- -$! || kill -s "$signal" $!; } 2>/dev/null
wait
rm -rf "$folder"
"#;

/// How a program is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It may write down what it has.
    Term,
    /// At once.
    Kill,
}

/// A running program with a folder. Dropping it ends the program and removes the folder.
pub(crate) struct Leash {
    name: String,
    folder: PathBuf,
    shell: Child,
    lines: Mutex<mpsc::Receiver<String>>,
    log: Arc<Mutex<String>>,
}

impl Leash {
    /// Starts `command`, the first of which is the program, with `folder` as its folder.
    pub(crate) fn start(
        command: impl IntoIterator<Item = OsString>,
        variables: &[(&str, &str)],
        folder: TempDir,
        ending: Ending,
    ) -> Result<Self> {
        let command: Vec<_> = command.into_iter().collect();
        let name = command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
        let signal = if ending == Ending::Term { "TERM" } else { "KILL" };
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh", signal])
            .arg(folder.path())
            .args(&command)
            .envs(variables.iter().copied())
            // A signal to the process's group, as of Ctrl-C, is not for the shell, which has to end the program.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context(|| "cannot run sh".into())?;
        let (tell, lines) = mpsc::channel();
        let log = Arc::new(Mutex::new(String::new()));
        if let Some(output) = shell.stdout.take() {
            let log = Arc::clone(&log);
            // Also read when nobody waits for a line: the program would block on a full pipe.
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                    *log.lock().unwrap_or_else(PoisonError::into_inner) += &format!("{line}\n");
                    let _ = tell.send(line);
                }
            });
        }
        Ok(Self { name, folder: folder.keep(), shell, lines: Mutex::new(lines), log })
    }

    /// Waits for a line of the program's output that `wanted` takes something from.
    pub(crate) fn wait_for<T>(&self, patience: Duration, wanted: impl Fn(&str) -> Option<T>) -> Result<T> {
        let give_up = Instant::now() + patience;
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            let problem = match lines.recv_timeout(left) {
                Ok(line) => match wanted(&line) {
                    Some(found) => return Ok(found),
                    None => continue,
                },
                Err(mpsc::RecvTimeoutError::Timeout) => "it is not ready in time",
                Err(mpsc::RecvTimeoutError::Disconnected) => "it has ended",
            };
            return Err(Error::Program { program: self.name.clone(), problem: format!("{problem}: {}", self.log()) });
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the program wrote.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
