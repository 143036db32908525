//! Scripts that run a program with one variable set.

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
    let script = format!("#!/bin/sh\ncd {folder} || exit\nexport {variable}={value}\nexec {program} \"$@\"\n");
    // Not written by this process: another thread that forks at that moment would inherit the open file, and a
    // file that is open for writing cannot be executed.
    let arguments = ["-m".as_ref(), "700".as_ref(), "/dev/stdin".as_ref(), path.as_os_str()];
    run_with_input(Command::new("install").args(arguments), script.as_bytes())?;
    Ok(path)
}

fn shell_quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}
