//! A helper that watches the readers.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::failed;
use super::process::{Helper, interrupt};
use crate::cancel::CancelToken;
use crate::card::events::{CardWatch, Snapshot};
use crate::card::protocol::{ChannelError, EVENTS_ARGUMENT, Reply};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::fork::ForkGuard;
use crate::os::timer::Sleeper;

/// After this time a helper that dies may be replaced again.
const HEALTHY: Duration = Duration::from_secs(600);

/// Watches the readers with a helper process, which ends when this is dropped.
pub(super) struct HelperWatch {
    program: PathBuf,
    deadline: Duration,
    watcher: Watcher,
    /// When a dead helper was last replaced.
    replaced: Option<Instant>,
    last: Option<Snapshot>,
    sleeper: Sleeper,
    owner: ForkGuard,
}

enum Watcher {
    Running(Helper),
    /// Must be replaced.
    Dead,
    /// Abandoned, for this reason.
    GivenUp(String),
}

impl HelperWatch {
    /// Blocks until the helper has sent its version.
    pub(super) fn start(program: PathBuf, deadline: Duration, cancel: &CancelToken) -> Result<Self> {
        let sleeper = Sleeper::new().map_err(|error| {
            Error::new(ErrorKind::NotInstalled, Stage::Card, format!("the readers cannot be watched: {error}"))
        })?;
        let mut watch = Self {
            program,
            deadline,
            watcher: Watcher::Dead,
            replaced: None,
            last: None,
            sleeper,
            owner: ForkGuard::this_process(),
        };
        watch.run_helper(cancel)?;
        Ok(watch)
    }

    fn run_helper(&mut self, cancel: &CancelToken) -> Result<()> {
        let mut helper = Helper::start(&self.program, Some(EVENTS_ARGUMENT))?;
        let guard = cancel.on_cancel(interrupt(&helper.channel));
        helper.greet(&self.program, Some(Instant::now() + self.deadline), cancel)?;
        drop(guard);
        // An interrupted channel cannot be used.
        cancel.check(Stage::Card)?;
        self.watcher = Watcher::Running(helper);
        Ok(())
    }

    /// Reads what the helper reports. Returns `None` if it is nothing new.
    fn read(&mut self) -> std::result::Result<Option<Snapshot>, ChannelError> {
        let Watcher::Running(helper) = &self.watcher else { return Ok(None) };
        let Some(frame) = helper.channel.read()? else { return Ok(None) };
        match frame.message()? {
            Reply::Readers(snapshot) => Ok(Some(snapshot)),
            _ => Err(ChannelError::Malformed(0)),
        }
    }

    /// Marks a dead helper for replacement, unless it was itself a replacement.
    fn mark_dead(&mut self, error: &ChannelError) {
        let Watcher::Running(helper) = &mut self.watcher else { return };
        let end = helper.end();
        tracing::warn!(end, %error, "the helper that watches the readers has ended");
        let may_replace = self.replaced.is_none_or(|replaced| replaced.elapsed() > HEALTHY);
        self.watcher = if may_replace {
            Watcher::Dead
        } else {
            Watcher::GivenUp(format!("the card helper cannot watch the readers: it ended again ({end})"))
        };
    }

    fn replace(&mut self, cancel: &CancelToken) -> Result<()> {
        match self.run_helper(cancel) {
            Ok(()) => self.replaced = Some(Instant::now()),
            Err(error) if *error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => self.watcher = Watcher::GivenUp(error.detail().to_owned()),
        }
        Ok(())
    }
}

impl CardWatch for HelperWatch {
    fn next(&mut self, until: Option<Instant>, cancel: &CancelToken) -> Result<Option<Snapshot>> {
        if !self.owner.is_this_process() {
            return Err(failed(Stage::Card, "the readers are watched by the process that this one was forked from"));
        }
        let cannot_wait = |error| failed(Stage::Card, &format!("the readers cannot be watched: {error}"));
        self.sleeper.set(until).map_err(cannot_wait)?;
        let _guard = self.sleeper.woken_by(cancel);
        loop {
            cancel.check(Stage::Card)?;
            match &self.watcher {
                Watcher::Running(_) => {}
                Watcher::Dead => self.replace(cancel)?,
                Watcher::GivenUp(reason) => return Err(failed(Stage::Card, reason)),
            }
            match self.read() {
                // A replacement sends the current state again.
                Ok(Some(snapshot)) if self.last.as_ref() != Some(&snapshot) => {
                    self.last = Some(snapshot.clone());
                    return Ok(Some(snapshot));
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    let Watcher::Running(helper) = &self.watcher else { continue };
                    match self.sleeper.sleep(Some(helper.channel.socket())) {
                        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => return Ok(None),
                        slept => slept.map_err(cannot_wait)?,
                    }
                }
                Err(error) => self.mark_dead(&error),
            }
        }
    }
}
