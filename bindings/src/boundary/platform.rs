//! What the library needs from the platform: notice of forks, and the path it was loaded from.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

#[cfg(unix)]
pub(crate) use unix::{library_folder, on_fork};
#[cfg(windows)]
pub(crate) use windows::{library_folder, on_fork};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// A number that distinguishes a process from the one it was forked from.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Must be called in each forked child.
pub(crate) fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A value that is never freed once it was set, so that readers need no lock and no counter.
pub(crate) struct Eternal<T>(AtomicPtr<T>);

impl<T: Sync> Eternal<T> {
    pub(crate) const fn empty() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: only `set` and `get_or_set` store a pointer, to a value that is never freed.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Stores `value`. Returns the previous value, which remains valid.
    pub(crate) fn set(&self, value: Box<T>) -> Option<&'static T> {
        // SAFETY: see `get`.
        unsafe { self.0.swap(Box::into_raw(value), Ordering::AcqRel).as_ref() }
    }

    /// Returns the value, or stores and returns the result of `make` if there is none.
    pub(crate) fn get_or_set(&self, make: impl FnOnce() -> T) -> &'static T {
        if let Some(value) = self.get() {
            return value;
        }
        let made = Box::into_raw(Box::new(make()));
        match self.0.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: the pointer came from a box that is never freed.
            Ok(_) => unsafe { &*made },
            Err(first) => {
                // SAFETY: `made` came from a box that no other thread has seen; for `first` see `get`.
                unsafe {
                    drop(Box::from_raw(made));
                    &*first
                }
            }
        }
    }

    /// Moves the value to `other`, with nothing but atomic stores.
    pub(crate) fn move_to(&self, other: &Self) {
        let value = self.0.swap(ptr::null_mut(), Ordering::AcqRel);
        if !value.is_null() {
            other.0.store(value, Ordering::Release);
        }
    }
}
