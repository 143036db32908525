//! The desktop, and whose window is in front.

use std::mem;
use std::ptr;

use windows_sys::Win32::System::StationsAndDesktops::{
    GetProcessWindowStation, GetUserObjectInformationW, UOI_FLAGS, USEROBJECTFLAGS,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{GetForegroundWindow, GetWindowThreadProcessId, WSF_VISIBLE};

/// Returns `true` if a user can see the windows of this process. Services and their children have a window station
/// that nobody sees.
pub fn is_visible() -> bool {
    let mut flags = USEROBJECTFLAGS::default();
    let size = mem::size_of::<USEROBJECTFLAGS>() as u32;
    // SAFETY: the station's handle is not closed; `flags` is writable and has the given size.
    let known = unsafe {
        let station = GetProcessWindowStation();
        GetUserObjectInformationW(station, UOI_FLAGS, ptr::from_mut(&mut flags).cast(), size, ptr::null_mut())
    };
    known != 0 && flags.dwFlags & WSF_VISIBLE as u32 != 0
}

/// Returns the window in front if it is one of this process.
pub fn own_window() -> Option<u64> {
    // SAFETY: both calls only take values; the window may be gone, and then has no process.
    let (window, process) = unsafe {
        let window = GetForegroundWindow();
        let mut process = 0;
        GetWindowThreadProcessId(window, &mut process);
        (window, process)
    };
    (process == std::process::id()).then_some(window as u64)
}
