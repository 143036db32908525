//! Windows.

use std::io;
use std::os::windows::io::AsHandle;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ticketapi::card::protocol::{Channel, MAX_FRAME};
use ticketapi_platform::module;
use ticketapi_platform::pipe::Pipe;
use ticketapi_platform::process::{Process, take_standard_input};

pub use ticketapi_platform::process::vanish;

/// The connection to the program that started this one, or to one that this one starts.
pub type Socket = Pipe;

/// Moves the pipe away from standard input, so that no process that a module starts can hold it, and keeps libraries
/// from being loaded from the current folder.
pub fn prepare() -> io::Result<Channel> {
    module::harden_program();
    let pipe = Pipe::from_handle(take_standard_input()?)?;
    Ok(Channel::new(pipe, MAX_FRAME))
}

/// Ends this process in a moment, whatever its threads do.
pub fn vanish_soon() {
    let end = || {
        thread::sleep(Duration::from_secs(2));
        vanish()
    };
    // Without a thread, the end of the work that follows has to do.
    let _ = thread::Builder::new().spawn(end);
}

/// Waits until the other end of the pipe is closed; returns `false` once `time` has passed.
pub fn until_closed(socket: &Socket, time: Option<Duration>) -> bool {
    socket.until_closed(time.and_then(|time| Instant::now().checked_add(time)))
}

/// Starts this program again, with `argument`; returns the connection to it.
pub fn start(argument: &str) -> io::Result<Socket> {
    let (ours, theirs) = Pipe::pair()?;
    Process::start(&again(argument)?, Some(theirs.as_handle()), None)?;
    Ok(ours)
}

/// Starts this program again, with `argument`, to go on with this one's connection.
pub fn start_in_my_place(argument: &str, socket: &Socket) -> io::Result<()> {
    let copy = socket.copy_handle()?;
    Process::start(&again(argument)?, Some(copy.as_handle()), None).map(drop)
}

fn again(argument: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(argument);
    Ok(command)
}
