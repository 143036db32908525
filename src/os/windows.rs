//! Windows.

pub(crate) mod child;
pub(crate) mod clock;
pub mod fs;
pub(crate) mod ipc;
pub(crate) mod privilege;
pub(crate) mod thread;
pub(crate) mod timer;
