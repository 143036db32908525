//! Signing documents, in reading order: card, PIN, user, signatures.

use std::env;
use std::time::SystemTime;

use tracing::{info, warn};

use super::Engine;
use super::state::Inner;
use crate::cancel::CancelToken;
use crate::card::certificate::Signed;
use crate::card::{Signer, SignerCard, SignerChoice};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::printable;
use crate::prompt::ask_for_card;
use crate::service::pin::PinPrompt;
use crate::sign::{Content, FailedSignature, Format, Payload, SignRequest, Signature, Signatures};

impl Engine {
    /// Signs documents with the user's card. Asks for the PIN, for this request alone; a session continues.
    ///
    /// Every signature is verified with the signer's certificate. What cannot be signed is in
    /// [`Signatures::failed`] with its reason, so a card that is taken out meanwhile leaves what it has signed before.
    /// Blocks for as long as the user takes; [`Engine::cancel_login`] and [`Engine::destroy_ticket`] end it. One
    /// request at a time. Uses the card in this process also if an agent holds the session.
    ///
    /// ```no_run
    /// use ticketapi::sign::{Format, SignRequest};
    ///
    /// # fn main() -> Result<(), ticketapi::Error> {
    /// let engine = ticketapi::Engine::new()?;
    /// let request = SignRequest::new().title("Prescription").format(Format::Cms).payload("1", "two tablets");
    /// let signatures = engine.sign(&request)?;
    /// for failed in &signatures.failed {
    ///     eprintln!("{} was not signed: {}", failed.id, failed.error);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidParameter`](ErrorKind::InvalidParameter), see [`SignRequest::check`], and if hashes are to be signed by
    /// an elliptic key of a card that is not used through the card helper;
    /// [`NoCertificate`](ErrorKind::NoCertificate), [`NoKey`](ErrorKind::NoKey) and
    /// [`CertificateNotValid`](ErrorKind::CertificateNotValid) if the card has none to sign with;
    /// [`KeyNotSupported`](ErrorKind::KeyNotSupported) if it has no key for the algorithm;
    /// [`UserNotValid`](ErrorKind::UserNotValid) if it is another user's than the session's;
    /// [`CardBusy`](ErrorKind::CardBusy) during another request of this process; and those of the stages
    /// [`Card`](Stage::Card), [`Pin`](Stage::Pin) and [`Signing`](Stage::Signing) of [`Engine::get_ticket`].
    pub fn sign(&self, request: &SignRequest) -> Result<Signatures> {
        self.sign_telling(request, &mut |_| {})
    }

    /// As [`Engine::sign`]. Calls `done` with the number of payloads that have been dealt with, after each.
    ///
    /// # Errors
    ///
    /// Those of [`Engine::sign`].
    #[doc(hidden)]
    pub fn sign_telling(&self, request: &SignRequest, done: &mut dyn FnMut(usize)) -> Result<Signatures> {
        request.check()?;
        let uid = self.uid_of_card();
        self.inner.sign(request, uid.as_deref(), done)
    }

    /// The user of the session, whose card must sign.
    fn uid_of_card(&self) -> Option<String> {
        let of_card = self.inner.parts.settings.users_are_of_cards;
        let own = self.inner.lock().session.as_ref().map(|kept| kept.session.clone());
        let session = own.or_else(|| self.session())?;
        let card = session.grant.card.as_ref().map(|certificate| certificate.uid().to_owned());
        card.or_else(|| of_card.then(|| session.user().uid.clone()))
    }
}

impl Inner {
    fn sign(&self, request: &SignRequest, uid: Option<&str>, done: &mut dyn FnMut(usize)) -> Result<Signatures> {
        let _turn = Turn::take(self)?;
        // A token of its own, because a prompt that is dismissed cancels it.
        let (calls, cancel) = (self.lock().calls.cancel.clone(), CancelToken::new());
        let _guard = calls.on_cancel({
            let cancel = cancel.clone();
            move || cancel.cancel()
        });
        info!(payloads = request.payloads.len(), algorithm = %request.algorithm, "signing begins");
        let mut card = self.wait_for_signer(request, &cancel)?;
        if request.has_hashes_for_elliptic_keys() && !card.verifies_hashes() {
            let detail = "signatures of hashes by elliptic keys cannot be verified for cards of this kind; \
                give the payloads themselves";
            return Err(Error::new(ErrorKind::InvalidParameter, Stage::Signing, detail));
        }
        if let Some(signer) = card.signer() {
            check_user(signer, uid)?;
        }
        let (signer, chain) = self.log_in(card.as_mut(), request, &cancel)?;
        check_user(&signer, uid)?;
        let mut work = Work {
            request,
            certificates: [vec![signer.der().to_vec()], chain.clone()].concat(),
            signer: &signer,
            time: SystemTime::now(),
            card: card.as_mut(),
            cancel: &cancel,
            ended: None,
        };
        let (mut signatures, mut failed) = (Vec::new(), Vec::new());
        for (index, payload) in request.payloads.iter().enumerate() {
            let id = payload.id.clone();
            match work.sign(payload) {
                Ok(bytes) => signatures.push(Signature { id, bytes }),
                Err(error) => failed.push(FailedSignature { id, error }),
            }
            done(index + 1);
        }
        let Work { time, .. } = work;
        info!(signed = signatures.len(), failed = failed.len(), "signing ends");
        // Cancelled before there was anything to keep.
        if signatures.is_empty()
            && let Some(FailedSignature { error, .. }) = failed.first()
            && *error.kind() == ErrorKind::Cancelled
        {
            return Err(error.clone());
        }
        let certificate = signer.der().to_vec();
        Ok(Signatures { algorithm: request.algorithm, certificate, chain, time, signatures, failed })
    }

    fn wait_for_signer(&self, request: &SignRequest, cancel: &CancelToken) -> Result<Box<dyn SignerCard>> {
        let settings = &self.parts.settings;
        let mut choice = SignerChoice::new(request.key, request.algorithm);
        choice.verify = request.has_hashes_for_elliptic_keys();
        choice.issuers.clone_from(&settings.signing_issuers);
        let mut absent = ask_for_card(self.parts.prompter.as_ref(), cancel);
        self.parts.reader.wait_for_signer(&choice, settings.card_wait, &mut absent, cancel)
    }

    /// Asks for the PIN until the card accepts it.
    fn log_in(
        &self,
        card: &mut dyn SignerCard,
        request: &SignRequest,
        cancel: &CancelToken,
    ) -> Result<(Signer, Vec<Vec<u8>>)> {
        let label = card.label().to_owned();
        let uid = card.signer().map(|signer| signer.uid().to_owned());
        let program = env::current_exe().ok();
        let program = program.as_deref().and_then(|program| program.file_name());
        let program = program.map_or_else(String::new, |name| {
            format!(" (for {})", printable::clean(&name.to_string_lossy(), LONGEST_PROGRAM))
        });
        let purpose = format!("{}{program}", request.purpose());
        PinPrompt {
            prompter: self.parts.prompter.as_ref(),
            cancel,
            label: &label,
            uid: uid.as_deref(),
            purpose: Some(&purpose),
        }
        .unlock(card, |card| card.pin_status(), |card, pin| card.log_in(pin, cancel))
    }
}

/// The one request for signatures that a process has at a time.
struct Turn<'a>(&'a Inner);

impl<'a> Turn<'a> {
    fn take(inner: &'a Inner) -> Result<Self> {
        if std::mem::replace(&mut inner.lock().signing, true) {
            let detail = "this program is having other documents signed; wait for that to end";
            return Err(Error::new(ErrorKind::CardBusy, Stage::Card, detail));
        }
        Ok(Self(inner))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().signing = false;
    }
}

/// The longest name of a program in a prompt, in characters.
const LONGEST_PROGRAM: usize = 40;

fn check_user(signer: &Signer, uid: Option<&str>) -> Result<()> {
    match uid {
        Some(uid) if uid != signer.uid() => {
            let detail = format!("the card that is to sign is of user {}, and {uid} is logged in", signer.uid());
            Err(Error::new(ErrorKind::UserNotValid, Stage::Card, detail))
        }
        _ => Ok(()),
    }
}

/// The signatures of one request.
struct Work<'a> {
    request: &'a SignRequest,
    signer: &'a Signer,
    /// The signer's first.
    certificates: Vec<Vec<u8>>,
    time: SystemTime,
    card: &'a mut dyn SignerCard,
    cancel: &'a CancelToken,
    /// Why nothing more can be signed.
    ended: Option<Error>,
}

impl Work<'_> {
    fn sign(&mut self, payload: &Payload) -> Result<Vec<u8>> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        let SignRequest { algorithm, format, .. } = *self.request;
        match (&payload.content, format) {
            (Content::Bytes(bytes), Format::Raw) => self.sign_message(bytes),
            (Content::Bytes(bytes), _) => {
                let draft = format.draft(algorithm, &self.certificates, bytes, self.time)?;
                let signature = self.sign_message(draft.to_sign())?;
                draft.signed(&signature)
            }
            (Content::Hash(hash), _) => self.sign_hash(hash, Signed::Hash(hash)),
        }
    }

    fn sign_message(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        self.sign_hash(&self.request.algorithm.hash(message), Signed::Message(message))
    }

    fn sign_hash(&mut self, hash: &[u8], signed: Signed<'_>) -> Result<Vec<u8>> {
        let signature = self.card.sign(hash, self.cancel).inspect_err(|error| {
            warn!(%error, "a payload could not be signed");
            let ends = match error.kind() {
                // The key takes the PIN at each signature, and has refused it: every other one would use up a try.
                ErrorKind::PinIncorrect { .. } | ErrorKind::PinLocked | ErrorKind::Cancelled => true,
                _ => self.card.is_lost(),
            };
            if ends {
                self.ended = Some(error.clone());
            }
        })?;
        let is_verified = matches!(signed, Signed::Hash(_)) && self.card.verifies_hashes();
        if !is_verified {
            self.signer.verify(self.request.algorithm, signed, &signature)?;
        }
        Ok(signature)
    }
}
