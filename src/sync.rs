//! What threads share and wait with.
//!
//! In the build of tests/models it is a model checker's, which decides in which order threads run.

#[cfg(not(model))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{Condvar, Mutex, MutexGuard, atomic, mpsc},
    thread::{JoinHandle, ThreadId, current as current_thread},
};

#[cfg(model)]
pub(crate) use shuttle::{
    hint::spin_loop,
    sync::{Condvar, Mutex, MutexGuard, atomic, mpsc},
    thread::{JoinHandle, ThreadId, current as current_thread},
};
