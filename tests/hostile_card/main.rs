//! What bad cards and bad card software get: an error of the right kind, no signature sent to the
//! broker, and no session left there. Through the helper, with SoftHSM2 as the card.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod choice;
mod faults;
mod pin;
mod pin_pad;
mod signature;
mod tokens;
