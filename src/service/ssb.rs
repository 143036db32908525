//! The Spine Security Broker. One login, in reading order: card, challenge, PIN, signature, ticket, role.
//!
//! Everything that is particular to this broker is in here. [`message`], [`role_line`], [`assertion`],
//! [`session_service`] and [`challenge`] are pure; the network is behind the trait [`Transport`].

pub mod assertion;
pub mod challenge;
mod client;
pub mod message;
pub mod role_line;
pub mod session_service;
mod xml;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rand::RngCore;
use rand::rngs::OsRng;
use tracing::{info, warn};

use crate::cancel::CancelToken;
use crate::card::events::Presence;
use crate::card::{CardReader, Certificate, PinStatus, PinTries, SmartCard};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::fork::ForkGuard;
use crate::os::threads::Threads;
use crate::prompt::{Notice, PinProblem, PinRequest, Prompter};
use crate::secret::Pin;
use crate::session::{Limits, Session, User};
use crate::sync::mpsc;

pub use self::assertion::{RoleAssertion, RoleProfile};
pub use self::client::{Activation, Authentication, BrokerSession, Ssb};
pub use self::role_line::Role;
pub use self::session_service::{SessionInfo, SessionState};
pub use crate::http::{BrokerAddress, Environment, HttpsSettings, HttpsTransport, Probe, Request, Transport};

/// A prompter that ignores what it is told could go on for ever, and lock the card.
const MAX_PINS: u32 = 3;

/// What a login needs.
pub(crate) struct Login<'a> {
    pub(crate) config: &'a Config,
    pub(crate) card_wait: Duration,
    pub(crate) reader: &'a dyn CardReader,
    pub(crate) prompter: &'a dyn Prompter,
    pub(crate) cancel: &'a CancelToken,
    /// Told where the card is, before anything is done with it.
    pub(crate) found: &'a dyn Fn(&Presence) -> Result<()>,
    pub(crate) threads: &'a Threads,
}

/// What came of unlocking.
pub(crate) enum Unlocking {
    /// The same card is there, and its PIN was right.
    Proved,
    /// It is another one; `None` where it could not be told before it had signed.
    OtherUser(Option<Box<dyn SmartCard>>),
}

impl Login<'_> {
    /// Logs the user in. On an error no session is left on the broker, as far as it can be reached.
    pub(crate) fn run(&self, ssb: Ssb) -> Result<Session> {
        self.run_with(self.wait_for_card()?, ssb)
    }

    /// As [`Login::run`], with a card that was found already.
    pub(crate) fn run_with(&self, mut card: Box<dyn SmartCard>, mut ssb: Ssb) -> Result<Session> {
        let activation = ssb.activate(self.cancel)?;
        info!("challenge received");

        let signature = self.sign(card.as_mut(), activation.challenge())?;
        info!("challenge signed");
        let certificate = certificate(card.as_ref())?.clone();
        // A signature that does not fit would count as a failed login at the broker.
        certificate.verify(self.config.digest, activation.challenge(), &signature)?;

        let response = challenge::response(activation.challenge(), &certificate, self.config.digest, &signature)?;
        let (mut begun, authentication) = self.validate(ssb, activation, certificate.uid(), response)?;
        info!(roles = authentication.roles.len(), "ticket received");

        // No broker can mean a session that is over when it begins.
        let minutes = |minutes: Option<u32>| {
            minutes.filter(|number| *number > 0).map(|number| Duration::from_secs(u64::from(number) * 60))
        };
        let mut session = Session {
            broker: authentication.session,
            user: User { uid: certificate.uid().to_owned(), name: authentication.user_name },
            roles: authentication.roles,
            role: None,
            limits: Limits { idle: minutes(authentication.idle_minutes), total: minutes(authentication.max_minutes) },
            certificate: Some(certificate),
            card_watched: card.presence().is_some(),
        };
        self.take_role(&mut begun.ssb, &mut session)?;
        begun.kept = true;
        Ok(session)
    }

    /// Has the user prove that the card of `expected` is there, without the broker.
    pub(crate) fn unlock(&self, expected: &Certificate) -> Result<Unlocking> {
        let mut card = self.wait_for_card()?;
        if card.certificate().is_some_and(|certificate| certificate != expected) {
            return Ok(Unlocking::OtherUser(Some(card)));
        }
        let mut challenge = [0; 32];
        OsRng.fill_bytes(&mut challenge);
        let signature = self.sign(card.as_mut(), &challenge)?;
        if certificate(card.as_ref())? != expected {
            return Ok(Unlocking::OtherUser(None));
        }
        expected.verify(self.config.digest, &challenge, &signature)?;
        Ok(Unlocking::Proved)
    }

    /// Sends the signed challenge, on a thread of its own: the answer to a login that was cancelled
    /// meanwhile is waited for there, as only its ticket can end the session that has begun.
    fn validate(
        &self,
        mut ssb: Ssb,
        activation: Activation,
        uid: &str,
        response: String,
    ) -> Result<(Begun, Authentication)> {
        let (tell, told) = mpsc::channel();
        let (uid, cancel, over) = (uid.to_owned(), CancelToken::new(), tell.clone());
        let owner = ForkGuard::this_process();
        let exchange = {
            let cancel = cancel.clone();
            move || {
                let validated = catch_unwind(AssertUnwindSafe(|| {
                    let authentication = ssb.validate(&activation, &uid, &response, &cancel)?;
                    Ok((Begun { ssb, session: authentication.session.clone(), kept: false, owner }, authentication))
                }));
                // Where nobody takes it, dropping it ends the session.
                drop(tell.send(Some(validated.unwrap_or_else(|_| Err(defect("the answer could not be read"))))));
            }
        };
        self.cancel.check(Stage::Authentication)?;
        self.threads
            .spawn("ticketapi-login", cancel, exchange)
            .map_err(|error| defect("no thread could be started").because(error))?;
        let _guard = self.cancel.on_cancel(move || drop(over.send(None)));
        match told.recv() {
            Ok(Some(validated)) => validated,
            Ok(None) | Err(_) => Err(Error::cancelled(Stage::Authentication)),
        }
    }

    fn wait_for_card(&self) -> Result<Box<dyn SmartCard>> {
        let mut notice = Notice::default();
        let mut absent = |absence| {
            // One goes before the next comes.
            drop(std::mem::take(&mut notice));
            notice = self.prompter.insert_card(&absence, self.cancel);
        };
        let card = self.reader.wait_for_card(self.card_wait, &mut absent, self.cancel)?;
        info!("card found");
        card.presence().map_or(Ok(()), self.found)?;
        Ok(card)
    }

    /// Asks for the PIN until the card takes it, and has it sign.
    fn sign(&self, card: &mut dyn SmartCard, challenge: &[u8]) -> Result<Vec<u8>> {
        let label = card.label().to_owned();
        let uid = card.certificate().map(|certificate| certificate.uid().to_owned());
        let mut problem = None;
        let mut wrong_pin = None;
        for _ in 0..MAX_PINS {
            let request = PinRequest { label: &label, uid: uid.as_deref(), status: card.pin_status(), problem };
            let (pin, _notice) = match self.ask_pin(&request) {
                Ok((Some(pin), _)) if !fits(&pin, &request.status) => {
                    problem = Some(PinProblem::WrongLength);
                    continue;
                }
                Ok(asked) => asked,
                // Who cancels after a wrong PIN gives up because of it.
                Err(error) if *error.kind() == ErrorKind::Cancelled && !self.cancel.is_cancelled() => {
                    return Err(wrong_pin.unwrap_or(error));
                }
                Err(error) => return Err(error),
            };
            self.cancel.check(Stage::Pin)?;
            match card.sign(pin, self.config.digest, challenge, self.cancel) {
                Ok(signature) => return Ok(signature),
                Err(error) => match *error.kind() {
                    // A reader with a PIN pad has no way to ask the user whether to go on.
                    ErrorKind::PinIncorrect { tries_left } if !request.status.pin_pad => {
                        problem = Some(PinProblem::Incorrect { tries_left });
                        wrong_pin = Some(error);
                    }
                    _ => return Err(error),
                },
            }
        }
        Err(wrong_pin.unwrap_or_else(|| {
            let detail = "the PIN was too short or too long each time; the card was not asked";
            Error::new(ErrorKind::PinIncorrect { tries_left: None }, Stage::Pin, detail)
        }))
    }

    /// Asks for the PIN once; `None` where the reader takes it on its own keys, which the user is
    /// told for as long as the notice is kept.
    fn ask_pin(&self, request: &PinRequest<'_>) -> Result<(Option<Pin>, Notice)> {
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

    /// Chooses the role and tells the broker.
    fn take_role(&self, ssb: &mut Ssb, session: &mut Session) -> Result<()> {
        self.cancel.check(Stage::RoleSelection)?;
        session.role = self.choose_role(&session.roles)?;
        let Some(role) = session.role() else { return Ok(()) };
        self.cancel.check(Stage::RoleSelection)?;
        ssb.select_role(&session.broker, &role.id, self.cancel)?;
        info!("role selected");
        Ok(())
    }

    fn choose_role(&self, roles: &[Role]) -> Result<Option<usize>> {
        let not_valid = |detail: String| Error::new(ErrorKind::UserNotValid, Stage::RoleSelection, detail);
        if let Some(id) = &self.config.role {
            let index = roles.iter().position(|role| role.id == *id);
            return index.map(Some).ok_or_else(|| not_valid(format!("the user does not have the role {id}")));
        }
        match roles {
            [] if self.config.require_role => Err(not_valid("the user has no role".into())),
            [] => Ok(None),
            [_] => Ok(Some(0)),
            _ => {
                let index = self.prompter.role(roles, self.cancel)?;
                if index < roles.len() {
                    Ok(Some(index))
                } else {
                    let detail = format!("the prompter chose role {index} of {}", roles.len());
                    Err(Error::new(ErrorKind::Internal, Stage::RoleSelection, detail))
                }
            }
        }
    }
}

/// A session that has begun on the broker, and is ended there if the login comes to nothing, also
/// when the prompter panics.
struct Begun {
    ssb: Ssb,
    session: BrokerSession,
    kept: bool,
    owner: ForkGuard,
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.kept || !self.owner.is_this_process() {
            return;
        }
        // Not the login's token: that the user has cancelled is why the session is to end.
        if let Err(error) = self.ssb.log_out(&self.session, &CancelToken::new()) {
            warn!(%error, "the session could not be ended on the broker");
        }
    }
}

fn certificate(card: &dyn SmartCard) -> Result<&Certificate> {
    card.certificate().ok_or_else(|| defect("the card signed without giving its certificate"))
}

fn defect(detail: &str) -> Error {
    Error::new(ErrorKind::Internal, Stage::Authentication, detail)
}

/// Whether the card could take a PIN of this length. One that it could not costs a try for nothing.
fn fits(pin: &Pin, status: &PinStatus) -> bool {
    (status.min_len.max(1)..=status.max_len).contains(&pin.expose().chars().count())
}
