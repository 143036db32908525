#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cancel;
pub mod card;
pub mod challenge;
pub mod error;
pub mod prompt;
pub mod secret;
pub mod ssb;

pub use error::{Error, ErrorKind, Result, Stage};
pub use secret::{Pin, Ticket};
