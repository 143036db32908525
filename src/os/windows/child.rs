//! A child process with a pipe as standard input and output, a deadline and cancellation.

use std::io;
use std::net::Shutdown;
use std::os::windows::io::AsHandle;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cancel::{CancelGuard, CancelToken};
use crate::os::ipc::Socket;

/// A child process as the system sees it.
pub(crate) use ticketapi_platform::process::Process;

/// Starts `command` with a connection to it as its standard input. Nothing else is inherited.
pub(crate) fn spawn_connected(command: &mut Command) -> io::Result<(Process, Socket)> {
    let (ours, theirs) = Socket::pair()?;
    let child = Process::start(command, Some(theirs.as_handle()), None)?;
    Ok((child, ours))
}

/// Every child has a process group of its own here.
pub(crate) fn set_apart(_: &mut Command) {}

/// A running child, killed on drop.
pub(crate) struct Child {
    process: Process,
    /// Closing it is the end of the child's input.
    input: Option<Arc<Socket>>,
    output: Arc<Socket>,
    deadline: Option<Instant>,
    _hook: CancelGuard,
}

impl Child {
    /// Starts `command` with its standard input and output connected here. Cancelling ends the conversation, as
    /// reaching `deadline` does. Its standard error leads nowhere.
    pub(crate) fn spawn(command: &mut Command, deadline: Option<Instant>, cancel: &CancelToken) -> io::Result<Self> {
        let (input, stdin) = Socket::pair_for_stdio()?;
        let (output, stdout) = Socket::pair_for_stdio()?;
        let process = Process::start(command, Some(stdin.as_handle()), Some(stdout.as_handle()))?;
        let (input, output) = (Arc::new(input), Arc::new(output));
        let hooked = (Arc::downgrade(&input), Arc::clone(&output));
        let _hook = cancel.on_cancel(move || {
            let _ = hooked.0.upgrade().map(|input| input.shutdown(Shutdown::Both));
            let _ = hooked.1.shutdown(Shutdown::Both);
        });
        Ok(Self { process, input: Some(input), output, deadline, _hook })
    }

    /// Sends all `bytes`.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let input = self.input.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        input.send_all(bytes, self.deadline)
    }

    /// Closes the child's input.
    pub(crate) fn close_input(&mut self) -> io::Result<()> {
        self.input = None;
        Ok(())
    }

    /// Reads available output into `buffer`; returns 0 at the end.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.output.receive(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.output.until_readable(&[], self.deadline)?;
                }
                result => return result,
            }
        }
    }

    /// Waits for a child that has closed its output to end.
    ///
    /// Kills the child if it does not end within a moment.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.process.wait_for(Duration::from_millis(100))? {
            return Ok(status);
        }
        self.process.kill()?;
        self.process.wait()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
    }
}
