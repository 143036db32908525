//! The clock that ends sessions: it includes suspended time, and setting the wall clock does not move it.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
// Avoids half of libc's cost. `use-libc-auxv` asks libc where the vDSO is: valgrind hides it, and a rustix
// that looked for itself would end a host under valgrind.
use rustix::time::ClockId as TickId;

/// The clock for sessions; tests provide their own.
pub trait Clock: Send + Sync {
    /// Returns the time since an arbitrary start. Includes suspends; setting the wall clock does not change it.
    fn now(&self) -> Duration;

    /// Returns a number that is constant for at most some milliseconds: it differs after a second, a suspend
    /// or a step of the wall clock. Cheaper than [`Clock::now`]; called for each ticket.
    fn tick(&self) -> u64;
}

/// The system's clocks: `CLOCK_BOOTTIME`, and `CLOCK_REALTIME_COARSE` for the tick.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[cfg(target_os = "linux")]
const SINCE_BOOT: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(target_os = "linux")]
const COARSE: TickId = TickId::RealtimeCoarse;
// This clock includes suspended time there.
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: ClockId = ClockId::CLOCK_MONOTONIC;
#[cfg(not(target_os = "linux"))]
const COARSE: TickId = TickId::Realtime;

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        // Only an unknown clock makes it fail.
        clock_gettime(SINCE_BOOT).map(Duration::from).unwrap_or_default()
    }

    #[inline]
    fn tick(&self) -> u64 {
        let now = rustix::time::clock_gettime(COARSE);
        // A thousand million nanoseconds fit into 30 bits.
        now.tv_sec.cast_unsigned() << 30 | now.tv_nsec.cast_unsigned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_advances_and_a_tick_ends_soon() {
        let (clock, began) = (SystemClock, std::time::Instant::now());
        let (now, tick) = (clock.now(), clock.tick());
        while clock.tick() == tick {
            assert!(began.elapsed() < Duration::from_secs(10), "the tick stands still");
        }
        assert!(clock.now() > now);
    }
}
