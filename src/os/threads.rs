//! The threads that an engine starts. None outlives the engine. On Windows they are used again.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tracing::warn;

#[cfg(windows)]
use super::thread::{Work, Worker};
use crate::cancel::CancelToken;
use crate::sync::{Condvar, Mutex, MutexGuard, current_thread};
#[cfg(unix)]
use crate::sync::{JoinHandle, ThreadId};

/// How long a cancelled thread may take to end. Only a host's listener can take longer.
const ENDING: Duration = Duration::from_secs(2);

/// A thread that ends when it has done its work.
#[cfg(unix)]
struct Worker(JoinHandle<()>);

#[cfg(unix)]
type Work = Box<dyn FnOnce() + Send>;

#[cfg(unix)]
impl Worker {
    fn start(name: &str, work: Work) -> io::Result<Self> {
        #[cfg(not(model))]
        let started = super::thread::start(name, work);
        #[cfg(model)]
        let started = shuttle::thread::Builder::new().name(name.to_owned()).spawn(work);
        started.map(Self)
    }

    fn run(&self, work: Work) -> Result<(), Work> {
        Err(work)
    }

    /// Asked when its work is done: joining it takes no time.
    fn has_ended(&self) -> bool {
        true
    }

    fn id(&self) -> ThreadId {
        self.0.thread().id()
    }

    fn join(self) {
        // The panic hook has already reported a panic.
        drop(self.0.join());
    }
}

/// Threads, each with the token that ends its work.
#[derive(Clone, Default)]
pub(crate) struct Threads(Arc<Shared>);

#[derive(Default)]
struct Shared {
    list: Mutex<Vec<Running>>,
    ended: Condvar,
}

struct Running {
    name: String,
    worker: Worker,
    cancel: CancelToken,
    ends: Arc<Ends>,
}

/// Reports the end of a thread's work, whatever the cause.
#[derive(Default)]
struct Ends(std::sync::atomic::AtomicBool);

impl Threads {
    /// Runs `work` on a thread of its own. `work` must end soon after `cancel` is cancelled.
    pub(crate) fn spawn(
        &self,
        name: &str,
        cancel: CancelToken,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let mut list = self.0.lock();
        list.extract_if(.., |running| running.has_ended()).for_each(Running::join);
        let ends = Arc::<Ends>::default();
        let (shared, its_end) = (Arc::clone(&self.0), Arc::clone(&ends));
        let mut work: Work = Box::new(move || {
            // Made here: where no thread can be started, the work is dropped under the lock.
            let _at_end = AtEnd { shared, ends: its_end };
            work();
        });
        let name = name.to_owned();
        for idle in list.iter_mut().filter(|running| running.ends.reached()) {
            match idle.worker.run(work) {
                Ok(()) => {
                    (idle.name, idle.cancel, idle.ends) = (name, cancel, ends);
                    return Ok(());
                }
                Err(refused) => work = refused,
            }
        }
        let worker = Worker::start(&name, work)?;
        list.push(Running { name, worker, cancel, ends });
        Ok(())
    }

    /// Waits up to `time` for threads that are about to end their work.
    pub(crate) fn join_ending(&self, time: Duration) {
        self.wait(time);
        let over: Vec<_> = self.0.lock().extract_if(.., |running| running.has_ended()).collect();
        over.into_iter().for_each(Running::join);
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
        // Joined without the lock, which a thread takes at the end of its work.
        let all = std::mem::take(&mut *self.0.lock());
        for running in all {
            if running.worker.id() == this || !running.ends.reached() {
                warn!(thread = running.name, "a thread did not end in time");
            } else {
                running.join();
            }
        }
    }

    /// Waits up to `time` until all threads have ended.
    fn wait(&self, time: Duration) {
        let this = current_thread().id();
        let runs =
            |list: &mut Vec<Running>| list.iter().any(|running| running.worker.id() != this && !running.ends.reached());
        drop(self.0.ended.wait_timeout_while(self.0.lock(), time, runs));
    }

    /// Forgets all threads. For a child of `fork()`, which has only the thread that forked.
    pub(crate) fn forget(&self) {
        self.0.lock().clear();
    }
}

impl Running {
    fn join(self) {
        self.worker.join();
    }

    fn has_ended(&self) -> bool {
        self.ends.reached() && self.worker.has_ended()
    }
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
