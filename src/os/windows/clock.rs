//! The system's clocks.

use std::time::Duration;

pub(crate) use ticketapi_platform::clock::tick;

/// The time since the computer was started, including suspends.
pub(crate) fn since_boot() -> Duration {
    ticketapi_platform::clock::since_boot()
}
