//! A result that several threads wait for.

use std::sync::{Arc, PoisonError};

use crate::cancel::CancelToken;
use crate::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicBool, atomic::Ordering};

/// A result that is set once. Clones share it.
pub(super) struct Outcome<T>(Arc<Shared<T>>);

struct Shared<T> {
    value: Mutex<Option<T>>,
    changed: Condvar,
}

impl<T> Clone for Outcome<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Outcome<T> {
    fn default() -> Self {
        Self(Arc::new(Shared { value: Mutex::new(None), changed: Condvar::new() }))
    }
}

impl<T: Clone + Send + 'static> Outcome<T> {
    /// Sets the result and wakes the threads that wait for it.
    pub(super) fn set(&self, value: T) {
        *self.lock() = Some(value);
        self.0.changed.notify_all();
    }

    /// Waits for the result.
    pub(super) fn wait(&self) -> T {
        let never = AtomicBool::new(false);
        loop {
            if let Some(result) = self.wait_unless(&never) {
                return result;
            }
        }
    }

    /// Waits for the result; `None` if `cancel` comes first.
    pub(super) fn wait_or_cancel(&self, cancel: &CancelToken) -> Option<T> {
        let (outcome, cancelled) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let _guard = cancel.on_cancel({
            let cancelled = Arc::clone(&cancelled);
            move || {
                // Under the lock, so that no thread is between its look at the flag and its wait.
                let _value = outcome.lock();
                cancelled.store(true, Ordering::SeqCst);
                outcome.0.changed.notify_all();
            }
        });
        self.wait_unless(&cancelled)
    }

    fn wait_unless(&self, cancelled: &AtomicBool) -> Option<T> {
        let mut value = self.lock();
        loop {
            match &*value {
                Some(result) => return Some(result.clone()),
                None if cancelled.load(Ordering::SeqCst) => return None,
                None => value = self.0.changed.wait(value).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
