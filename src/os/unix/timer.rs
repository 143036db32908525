//! Sleeping until a time, including time suspended.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::cancel::{CancelGuard, CancelToken};
use crate::os::ipc::{Socket, socket_pair, until_any_ready};

/// The longest sleep where no timer counts suspended time.
const UNCOUNTED: Duration = Duration::from_secs(60);

/// The longest sleep before the time is checked again.
pub(crate) const LONGEST: Duration = if cfg!(target_os = "linux") { Duration::MAX } else { UNCOUNTED };

/// Sleeps until `until` or until `wake` is cancelled; may end early.
pub(crate) fn sleep(until: Option<Instant>, wake: &CancelToken) {
    let slept = Sleeper::new().and_then(|mut sleeper| {
        sleeper.set(until)?;
        let _guard = sleeper.woken_by(wake);
        sleeper.sleep(None)
    });
    if slept.is_err_and(|error| error.kind() != io::ErrorKind::TimedOut) {
        // No descriptor was available.
        let left = until.map_or(UNCOUNTED, |until| until.saturating_duration_since(Instant::now()));
        wake.wait(left.min(UNCOUNTED));
    }
}

/// A sleep that ends at a set time, when woken, or when a socket becomes readable.
pub(crate) struct Sleeper {
    alarm: Alarm,
    reader: UnixStream,
    writer: Arc<UnixStream>,
}

impl Sleeper {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = socket_pair()?;
        Ok(Self { alarm: Alarm::new()?, reader, writer: writer.into() })
    }

    /// Sets the time at which each [`Sleeper::sleep`] ends. On Linux it includes suspended time.
    pub(crate) fn set(&mut self, until: Option<Instant>) -> io::Result<()> {
        self.alarm.set(until)
    }

    /// Lets `cancel` end every [`Sleeper::sleep`] while the guard lives.
    pub(crate) fn woken_by(&self, cancel: &CancelToken) -> CancelGuard {
        // Drains an earlier token's wake-up.
        while recv(&self.reader, &mut [0; 16], RecvFlags::DONTWAIT).is_ok() {}
        let writer = Arc::clone(&self.writer);
        cancel.on_cancel(move || {
            let _ = send(&*writer, &[0], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        })
    }

    /// Sleeps, also until `socket` is readable. Returns early on a signal.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut) when the time has come.
    pub(crate) fn sleep(&self, socket: Option<&Socket>) -> io::Result<()> {
        let sockets = [PollFd::new(&self.reader, PollFlags::IN)];
        let sockets = sockets.into_iter().chain(socket.map(|socket| PollFd::new(socket, PollFlags::IN)));
        self.alarm.wait(sockets.collect())
    }
}

#[cfg(target_os = "linux")]
use linux::Alarm;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::OwnedFd;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };

    use super::{Duration, Instant, PollFd, PollFlags, io, until_any_ready};
    use crate::os::ipc::above_stdio;

    pub(super) struct Alarm(pub(super) OwnedFd);

    impl Alarm {
        pub(super) fn new() -> io::Result<Self> {
            above_stdio(timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?).map(Self)
        }

        pub(super) fn set(&self, until: Option<Instant>) -> io::Result<()> {
            // Zero means never.
            let left = until.map_or(Duration::ZERO, |until| {
                until.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1))
            });
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: left };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
            Ok(())
        }

        pub(super) fn wait<'a>(&'a self, mut sockets: Vec<PollFd<'a>>) -> io::Result<()> {
            sockets.push(PollFd::new(&self.0, PollFlags::IN));
            until_any_ready(&mut sockets, None)?;
            let rang = sockets.last().is_some_and(|timer| !timer.revents().is_empty());
            if rang { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
        }
    }
}

#[cfg(not(target_os = "linux"))]
struct Alarm(Option<Instant>);

#[cfg(not(target_os = "linux"))]
impl Alarm {
    fn new() -> io::Result<Self> {
        Ok(Self(None))
    }

    fn set(&mut self, until: Option<Instant>) -> io::Result<()> {
        self.0 = until;
        Ok(())
    }

    fn wait(&self, mut sockets: Vec<PollFd<'_>>) -> io::Result<()> {
        until_any_ready(&mut sockets, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(20))
    }

    #[test]
    fn a_sleep_ends_when_its_time_has_come_and_the_next_one_at_once() {
        let mut sleeper = Sleeper::new().unwrap();
        let until = soon();
        sleeper.set(until).unwrap();
        for _ in 0..2 {
            assert_eq!(sleeper.sleep(None).unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert!(Some(Instant::now()) >= until);
        }
    }

    #[test]
    fn a_time_in_the_past_ends_the_sleep_at_once() {
        let mut sleeper = Sleeper::new().unwrap();
        sleeper.set(Some(Instant::now())).unwrap();
        assert_eq!(sleeper.sleep(None).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_sleep_lasts_until_its_time() {
        let until = soon();
        sleep(until, &CancelToken::new());
        assert!(Some(Instant::now()) >= until);
    }

    #[test]
    fn a_sleep_without_an_end_ends_when_it_is_cancelled() {
        let (cancel, began) = (CancelToken::new(), Instant::now());
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| sleep(None, &cancel));
            cancel.cancel();
            sleeper.join().unwrap();
        });
        assert!(began.elapsed() < UNCOUNTED);
    }

    #[test]
    fn an_earlier_token_and_an_earlier_time_do_not_end_a_sleep() {
        let mut sleeper = Sleeper::new().unwrap();
        sleeper.set(Some(Instant::now())).unwrap();
        let earlier = CancelToken::new();
        drop(sleeper.woken_by(&earlier));
        earlier.cancel();
        let until = soon();
        sleeper.set(until).unwrap();
        let _guard = sleeper.woken_by(&CancelToken::new());
        assert_eq!(sleeper.sleep(None).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(Some(Instant::now()) >= until);
    }

    #[test]
    fn a_socket_that_can_be_read_ends_a_sleep() {
        let (reader, writer) = socket_pair().unwrap();
        let sleeper = Sleeper::new().unwrap();
        std::io::Write::write_all(&mut &writer, b"x").unwrap();
        sleeper.sleep(Some(&reader)).unwrap();
    }

    /// This machine cannot be suspended; the kernel shows which clock the timer uses.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_alarm_follows_the_clock_that_counts_suspends() {
        use std::os::fd::{AsFd, AsRawFd};
        let mut sleeper = Sleeper::new().unwrap();
        sleeper.set(Some(Instant::now() + Duration::from_secs(3600))).unwrap();
        let number = sleeper.alarm.0.as_fd().as_raw_fd();
        let timer = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
        assert!(timer.contains(&format!("clockid: {}\n", nix::libc::CLOCK_BOOTTIME)), "{timer}");
        assert!(timer.contains("it_value: (3599, "), "{timer}");
    }
}
