//! Unix.

pub(crate) mod child;
pub(crate) mod ipc;
pub(crate) mod thread;
pub(crate) mod timer;
