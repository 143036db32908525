//! Threads of the library.

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Signals that a fault of the thread raises. Blocking them would end the host without a message.
const FAULTS: [Signal; 5] = [Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGSEGV, Signal::SIGTRAP];

/// Starts a thread that receives none of the host's signals: the host's handlers expect its own threads.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let mut blocked = SigSet::all();
    FAULTS.into_iter().for_each(|fault| blocked.remove(fault));
    // A thread inherits the signal mask of its creator.
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let thread = Builder::new().name(name.to_owned()).spawn(work);
    before.thread_set_mask()?;
    thread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_receives_no_signals_and_its_creators_mask_is_unchanged() {
        let before = SigSet::thread_get_mask().unwrap();
        let inside = start("test", || SigSet::thread_get_mask().unwrap()).unwrap().join().unwrap();
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
        assert!(!before.contains(Signal::SIGTERM) && inside.contains(Signal::SIGTERM));
        assert!(inside.contains(Signal::SIGALRM) && !inside.contains(Signal::SIGSEGV));
    }
}
