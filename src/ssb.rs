//! The Spine Security Broker: activate, validate, select a role, log out.

pub mod message;
pub mod role;
pub mod transport;

pub use role::Role;
