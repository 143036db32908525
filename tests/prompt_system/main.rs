//! What a person sees who logs in with a program that has no prompts of its own: on a real
//! pseudo-terminal, and in the windows of programs that check what they are given.
//!
//! The host that asks is this test program again, in a session of its own: whether there is a
//! terminal or a desktop is a matter of the process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod desktop;
mod host;
mod person;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
