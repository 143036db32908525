//! A helper that watches the readers.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::failed;
use super::process::{Helper, interrupt};
use crate::cancel::{CancelGuard, CancelToken};
use crate::card::events::{CardWatch, Snapshot};
use crate::card::protocol::{ChannelError, EVENTS_ARGUMENT, Incoming, Reply};
use crate::descriptors::socket_pair;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::owner::Owner;
use crate::wait::until_any_ready;

/// A helper that has run for so long may be replaced once more when it dies.
const HEALTHY: Duration = Duration::from_secs(600);

/// Watches in a helper process, which ends when this is dropped.
pub(super) struct HelperWatch {
    program: PathBuf,
    deadline: Duration,
    watcher: Watcher,
    /// When a helper that had died was last replaced.
    replaced: Option<Instant>,
    last: Option<Snapshot>,
    wake: Wake,
    owner: Owner,
}

enum Watcher {
    Running {
        helper: Helper,
        incoming: Incoming,
    },
    /// To be replaced.
    Dead,
    /// For good, for this reason.
    GivenUp(String),
}

impl HelperWatch {
    /// Blocks until the helper has said which version it is.
    pub(super) fn start(program: PathBuf, deadline: Duration, cancel: &CancelToken) -> Result<Self> {
        let wake = Wake::new().map_err(|error| {
            Error::new(ErrorKind::NotInstalled, Stage::Card, format!("nothing can be watched: {error}"))
        })?;
        let mut watch = Self {
            program,
            deadline,
            watcher: Watcher::Dead,
            replaced: None,
            last: None,
            wake,
            owner: Owner::this_process(),
        };
        watch.run_helper(cancel)?;
        Ok(watch)
    }

    fn run_helper(&mut self, cancel: &CancelToken) -> Result<()> {
        let mut helper = Helper::start(&self.program, Some(EVENTS_ARGUMENT))?;
        let guard = cancel.on_cancel(interrupt(&helper.channel));
        helper.greet(&self.program, Some(Instant::now() + self.deadline), cancel)?;
        drop(guard);
        // An interrupted channel is of no use.
        cancel.check(Stage::Card)?;
        self.watcher = Watcher::Running { helper, incoming: Incoming::default() };
        Ok(())
    }

    /// What the helper has told; `None` where that is nothing new.
    fn read(&mut self) -> std::result::Result<Option<Snapshot>, ChannelError> {
        let Watcher::Running { helper, incoming } = &mut self.watcher else { return Ok(None) };
        let Some(frame) = helper.channel.read(incoming)? else { return Ok(None) };
        match frame.message()? {
            Reply::Readers(snapshot) => Ok(Some(snapshot)),
            _ => Err(ChannelError::Malformed(0)),
        }
    }

    /// Has the helper replaced that is gone, unless it was one already.
    fn bury(&mut self, error: &ChannelError) {
        let Watcher::Running { helper, .. } = &mut self.watcher else { return };
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
        let _guard = self.wake.on_cancel(cancel);
        loop {
            cancel.check(Stage::Card)?;
            match &self.watcher {
                Watcher::Running { .. } => {}
                Watcher::Dead => self.replace(cancel)?,
                Watcher::GivenUp(reason) => return Err(failed(Stage::Card, reason)),
            }
            match self.read() {
                // A helper that took the place of another tells again how it stands.
                Ok(Some(snapshot)) if self.last.as_ref() != Some(&snapshot) => {
                    self.last = Some(snapshot.clone());
                    return Ok(Some(snapshot));
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    let Watcher::Running { helper, .. } = &self.watcher else { continue };
                    let sockets = &mut [
                        PollFd::new(&**helper.channel.socket(), PollFlags::IN),
                        PollFd::new(&self.wake.reader, PollFlags::IN),
                    ];
                    match until_any_ready(sockets, until) {
                        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => return Ok(None),
                        Err(error) => return Err(failed(Stage::Card, &format!("nothing can be watched: {error}"))),
                        Ok(()) => {}
                    }
                }
                Err(error) => self.bury(&error),
            }
        }
    }
}

/// Wakes the thread that watches, and leaves the helper's channel alone.
struct Wake {
    reader: UnixStream,
    writer: Arc<UnixStream>,
}

impl Wake {
    fn new() -> std::io::Result<Self> {
        let (reader, writer) = socket_pair()?;
        Ok(Self { reader, writer: writer.into() })
    }

    fn on_cancel(&self, cancel: &CancelToken) -> CancelGuard {
        // What an earlier token has left.
        while recv(&self.reader, &mut [0; 16], RecvFlags::DONTWAIT).is_ok() {}
        let writer = Arc::clone(&self.writer);
        cancel.on_cancel(move || {
            let _ = send(&*writer, &[0], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        })
    }
}
