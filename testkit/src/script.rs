//! Shell scripts that tests run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Result;
use crate::softhsm::run_with_input;

/// Writes a script into `folder` that runs `program` with `variable` set and with the script's arguments.
///
/// A test cannot set the variable itself, because parallel tests share their environment.
pub(crate) fn write_wrapper(folder: &Path, variable: &str, value: &Path, program: &Path) -> Result<PathBuf> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let path = folder.join(format!("wrapper-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
    // It runs in the test's folder, where a module with a corrupted heap may write files.
    let (folder, value, program) = (shell_quoted(folder), shell_quoted(value), shell_quoted(program));
    write_script(&path, &format!("cd {folder} || exit\nexport {variable}={value}\nexec {program} \"$@\"\n"))?;
    Ok(path)
}

/// Writes an executable shell script.
pub fn write_script(file: &Path, body: &str) -> Result<()> {
    // Not written by this process: another thread that forks at that moment would inherit the open file, and a
    // file that is open for writing cannot be executed.
    let mut install = Command::new("install");
    install.args(["-m", "700", "/dev/stdin"]).arg(file);
    run_with_input(&mut install, format!("#!/bin/sh\n{body}").as_bytes()).map(drop)
}

fn shell_quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}
