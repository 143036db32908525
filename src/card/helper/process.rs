//! The helper as a child process.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use super::{failed, not_installed};
use crate::cancel::CancelToken;
use crate::card::protocol::{Channel, ChannelError, Hello, MAX_FRAME, Reply, VERSION};
use crate::error::{Error, Result, Stage};
use crate::os::fork::ForkGuard;
use crate::os::ipc::socket_pair;
use crate::os::privilege::command;

/// A running helper; killed and reaped when dropped.
pub(in crate::card) struct Helper {
    child: Child,
    pub(in crate::card) channel: Channel,
    pub(super) owner: ForkGuard,
}

impl Helper {
    pub(in crate::card) fn start(program: &Path, argument: Option<&str>) -> Result<Self> {
        let cannot_start = |error: std::io::Error| {
            not_installed(format!("the card helper {} cannot be started: {error}", program.display()))
        };
        let (ours, theirs) = socket_pair().map_err(cannot_start)?;
        let mut helper = command(program);
        helper.args(argument).stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        // A Ctrl-C for this program must not keep the helper from resetting the card.
        helper.process_group(0);
        #[cfg(target_os = "linux")]
        if argument.is_none() {
            super::opensc::keep_no_pin(&mut helper);
        }
        let child = helper.spawn().map_err(cannot_start)?;
        Ok(Self { child, channel: Channel::new(ours, MAX_FRAME), owner: ForkGuard::this_process() })
    }

    /// Exchanges versions: until then nothing of a module runs in the helper.
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

    /// The error of an answer that did not come; `None` is one that does not belong here.
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

    /// `None` where the host has reaped it, as one that waits for any child does.
    fn kill(&mut self) -> Option<ExitStatus> {
        // Asked first: a process that is reaped already may have given its number to another.
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

pub(super) type Answer = std::result::Result<Reply, ChannelError>;

pub(super) fn receive(channel: &Channel, until: Option<Instant>) -> Answer {
    channel.receive(until)?.message()
}

/// Wakes a thread that waits for an answer. Only the reading side is shut down: the helper would
/// take a socket that is shut down as a whole for the end of this process.
pub(in crate::card) fn interrupt(channel: &Channel) -> impl Fn() + Send + 'static {
    let socket = Arc::clone(channel.socket());
    move || {
        // It fails where the helper has gone, which wakes the thread as well.
        let _ = socket.shutdown(std::net::Shutdown::Read);
    }
}
