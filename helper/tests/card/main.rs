//! Logins with real tokens (SoftHSM2) through the helper program.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod choice;
mod faults;
mod isolation;
mod pin;
mod signing;
#[path = "../support/mod.rs"]
mod support;
