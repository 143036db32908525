//! The console that this program was started in, key by key.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::ptr;
use std::time::Instant;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Console::{
    CONSOLE_SCREEN_BUFFER_INFO, COORD, DISABLE_NEWLINE_AUTO_RETURN, ENABLE_ECHO_INPUT, ENABLE_LINE_INPUT,
    ENABLE_MOUSE_INPUT, ENABLE_PROCESSED_INPUT, ENABLE_PROCESSED_OUTPUT, ENABLE_VIRTUAL_TERMINAL_INPUT,
    ENABLE_VIRTUAL_TERMINAL_PROCESSING, ENABLE_WINDOW_INPUT, ENABLE_WRAP_AT_EOL_OUTPUT, FillConsoleOutputCharacterW,
    FlushConsoleInputBuffer, GetConsoleMode, GetConsoleScreenBufferInfo, GetNumberOfConsoleInputEvents, INPUT_RECORD,
    KEY_EVENT, ReadConsoleInputW, SetConsoleCursorPosition, SetConsoleMode, WriteConsoleW,
};
use windows_sys::Win32::UI::Input::KeyboardAndMouse::VK_MENU;
use zeroize::Zeroize;

use crate::check;
use crate::event::wait_any;

/// A pressed key.
#[derive(Clone, Copy)]
pub struct Press {
    /// The key, as Windows numbers it (`VK_…`).
    pub key: u16,
    /// What it types: a unit of UTF-16, or 0.
    pub unit: u16,
    /// How often, because it was held.
    pub times: u16,
}

/// The console, while its keys are read; restored on drop.
pub struct Console {
    input: OwnedHandle,
    output: OwnedHandle,
    before: (u32, u32),
}

impl Console {
    /// Opens it without changing anything.
    ///
    /// # Errors
    ///
    /// If this program has none.
    pub fn open() -> io::Result<Self> {
        let device = |name| OpenOptions::new().read(true).write(true).open(name).map(OwnedHandle::from);
        let (input, output) = (device("CONIN$")?, device("CONOUT$")?);
        let before = (mode(input.as_raw_handle())?, mode(output.as_raw_handle())?);
        Ok(Self { input, output, before })
    }

    /// Has keys be read one by one and shown by nobody, Ctrl-C among them, and discards earlier ones.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn take_keys(&self) -> io::Result<()> {
        let cooked = ENABLE_PROCESSED_INPUT | ENABLE_LINE_INPUT | ENABLE_ECHO_INPUT;
        let others = ENABLE_WINDOW_INPUT | ENABLE_MOUSE_INPUT | ENABLE_VIRTUAL_TERMINAL_INPUT;
        set_mode(self.input.as_raw_handle(), self.before.0 & !(cooked | others))?;
        self.set_wrapping(true)?;
        // SAFETY: the handle is a console's and open.
        check(unsafe { FlushConsoleInputBuffer(self.input.as_raw_handle()) })
    }

    /// Continues long lines on the next one, or cuts them.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn set_wrapping(&self, wraps: bool) -> io::Result<()> {
        let mode =
            (self.before.1 | ENABLE_PROCESSED_OUTPUT) & !(ENABLE_WRAP_AT_EOL_OUTPUT | DISABLE_NEWLINE_AUTO_RETURN);
        set_mode(self.output.as_raw_handle(), if wraps { mode | ENABLE_WRAP_AT_EOL_OUTPUT } else { mode })
    }

    /// Waits for a key.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](ErrorKind::TimedOut) when `until` has passed;
    /// [`ConnectionAborted`](ErrorKind::ConnectionAborted) once `over` is signalled.
    pub fn key(&self, over: BorrowedHandle<'_>, until: Option<Instant>) -> io::Result<Press> {
        loop {
            match wait_any(&[over, self.input.as_handle()], until)? {
                None => return Err(ErrorKind::TimedOut.into()),
                Some(0) => return Err(ErrorKind::ConnectionAborted.into()),
                Some(_) => {}
            }
            if let Some(press) = self.read()? {
                return Ok(press);
            }
        }
    }

    /// Takes what has happened, if it is a pressed key.
    fn read(&self) -> io::Result<Option<Press>> {
        let (input, mut count) = (self.input.as_raw_handle(), 0);
        // SAFETY: the handle is a console's and open, and `count` is writable.
        check(unsafe { GetNumberOfConsoleInputEvents(input, &mut count) })?;
        if count == 0 {
            return Ok(None);
        }
        let mut record = INPUT_RECORD::default();
        // SAFETY: there is room for one record.
        check(unsafe { ReadConsoleInputW(input, &mut record, 1, &mut count) })?;
        if count == 0 || u32::from(record.EventType) != KEY_EVENT {
            return Ok(None);
        }
        // SAFETY: the type says that it is a key's, of whose two texts this is the one for the call with W.
        let (event, unit) = unsafe {
            let event = &mut record.Event.KeyEvent;
            let unit = event.uChar.UnicodeChar;
            // It may belong to a PIN.
            event.uChar.UnicodeChar.zeroize();
            (*event, unit)
        };
        // Digits typed while Alt is held become a character when it is released.
        let typed = event.bKeyDown != 0 || (event.wVirtualKeyCode == VK_MENU && unit != 0);
        Ok(typed.then_some(Press { key: event.wVirtualKeyCode, unit, times: event.wRepeatCount.max(1) }))
    }

    /// Writes text at the cursor.
    ///
    /// # Errors
    ///
    /// If the console is gone.
    pub fn write(&self, text: &str) -> io::Result<()> {
        let units: Vec<u16> = text.encode_utf16().collect();
        let mut rest = &units[..];
        while !rest.is_empty() {
            let (length, mut written) = (rest.len().min(8192) as u32, 0);
            // SAFETY: there are so many units, and `written` is writable.
            check(unsafe {
                WriteConsoleW(self.output.as_raw_handle(), rest.as_ptr(), length, &mut written, ptr::null())
            })?;
            rest = &rest[(written as usize).clamp(1, rest.len())..];
        }
        Ok(())
    }

    /// Moves to the start of the first of `lines` that end at the cursor, and removes them and what is below.
    ///
    /// # Errors
    ///
    /// If the console is gone.
    pub fn erase(&self, lines: usize) -> io::Result<()> {
        let (output, screen) = (self.output.as_raw_handle(), self.screen()?);
        let up = i16::try_from(lines.saturating_sub(1)).unwrap_or(i16::MAX);
        let start = COORD { X: 0, Y: screen.dwCursorPosition.Y.saturating_sub(up).max(0) };
        let rows = u32::from((screen.dwSize.Y - start.Y).unsigned_abs());
        let cells = rows * u32::from(screen.dwSize.X.unsigned_abs());
        let mut written = 0;
        // SAFETY: the handle is a console's and open, and `written` is writable.
        unsafe {
            check(FillConsoleOutputCharacterW(output, u16::from(b' '), cells, start, &mut written))?;
            check(SetConsoleCursorPosition(output, start))
        }
    }

    /// Returns the visible rows and columns.
    ///
    /// # Errors
    ///
    /// If the console is gone.
    pub fn size(&self) -> io::Result<(usize, usize)> {
        let window = self.screen()?.srWindow;
        let length = |from: i16, to: i16| usize::from((to - from + 1).unsigned_abs());
        Ok((length(window.Top, window.Bottom), length(window.Left, window.Right)))
    }

    fn screen(&self) -> io::Result<CONSOLE_SCREEN_BUFFER_INFO> {
        let mut screen = CONSOLE_SCREEN_BUFFER_INFO::default();
        // SAFETY: the handle is a console's and open, and `screen` is writable.
        check(unsafe { GetConsoleScreenBufferInfo(self.output.as_raw_handle(), &mut screen) })?;
        Ok(screen)
    }

    /// Restores it. Late input must not reach the next program.
    fn restore(&self) -> io::Result<()> {
        let changed = mode(self.input.as_raw_handle())? != self.before.0;
        if changed {
            // SAFETY: as in `take_keys`.
            check(unsafe { FlushConsoleInputBuffer(self.input.as_raw_handle()) })?;
            set_mode(self.input.as_raw_handle(), self.before.0)?;
        }
        set_mode(self.output.as_raw_handle(), self.before.1)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // It may be gone.
        let _ = self.restore();
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

/// Has the console carry out the sequences that `handle`'s text holds, such as those for colours. Returns `false` if it
/// is no console or cannot.
pub fn enable_sequences(handle: BorrowedHandle<'_>) -> bool {
    let handle = handle.as_raw_handle();
    mode(handle).and_then(|mode| set_mode(handle, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING)).is_ok()
}

fn mode(handle: HANDLE) -> io::Result<u32> {
    let mut mode = 0;
    // SAFETY: the callers' handles are open, and `mode` is writable.
    check(unsafe { GetConsoleMode(handle, &mut mode) })?;
    Ok(mode)
}

fn set_mode(handle: HANDLE, mode: u32) -> io::Result<()> {
    // SAFETY: the callers' handles are open.
    check(unsafe { SetConsoleMode(handle, mode) })
}
