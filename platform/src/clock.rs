//! Clocks that are cheap or count suspended time.

use std::time::Duration;

use windows_sys::Win32::System::SystemInformation::GetTickCount64;

/// The time since the computer was started, including the time that it was suspended.
pub fn since_boot() -> Duration {
    Duration::from_millis(tick())
}

/// A number that is constant for at most some 16 ms, of suspended time too.
pub fn tick() -> u64 {
    // SAFETY: the call has no preconditions.
    unsafe { GetTickCount64() }
}
