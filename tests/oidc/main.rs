//! Logins at OpenID providers, from the engine to a simulated provider over TLS and back.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(feature = "oidc")]

mod bad_answers;
mod bad_redirects;
mod clients;
mod house;
mod logins;
mod renewals;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
