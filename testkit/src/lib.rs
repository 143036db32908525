#![doc = include_str!("../README.md")]

pub mod artifacts;
mod ca;
mod error;
mod softhsm;
pub mod spine;

pub use ca::{CardIdentity, CardSpec, ExtendedKeyUsage, KeyUsage, TestCa};
pub use error::{Error, Result};
pub use softhsm::{SO_PIN, SoftHsm, Token};
pub use spine::{Endpoint, Misbehaviour, Spine, SpineBuilder};
