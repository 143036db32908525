//! Sleeping until a time, including time suspended: the system's waits leave it out, so that the time is checked every
//! minute.

use std::io;
use std::os::windows::io::AsHandle;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ticketapi_platform::event::{Event, wait_any};

use crate::cancel::{CancelGuard, CancelToken};
use crate::os::ipc::Socket;

/// The longest sleep before the time is checked again.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// Sleeps until `until` or until `wake` is cancelled; may end early.
pub(crate) fn sleep(until: Option<Instant>, wake: &CancelToken) {
    let left = until.map_or(LONGEST, |until| until.saturating_duration_since(Instant::now()));
    wake.wait(left.min(LONGEST));
}

/// A sleep that ends at a set time, when woken, or when a connection becomes readable.
pub(crate) struct Sleeper {
    until: Option<Instant>,
    woken: Arc<Event>,
}

impl Sleeper {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { until: None, woken: Arc::new(Event::new()?) })
    }

    /// Sets the time at which each [`Sleeper::sleep`] ends.
    #[expect(clippy::unnecessary_wraps, reason = "other systems have no room for another timer at times")]
    pub(crate) fn set(&mut self, until: Option<Instant>) -> io::Result<()> {
        self.until = until;
        Ok(())
    }

    /// Lets `cancel` end every [`Sleeper::sleep`] while the guard lives.
    pub(crate) fn woken_by(&self, cancel: &CancelToken) -> CancelGuard {
        // Forgets an earlier token's wake-up.
        self.woken.reset();
        let woken = Arc::clone(&self.woken);
        cancel.on_cancel(move || woken.set())
    }

    /// Sleeps, also until `socket` is readable. May return early.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut) when the time has come.
    pub(crate) fn sleep(&self, socket: Option<&Socket>) -> io::Result<()> {
        let check = Instant::now() + LONGEST;
        let until = Some(self.until.map_or(check, |until| until.min(check)));
        let woken = self.woken.as_handle();
        let ended = match socket {
            Some(socket) => socket.until_readable(&[woken], until),
            None => wait_any(&[woken], until).and_then(|woken| Ok(woken.map(drop).ok_or(io::ErrorKind::TimedOut)?)),
        };
        match ended {
            Err(error) if error.kind() == io::ErrorKind::TimedOut && until == Some(check) && self.until != until => {
                Ok(())
            }
            ended => ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_at_its_time_and_when_it_is_woken() {
        let mut sleeper = Sleeper::new().unwrap();
        sleeper.set(Some(Instant::now() + Duration::from_millis(20))).unwrap();
        assert_eq!(sleeper.sleep(None).unwrap_err().kind(), io::ErrorKind::TimedOut);
        sleeper.set(None).unwrap();
        let cancel = CancelToken::new();
        let _guard = sleeper.woken_by(&cancel);
        cancel.cancel();
        sleeper.sleep(None).unwrap();
    }
}
