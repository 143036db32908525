//! What a user sees who logs in with a program that has no prompts of its own: on a real pseudo-terminal, and in
//! the windows of programs that check their input.
//!
//! The host that prompts is a copy of this test program in its own session, because terminal and desktop belong to
//! a process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod browser;
mod desktop;
mod host;
mod person;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
