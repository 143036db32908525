//! Faulty servers cause an error of the right kind within its deadline, use no more than 8 MiB of memory, leave no
//! session behind, and do not affect the next login.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod connections;
mod elsewhere;
mod endless;
mod messages;
mod questions;
mod trial;

#[global_allocator]
static ALLOCATOR: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
