//! Faulty cards and card modules cause an error of the right kind, send no signature to the broker, and leave no
//! session there. Through the helper, with SoftHSM2 tokens as cards.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod choice;
mod faults;
mod pin;
mod pin_pad;
mod signature;
mod tokens;
