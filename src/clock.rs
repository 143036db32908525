//! The time by which sessions end: it goes on while the computer sleeps, and nobody can set it.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
// Half of libc's way. With `use-libc-auxv` it asks libc where the system's own function is: valgrind
// hides it, and a rustix that looked for itself would end a host that runs under valgrind.
use rustix::time::ClockId as TickId;

/// Tells the time that sessions are measured by; tests have clocks of their own.
pub trait Clock: Send + Sync {
    /// The time since some beginning. Counts suspends, and is not moved by setting the wall clock.
    fn now(&self) -> Duration;

    /// A number that stays the same for some milliseconds at most: after a second, a suspend or a
    /// step of the wall clock it is another one. Cheaper than [`Clock::now`], and asked for each
    /// ticket.
    fn tick(&self) -> u64;
}

/// The clocks of the system: `CLOCK_BOOTTIME`, and `CLOCK_REALTIME_COARSE` for the tick.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[cfg(target_os = "linux")]
const SINCE_BOOT: ClockId = ClockId::CLOCK_BOOTTIME;
#[cfg(target_os = "linux")]
const COARSE: TickId = TickId::RealtimeCoarse;
// There it counts the time asleep.
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: ClockId = ClockId::CLOCK_MONOTONIC;
#[cfg(not(target_os = "linux"))]
const COARSE: TickId = TickId::Realtime;

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        // It fails for clocks that the system does not have.
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
    fn time_goes_on_and_a_tick_is_soon_over() {
        let (clock, began) = (SystemClock, std::time::Instant::now());
        let (now, tick) = (clock.now(), clock.tick());
        while clock.tick() == tick {
            assert!(began.elapsed() < Duration::from_secs(10), "the tick stands still");
        }
        assert!(clock.now() > now);
    }
}
