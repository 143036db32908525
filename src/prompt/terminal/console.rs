//! Windows' console, key by key; restored afterwards.
//!
//! Not by `crossterm`, which keeps the keys that it has read in a queue of the whole process: they may be a PIN's.

use std::io;
use std::os::windows::io::AsHandle;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ticketapi_platform::console::{Console, Press};
use ticketapi_platform::event::Event;
use zeroize::Zeroize;

use super::key::{Key, Size};
use crate::cancel::{CancelGuard, CancelToken};

/// Keys that type nothing, by their numbers (`VK_…`).
const KEYS: [(u16, Key); 6] = [
    (0x21, Key::PageUp),
    (0x22, Key::PageDown),
    (0x23, Key::End),
    (0x24, Key::Home),
    (0x26, Key::Up),
    (0x28, Key::Down),
];

/// Returns `true` if this process has a console.
pub(super) fn is_there() -> bool {
    Console::open().is_ok()
}

/// The console, for one question or message; restored on drop.
pub(super) struct Tty {
    console: Console,
    deadline: Option<Instant>,
    cancelled: Arc<Event>,
    /// The number of lines that [`Tty::show`] has on the screen.
    shown: usize,
    /// A key that is held, and how often it is still to be returned.
    held: Option<(Key, u16)>,
    /// The first half of a character beyond 16 bits.
    half: u16,
    _hook: CancelGuard,
    _turn: Turn,
}

impl Tty {
    /// Takes over the console and discards earlier input.
    pub(super) fn open(deadline: Option<Instant>, cancel: &CancelToken) -> io::Result<Self> {
        let turn = Turn::take()?;
        let console = Console::open()?;
        let cancelled = Arc::new(Event::new()?);
        let event = Arc::clone(&cancelled);
        let hook = cancel.on_cancel(move || event.set());
        console.take_keys()?;
        Ok(Self { console, deadline, cancelled, shown: 0, held: None, half: 0, _hook: hook, _turn: turn })
    }

    /// Returns `true` if the cursor can be moved: always.
    pub(super) fn has_cursor(&self) -> bool {
        true
    }

    pub(super) fn size(&self) -> Size {
        let (rows, columns) = self.console.size().unwrap_or((25, 80));
        Size { rows: rows.max(1), columns: columns.max(1) }
    }

    /// Waits for a key.
    pub(super) fn key(&mut self) -> io::Result<Key> {
        loop {
            if let Some((key, times)) = self.held.take() {
                self.held = (times > 1).then_some((key, times - 1));
                return Ok(key);
            }
            let press = self.console.key(self.cancelled.as_handle(), self.deadline)?;
            self.held = self.meaning(press).map(|key| (key, press.times));
        }
    }

    /// Returns `None` for a key that does nothing by itself.
    fn meaning(&mut self, press: Press) -> Option<Key> {
        let other = || KEYS.iter().find(|(number, _)| *number == press.key).map(|(_, key)| *key);
        let first = std::mem::take(&mut self.half);
        Some(match press.unit {
            0 => return other(),
            0x0d | 0x0a => Key::Enter,
            // Ctrl-C, Ctrl-D and Esc.
            0x03 | 0x04 | 0x1b => Key::Cancel,
            0x08 | 0x7f => Key::Backspace,
            0x15 => Key::Clear,
            0x01..=0x1f => Key::Other,
            unit @ 0xd800..=0xdbff => {
                self.half = unit;
                return None;
            }
            unit => {
                let units = if first == 0 { [unit, 0] } else { [first, unit] };
                let length = if first == 0 { 1 } else { 2 };
                let character = char::decode_utf16(units[..length].iter().copied()).next();
                character.and_then(Result::ok).map_or(Key::Other, Key::Character)
            }
        })
    }

    /// Writes text at the cursor.
    pub(super) fn write(&mut self, text: &str) -> io::Result<()> {
        self.console.write(text)
    }

    /// Replaces the lines shown before with these.
    pub(super) fn show(&mut self, lines: &[String]) -> io::Result<()> {
        self.erase()?;
        self.shown = lines.len();
        self.console.set_wrapping(false)?;
        self.console.write(&lines.join("\n"))?;
        self.console.set_wrapping(true)
    }

    /// Removes what [`Tty::show`] shows.
    pub(super) fn erase(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.shown) {
            0 => Ok(()),
            shown => self.console.erase(shown),
        }
    }

    /// Ends the line with the question.
    pub(super) fn leave(&mut self) {
        if self.shown == 0 {
            let _ = self.console.write("\n");
        }
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        let _ = self.erase();
        self.half.zeroize();
    }
}

/// The right to use the console: questions of two engines would restore each other's modes.
struct Turn;

static IN_USE: AtomicBool = AtomicBool::new(false);

impl Turn {
    fn take() -> io::Result<Self> {
        if IN_USE.swap(true, Ordering::SeqCst) {
            return Err(io::Error::other("another login is asking there"));
        }
        Ok(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        IN_USE.store(false, Ordering::SeqCst);
    }
}
