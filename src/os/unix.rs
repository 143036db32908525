//! Unix.

use rustix::io::Errno;

pub(crate) mod child;
pub(crate) mod clock;
pub mod fs;
pub(crate) mod ipc;
pub(crate) mod privilege;
pub(crate) mod thread;
pub(crate) mod timer;

pub(crate) const NO_RESOURCES: [i32; 5] = [
    Errno::AGAIN.raw_os_error(),
    Errno::MFILE.raw_os_error(),
    Errno::NFILE.raw_os_error(),
    Errno::NOBUFS.raw_os_error(),
    Errno::NOMEM.raw_os_error(),
];
