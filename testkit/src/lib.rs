#![doc = include_str!("../README.md")]

pub mod artifacts;
mod bounded;
mod browser;
mod ca;
#[cfg(unix)]
pub mod chromium;
mod error;
mod http;
#[cfg(unix)]
pub mod keycloak;
#[cfg(unix)]
mod leash;
mod log;
pub mod nuts;
pub mod oidc;
#[cfg(unix)]
mod pcscd;
pub mod piv;
#[cfg(unix)]
mod script;
mod server;
#[cfg(unix)]
mod softhsm;
pub mod spine;
mod tls;

pub use browser::{Browser, Page};
pub use ca::{CardIdentity, CardSpec, ExtendedKeyUsage, KeyUsage, TestCa};
pub use error::{Error, Result};
#[cfg(unix)]
pub use keycloak::Keycloak;
pub use nuts::{Nuts, NutsBuilder};
pub use oidc::{OidcBuilder, OidcProvider};
#[cfg(unix)]
pub use pcscd::Pcscd;
pub use piv::PivCard;
#[cfg(unix)]
pub use script::write_script;
#[cfg(unix)]
pub use softhsm::{SO_PIN, SoftHsm, Token};
pub use spine::{Endpoint, Misbehaviour, Spine, SpineBuilder};
