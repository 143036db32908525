//! What the platform is asked for: to be told of a fork, and where the library was loaded from.

use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// Tells a process from the one it was forked from.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// To be called in each child that is forked.
pub(crate) fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A place for a value that, once put there, is never freed: readers need no lock and no count.
pub(crate) struct Eternal<T>(AtomicPtr<T>);

impl<T: Sync> Eternal<T> {
    pub(crate) const fn empty() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: only `set` and `get_or_set` put a pointer here, to a value that is never freed.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Puts `value` there. What was there stays valid; returns it.
    pub(crate) fn set(&self, value: Box<T>) -> Option<&'static T> {
        // SAFETY: as in `get`.
        unsafe { self.0.swap(Box::into_raw(value), Ordering::AcqRel).as_ref() }
    }

    /// What is there; what `make` gives where nothing is.
    pub(crate) fn get_or_set(&self, make: impl FnOnce() -> T) -> &'static T {
        if let Some(value) = self.get() {
            return value;
        }
        let made = Box::into_raw(Box::new(make()));
        match self.0.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: it came from a box and is never freed.
            Ok(_) => unsafe { &*made },
            Err(first) => {
                // SAFETY: `made` came from a box and nobody else has seen it; `first` as in `get`.
                unsafe {
                    drop(Box::from_raw(made));
                    &*first
                }
            }
        }
    }

    /// Moves what is here to `other`. Does nothing but atomic stores.
    pub(crate) fn move_to(&self, other: &Self) {
        let value = self.0.swap(ptr::null_mut(), Ordering::AcqRel);
        if !value.is_null() {
            other.0.store(value, Ordering::Release);
        }
    }
}

/// Has `in_child` called in every child that is forked, before `fork` returns there. It may do
/// nothing but atomic stores: another thread may have held any lock.
pub(crate) fn on_fork(in_child: extern "C" fn()) {
    // SAFETY: registering has no conditions. The library is never unmapped (it is linked with
    // `-z nodelete`), so the function stays where it is.
    // Should there be no memory for it, children share what they must not use; nothing breaks here.
    unsafe { libc::pthread_atfork(None, None, Some(child_handler(in_child))) };
}

fn child_handler(handler: extern "C" fn()) -> unsafe extern "C" fn() {
    handler
}

/// The folder of the file that this code was loaded from: the library, or a program that it is
/// linked into. `None` where it was loaded by a relative path, as the program may have moved since.
pub(crate) fn library_folder() -> Option<PathBuf> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    let inside = library_folder as fn() -> Option<PathBuf>;
    // SAFETY: any address may be asked about, and `info` may be written.
    let found = unsafe { libc::dladdr(inside as *const _, info.as_mut_ptr()) };
    // SAFETY: zeros are a valid Dl_info, and so is what dladdr wrote.
    let info = unsafe { info.assume_init() };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: dladdr gives a C string that lives as long as the object is loaded.
    let file = unsafe { CStr::from_ptr(info.dli_fname) };
    let file = Path::new(OsStr::from_bytes(file.to_bytes()));
    file.is_absolute().then(|| file.parent().map(Path::to_owned))?
}
