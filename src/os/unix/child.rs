//! A child process with a socket as standard input and output, a deadline and cancellation.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{self, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::cancel::{CancelGuard, CancelToken};
use crate::os::fork::ForkGuard;
use crate::os::ipc::{Socket, socket_pair, until_done};
use crate::os::thread;

/// A child process as the system sees it.
pub(crate) type Process = process::Child;

/// Starts `command` with a connection to it as its standard input, in a process group of its own: a Ctrl-C for this
/// program must not end the child before its work is done.
pub(crate) fn spawn_connected(command: &mut Command) -> io::Result<(Process, Socket)> {
    let (ours, theirs) = socket_pair()?;
    let child = command.stdin(OwnedFd::from(theirs)).process_group(0).spawn()?;
    Ok((child, ours))
}

/// Keeps the child that `command` starts away from the signals of this process's terminal.
pub(crate) fn set_apart(command: &mut Command) {
    command.process_group(0);
}

/// A running child, killed and reaped on drop.
pub(crate) struct Child {
    process: process::Child,
    input: UnixStream,
    output: UnixStream,
    deadline: Option<Instant>,
    owner: ForkGuard,
    _hook: CancelGuard,
}

impl Child {
    /// Starts `command` with its standard input and output connected here. Cancelling ends the
    /// conversation, as reaching `deadline` does.
    ///
    /// Sockets, not pipes: they can time out, and writing to a dead reader raises no signal in the host.
    /// Two of them: a child that ends with unread input resets that socket only.
    pub(crate) fn spawn(command: &mut Command, deadline: Option<Instant>, cancel: &CancelToken) -> io::Result<Self> {
        let (input, stdin) = socket_pair()?;
        let (output, stdout) = socket_pair()?;
        let hooked = [input.try_clone()?, output.try_clone()?];
        let process = thread::spawn(command.stdin(OwnedFd::from(stdin)).stdout(OwnedFd::from(stdout)));
        // `command` holds the child's ends. While it lives, ours would not see the child's end.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = process?;
        let _hook = cancel.on_cancel(move || {
            for stream in &hooked {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        Ok(Self { process, input, output, deadline, owner: ForkGuard::this_process(), _hook })
    }

    /// Sends all `bytes`.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = until_done(&self.input, PollFlags::OUT, self.deadline, || {
                Ok(send(&self.input, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
            })?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Closes the child's input.
    pub(crate) fn close_input(&self) -> io::Result<()> {
        self.input.shutdown(Shutdown::Write)
    }

    /// Reads available output into `buffer`; returns 0 at the end.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        until_done(&self.output, PollFlags::IN, self.deadline, || {
            Ok(recv(&self.output, &mut *buffer, RecvFlags::DONTWAIT)?.0)
        })
    }

    /// Waits for a child that has closed its output to end.
    ///
    /// Kills the child if it does not end within a moment.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        for _ in 0..50 {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.process.kill()?;
        self.process.wait()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.owner.is_this_process() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
