//! Asks for a card's PIN until the card accepts one.

use crate::cancel::CancelToken;
use crate::card::{PinStatus, PinTries};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::prompt::{Notice, PinProblem, PinRequest, Prompter};
use crate::secret::Pin;

/// A prompter that ignores its arguments could repeat one PIN for ever, and lock the card.
const MAX_PINS: u32 = 3;

/// Who asks for the PIN of which card, and what for.
pub(crate) struct PinPrompt<'a> {
    pub(crate) prompter: &'a dyn Prompter,
    pub(crate) cancel: &'a CancelToken,
    pub(crate) label: &'a str,
    pub(crate) uid: Option<&'a str>,
    /// `None` for a login.
    pub(crate) purpose: Option<&'a str>,
}

impl PinPrompt<'_> {
    /// Passes PINs of the user to `use_pin` until it accepts one; none if the reader's PIN pad is used. `status` reads
    /// the card's PIN status as last known.
    pub(crate) fn unlock<C: ?Sized, T>(
        &self,
        card: &mut C,
        status: impl Fn(&C) -> PinStatus,
        mut use_pin: impl FnMut(&mut C, Option<Pin>) -> Result<T>,
    ) -> Result<T> {
        let Self { label, uid, purpose, .. } = *self;
        let mut problem = None;
        let mut wrong_pin = None;
        let mut doubted = false;
        for _ in 0..MAX_PINS {
            let request = PinRequest { label, uid, purpose, status: status(card), problem };
            let (pin, _notice) = match self.ask(&request) {
                // A module may report wrong limits: a user who enters such a PIN again insists on it.
                Ok((Some(pin), _)) if !fits(&pin, &request.status, doubted) => {
                    doubted = request.status.may_allow(pin.expose().len());
                    problem = Some(PinProblem::WrongLength);
                    continue;
                }
                Ok(asked) => asked,
                // A user who cancels after a wrong PIN gives up because of it.
                Err(error) if *error.kind() == ErrorKind::Cancelled && !self.cancel.is_cancelled() => {
                    return Err(wrong_pin.unwrap_or(error));
                }
                Err(error) => return Err(error),
            };
            self.cancel.check(Stage::Pin)?;
            match use_pin(card, pin) {
                Ok(done) => return Ok(done),
                Err(error) => match *error.kind() {
                    // The reader turned out to have no PIN pad.
                    _ if request.status.pin_pad && !status(card).pin_pad => problem = None,
                    // A reader with a PIN pad cannot ask the user whether to continue.
                    ErrorKind::PinIncorrect { tries_left } if !request.status.pin_pad => {
                        problem = Some(PinProblem::Incorrect { tries_left });
                        wrong_pin = Some(error);
                    }
                    _ => return Err(error),
                },
            }
        }
        Err(wrong_pin.unwrap_or_else(|| {
            let detail = "the PIN was too short or too long each time, so it was not tried";
            Error::new(ErrorKind::PinIncorrect { tries_left: None }, Stage::Pin, detail)
        }))
    }

    /// Asks once. Returns `None` if the reader's PIN pad is used, which the user is shown until the notice is dropped.
    fn ask(&self, request: &PinRequest<'_>) -> Result<(Option<Pin>, Notice)> {
        self.cancel.check(Stage::Pin)?;
        match request.status.tries {
            PinTries::Locked => {
                let detail = format!("the PIN of {} is locked", request.label);
                return Err(Error::new(ErrorKind::PinLocked, Stage::Pin, detail));
            }
            PinTries::Last if !self.prompter.use_last_try(request, self.cancel)? => {
                return Err(Error::cancelled(Stage::Pin));
            }
            PinTries::Last | PinTries::Unknown | PinTries::Low => {}
        }
        if request.status.pin_pad {
            return Ok((None, self.prompter.enter_pin_on_reader(request, self.cancel)));
        }
        Ok((Some(self.prompter.pin(request, self.cancel)?), Notice::default()))
    }
}

/// Returns `true` if the PIN's length allows a try. A PIN that the card cannot have would only use up a try.
fn fits(pin: &Pin, status: &PinStatus, insists: bool) -> bool {
    let length = pin.expose().len();
    status.allows(length) || insists && status.may_allow(length)
}
