//! A helper that holds a card: its requests, its deadlines, and the reset in its stead.

use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::process::{Helper, Received, interrupt, receive};
use super::{HelperSettings, PIN_PAD_WAIT, Resetting, failed};
use crate::cancel::CancelToken;
use crate::card::pkcs11::AfterLogin;
use crate::card::protocol::{Channel, ChannelError, RESET_ARGUMENT, Reply, Request, Reset};
use crate::error::{Error, Result, Stage};

/// How long a helper may take to release the card.
pub(super) const ENDING: Duration = Duration::from_secs(2);

/// How long a helper may take to begin the reset of a card that another helper left behind.
const DETACHING: Duration = Duration::from_millis(200);

/// A helper that holds a card. Dropping it has the helper release the card.
pub(super) struct Held {
    /// The reader whose card must be reset if the helper cannot do it.
    reset: Option<String>,
    settings: HelperSettings,
    resetting: Resetting,
    /// `None` once the helper was killed.
    helper: Option<Helper>,
    progress: Progress,
    cancel: CancelToken,
}

#[derive(Clone, Copy)]
enum Progress {
    /// No PIN has been sent.
    NotTried,
    /// The PIN was wrong, or has opened the card to sign documents: the helper waits for the next request.
    Waiting,
    /// The helper releases the card, at most until then.
    Ending(Instant),
}

impl Held {
    /// `reader` is the one with the card, if it has a name.
    pub(super) fn new(
        helper: Helper,
        reader: Option<String>,
        settings: &HelperSettings,
        resetting: &Resetting,
        cancel: &CancelToken,
    ) -> Self {
        Self {
            // Without a name nothing can be reset.
            reset: reader.filter(|_| settings.card.after_login == AfterLogin::Reset),
            settings: settings.clone(),
            resetting: Resetting::clone(resetting),
            helper: Some(helper),
            progress: Progress::NotTried,
            cancel: cancel.clone(),
        }
    }

    /// Returns `true` if the helper was killed.
    #[cfg(feature = "sign")]
    pub(super) fn is_lost(&self) -> bool {
        self.helper.is_none()
    }

    /// Returns the helper, if a PIN may be sent to it.
    pub(super) fn helper(&mut self, cancel: &CancelToken) -> Result<&mut Helper> {
        cancel.check(Stage::Signing)?;
        self.cancel = cancel.clone();
        match (&mut self.helper, self.progress) {
            (Some(helper), Progress::NotTried | Progress::Waiting) => Ok(helper),
            _ => Err(failed(Stage::Signing, "the card has already been released")),
        }
    }

    /// Returns until when the helper must reply, to a PIN or after one on the reader's PIN pad.
    pub(super) fn until(&self, pin_pad: bool) -> Option<Instant> {
        let pin_pad = if pin_pad { PIN_PAD_WAIT } else { Duration::ZERO };
        Some(Instant::now() + self.settings.deadline + pin_pad)
    }

    /// The helper waits for the next request.
    pub(super) fn waits(&mut self) {
        self.progress = Progress::Waiting;
    }

    /// The helper releases the card now.
    pub(super) fn ends(&mut self) {
        self.progress = Progress::Ending(Instant::now() + self.settings.deadline.min(ENDING));
    }

    /// Gives the helper up, and returns the error for a missing reply or an unexpected one.
    pub(super) fn lost(&mut self, error: Option<ChannelError>, cancel: &CancelToken) -> Error {
        let text = "the card has already been released";
        let error = self.helper.as_mut().map(|helper| helper.lost(error, Stage::Signing, cancel));
        self.give_up();
        error.unwrap_or_else(|| failed(Stage::Signing, text))
    }

    /// Kills the helper. The card may remain logged in, so another helper resets it, which this process does not
    /// wait for.
    fn give_up(&mut self) {
        self.helper = None;
        let Some(reader) = &self.reset else { return };
        match reset_apart(&self.settings.program, reader) {
            Ok(channel) => *self.resetting.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel),
            Err(error) => tracing::warn!(%error, "the card was not reset"),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(helper) = self.helper.as_ref().filter(|helper| helper.owner.is_this_process()) else { return };
        let until = match self.progress {
            Progress::NotTried => return,
            Progress::Ending(until) => until,
            Progress::Waiting => {
                let until = Instant::now() + self.settings.deadline.min(ENDING);
                // If it cannot be sent, there will be no reply either.
                let _ = helper.channel.send(&Request::End, Some(until));
                until
            }
        };
        let ended = {
            let _guard = self.cancel.on_cancel(interrupt(&helper.channel));
            receive(&helper.channel, Some(until))
        };
        report_reset(&ended);
        if !matches!(ended, Ok(Reply::Done(_))) {
            self.give_up();
        }
    }
}

/// Makes a new helper reset the card in `reader`, in a process that is not a child of this one.
fn reset_apart(program: &Path, reader: &str) -> Result<Channel> {
    let until = Some(Instant::now() + DETACHING);
    let mut helper = Helper::start(program, Some(RESET_ARGUMENT))?;
    let sent = helper.channel.send(&Request::Reset { reader }, until);
    match sent.and_then(|()| receive(&helper.channel, until)) {
        Ok(Reply::Detached) => Ok(helper.channel.clone()),
        other => Err(helper.lost(other.err(), Stage::Card, &CancelToken::new())),
    }
}

pub(super) fn report_reset(reply: &Received) {
    match reply {
        Ok(Reply::Done(Reset::Failed(reason))) => tracing::warn!(reason, "the card could not be reset"),
        Ok(Reply::Done(reset)) => tracing::debug!(?reset, "the helper has released the card"),
        _ => tracing::warn!("the helper did not release the card in time"),
    }
}
