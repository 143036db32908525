#![doc = include_str!("../README.md")]

pub mod artifacts;
mod bounded;
mod browser;
mod ca;
pub mod chromium;
mod error;
mod http;
pub mod keycloak;
mod leash;
mod log;
pub mod nuts;
pub mod oidc;
mod pcscd;
pub mod piv;
mod server;
mod softhsm;
pub mod spine;
mod tls;
mod wrapper;

pub use browser::{Browser, Page};
pub use ca::{CardIdentity, CardSpec, ExtendedKeyUsage, KeyUsage, TestCa};
pub use error::{Error, Result};
pub use keycloak::Keycloak;
pub use nuts::{Nuts, NutsBuilder};
pub use oidc::{OidcBuilder, OidcProvider};
pub use pcscd::Pcscd;
pub use piv::PivCard;
pub use softhsm::{SO_PIN, SoftHsm, Token};
pub use spine::{Endpoint, Misbehaviour, Spine, SpineBuilder};
