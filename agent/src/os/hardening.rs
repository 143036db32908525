//! Protects the agent's memory from other programs of the user, as far as the system can.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Disables core dumps, debuggers and swapping.
pub(crate) fn harden() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        warn!(%error, "core dumps cannot be switched off");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        warn!(%error, "other programs of the user can read this one's memory");
    }
    #[cfg(target_os = "linux")]
    lock_memory();
}

/// Locks memory as it is used, unless there is a limit: allocation beyond the limit would fail later, in
/// the middle of a login.
#[cfg(target_os = "linux")]
fn lock_memory() {
    use rustix::mm::{MlockAllFlags, mlockall};

    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if getrlimit(Resource::Memlock).current.is_some() {
        tracing::debug!("the memory is not locked: its limit is too low");
    } else if let Err(error) = mlockall(flags) {
        warn!(%error, "the memory cannot be locked");
    }
}
