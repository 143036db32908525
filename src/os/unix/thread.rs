//! Threads of the library.

use std::cell::Cell;
use std::io;
use std::process::{Child, Command};
use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Signals that a fault of the thread raises. Blocking them would end the host without a message.
const FAULTS: [Signal; 5] = [Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGSEGV, Signal::SIGTRAP];

thread_local! {
    /// In a thread of the library, the signal mask of the host's thread that led to it.
    static HOST_MASK: Cell<Option<SigSet>> = const { Cell::new(None) };
}

/// Starts a thread that receives none of the host's signals: the host's handlers expect its own threads.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let mut blocked = SigSet::all();
    FAULTS.into_iter().for_each(|fault| blocked.remove(fault));
    // A thread inherits the signal mask of its creator.
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let host = HOST_MASK.get().unwrap_or(before);
    let work = move || {
        HOST_MASK.set(Some(host));
        work()
    };
    let thread = Builder::new().name(name.to_owned()).spawn(work);
    before.thread_set_mask()?;
    thread
}

/// Starts a child with the signal mask that a child of the host's own thread would have. A program inherits the mask of
/// the thread that starts it, and with ours a shell never learns that its children have ended.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let Some(host) = HOST_MASK.get() else { return command.spawn() };
    let own = host.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let child = command.spawn();
    own.thread_set_mask()?;
    child
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

    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_of_a_thread_has_the_hosts_signal_mask() {
        let blocked_in_child = || {
            let mut command = Command::new("grep");
            let child =
                spawn(command.args(["SigBlk", "/proc/self/status"]).stdout(std::process::Stdio::piped())).unwrap();
            let output = child.wait_with_output().unwrap().stdout;
            (String::from_utf8(output).unwrap(), SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM))
        };
        let (expected, _) = blocked_in_child();
        let inner = move || start("inner", blocked_in_child).unwrap().join().unwrap();
        for inside in [start("test", blocked_in_child).unwrap().join(), start("outer", inner).unwrap().join()] {
            assert_eq!(inside.unwrap(), (expected.clone(), true));
        }
    }
}
