//! Which process a connection or a child belongs to, for hosts that fork during a login.

use std::process;

/// Remembers the process that created something.
///
/// A child of `fork()` has copies of its parent's connections and the process ids of its helpers.
/// Ending them would end them for the parent.
#[derive(Debug)]
pub(crate) struct ForkGuard(u32);

impl ForkGuard {
    pub(crate) fn this_process() -> Self {
        Self(process::id())
    }

    /// Returns `false` in a child forked since.
    pub(crate) fn is_this_process(&self) -> bool {
        self.0 == process::id()
    }
}
