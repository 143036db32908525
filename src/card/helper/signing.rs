//! Cards that a helper signs documents with.

use std::time::Duration;

use super::held::Held;
use super::process::receive;
use super::{HelperReader, interrupt};
use crate::cancel::CancelToken;
use crate::card::protocol::{Reply, Request};
use crate::card::{Absence, PinStatus, Signer, SignerCard, SignerChoice};
use crate::error::Result;
use crate::secret::Pin;

/// The card of one request. The helper holds the PIN until it has ended.
pub(super) struct HelperSigner {
    label: String,
    signer: Option<Signer>,
    pin: PinStatus,
    /// The helper verifies what the module has signed.
    verifies: bool,
    held: Held,
}

impl HelperSigner {
    pub(super) fn find(
        reader: &HelperReader,
        choice: &SignerChoice,
        wait: Duration,
        absent: &mut dyn FnMut(Absence),
        cancel: &CancelToken,
    ) -> Result<Self> {
        let settings = reader.settings();
        let (card, deadline) = (settings.card.clone(), settings.deadline);
        let request = Request::FindSigner { settings: card, choice: choice.clone(), deadline };
        let found = |reply| match reply {
            Reply::Signer { label, certificate, pin, reader } => {
                let signer = certificate.as_deref().map(Signer::from_der).transpose();
                Some(signer.map(|signer| ((label, signer, pin), reader)))
            }
            _ => None,
        };
        let ((label, signer, pin), held) = reader.wait_for(&request, &found, wait, absent, cancel)?;
        Ok(Self { label, signer, pin, verifies: choice.verify, held })
    }
}

impl SignerCard for HelperSigner {
    fn label(&self) -> &str {
        &self.label
    }

    fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    fn pin_status(&self) -> PinStatus {
        self.pin
    }

    fn log_in(&mut self, pin: Option<Pin>, cancel: &CancelToken) -> Result<(Signer, Vec<Vec<u8>>)> {
        let held = &mut self.held;
        let until = held.until(pin.is_none());
        let helper = held.helper(cancel)?;
        let _guard = cancel.on_cancel(interrupt(&helper.channel));
        let sent = helper.channel.send(&Request::LogIn { pin: pin.as_ref().map(Pin::expose) }, until);
        drop(pin);
        match sent.and_then(|()| receive(&helper.channel, until)) {
            Ok(Reply::LoggedIn { certificate, chain }) => {
                held.waits();
                Ok((Signer::from_der(&certificate)?, chain))
            }
            Ok(Reply::WrongPin { failure, pin }) => {
                self.pin = pin;
                held.waits();
                Err(failure.into())
            }
            Ok(Reply::Failed(failure)) => {
                held.ends();
                Err(failure.into())
            }
            other => Err(held.lost(other.err(), cancel)),
        }
    }

    fn sign(&mut self, hash: &[u8], cancel: &CancelToken) -> Result<Vec<u8>> {
        let held = &mut self.held;
        // A key that always authenticates needs the PIN pad each time.
        let until = held.until(self.pin.pin_pad);
        let helper = held.helper(cancel)?;
        let _guard = cancel.on_cancel(interrupt(&helper.channel));
        let sent = helper.channel.send(&Request::SignHash { hash }, until);
        match sent.and_then(|()| receive(&helper.channel, until)) {
            Ok(Reply::Signed(signature)) => Ok(signature?),
            other => Err(held.lost(other.err(), cancel)),
        }
    }

    fn verifies_hashes(&self) -> bool {
        self.verifies
    }

    fn is_lost(&self) -> bool {
        self.held.is_lost()
    }
}
