//! Resets a card whose helper had to be killed, without a PKCS#11 module.

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
    process::start_in_my_place(NOW_ARGUMENT, channel.socket()).map_err(|_| ChannelError::Closed)?;
    channel.send(&Reply::Detached, None)
}

/// Starts another process that resets the card in `reader`, because this one is about to end.
pub fn hand_over(reader: &str) -> io::Result<()> {
    let socket = process::start(NOW_ARGUMENT)?;
    Channel::new(socket, MAX_FRAME).send(&Request::Reset { reader }, None).map_err(io::Error::other)
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
