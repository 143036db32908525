//! Resets a card whose helper had to be killed, without a PKCS#11 module.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{io, thread};

use ticketapi::card::protocol::{Channel, ChannelError, MAX_FRAME, Reply, Request};

use super::process;
use crate::pcsc;

/// The argument of the process that resets the card. Its parent does not wait for it.
pub const NOW_ARGUMENT: &str = "reset-now";

/// How long the reset may take. The next login waits for it.
const DEADLINE: Duration = Duration::from_millis(1800);

/// Starts another process for the reset, so that this one can be reaped at once.
pub fn detach(channel: &Channel) -> Result<(), ChannelError> {
    let socket = channel.socket().try_clone().map_err(|_| ChannelError::Closed)?;
    start(socket).map_err(|_| ChannelError::Closed)?;
    channel.send(&Reply::Detached, None)
}

/// Starts another process that resets the card in `reader`, because this one is about to end.
pub fn hand_over(reader: &str) -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    start(theirs)?;
    Channel::new(ours, MAX_FRAME).send(&Request::Reset { reader }, None).map_err(io::Error::other)
}

fn start(socket: UnixStream) -> io::Result<()> {
    Command::new(std::env::current_exe()?)
        .arg(NOW_ARGUMENT)
        .stdin(OwnedFd::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok(())
}

/// Resets the card in the request's reader.
pub fn now(channel: &Channel) -> Result<(), ChannelError> {
    thread::Builder::new()
        .spawn(|| {
            thread::sleep(DEADLINE);
            process::vanish()
        })
        .map_err(|_| ChannelError::Closed)?;
    let frame = channel.receive(Some(Instant::now() + DEADLINE))?;
    let Request::Reset { reader } = frame.message()? else { return Err(ChannelError::Malformed(0)) };
    let done = Reply::Done(pcsc::reset(reader, true));
    // The program may have exited meanwhile.
    let _ = channel.send(&done, None);
    Ok(())
}
