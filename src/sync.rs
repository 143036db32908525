//! What threads share and wait with, and how they are started.
//!
//! In the build of tests/models it is a model checker's, which decides in which order threads run.

#[cfg(not(model))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{Condvar, Mutex, MutexGuard, atomic, mpsc},
    thread::{JoinHandle, ThreadId, current as current_thread},
};

#[cfg(not(model))]
pub(crate) use crate::os::thread::start as start_thread;

#[cfg(model)]
pub(crate) use shuttle::{
    hint::spin_loop,
    sync::{Condvar, Mutex, MutexGuard, atomic, mpsc},
    thread::{JoinHandle, ThreadId, current as current_thread},
};

#[cfg(model)]
pub(crate) fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    shuttle::thread::Builder::new().name(name.to_owned()).spawn(work)
}
