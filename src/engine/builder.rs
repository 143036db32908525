//! The parts of an engine, and how the settings become parts. The only reader of [`Config`].

#[cfg(test)]
mod missing;
#[cfg(feature = "oidc")]
mod openid;

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::agent::Remote;
use crate::cancel::CancelToken;
use crate::card::events::CardWatch;
use crate::card::helper::{HelperReader, HelperSettings, find_helper};
use crate::card::pkcs11::{CardSettings, modules_for};
#[cfg(feature = "software-card")]
use crate::card::software::SoftwareCardReader;
use crate::card::{Absence, CardReader, SmartCard};
#[cfg(feature = "sign")]
use crate::card::{SignerCard, SignerChoice};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::error::Result;
#[cfg(not(all(feature = "nuts", feature = "oidc", feature = "software-card")))]
use crate::error::{Error, ErrorKind, Stage};
use crate::http::Origin;
use crate::prompt::{Browser, Prompter, SystemBrowser, SystemPrompter};
use crate::service::choices::ServiceKind;
#[cfg(feature = "nuts")]
use crate::service::nuts::NutsService;
#[cfg(feature = "oidc")]
pub use crate::service::oidc::Examination;
#[cfg(feature = "oidc")]
use crate::service::oidc::OidcService;
use crate::service::ssb::{SsbService, SsbSettings};
use crate::service::{Call, IdentityService};
use crate::session::rules::Policy;
use crate::sync::Mutex;

use super::Engine;
use super::events::{Event, Listener};
use super::state::Inner;

/// Builds an [`Engine`].
#[must_use]
pub struct EngineBuilder {
    config: Config,
    reader: Option<Box<dyn CardReader>>,
    prompter: Option<Box<dyn Prompter>>,
    browser: Option<Box<dyn Browser>>,
    folders: Vec<PathBuf>,
    clock: Option<Box<dyn Clock>>,
    listener: Option<Listener>,
    #[cfg(test)]
    service: Option<Arc<dyn IdentityService>>,
}

/// What an engine uses for each login.
pub(super) struct Parts {
    pub(super) settings: Settings,
    pub(super) service: Arc<dyn IdentityService>,
    pub(super) reader: Box<dyn CardReader>,
    pub(super) prompter: Box<dyn Prompter>,
    pub(super) browser: Box<dyn Browser>,
    /// Overrides the system clock in tests.
    clock: Option<Box<dyn Clock>>,
    pub(super) listener: Option<Listener>,
}

/// The engine's own settings.
pub(super) struct Settings {
    /// How long a login waits for a card.
    pub(super) card_wait: Duration,
    /// How old the service's last confirmation of the session may be; zero for any age.
    pub(super) check_session: Duration,
    /// Time allowed for one call to the service.
    pub(super) call_timeout: Duration,
    pub(super) policy: Policy,
    /// Names of the issuers whose certificates may sign documents; empty accepts any.
    #[cfg(feature = "sign")]
    pub(super) signing_issuers: Vec<String>,
    /// The service's ids of users are those in their cards' certificates.
    #[cfg(feature = "sign")]
    pub(super) users_are_of_cards: bool,
}

impl EngineBuilder {
    /// Starts from these settings.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            reader: None,
            prompter: None,
            browser: None,
            folders: Vec::new(),
            clock: None,
            listener: None,
            #[cfg(test)]
            service: None,
        }
    }

    /// Asks the user with `prompter` instead of as the settings say.
    pub fn prompter(mut self, prompter: impl Prompter + 'static) -> Self {
        self.prompter = Some(Box::new(prompter));
        self
    }

    /// Opens the pages of identity services with `browser` instead of as the settings say.
    pub fn browser(mut self, browser: impl Browser + 'static) -> Self {
        self.browser = Some(Box::new(browser));
        self
    }

    /// Logs in with the cards of `reader` instead of those that the settings name. The crate
    /// `ticketapi-card` has one that loads a PKCS#11 module into this process.
    pub fn card_reader(mut self, reader: impl CardReader + 'static) -> Self {
        self.reader = Some(Box::new(reader));
        self
    }

    /// Also looks for `ticketapi-card` in `folder` and its prefix, before the installed places: for a library
    /// that knows where it was loaded from.
    #[doc(hidden)]
    pub fn helper_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folders.push(folder.into());
        self
    }

    /// Measures session times with `clock`, for tests.
    #[doc(hidden)]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Passes card, login and session events to `listener`, one at a time and in order, on a thread that runs
    /// only while there are events. It may use the engine. Later events wait for it. After a panic it gets
    /// the next event.
    pub fn listener(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Logs in at `service` instead of the one that the settings name.
    #[cfg(test)]
    pub(super) fn service(mut self, service: Arc<dyn IdentityService>) -> Self {
        self.service = Some(service);
        self
    }

    /// Builds the engine. Checks the settings; opens and starts nothing.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration).
    pub fn build(self) -> Result<Engine> {
        #[cfg(test)]
        let scripted = self.service;
        let Self { config, reader, prompter, browser, folders, clock, listener, .. } = self;
        let service = service(&config)?;
        #[cfg(test)]
        let service = scripted.unwrap_or(service);
        // A program with its own cards does not want the agent's.
        let remote = if reader.is_none() { Remote::new(&(&config).into(), Arc::clone(&service))? } else { None };
        let reader = match (reader, &config.software_card) {
            (Some(reader), _) => reader,
            (None, Some(file)) => software_card(file, &config)?,
            (None, None) => Box::new(InstalledHelper { config: config.clone(), folders, found: Mutex::default() }),
        };
        let prompter = prompter.unwrap_or_else(|| Box::new(SystemPrompter::new(&config)));
        let browser = browser.unwrap_or_else(|| Box::new(SystemBrowser::new(config.browser.clone())));
        let settings = Settings {
            card_wait: config.card_wait,
            check_session: config.check_session,
            call_timeout: config.request_timeout,
            policy: Policy {
                mode: config.mode,
                lock_timeout: config.lock_timeout,
                reauthentication: config.reauthentication,
            },
            #[cfg(feature = "sign")]
            users_are_of_cards: matches!(config.service, ServiceKind::Ssb | ServiceKind::Cis2),
            #[cfg(feature = "sign")]
            signing_issuers: config.signing_issuers,
        };
        let parts = Parts { settings, service, reader, prompter, browser, clock, listener };
        Ok(Engine { inner: Arc::new(Inner::new(parts)), remote })
    }
}

/// The helper, looked for at the first login: it and the card's module may be installed after the host
/// has started.
struct InstalledHelper {
    config: Config,
    folders: Vec<PathBuf>,
    found: Mutex<Option<Arc<HelperReader>>>,
}

impl InstalledHelper {
    fn find(&self) -> Result<Arc<HelperReader>> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = &*found {
            return Ok(Arc::clone(reader));
        }
        let config = &self.config;
        let beside_program = env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned()));
        // A program on Windows may be in a folder of downloads: a library has its own folder.
        let beside_program = beside_program.filter(|_| cfg!(unix) || self.folders.is_empty());
        let folders: Vec<_> = self.folders.iter().cloned().chain(beside_program).collect();
        let modules = modules_for(config.pkcs11_module.as_deref());
        let settings = HelperSettings {
            program: find_helper(config.helper.as_deref(), &modules, &folders)?,
            card: CardSettings {
                token_label: config.token_label.clone(),
                token_serial: config.token_serial.clone(),
                issuers: config.certificate_issuers.clone(),
                after_login: config.card_after_login,
                modules,
            },
            deadline: config.card_timeout,
        };
        let reader = Arc::new(HelperReader::new(settings));
        // If no module is known yet, the next login looks again.
        if !reader.settings().card.modules.is_empty() {
            *found = Some(Arc::clone(&reader));
        }
        Ok(reader)
    }
}

impl CardReader for InstalledHelper {
    fn wait_for_card(
        &self,
        wait: Duration,
        absent: &mut dyn FnMut(Absence),
        cancel: &CancelToken,
    ) -> Result<Box<dyn SmartCard>> {
        self.find()?.wait_for_card(wait, absent, cancel)
    }

    #[cfg(feature = "sign")]
    fn wait_for_signer(
        &self,
        choice: &SignerChoice,
        wait: Duration,
        absent: &mut dyn FnMut(Absence),
        cancel: &CancelToken,
    ) -> Result<Box<dyn SignerCard>> {
        self.find()?.wait_for_signer(choice, wait, absent, cancel)
    }

    fn watch(&self) -> Result<Option<Box<dyn CardWatch>>> {
        self.find()?.watch()
    }
}

impl Parts {
    pub(super) fn now(&self) -> Duration {
        self.clock.as_ref().map_or_else(|| SystemClock.now(), |clock| clock.now())
    }

    /// As [`Clock::tick`]. Called for each ticket, hence no vtable for the system's clock.
    #[inline]
    pub(super) fn tick(&self) -> u64 {
        match &self.clock {
            None => SystemClock.tick(),
            Some(clock) => clock.tick(),
        }
    }

    /// Returns the limits of one call to the service.
    pub(super) fn call<'a>(&self, cancel: &'a CancelToken) -> Call<'a> {
        Call::within(self.settings.call_timeout, cancel)
    }
}

#[cfg(feature = "software-card")]
fn software_card(file: &Path, config: &Config) -> Result<Box<dyn CardReader>> {
    Ok(Box::new(SoftwareCardReader::new(file.to_owned()).issuers(config.certificate_issuers.clone())))
}

#[cfg(not(feature = "software-card"))]
fn software_card(_: &Path, _: &Config) -> Result<Box<dyn CardReader>> {
    let detail = "software_card is set, but this program was built without software cards: unset it to use a smartcard";
    Err(Error::new(ErrorKind::Configuration, Stage::Configuration, detail))
}

fn service(config: &Config) -> Result<Arc<dyn IdentityService>> {
    match config.service {
        ServiceKind::Ssb => Ok(Arc::new(ssb(config)?)),
        ServiceKind::Cis2 | ServiceKind::EhealthDk | ServiceKind::Oidc => openid(config),
        ServiceKind::Nuts => nuts(config),
    }
}

#[cfg(feature = "nuts")]
fn nuts(config: &Config) -> Result<Arc<dyn IdentityService>> {
    Ok(Arc::new(NutsService::new(config.nuts()?, config.employee()?)))
}

#[cfg(not(feature = "nuts"))]
fn nuts(config: &Config) -> Result<Arc<dyn IdentityService>> {
    Err(not_built(config.service))
}

#[cfg(feature = "oidc")]
fn openid(config: &Config) -> Result<Arc<dyn IdentityService>> {
    Ok(Arc::new(OidcService::new(openid::settings(config)?)))
}

#[cfg(not(feature = "oidc"))]
fn openid(config: &Config) -> Result<Arc<dyn IdentityService>> {
    Err(not_built(config.service))
}

#[cfg(not(all(feature = "nuts", feature = "oidc")))]
fn not_built(service: ServiceKind) -> Error {
    let detail = format!("service is {service}, but this program was built without logins there");
    Error::new(ErrorKind::Configuration, Stage::Configuration, detail)
}

/// Returns the server that a login begins at, for a diagnosis.
#[doc(hidden)]
pub fn server(config: &Config) -> Result<Origin> {
    match config.service {
        ServiceKind::Ssb => config.broker(),
        #[cfg(feature = "nuts")]
        ServiceKind::Nuts => Ok(config.nuts()?.node.origin().clone()),
        #[cfg(feature = "oidc")]
        ServiceKind::Cis2 | ServiceKind::EhealthDk | ServiceKind::Oidc => Ok(examination(config)?.server().clone()),
        #[cfg(not(all(feature = "nuts", feature = "oidc")))]
        service => Err(not_built(service)),
    }
}

/// Returns the OpenID provider, for a diagnosis.
#[cfg(feature = "oidc")]
#[doc(hidden)]
pub fn examination(config: &Config) -> Result<Examination> {
    Ok(Examination::new(openid::settings(config)?))
}

/// Has the Nuts node draw up a contract, for a diagnosis. Nobody is asked, and the node keeps nothing of it. Returns
/// what the node does, as a sentence about it.
///
/// # Errors
///
/// As the first step of a login.
#[cfg(feature = "nuts")]
#[doc(hidden)]
pub fn examine_node(config: &Config, cancel: &CancelToken) -> Result<String> {
    crate::service::nuts::examine(&config.nuts()?, cancel)
}

fn ssb(config: &Config) -> Result<SsbService> {
    Ok(SsbService::new(SsbSettings {
        address: config.broker()?,
        https: config.into(),
        digest: config.digest,
        roles: config.into(),
    }))
}
