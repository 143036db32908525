//! The helper as a child process.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use super::{failed, not_installed};
use crate::cancel::CancelToken;
use crate::card::protocol::{Channel, ChannelError, Hello, MAX_FRAME, Reply, VERSION};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::child::{Process, spawn_connected};
use crate::os::fork::ForkGuard;
use crate::os::privilege::command;

/// A running helper; killed and reaped when dropped.
pub(in crate::card) struct Helper {
    child: Process,
    pub(in crate::card) channel: Channel,
    pub(super) owner: ForkGuard,
}

impl Helper {
    pub(in crate::card) fn start(program: &Path, argument: Option<&str>) -> Result<Self> {
        let cannot_start = |error: std::io::Error| {
            let detail = format!("the card helper {} cannot be started: {error}", program.display());
            Error::refused(ErrorKind::NotInstalled, Stage::Card, detail, error)
        };
        let mut helper = command(program);
        helper.args(argument).stdout(Stdio::null()).stderr(Stdio::null());
        #[cfg(target_os = "linux")]
        if argument.is_none() {
            super::opensc::cache_no_pin(&mut helper);
        }
        super::turns::warn_without_locks();
        let (child, socket) = spawn_connected(&mut helper).map_err(cannot_start)?;
        Ok(Self { child, channel: Channel::new(socket, MAX_FRAME), owner: ForkGuard::this_process() })
    }

    /// Exchanges versions. No module runs in the helper before this.
    pub(in crate::card) fn greet(
        &mut self,
        program: &Path,
        until: Option<Instant>,
        cancel: &CancelToken,
    ) -> Result<()> {
        let greeting = self.channel.send(&Hello { version: VERSION }, until);
        let reason = match greeting.and_then(|()| self.channel.receive(until)?.message()) {
            Ok(Hello { version: VERSION }) => return Ok(()),
            _ if cancel.is_cancelled() => return Err(Error::cancelled(Stage::Card)),
            Ok(Hello { version }) => format!("its protocol version is {version}, not {VERSION}"),
            Err(ChannelError::Closed) => format!("it ended at once ({})", self.end()),
            Err(error) => error.to_string(),
        };
        Err(not_installed(format!("the card helper {} cannot be used: {reason}", program.display())))
    }

    /// Returns the error for a missing reply, or for an unexpected one if `error` is `None`.
    pub(in crate::card) fn lost(&mut self, error: Option<ChannelError>, stage: Stage, cancel: &CancelToken) -> Error {
        if cancel.is_cancelled() {
            return Error::cancelled(stage);
        }
        match error {
            Some(ChannelError::Timeout) => failed(stage, "the card's software did not answer in time"),
            Some(ChannelError::Closed) => failed(stage, &format!("the card's software crashed ({})", self.end())),
            _ => failed(stage, "the card helper sent a malformed message"),
        }
    }

    pub(super) fn end(&mut self) -> String {
        self.kill().map_or_else(|| "exit status unknown".to_owned(), |status| status.to_string())
    }

    /// Returns `None` if the host has reaped the child, which it does if it waits for any child.
    fn kill(&mut self) -> Option<ExitStatus> {
        // Checked first: the number of a reaped process may belong to another one now.
        if let Some(status) = self.child.try_wait().ok()? {
            return Some(status);
        }
        self.child.kill().ok()?;
        self.child.wait().ok()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if self.owner.is_this_process() {
            self.kill();
        }
    }
}

pub(super) type Received = std::result::Result<Reply, ChannelError>;

pub(super) fn receive(channel: &Channel, until: Option<Instant>) -> Received {
    channel.receive(until)?.message()
}

/// Wakes a thread that waits for a reply. Shuts down only the reading side: the helper would take a complete
/// shutdown for the end of this process.
pub(in crate::card) fn interrupt(channel: &Channel) -> impl Fn() + Send + 'static {
    let socket = Arc::clone(channel.socket());
    move || {
        // If this fails, the helper has ended, which wakes the thread too.
        let _ = socket.shutdown(std::net::Shutdown::Read);
    }
}
