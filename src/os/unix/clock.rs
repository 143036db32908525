//! The system's clocks.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
// Avoids half of libc's cost. `use-libc-auxv` asks libc where the vDSO is: valgrind hides it, and a rustix
// that looked for itself would end a host under valgrind.
use rustix::time::ClockId as TickId;

#[cfg(target_os = "linux")]
const SINCE_BOOT: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(target_os = "linux")]
const COARSE: TickId = TickId::RealtimeCoarse;
// This clock includes suspended time there.
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: ClockId = ClockId::CLOCK_MONOTONIC;
#[cfg(not(target_os = "linux"))]
const COARSE: TickId = TickId::Realtime;

/// The time since an arbitrary start, including suspends.
pub(crate) fn since_boot() -> Duration {
    // Only an unknown clock makes it fail.
    clock_gettime(SINCE_BOOT).map(Duration::from).unwrap_or_default()
}

/// A number that is constant for at most some milliseconds.
#[inline]
pub(crate) fn tick() -> u64 {
    let now = rustix::time::clock_gettime(COARSE);
    // A thousand million nanoseconds fit into 30 bits.
    now.tv_sec.cast_unsigned() << 30 | now.tv_nsec.cast_unsigned()
}
