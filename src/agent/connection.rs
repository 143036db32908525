//! A program's connection to the agent: every wait has a deadline.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::protocol::{Hello, MAX_REPLY, Reply, Request, VERSION};
use super::socket::{Unusable, connect};
use crate::framing::{Channel, ChannelError};
use crate::os::fork::ForkGuard;
use crate::os::ipc::Socket;

/// The time that the agent gets for connecting, and for an answer that it has at hand.
pub(crate) const PROMPT: Duration = Duration::from_secs(3);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoReply {
    /// No agent is running.
    #[error("no ticketapi agent is running: {0}")]
    Absent(Unusable),
    /// What is there may not be trusted.
    #[error("the agent's socket is not used: {0}")]
    Unusable(Unusable),
    /// The process that listens there is somebody else's.
    #[cfg(unix)]
    #[error("the agent's socket is not used: another user's process answers there")]
    Stranger,
    /// It went away.
    #[error("the ticketapi agent ended before it had answered")]
    Gone,
    /// It hangs.
    #[error("the ticketapi agent does not answer")]
    Silent,
    /// The agent is of another version.
    #[error("the ticketapi agent speaks version {0} of the messages, this program version {VERSION}")]
    Version(u32),
    /// The agent logs in elsewhere.
    #[error("the ticketapi agent logs in at {0}, and this program is set to {1}")]
    Service(String, String),
    /// What was received is no reply.
    #[error("the ticketapi agent sent {0}")]
    Malformed(ChannelError),
}

impl From<ChannelError> for NoReply {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Closed => Self::Gone,
            ChannelError::Timeout => Self::Silent,
            ChannelError::Malformed(_) | ChannelError::Unknown(_) => Self::Malformed(error),
        }
    }
}

/// A connection, on which requests are made one after another.
pub(crate) struct Connection {
    channel: Channel,
    owner: ForkGuard,
    /// The service that the agent must log in at, until it has said so.
    unchecked: Option<String>,
}

impl Connection {
    /// Connects to the agent at `path`, once it is known to be the user's own.
    pub(crate) fn open(path: &Path, service: &str) -> Result<Self, NoReply> {
        let socket = connect(path)?;
        let (channel, owner) = (Channel::new(socket, MAX_REPLY), ForkGuard::this_process());
        Ok(Self { channel, owner, unchecked: Some(service.to_owned()) })
    }

    /// The socket, to shut it down from another thread.
    pub(crate) fn socket(&self) -> &Arc<Socket> {
        self.channel.socket()
    }

    /// False in a child that was forked since: its parent uses the connection.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.owner.is_this_process()
    }

    /// Sends a request, and waits for the reply. It may take as long as the agent says every now and then
    /// that it is still there, and not longer than `silence` otherwise.
    pub(crate) fn request(&mut self, request: &Request, silence: Duration) -> Result<Reply, NoReply> {
        let request = request.encode();
        match self.unchecked.take() {
            // The request is sent with the greeting: one wait for both.
            Some(service) => {
                let hello = Request::Hello(Hello::new(&*service)).encode();
                self.send(&Zeroizing::new([&hello[..], &request].concat()))?;
                match self.receive(Some(PROMPT))? {
                    Reply::Hello(its) if its.version != VERSION => return Err(NoReply::Version(its.version)),
                    Reply::Hello(its) if service.is_empty() || service == its.service => {}
                    Reply::Hello(its) => return Err(NoReply::Service(its.service, service)),
                    _ => return Err(NoReply::Gone),
                }
            }
            None => self.send(&request)?,
        }
        loop {
            match self.receive(Some(silence))? {
                Reply::Waiting => {}
                reply => return Ok(reply),
            }
        }
    }

    /// Waits for what the agent sends by itself, for as long as it takes.
    pub(crate) fn next(&self) -> Result<Reply, NoReply> {
        self.receive(None)
    }

    fn send(&self, frames: &[u8]) -> Result<(), NoReply> {
        Ok(self.channel.send_frames(frames, Some(Instant::now() + PROMPT))?)
    }

    fn receive(&self, silence: Option<Duration>) -> Result<Reply, NoReply> {
        let frame = self.channel.receive(silence.map(|silence| Instant::now() + silence))?;
        Ok(Reply::decode(frame.bytes())?)
    }
}
