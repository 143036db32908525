//! Windows.

pub(crate) mod child;
pub(crate) mod clock;
pub mod fs;
pub(crate) mod ipc;
pub(crate) mod privilege;
pub(crate) mod thread;
pub(crate) mod timer;

/// `ERROR_TOO_MANY_OPEN_FILES`, `ERROR_NOT_ENOUGH_MEMORY`, `ERROR_OUTOFMEMORY`, `ERROR_MAX_THRDS_REACHED`,
/// `ERROR_NO_SYSTEM_RESOURCES`, `ERROR_COMMITMENT_LIMIT`, `WSAEMFILE` and `WSAENOBUFS`.
pub(crate) const NO_RESOURCES: [i32; 8] = [4, 8, 14, 164, 1450, 1455, 10_024, 10_055];
