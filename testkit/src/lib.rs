//! A Spine simulator and test cards.

pub mod artifacts;
