//! Whose a connection or a child is, where a host forks in the middle of a login.

use std::process;

/// The process that made something.
///
/// A child of `fork()` has copies of its parent's connections and knows its helpers' numbers. It
/// must leave them alone: ending them would end them for the parent.
pub(crate) struct ForkGuard(u32);

impl ForkGuard {
    pub(crate) fn this_process() -> Self {
        Self(process::id())
    }

    /// False in a child that was forked since.
    pub(crate) fn is_this_process(&self) -> bool {
        self.0 == process::id()
    }
}
