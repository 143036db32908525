//! Windows' own folders, and what happens when it starts.

use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::ptr;

use windows_sys::Win32::Foundation::MAX_PATH;
use windows_sys::Win32::Storage::FileSystem::{MOVEFILE_DELAY_UNTIL_REBOOT, MoveFileExW};
use windows_sys::Win32::System::SystemInformation::{GetSystemDirectoryW, GetSystemWow64DirectoryW};

/// Returns the folder of this process's system libraries.
///
/// # Errors
///
/// If the system does not tell.
pub fn folder() -> io::Result<PathBuf> {
    path(GetSystemDirectoryW).ok_or_else(io::Error::last_os_error)
}

/// Returns the folder of 32-bit programs' system libraries; `None` if Windows itself has 32 bits.
pub fn folder_for_32_bits() -> Option<PathBuf> {
    path(GetSystemWow64DirectoryW)
}

fn path(call: unsafe extern "system" fn(*mut u16, u32) -> u32) -> Option<PathBuf> {
    let mut name = [0; MAX_PATH as usize];
    // SAFETY: the buffer has the given length; the calls write no more than that.
    let length = unsafe { call(name.as_mut_ptr(), MAX_PATH) } as usize;
    (1..name.len()).contains(&length).then(|| OsString::from_wide(&name[..length]).into())
}

/// Has `file` deleted when Windows starts next: a library cannot be deleted while a program uses it.
///
/// # Errors
///
/// If the user is no administrator.
pub fn delete_at_restart(file: &Path) -> io::Result<()> {
    let name = crate::wide(file.as_os_str())?;
    // SAFETY: the text ends with a zero; without a new name, the file is to be deleted.
    crate::check(unsafe { MoveFileExW(name.as_ptr(), ptr::null(), MOVEFILE_DELAY_UNTIL_REBOOT) })
}
