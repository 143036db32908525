//! Events, and waiting for several of them.

use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{HANDLE, WAIT_FAILED, WAIT_TIMEOUT};
use windows_sys::Win32::System::Threading::{CreateEventW, INFINITE, ResetEvent, SetEvent, WaitForMultipleObjects};

/// An event that remains set until it is reset.
#[derive(Debug)]
pub struct Event(OwnedHandle);

impl Event {
    /// Returns one that is not set, and that no child inherits.
    ///
    /// # Errors
    ///
    /// If the system has no room for it.
    pub fn new() -> io::Result<Self> {
        // SAFETY: null stands for the default security and for no name.
        let handle = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is new and belongs to nobody else.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Sets it.
    pub fn set(&self) {
        // SAFETY: the handle is an event's and open. It cannot fail then.
        unsafe { SetEvent(self.raw()) };
    }

    /// Resets it.
    pub fn reset(&self) {
        // SAFETY: as in `set`.
        unsafe { ResetEvent(self.raw()) };
    }

    pub(crate) fn raw(&self) -> HANDLE {
        self.0.as_raw_handle()
    }
}

impl std::os::windows::io::AsHandle for Event {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

/// Waits until one of at most 64 objects is signalled, and returns its index; `None` once `until` has passed.
///
/// # Errors
///
/// If a handle cannot be waited for.
pub fn wait_any(handles: &[BorrowedHandle<'_>], until: Option<Instant>) -> io::Result<Option<usize>> {
    let raw: Vec<HANDLE> = handles.iter().map(AsRawHandle::as_raw_handle).collect();
    let count = u32::try_from(raw.len()).map_err(io::Error::other)?;
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let time = left.map_or(INFINITE, milliseconds);
        // SAFETY: there are `count` handles, and their borrows keep them open.
        match unsafe { WaitForMultipleObjects(count, raw.as_ptr(), 0, time) } {
            WAIT_FAILED => return Err(io::Error::last_os_error()),
            // A time beyond the system's range is waited for in parts.
            WAIT_TIMEOUT if until.is_some_and(|until| until > Instant::now()) => {}
            WAIT_TIMEOUT => return Ok(None),
            // Abandoned mutexes, which follow, are not waited for.
            index => return Ok(usize::try_from(index).ok().filter(|&index| index < raw.len())),
        }
    }
}

/// Rounded up, so that no wait ends early and begins again at once.
fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000)).map_or(INFINITE - 1, |time| time.min(INFINITE - 1))
}
