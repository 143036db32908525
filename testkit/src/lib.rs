//! A Spine simulator and test cards.
