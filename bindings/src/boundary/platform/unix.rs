//! Unix.

use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Makes every forked child call `in_child` before `fork` returns there. It must do nothing but atomic stores,
/// because another thread may have held any lock.
pub(crate) fn on_fork(in_child: extern "C" fn()) {
    // SAFETY: registering has no preconditions. The library is never unmapped (it is linked with `-z nodelete`),
    // so the function remains. If there is no memory for it, children share what they must not use, but nothing
    // fails here.
    unsafe { libc::pthread_atfork(None, None, Some(child_handler(in_child))) };
}

fn child_handler(handler: extern "C" fn()) -> unsafe extern "C" fn() {
    handler
}

/// The folder of the file that contains this code: the library, or a program that it is linked into. `None` if it
/// was loaded by a relative path, because the program may have changed its folder since.
pub(crate) fn library_folder() -> Option<PathBuf> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    let inside = library_folder as fn() -> Option<PathBuf>;
    // SAFETY: any address is allowed, and `info` is writable.
    let found = unsafe { libc::dladdr(inside as *const _, info.as_mut_ptr()) };
    // SAFETY: zeros are a valid Dl_info, and dladdr writes a valid one.
    let info = unsafe { info.assume_init() };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: dladdr returns a C string that lives while the object is loaded.
    let file = unsafe { CStr::from_ptr(info.dli_fname) };
    let file = Path::new(OsStr::from_bytes(file.to_bytes()));
    file.is_absolute().then(|| file.parent().map(Path::to_owned))?
}
