//! What bad servers get: an error of the right kind within its deadline, no more than 8 MiB of
//! memory, no session left behind, and a next login that works.
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
