//! Threads of the library.

use std::io;
use std::process::Command;
use std::thread::{Builder, JoinHandle};

use super::child::Process;

/// Starts a thread.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(work)
}

/// Starts a child without standard input and output, which inherits no handle of the host.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Process> {
    Process::start(command, None, None)
}
