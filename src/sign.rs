//! Signatures with the card: content commitment.

mod algorithm;
mod cms;
mod format;
mod jws;
mod xmldsig;

pub use algorithm::Algorithm;
pub use format::{Draft, Format};
