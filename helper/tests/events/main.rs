//! Events of cards in the virtual readers of a PC/SC service, as helpers report them.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod desk;
mod ejected;
mod plugging;
mod service;
mod waiting;
mod watching;
