//! The controlling terminal, key by key; restored afterwards.
//!
//! Installs no signal handler: keys that would send signals are read as keys. Leaves the terminal of another
//! job alone: the system stops a job that uses it.

use std::env;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, write};
use rustix::process::getpgrp;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcgetpgrp,
    tcgetwinsize, tcsetattr,
};

use super::key::{Key, Size};
use crate::cancel::{CancelGuard, CancelToken};
use crate::os::fork::ForkGuard;
use crate::os::ipc::socket_pair;

/// How long the rest of a key's bytes may take.
const REST_OF_KEY: Duration = Duration::from_millis(50);

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
/// While set, lines that are too long are cut.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";
const ERASE_BELOW: &str = "\x1b[J";

/// Returns `true` if this process is the foreground job of its controlling terminal.
pub(super) fn is_there() -> bool {
    open_device().is_ok_and(|device| check_foreground(&device).is_ok())
}

/// The terminal, for one question or message; restored on drop.
pub(super) struct Tty {
    device: OwnedFd,
    before: Termios,
    deadline: Option<Instant>,
    /// Readable once the question is cancelled.
    cancelled: UnixStream,
    /// The number of lines that [`Tty::show`] has on the screen.
    shown: usize,
    owner: ForkGuard,
    _hook: CancelGuard,
    _turn: Turn,
}

impl Tty {
    /// Takes over the terminal and discards earlier input.
    pub(super) fn open(deadline: Option<Instant>, cancel: &CancelToken) -> io::Result<Self> {
        let turn = Turn::take()?;
        let device = open_device()?;
        check_foreground(&device)?;
        let (cancelled, other_end) = socket_pair()?;
        let hook = cancel.on_cancel(move || {
            let _ = other_end.shutdown(Shutdown::Both);
        });
        let before = tcgetattr(&device)?;
        let mut keys = before.clone();
        keys.local_modes -= LocalModes::ECHO | LocalModes::ECHONL;
        keys.local_modes -= LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
        keys.input_modes -= InputModes::ICRNL | InputModes::INLCR | InputModes::IGNCR;
        keys.input_modes -= InputModes::IXON | InputModes::ISTRIP;
        keys.special_codes[SpecialCodeIndex::VMIN] = 1;
        keys.special_codes[SpecialCodeIndex::VTIME] = 0;
        let owner = ForkGuard::this_process();
        let tty = Self { device, before, deadline, cancelled, shown: 0, owner, _hook: hook, _turn: turn };
        // At once: waiting for output would last as long as it is held with Ctrl-S.
        tcsetattr(&tty.device, OptionalActions::Now, &keys)?;
        tcflush(&tty.device, QueueSelector::IFlush)?;
        Ok(tty)
    }

    /// Returns `true` if the cursor can be moved.
    pub(super) fn has_cursor(&self) -> bool {
        env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
    }

    pub(super) fn size(&self) -> Size {
        let known = |number: u16, otherwise| if number == 0 { otherwise } else { usize::from(number) };
        tcgetwinsize(&self.device).map_or(Size { rows: 24, columns: 80 }, |size| Size {
            rows: known(size.ws_row, 24),
            columns: known(size.ws_col, 80),
        })
    }

    /// Waits for a key.
    pub(super) fn key(&mut self) -> io::Result<Key> {
        let first = self.byte(self.deadline)?;
        Ok(match first {
            b'\r' | b'\n' => Key::Enter,
            0x03 | 0x04 => Key::Cancel,
            0x08 | 0x7f => Key::Backspace,
            0x15 => Key::Clear,
            0x1b => self.escaped()?,
            0x20..=0x7e => Key::Character(char::from(first)),
            0xc2..=0xf4 => self.character(first)?,
            _ => Key::Other,
        })
    }

    /// Writes text at the cursor.
    pub(super) fn write(&mut self, text: &str) -> io::Result<()> {
        let mut bytes = text.as_bytes();
        while !bytes.is_empty() {
            match self.write_some(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, self.deadline)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Replaces the lines shown before with these.
    pub(super) fn show(&mut self, lines: &[String]) -> io::Result<()> {
        let cursor = self.has_cursor();
        let start = if cursor { up(self.shown) + HIDE_CURSOR + NO_WRAP + ERASE_BELOW } else { String::new() };
        let end = if cursor { WRAP } else { "" };
        self.shown = lines.len();
        self.write(&(start + &lines.join("\n") + end))
    }

    /// Removes what [`Tty::show`] shows.
    pub(super) fn erase(&mut self) -> io::Result<()> {
        let erased = self.erasing();
        self.write(&erased)
    }

    /// Ends the line with the question.
    pub(super) fn leave(&mut self) {
        if self.shown == 0 {
            let _ = self.write_some(b"\n");
        }
    }

    fn erasing(&mut self) -> String {
        let shown = std::mem::take(&mut self.shown);
        match shown {
            0 => String::new(),
            _ if self.has_cursor() => up(shown) + ERASE_BELOW + SHOW_CURSOR,
            _ => "\n".into(),
        }
    }

    /// Returns the key that an Esc begins, or Esc itself.
    fn escaped(&mut self) -> io::Result<Key> {
        let Some(kind) = self.rest()? else { return Ok(Key::Cancel) };
        if !matches!(kind, b'[' | b'O') {
            return Ok(Key::Other);
        }
        let mut number = 0_u32;
        while let Some(byte) = self.rest()? {
            match byte {
                b'0'..=b'9' => number = number.saturating_mul(10).saturating_add(u32::from(byte - b'0')),
                // Modifiers and other parameters.
                0x20..=0x3f => number = u32::MAX,
                b'A' => return Ok(Key::Up),
                b'B' => return Ok(Key::Down),
                b'H' => return Ok(Key::Home),
                b'F' => return Ok(Key::End),
                b'~' => {
                    return Ok(match number {
                        1 | 7 => Key::Home,
                        4 | 8 => Key::End,
                        5 => Key::PageUp,
                        6 => Key::PageDown,
                        _ => Key::Other,
                    });
                }
                _ => break,
            }
        }
        Ok(Key::Other)
    }

    /// Reads a character that is not ASCII.
    fn character(&mut self, first: u8) -> io::Result<Key> {
        let length = match first {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        let mut bytes = zeroize::Zeroizing::new([first, 0, 0, 0]);
        for byte in &mut bytes[1..length] {
            let Some(next) = self.rest()? else { return Ok(Key::Other) };
            *byte = next;
        }
        let text = std::str::from_utf8(&bytes[..length]).ok();
        Ok(text.and_then(|text| text.chars().next()).map_or(Key::Other, Key::Character))
    }

    /// Reads another byte of the same key; `None` if none arrives.
    fn rest(&mut self) -> io::Result<Option<u8>> {
        let until = Instant::now() + REST_OF_KEY;
        match self.byte(Some(self.deadline.map_or(until, |deadline| deadline.min(until)))) {
            Ok(byte) => Ok(Some(byte)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn byte(&mut self, until: Option<Instant>) -> io::Result<u8> {
        let mut byte = zeroize::Zeroizing::new([0_u8; 1]);
        loop {
            self.wait(PollFlags::IN, until)?;
            check_foreground(&self.device)?;
            match read(&self.device, &mut byte[..]) {
                // The terminal's window was closed.
                Ok(0) | Err(Errno::IO) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(byte[0]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        check_foreground(&self.device)?;
        match write(&self.device, bytes) {
            Err(Errno::IO) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(Errno::INTR) => Ok(0),
            written => Ok(written?),
        }
    }

    /// Waits until the terminal is ready. Fails if the question is cancelled or has timed out.
    fn wait(&self, what: PollFlags, until: Option<Instant>) -> io::Result<()> {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // A time beyond the system's range is no deadline.
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut ready = [PollFd::new(&self.cancelled, PollFlags::IN), PollFd::new(&self.device, what)];
            match poll(&mut ready, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if !ready[0].revents().is_empty() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if !ready[1].revents().is_empty() {
                return Ok(());
            }
        }
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        // A child forked meanwhile has its parent's terminal; another job's terminal is not ours.
        if !self.owner.is_this_process() || check_foreground(&self.device).is_err() {
            return;
        }
        let erased = self.erasing();
        let _ = self.write_some(erased.as_bytes());
        // Late input must not reach the shell, nor the screen.
        let _ = tcflush(&self.device, QueueSelector::IFlush);
        let _ = tcsetattr(&self.device, OptionalActions::Now, &self.before);
    }
}

/// Moves to the start of the first of `lines` that end at the cursor.
fn up(lines: usize) -> String {
    match lines {
        0 => String::new(),
        1 => "\r".into(),
        _ => format!("\r\x1b[{}A", lines - 1),
    }
}

/// The right to use the terminal: questions of two engines would restore each other's modes.
struct Turn;

/// The process that uses it; a child forked meanwhile is another.
static IN_USE_BY: AtomicU32 = AtomicU32::new(0);

impl Turn {
    fn take() -> io::Result<Self> {
        let this = process::id();
        let free = |by: u32| (by != this).then_some(this);
        match IN_USE_BY.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free) {
            Ok(_) => Ok(Self),
            Err(_) => Err(io::Error::other("another login is asking there")),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = IN_USE_BY.compare_exchange(process::id(), 0, Ordering::SeqCst, Ordering::SeqCst);
    }
}

fn open_device() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open("/dev/tty", flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NXIO => io::Error::other("this process has none"),
        errno => errno.into(),
    })
}

fn check_foreground(device: &OwnedFd) -> io::Result<()> {
    match tcgetpgrp(device) {
        Ok(group) if group == getpgrp() => Ok(()),
        Ok(_) | Err(Errno::OPNOTSUPP) => Err(io::Error::other("this process is not its foreground job")),
        // The terminal's window was closed.
        Err(Errno::IO | Errno::NOTTY) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(errno) => Err(errno.into()),
    }
}
