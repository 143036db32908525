//! Logins at a real Keycloak over TLS, with realms like those of CIS2 and of the Danish eHealth infrastructure. Its
//! administrator tells what is left of them there.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(all(feature = "oidc", target_os = "linux"))]

mod card;
mod cis2;
mod ehealth;
mod site;
#[path = "../support/mod.rs"]
mod support;
