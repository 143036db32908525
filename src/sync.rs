//! Synchronization between threads.
//!
//! tests/models builds with a model checker's types, which control the order of threads.

#[cfg(not(model))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{Condvar, Mutex, MutexGuard, atomic, mpsc},
    thread::{ThreadId, current as current_thread},
};

#[cfg(all(unix, not(model)))]
pub(crate) use std::thread::JoinHandle;

#[cfg(model)]
pub(crate) use shuttle::{
    hint::spin_loop,
    sync::{Condvar, Mutex, MutexGuard, atomic, mpsc},
    thread::{JoinHandle, ThreadId, current as current_thread},
};
