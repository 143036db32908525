//! Clocks that are cheap or count suspended time.

use std::time::Duration;

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::SystemInformation::{GetSystemTimeAsFileTime, GetTickCount64};

/// The time since the computer was started, including the time that it was suspended.
pub fn since_boot() -> Duration {
    // SAFETY: the call has no preconditions.
    Duration::from_millis(unsafe { GetTickCount64() })
}

/// The wall clock as of its last tick, at most some 16 ms ago, in units of 100 ns.
pub fn coarse_wall_clock() -> u64 {
    let mut time = FILETIME::default();
    // SAFETY: `time` is writable.
    unsafe { GetSystemTimeAsFileTime(&mut time) };
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}
