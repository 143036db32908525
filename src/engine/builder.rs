//! The parts of an engine, and how the settings become parts. The only reader of [`Config`].

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::agent::Remote;
use crate::cancel::CancelToken;
use crate::card::events::CardWatch;
use crate::card::helper::{HelperReader, HelperSettings, find_helper};
use crate::card::pkcs11::{CardSettings, known_modules};
#[cfg(feature = "software-card")]
use crate::card::software::SoftwareCardReader;
use crate::card::{Absence, CardReader, SmartCard};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::prompt::{Browser, Prompter, SystemBrowser, SystemPrompter};
use crate::service::choices::ServiceKind;
#[cfg(feature = "nuts")]
use crate::service::nuts::NutsService;
use crate::service::roles::RoleSettings;
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
        let folders: Vec<_> = self.folders.iter().cloned().chain(beside_program).collect();
        let modules = config.pkcs11_module.clone().map_or_else(known_modules, |module| vec![module]);
        let settings = HelperSettings {
            program: find_helper(config.helper.as_deref(), &folders)?,
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
fn nuts(_: &Config) -> Result<Arc<dyn IdentityService>> {
    let detail = "service is nuts, but this program was built without logins at Nuts nodes";
    Err(Error::new(ErrorKind::Configuration, Stage::Configuration, detail))
}

#[cfg(not(feature = "oidc"))]
fn openid(config: &Config) -> Result<Arc<dyn IdentityService>> {
    let detail =
        format!("service is {}, but this program was built without logins at OpenID providers", config.service);
    Err(Error::new(ErrorKind::Configuration, Stage::Configuration, detail))
}

#[cfg(feature = "oidc")]
fn openid(config: &Config) -> Result<Arc<dyn IdentityService>> {
    use crate::http::Url;
    use crate::service::choices::ClientAuth as Choice;
    use crate::service::oidc::{ClientAuth, OidcService, OidcSettings, Preset};
    use crate::session::Context;

    config.check_openid()?;
    let invalid = |detail: String| Error::new(ErrorKind::Configuration, Stage::Configuration, detail);
    // `check_openid` has found all that is needed.
    let missing = |key: &str| invalid(format!("{key} is not set"));
    let address = |key: &str, text: &str| Url::parse(text).map_err(|why| invalid(format!("{key}: {why}")));

    let preset = Preset::of(config.service, config.environment, config.role_selection);
    let issuer = config.issuer.as_deref().or(preset.issuer).ok_or_else(|| {
        invalid(format!("issuer is not set, and that of {} in this environment is not known", config.service))
    })?;
    let client_auth = match config.client_auth {
        Choice::None => ClientAuth::None,
        Choice::ClientSecret => {
            ClientAuth::Secret(config.client_secret_file.clone().ok_or_else(|| missing("client_secret_file"))?)
        }
        Choice::PrivateKeyJwt => ClientAuth::PrivateKey {
            file: config.client_key_file.clone().ok_or_else(|| missing("client_key_file"))?,
            id: config.client_key_id.clone(),
            algorithm: config.client_key_algorithm,
        },
        Choice::BackEnd => {
            let url = config.exchange_url.as_deref().ok_or_else(|| missing("exchange_url"))?;
            ClientAuth::BackEnd(address("exchange_url", url)?)
        }
    };
    let context = Context {
        organization_id: config.organization_id.clone(),
        care_team_id: config.care_team_id.clone(),
        patient_id: config.patient_id.clone(),
        episode_of_care_id: config.episode_of_care_id.clone(),
    };
    let acr_values = config.acr_values.as_deref().unwrap_or(preset.acr_values);
    Ok(Arc::new(OidcService::new(OidcSettings {
        kind: config.service,
        issuer: address("issuer", issuer)?,
        client_id: config.client_id.clone().ok_or_else(|| missing("client_id"))?,
        client_auth,
        redirect_uri: config.redirect_uri.clone(),
        scope: config.scope.clone().unwrap_or_else(|| preset.scope.to_owned()),
        acr_values: acr_values.split_whitespace().map(str::to_owned).collect(),
        role_selection: config.role_selection,
        ticket: config.ticket.unwrap_or(preset.ticket),
        login_timeout: config.login_timeout,
        idle_timeout: config.idle_timeout,
        max_session: config.max_session,
        bind_card: config.bind_card,
        context,
        roles: roles(config),
        https: config.into(),
    })))
}

fn roles(config: &Config) -> RoleSettings {
    RoleSettings { role: config.role.clone(), require: config.require_role }
}

fn ssb(config: &Config) -> Result<SsbService> {
    Ok(SsbService::new(SsbSettings {
        address: config.broker()?,
        https: config.into(),
        digest: config.digest,
        roles: roles(config),
    }))
}
