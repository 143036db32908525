//! The clock that ends sessions: it includes suspended time, and setting the wall clock does not move it.

use std::time::Duration;

use crate::os::clock;

/// The clock for sessions; tests provide their own.
pub trait Clock: Send + Sync {
    /// Returns the time since an arbitrary start. Includes suspends; setting the wall clock does not change it.
    fn now(&self) -> Duration;

    /// Returns a number that is constant for at most some milliseconds: it differs after a second, a suspend
    /// or a step of the wall clock. Cheaper than [`Clock::now`]; called for each ticket.
    fn tick(&self) -> u64;
}

/// The system's clocks; on Linux `CLOCK_BOOTTIME`, and `CLOCK_REALTIME_COARSE` for the tick.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        clock::since_boot()
    }

    #[inline]
    fn tick(&self) -> u64 {
        clock::tick()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_advances_and_a_tick_ends_soon() {
        let (clock, began) = (SystemClock, std::time::Instant::now());
        let (now, tick) = (clock.now(), clock.tick());
        while clock.tick() == tick || clock.now() == now {
            assert!(began.elapsed() < Duration::from_secs(10), "the tick or the time stands still");
        }
        assert!(clock.now() > now);
    }
}
