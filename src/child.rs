//! A child process to talk to over its standard input and output, with a deadline and a way to
//! cancel.

use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{self, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{SendFlags, send};

use crate::cancel::{CancelGuard, CancelToken};

/// A running child. It is killed and reaped when this is dropped.
pub(crate) struct Child {
    process: process::Child,
    input: UnixStream,
    output: UnixStream,
    deadline: Option<Instant>,
    _hook: CancelGuard,
}

impl Child {
    /// Starts `command` with its standard input and output connected here. Cancelling ends the
    /// conversation, as reaching `deadline` does.
    ///
    /// They are sockets: unlike pipes they have timeouts, and writing to one whose reader is dead
    /// raises no signal in the host. Two, as a child that ends without having read everything
    /// resets its input.
    pub(crate) fn spawn(command: &mut Command, deadline: Option<Instant>, cancel: &CancelToken) -> io::Result<Self> {
        let (input, stdin) = UnixStream::pair()?;
        let (output, stdout) = UnixStream::pair()?;
        let hooked = [input.try_clone()?, output.try_clone()?];
        let process = command.stdin(OwnedFd::from(stdin)).stdout(OwnedFd::from(stdout)).spawn();
        // The command keeps its ends of the sockets, and with them would keep ours from seeing
        // that the child is gone.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = process?;
        let _hook = cancel.on_cancel(move || {
            for stream in &hooked {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        Ok(Self { process, input, output, deadline, _hook })
    }

    /// Sends all of `bytes`.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.input.set_write_timeout(self.time_left()?)?;
            match send(&self.input, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(timed_out(errno.into())),
            }
        }
        Ok(())
    }

    /// Tells the child that nothing more will come.
    pub(crate) fn close_input(&self) -> io::Result<()> {
        self.input.shutdown(Shutdown::Write)
    }

    /// Reads what there is into `buffer`; 0 at the end.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.output.set_read_timeout(self.time_left()?)?;
            match self.output.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other.map_err(timed_out),
            }
        }
    }

    /// Waits for the child to end by itself; call it when the child has closed its output.
    ///
    /// A child that goes on after that is given a moment, then killed.
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

    fn time_left(&self) -> io::Result<Option<Duration>> {
        let Some(deadline) = self.deadline else { return Ok(None) };
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

/// A socket whose timeout passed says "would block", which is not what happened to the user.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
