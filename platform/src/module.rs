//! The library or program that this code is in.

use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::ptr;

use windows_sys::Win32::Foundation::HMODULE;
use windows_sys::Win32::System::Diagnostics::Debug::{
    SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SEM_NOOPENFILEERRORBOX, SetErrorMode,
};
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN,
    GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, GetModuleFileNameW, GetModuleHandleExW,
    LOAD_LIBRARY_SEARCH_DEFAULT_DIRS, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, LoadLibraryExW, SetDefaultDllDirectories,
};
use windows_sys::Win32::System::RemoteDesktop::{
    WTS_CURRENT_SESSION, WTSClientProtocolType, WTSFreeMemory, WTSQuerySessionInformationW,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{GetSystemMetrics, SM_REMOTESESSION};

/// The longest path.
const LONGEST: usize = 32_768;

/// Keeps the library loaded until the process ends: its threads and thread-local values may outlive `FreeLibrary`.
pub fn pin() {
    // If it fails, the library was not loaded by its users' `LoadLibrary`.
    let _ = this(GET_MODULE_HANDLE_EX_FLAG_PIN);
}

/// Returns the path that it was loaded from.
///
/// # Errors
///
/// If the system does not know it.
pub fn path() -> io::Result<PathBuf> {
    let module = this(GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT)?;
    let mut name = vec![0; LONGEST];
    // SAFETY: the buffer has the given length.
    let length = unsafe { GetModuleFileNameW(module, name.as_mut_ptr(), LONGEST as u32) } as usize;
    if length == 0 || length == LONGEST {
        return Err(io::Error::last_os_error());
    }
    Ok(OsString::from_wide(&name[..length]).into())
}

fn this(flag: u32) -> io::Result<HMODULE> {
    let mut module: HMODULE = ptr::null_mut();
    let inside = this as fn(u32) -> io::Result<HMODULE>;
    // SAFETY: with this flag the name is an address, of which any is allowed; `module` is writable.
    let found =
        unsafe { GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | flag, inside as *const u16, &mut module) };
    super::check(found)?;
    Ok(module)
}

/// Loads the library at `path`, for good. What it needs is searched for in its own folder, beside the program, and in
/// the system's folder.
///
/// # Errors
///
/// If it, or a library that it needs, does not exist or cannot be loaded.
pub fn load(path: &Path) -> io::Result<()> {
    let name = super::wide(path.as_os_str())?;
    let flags = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
    // SAFETY: the name ends with a zero. The library's initializers may run in any process.
    let library = unsafe { LoadLibraryExW(name.as_ptr(), ptr::null_mut(), flags) };
    if library.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// For programs of ours: libraries are searched for beside the program and in the system's folder only, not in the
/// current folder or on the `PATH`; and a crash shows no window that keeps the process alive.
pub fn harden_program() {
    // SAFETY: both calls only take flags. Without the first, Windows' own order applies.
    unsafe {
        SetDefaultDllDirectories(LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
        SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
    }
}

/// Returns `true` if this process runs in a session of Remote Desktop Services, such as RDP's or Citrix's.
pub fn is_remote_session() -> bool {
    // SAFETY: the call only takes a number.
    let remote = unsafe { GetSystemMetrics(SM_REMOTESESSION) };
    // A session whose graphics the server's processor makes is remote by its protocol only.
    remote != 0 || protocol().is_some_and(|protocol| protocol != LOCAL)
}

/// The protocol of a session at the computer itself.
const LOCAL: u16 = 0;

/// Returns the protocol by which the user sees this session; `None` if the service that knows does not answer.
fn protocol() -> Option<u16> {
    let (mut data, mut length) = (ptr::null_mut(), 0);
    // SAFETY: null stands for this computer, and the results are writable. What the call has allocated is a number of
    // 16 bits, read before it is freed.
    unsafe {
        let known = WTSQuerySessionInformationW(
            ptr::null_mut(),
            WTS_CURRENT_SESSION,
            WTSClientProtocolType,
            &mut data,
            &mut length,
        );
        if known == 0 {
            return None;
        }
        let protocol = (length as usize >= size_of::<u16>()).then(|| data.cast::<u16>().read_unaligned());
        WTSFreeMemory(data.cast());
        protocol
    }
}
