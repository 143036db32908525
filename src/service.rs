//! Identity services: who logs the user in.

pub mod ssb;
