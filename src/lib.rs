#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod agent;
pub mod cancel;
pub mod card;
pub mod challenge;
mod child;
pub mod clock;
pub mod config;
mod descriptors;
pub mod engine;
pub mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod login;
mod owner;
pub mod prompt;
pub mod secret;
pub mod session;
mod sleep;
pub mod ssb;
mod sync;
mod wait;
mod worker;

pub use config::Config;
pub use engine::{Engine, TicketApi};
pub use error::{Error, ErrorKind, Group, Result, Stage};
pub use secret::{Pin, Ticket};
