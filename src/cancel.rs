//! Cancelling a blocking call from another thread.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result, Stage};
use crate::sync::{Condvar, Mutex, MutexGuard};

type Hook = Box<dyn Fn() + Send>;

/// A flag that ends a login, at whatever step it is, from another thread.
///
/// Clones share the flag. Code that blocks (on a child process, a socket) registers with
/// [`CancelToken::on_cancel`] how to end the wait.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    reason: Option<String>,
    next: u64,
    hooks: BTreeMap<u64, Hook>,
}

impl CancelToken {
    /// Returns a token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels the token. Runs every hook once, on this thread, before it returns.
    pub fn cancel(&self) {
        let mut state = self.0.lock();
        state.cancelled = true;
        // Hooks run under the lock: once a guard is dropped, its hook can no longer run.
        for hook in std::mem::take(&mut state.hooks).into_values() {
            hook();
        }
        drop(state);
        self.0.changed.notify_all();
    }

    /// Cancels the token and keeps the reason, if it has none yet.
    pub(crate) fn cancel_because(&self, reason: String) {
        self.0.lock().reason.get_or_insert(reason);
        self.cancel();
    }

    /// Returns the reason that [`CancelToken::cancel_because`] was given.
    pub(crate) fn reason(&self) -> Option<String> {
        self.0.lock().reason.clone()
    }

    /// Returns `true` if the token is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.lock().cancelled
    }

    /// Returns [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled) at `stage` if the token is cancelled.
    pub fn check(&self, stage: Stage) -> Result<()> {
        if self.is_cancelled() { Err(Error::cancelled(stage)) } else { Ok(()) }
    }

    /// Runs `hook` on cancellation while the guard lives; at once if the token is already cancelled.
    /// The hook runs under a lock that dropping the guard also takes: it must be short, must not use this
    /// token, and must not wait for anything that is held while the guard is dropped.
    pub fn on_cancel(&self, hook: impl Fn() + Send + 'static) -> CancelGuard {
        let mut state = self.0.lock();
        let id = state.next;
        state.next += 1;
        if state.cancelled {
            hook();
        } else {
            state.hooks.insert(id, Box::new(hook));
        }
        CancelGuard { shared: Arc::clone(&self.0), id }
    }

    /// Sleeps for `time` or until the token is cancelled. Returns `true` if it is cancelled.
    pub fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.0.lock();
        while !state.cancelled {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes its hook on drop; see [`CancelToken::on_cancel`].
#[must_use = "the hook is removed when the guard is dropped"]
pub struct CancelGuard {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.shared.lock().hooks.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn counting_hook(count: &Arc<AtomicUsize>) -> impl Fn() + Send + use<> {
        let count = Arc::clone(count);
        move || {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_hook_runs_once_however_often_the_token_is_cancelled() {
        let (token, count) = (CancelToken::new(), Arc::default());
        let _guard = token.on_cancel(counting_hook(&count));
        token.cancel();
        token.cancel();
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_hook_given_to_a_cancelled_token_runs_at_once() {
        let (token, count) = (CancelToken::new(), Arc::default());
        token.cancel();
        let _guard = token.on_cancel(counting_hook(&count));
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_hook_whose_guard_was_dropped_does_not_run() {
        let (token, count) = (CancelToken::new(), Arc::default());
        drop(token.on_cancel(counting_hook(&count)));
        token.cancel();
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_guard_removes_only_its_own_hook() {
        let (token, counts) = (CancelToken::new(), [(); 3].map(|()| Arc::default()));
        let [first, second, third] = [0, 1, 2].map(|hook: usize| token.on_cancel(counting_hook(&counts[hook])));
        drop(second);
        token.cancel();
        assert_eq!(counts.map(|count| count.load(Ordering::SeqCst)), [1, 0, 1]);
        drop((first, third));
    }

    #[test]
    fn a_waiting_thread_wakes_when_another_cancels() {
        let token = CancelToken::new();
        let waiter = std::thread::spawn({
            let token = token.clone();
            move || token.wait(Duration::from_secs(600))
        });
        token.cancel();
        assert!(waiter.join().unwrap());
    }

    #[test]
    fn the_first_reason_of_a_cancelled_token_stays() {
        let token = CancelToken::new();
        assert_eq!(token.reason(), None);
        token.cancel_because("first".into());
        token.cancel_because("second".into());
        assert!(token.is_cancelled());
        assert_eq!(token.reason().as_deref(), Some("first"));
    }

    #[test]
    fn waiting_ends_at_its_time_without_a_cancellation() {
        assert!(!CancelToken::new().wait(Duration::ZERO));
    }
}
