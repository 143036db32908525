//! Notices: a thread shows something until the notice is dropped.

use std::mem;
use std::thread::JoinHandle;

use super::Notice;
use crate::cancel::CancelToken;
use crate::os::fork::ForkGuard;
use crate::os::thread;

/// Runs `work` on its own thread until the notice is dropped. `work` must return soon after its token is
/// cancelled.
pub(super) fn while_kept(work: impl FnOnce(&CancelToken) + Send + 'static) -> Notice {
    let stop = CancelToken::new();
    let thread = thread::start("ticketapi-notice", {
        let stop = stop.clone();
        move || work(&stop)
    });
    match thread {
        Ok(thread) => Notice::new(Shown { stop, thread: Some(thread), owner: ForkGuard::this_process() }),
        Err(error) => {
            tracing::warn!(%error, "a message to the user cannot be shown");
            Notice::default()
        }
    }
}

struct Shown {
    stop: CancelToken,
    thread: Option<JoinHandle<()>>,
    owner: ForkGuard,
}

impl Drop for Shown {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if self.owner.is_this_process() {
            self.stop.cancel();
            // The panic hook has reported a panic.
            let _ = thread.join();
        } else {
            // In a forked child: the thread is the parent's.
            mem::forget(thread);
        }
    }
}
