//! The threads that an engine starts. None outlives the engine.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tracing::warn;

#[cfg(not(model))]
use super::thread::start as start_thread;
use crate::cancel::CancelToken;
use crate::sync::{Condvar, JoinHandle, Mutex, MutexGuard, current_thread};

/// How long a cancelled thread may take to end. Only a host's listener can take longer.
const ENDING: Duration = Duration::from_secs(2);

#[cfg(model)]
fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    shuttle::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Running threads, each with the token that ends it.
#[derive(Clone, Default)]
pub(crate) struct Threads(Arc<Shared>);

#[derive(Default)]
struct Shared {
    list: Mutex<Vec<Running>>,
    ended: Condvar,
}

struct Running {
    thread: JoinHandle<()>,
    cancel: CancelToken,
    ends: Arc<Ends>,
}

/// Reports the end of a thread, whatever the cause.
#[derive(Default)]
struct Ends(std::sync::atomic::AtomicBool);

impl Threads {
    /// Runs `work` on its own thread. `work` must end soon after `cancel` is cancelled.
    pub(crate) fn spawn(
        &self,
        name: &str,
        cancel: CancelToken,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let mut list = self.0.lock();
        // Joining a thread that has ended costs nothing.
        list.extract_if(.., |running| running.ends.reached()).for_each(join);
        let ends = Arc::<Ends>::default();
        let at_end = AtEnd { shared: Arc::clone(&self.0), ends: Arc::clone(&ends) };
        let thread = start_thread(name, move || {
            let _at_end = at_end;
            work();
        })?;
        list.push(Running { thread, cancel, ends });
        Ok(())
    }

    /// Waits up to `time` for threads that are about to end.
    pub(crate) fn join_ending(&self, time: Duration) {
        self.wait(time);
        let over: Vec<_> = self.0.lock().extract_if(.., |running| running.ends.reached()).collect();
        over.into_iter().for_each(join);
    }

    /// Waits up to `grace` for the threads to end, then cancels them and waits for their end. Leaves out
    /// the calling thread.
    pub(crate) fn end(&self, grace: Duration) {
        self.wait(grace);
        for running in &*self.0.lock() {
            running.cancel.cancel();
        }
        self.wait(ENDING);
        let this = current_thread().id();
        for running in std::mem::take(&mut *self.0.lock()) {
            if running.thread.thread().id() == this || !running.ends.reached() {
                warn!(thread = running.thread.thread().name(), "a thread did not end in time");
            } else {
                join(running);
            }
        }
    }

    /// Waits up to `time` until all threads have ended.
    fn wait(&self, time: Duration) {
        let this = current_thread().id();
        let runs = |list: &mut Vec<Running>| {
            list.iter().any(|running| running.thread.thread().id() != this && !running.ends.reached())
        };
        drop(self.0.ended.wait_timeout_while(self.0.lock(), time, runs));
    }

    /// Forgets all threads. For a child of `fork()`, which has only the thread that forked.
    pub(crate) fn forget(&self) {
        self.0.lock().clear();
    }
}

/// The panic hook has already reported a panic.
fn join(running: Running) {
    drop(running.thread.join());
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Running>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ends {
    fn reached(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Acquire)
    }
}

struct AtEnd {
    shared: Arc<Shared>,
    ends: Arc<Ends>,
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        // Under the lock, so that no waiter misses it.
        let list = self.shared.lock();
        self.ends.0.store(true, std::sync::atomic::Ordering::Release);
        drop(list);
        self.shared.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn ending_cancels_threads_and_waits_until_they_have_ended() {
        let (threads, cancel) = (Threads::default(), CancelToken::new());
        let (token, over) = (cancel.clone(), Arc::<Ends>::default());
        let at_end = Arc::clone(&over);
        threads
            .spawn("slow", cancel, move || {
                assert!(token.wait(ENDING));
                // A listener may take time to end; wait for it.
                std::thread::sleep(Duration::from_millis(50));
                at_end.0.store(true, std::sync::atomic::Ordering::Release);
            })
            .unwrap();
        threads.end(Duration::ZERO);
        assert!(over.reached());
    }

    #[test]
    fn a_thread_that_does_not_end_blocks_nobody() {
        let (threads, cancel) = (Threads::default(), CancelToken::new());
        let (release, held) = mpsc::channel::<()>();
        threads
            .spawn("held", cancel.clone(), move || {
                let _ = held.recv();
            })
            .unwrap();
        let (tell, ended) = mpsc::channel();
        std::thread::spawn(move || {
            threads.end(Duration::ZERO);
            tell.send(()).unwrap();
        });
        ended.recv_timeout(2 * ENDING).unwrap();
        assert!(cancel.is_cancelled());
        drop(release);
    }
}
