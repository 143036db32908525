#![doc = include_str!("../README.md")]

pub mod artifacts;
mod ca;
mod error;
mod pcscd;
pub mod piv;
mod softhsm;
pub mod spine;
mod wrapper;

pub use ca::{CardIdentity, CardSpec, ExtendedKeyUsage, KeyUsage, TestCa};
pub use error::{Error, Result};
pub use pcscd::Pcscd;
pub use piv::PivCard;
pub use softhsm::{SO_PIN, SoftHsm, Token};
pub use spine::{Endpoint, Misbehaviour, Spine, SpineBuilder};
