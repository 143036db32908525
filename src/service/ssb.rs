//! The Spine Security Broker. One login, in reading order: card, challenge, PIN, signature, ticket, role.
//!
//! Everything particular to this broker is here. [`message`], `role_line`, [`assertion`], [`session_service`] and
//! [`challenge`] are pure; the network is behind the trait [`Transport`].

pub mod assertion;
#[doc(hidden)]
pub mod challenge;
mod client;
mod environment;
#[doc(hidden)]
pub mod message;
mod role_line;
mod session;
#[doc(hidden)]
pub mod session_service;
mod transport;
mod xml;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rand::RngCore;
use rand::rngs::OsRng;
use tracing::{info, warn};

use super::pin::PinPrompt;
use super::roles::RoleSettings;
use super::{Desk, Grant, IdentityService, ServiceSession, Unlocking};
use crate::cancel::CancelToken;
use crate::card::{Certificate, SmartCard};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::fork::ForkGuard;
use crate::prompt::ask_for_card;
use crate::secret::Ticket;
use crate::session::{Limits, Session, User};
use crate::sync::mpsc;

use self::challenge::Digest;
pub(crate) use self::session::SsbSession;

pub use self::assertion::{RoleAssertion, RoleProfile};
#[doc(hidden)]
pub use self::client::{Activation, Authentication, BrokerSession, Ssb};
pub use self::environment::Environment;
pub use self::role_line::Role;
pub use self::session_service::{SessionInfo, SessionState};
#[doc(hidden)]
pub use self::transport::{HttpsTransport, Request, Transport};
pub use crate::http::{BadAddress, Origin as BrokerAddress};
#[doc(hidden)]
pub use crate::http::{HttpsSettings, Probe};

/// The settings of a login at the broker.
#[derive(Clone, Debug)]
pub(crate) struct SsbSettings {
    pub(crate) address: BrokerAddress,
    pub(crate) https: HttpsSettings,
    /// The digest that the card signs.
    pub(crate) digest: Digest,
    pub(crate) roles: RoleSettings,
}

impl SsbSettings {
    /// Returns a client for the broker, which connects when it is needed.
    fn broker(&self) -> Ssb {
        self.broker_within(self.https.request_deadline)
    }

    /// Does the same as [`SsbSettings::broker`], with `deadline` for each request.
    fn broker_within(&self, deadline: Duration) -> Ssb {
        let https = HttpsSettings { request_deadline: deadline, ..self.https.clone() };
        Ssb::new(Box::new(HttpsTransport::new(self.address.clone(), https)))
    }
}

/// The Spine Security Broker as an identity service.
pub(crate) struct SsbService(Arc<SsbSettings>);

impl SsbService {
    pub(crate) fn new(settings: SsbSettings) -> Self {
        Self(Arc::new(settings))
    }
}

#[cfg(any(test, fuzzing))]
impl SsbService {
    pub(crate) fn for_tests() -> Self {
        let none = Duration::ZERO;
        Self::new(SsbSettings {
            address: Environment::Live.broker(),
            https: HttpsSettings { connect_deadline: none, request_deadline: none, ..HttpsSettings::default() },
            digest: Digest::Sha1,
            roles: RoleSettings { role: None, require: true },
        })
    }
}

impl IdentityService for SsbService {
    fn id(&self) -> String {
        self.0.address.to_string()
    }

    fn log_in(&self, desk: &Desk<'_>) -> Result<Grant> {
        let login = Login { settings: &self.0, desk };
        login.run(login.wait_for_card()?)
    }

    /// Needs the same card and its PIN. The broker is not involved.
    fn unlock<'a>(&'a self, locked: &Session, desk: &Desk<'_>) -> Result<Unlocking<'a>> {
        let settings = &self.0;
        let other_card = |card: Box<dyn SmartCard>| -> Unlocking<'a> {
            Unlocking::OtherUser(Box::new(move |desk| Login { settings, desk }.run(card)))
        };
        let login = Login { settings, desk };
        let expected = locked.grant.card.as_ref();
        let mut card = login.wait_for_card()?;
        if card.certificate().is_some_and(|certificate| Some(certificate) != expected) {
            return Ok(other_card(card));
        }
        let mut challenge = [0; 32];
        OsRng.fill_bytes(&mut challenge);
        let signature = login.sign(card.as_mut(), &challenge)?;
        let certificate = certificate(card.as_ref())?;
        if Some(certificate) != expected {
            // A card can sign only once.
            return Ok(Unlocking::OtherUser(Box::new(|desk| self.log_in(desk))));
        }
        certificate.verify(settings.digest, &challenge, &signature)?;
        Ok(Unlocking::SameUser(None))
    }

    fn session(&self, user: &User, ticket: &Ticket) -> Arc<dyn ServiceSession> {
        let session = BrokerSession::of(user, ticket);
        Arc::new(SsbSession { settings: Arc::clone(&self.0), session })
    }
}

/// One login.
struct Login<'a> {
    settings: &'a Arc<SsbSettings>,
    desk: &'a Desk<'a>,
}

impl Login<'_> {
    fn run(&self, mut card: Box<dyn SmartCard>) -> Result<Grant> {
        let Self { settings, desk } = self;
        let mut ssb = settings.broker();
        let activation = ssb.activate(desk.cancel)?;
        info!("challenge received");

        let signature = self.sign(card.as_mut(), activation.challenge())?;
        info!("challenge signed");
        let certificate = certificate(card.as_ref())?.clone();
        // A wrong signature would count as a failed login at the broker.
        certificate.verify(settings.digest, activation.challenge(), &signature)?;

        let response = challenge::response(activation.challenge(), &certificate, settings.digest, &signature)?;
        let (mut begun, authentication) = self.validate(ssb, activation, certificate.uid(), response)?;
        info!(roles = authentication.roles.len(), "ticket received");

        let role = self.take_role(&mut begun, &authentication.roles)?;
        begun.kept = true;

        // A limit of zero cannot mean a session that has ended when it begins.
        let minutes = |minutes: Option<u32>| {
            minutes.filter(|number| *number > 0).map(|number| Duration::from_secs(u64::from(number) * 60))
        };
        let Authentication { session, user_name, roles, .. } = authentication;
        Ok(Grant {
            user: User { uid: certificate.uid().to_owned(), name: user_name },
            roles,
            role,
            ticket: session.ticket().clone(),
            expiry: None,
            limits: Limits { idle: minutes(authentication.idle_minutes), total: minutes(authentication.max_minutes) },
            card: Some(certificate),
            card_watched: card.presence().is_some(),
            service: Arc::new(SsbSession { settings: Arc::clone(settings), session }),
        })
    }

    /// Sends the signed challenge on another thread. If the login is cancelled meanwhile, that thread still waits
    /// for the response, because only its ticket can end the session that has begun.
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
                // If the receiver was dropped, dropping the session ends it.
                drop(tell.send(Some(validated.unwrap_or_else(|_| Err(defect("the answer could not be read"))))));
            }
        };
        self.desk.cancel.check(Stage::Authentication)?;
        self.desk
            .threads
            .spawn("ticketapi-login", cancel, exchange)
            .map_err(|error| Error::no_thread(Stage::Authentication, error))?;
        let _guard = self.desk.cancel.on_cancel(move || drop(over.send(None)));
        match told.recv() {
            Ok(Some(validated)) => validated,
            Ok(None) | Err(_) => Err(Error::cancelled(Stage::Authentication)),
        }
    }

    fn wait_for_card(&self) -> Result<Box<dyn SmartCard>> {
        let mut absent = ask_for_card(self.desk.prompter, self.desk.cancel);
        let card = self.desk.cards.wait_for_card(self.desk.card_wait, &mut absent, self.desk.cancel)?;
        info!("card found");
        card.presence().map_or(Ok(()), self.desk.card_found)?;
        Ok(card)
    }

    /// Asks for the PIN until the card accepts it, and signs.
    fn sign(&self, card: &mut dyn SmartCard, challenge: &[u8]) -> Result<Vec<u8>> {
        let label = card.label().to_owned();
        let uid = card.certificate().map(|certificate| certificate.uid().to_owned());
        let Desk { prompter, cancel, .. } = *self.desk;
        let prompt = PinPrompt { prompter, cancel, label: &label, uid: uid.as_deref(), purpose: None };
        prompt.unlock(
            card,
            |card| card.pin_status(),
            |card, pin| card.sign(pin, self.settings.digest, challenge, cancel),
        )
    }

    /// Chooses the role and sends it to the broker.
    fn take_role(&self, begun: &mut Begun, roles: &[Role]) -> Result<Option<usize>> {
        let Self { settings, desk } = self;
        desk.cancel.check(Stage::RoleSelection)?;
        let chosen = settings.roles.choose(roles, desk)?;
        if let Some(role) = chosen {
            desk.cancel.check(Stage::RoleSelection)?;
            begun.ssb.select_role(&begun.session, &roles[role].id, desk.cancel)?;
            info!("role selected");
        }
        Ok(chosen)
    }
}

/// A session that has begun on the broker. It is ended there if the login fails, even if the prompter panics.
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
        // Not the login's token: the user's cancellation is the reason for ending the session.
        if let Err(error) = self.ssb.log_out(&self.session, &CancelToken::new()) {
            warn!(%error, "the session could not be ended on the broker");
        }
    }
}

fn certificate(card: &dyn SmartCard) -> Result<&Certificate> {
    card.certificate().ok_or_else(|| defect("the card signed without showing its certificate"))
}

fn defect(detail: &str) -> Error {
    Error::new(ErrorKind::Internal, Stage::Authentication, detail)
}
