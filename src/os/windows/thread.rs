//! Threads of the library.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, ThreadId};
use std::time::Duration;

use super::child::Process;

/// Starts a thread.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(work)
}

/// What a thread of [`Worker`] does.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// How long a thread waits for more work. Starting one takes far longer here than elsewhere, most of all under Wine.
const KEPT: Duration = Duration::from_secs(10);

/// A thread that waits for more work when it has done its own.
pub(crate) struct Worker {
    handle: JoinHandle<()>,
    next: WorkerNext,
}

/// What a thread does next. Dropping it ends the thread when its work is done.
struct WorkerNext(Arc<Next>);

impl Drop for WorkerNext {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.0.lock(), State::Over);
        self.0.changed.notify_all();
        // Work that was never begun is dropped without the lock.
        drop(state);
    }
}

struct Next {
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    /// There is no more work yet.
    Empty,
    Work(Work),
    /// The thread ends, or has ended.
    Over,
}

impl Worker {
    /// Starts a thread with its first work.
    pub(crate) fn start(name: &str, work: Work) -> io::Result<Self> {
        let next = Arc::new(Next { state: Mutex::new(State::Empty), changed: Condvar::new() });
        let following = Arc::clone(&next);
        let handle = start(name, move || {
            let mut work = Some(work);
            while let Some(now) = work {
                // The panic hook has already reported a panic.
                drop(catch_unwind(AssertUnwindSafe(now)));
                work = following.wait();
            }
        })?;
        Ok(Self { handle, next: WorkerNext(next) })
    }

    /// Gives the thread more work, which it does after what it does now.
    ///
    /// # Errors
    ///
    /// The work, if the thread has ended.
    pub(crate) fn run(&self, work: Work) -> Result<(), Work> {
        let mut state = self.next.0.lock();
        match *state {
            State::Empty => *state = State::Work(work),
            State::Work(_) | State::Over => return Err(work),
        }
        self.next.0.changed.notify_all();
        Ok(())
    }

    /// Returns `true` if it has ended: joining it takes no time.
    pub(crate) fn has_ended(&self) -> bool {
        self.handle.is_finished()
    }

    pub(crate) fn id(&self) -> ThreadId {
        self.handle.thread().id()
    }

    /// Waits until it has done what it does now.
    pub(crate) fn join(self) {
        drop(self.next);
        drop(self.handle.join());
    }
}

impl Next {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> Option<Work> {
        let waited = self.changed.wait_timeout_while(self.lock(), KEPT, |state| matches!(state, State::Empty));
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Over) {
            State::Work(work) => {
                *state = State::Empty;
                Some(work)
            }
            State::Empty | State::Over => None,
        }
    }
}

/// Starts a child without standard input and output, which inherits no handle of the host.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Process> {
    Process::start(command, None, None)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::current;

    use super::*;

    #[test]
    fn a_thread_does_one_work_after_another_until_it_is_joined() {
        let (tell, told) = mpsc::channel::<ThreadId>();
        let work = || -> Work {
            let tell = tell.clone();
            Box::new(move || tell.send(current().id()).unwrap())
        };
        let worker = Worker::start("test", Box::new(|| panic!("on purpose"))).unwrap();
        for _ in 0..2 {
            assert!(worker.run(work()).is_ok());
            assert_eq!(told.recv().unwrap(), worker.id());
        }
        worker.join();
        drop(tell);
        assert!(told.recv().is_err());
    }
}
