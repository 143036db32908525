//! What else bad providers send, beyond the cases of the tests `oidc`: to a user whose browser keeps its cookies, with
//! everything logged.
//!
//! Each is refused within its deadline; no session is left behind at the provider; a ticket from before still works;
//! no token, code or secret is in any error or log.
#![cfg(feature = "oidc")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../oidc/house.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod house;
#[path = "../support/logged.rs"]
mod logged;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/mod.rs"]
mod support;

mod browser;
mod clients;
mod documents;
mod id_tokens;
mod issuers;
mod person;
mod sessions;
mod trial;
