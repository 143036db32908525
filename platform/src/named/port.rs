//! What reports that something has happened at one of many pipes.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::time::Instant;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::System::IO::{CreateIoCompletionPort, GetQueuedCompletionStatus, PostQueuedCompletionStatus};
use windows_sys::Win32::System::Threading::INFINITE;

use crate::pipe::is;

/// What the thread that serves connections waits for.
#[derive(Debug)]
pub struct Port(OwnedHandle);

impl Port {
    /// Returns one that nothing reports to.
    ///
    /// # Errors
    ///
    /// If the system has no room for it.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no handle and no port stand for a new port.
        let port = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 1) };
        if port.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is new and belongs to nobody else.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(port) }))
    }

    /// Has the ends of operations with `handle` reported.
    pub(super) fn add(&self, handle: HANDLE) -> io::Result<()> {
        // SAFETY: both handles are open.
        let port = unsafe { CreateIoCompletionPort(handle, self.0.as_raw_handle(), 0, 0) };
        if port.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Ends a wait, or the next one.
    pub fn wake(&self) {
        // SAFETY: the port is open; what it is given is handed back, and nobody looks at it.
        unsafe { PostQueuedCompletionStatus(self.0.as_raw_handle(), 0, 0, ptr::null()) };
    }

    /// Waits until something has happened since the last wait, or until `until`. May return early.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn wait(&self, until: Option<Instant>) -> io::Result<()> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000));
        let mut time = left.map_or(INFINITE, |left| u32::try_from(left).unwrap_or(INFINITE - 1));
        // The reports say no more than that there were some.
        while self.take(time)? {
            time = 0;
        }
        Ok(())
    }

    /// Returns `false` if nothing was reported within `time`.
    fn take(&self, time: u32) -> io::Result<bool> {
        let (mut count, mut key, mut overlapped) = (0, 0, ptr::null_mut());
        // SAFETY: the port is open, and the results are writable.
        let taken =
            unsafe { GetQueuedCompletionStatus(self.0.as_raw_handle(), &mut count, &mut key, &mut overlapped, time) };
        let error = io::Error::last_os_error();
        match taken {
            // An operation that failed is reported, too.
            0 if overlapped.is_null() && is(&error, WAIT_TIMEOUT) => Ok(false),
            0 if overlapped.is_null() => Err(error),
            _ => Ok(true),
        }
    }
}
