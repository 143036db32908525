//! Cards that come and go in the virtual readers of a PC/SC service, as helpers that watch tell of
//! them.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod desk;
mod ejected;
mod plugging;
mod service;
mod waiting;
mod watching;
