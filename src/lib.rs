#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod agent;
pub mod cancel;
pub mod card;
pub mod challenge;
pub mod clock;
pub mod config;
pub mod engine;
pub mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
mod login;
mod os;
pub mod prompt;
pub mod secret;
pub mod session;
pub mod ssb;
mod sync;

pub use config::Config;
pub use engine::{Engine, TicketApi};
pub use error::{Error, ErrorKind, Group, Result, Stage};
pub use secret::{Pin, Ticket};
