//! The OpenID provider's simulator, by a client that shares nothing with ticketapi.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

mod clients;
mod logins;
mod misbehaviour;
mod party;
mod program;
mod sessions;
