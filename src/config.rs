//! Settings: from a file, Windows' registry, the environment and the program. Every value is checked here, once.

mod keys;
mod layers;
#[cfg(feature = "nuts")]
mod nuts;
mod registry;
mod values;

use std::mem;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::agent::{AgentSettings, AgentUse};
use crate::card::Digest;
use crate::card::pkcs11::AfterLogin;
use crate::error::{Error, ErrorKind, Stage};
use crate::http::{HttpsSettings, ProxySetting};
use crate::prompt::{BrowserChoice, PrompterKind, PrompterSettings};
use crate::service::choices::{ClientAuth, KeyAlgorithm, NutsApi, RedirectUri, RoleSelection, ServiceKind, TicketKind};
use crate::service::roles::RoleSettings;
use crate::session::Mode;
use crate::ssb::{BrokerAddress, Environment};

use keys::KEYS;
pub use layers::{Origin, Setting, Sources};

/// The settings of an engine. [`Config::load`] reads them as every program of the desk does.
///
/// The fields may also be set directly; the names are those of the keys in the file.
///
/// ```no_run
/// use ticketapi::Config;
///
/// # fn main() -> ticketapi::Result<()> {
/// let mut config = Config::load()?;
/// config.set("card_wait", "30")?; // seconds, as in the file
/// config.role = Some("555254242106".to_owned());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The identity service that users log in at.
    pub service: ServiceKind,
    /// The environment of the service: of the broker where `base_url` names none, of the provider where
    /// `issuer` names none.
    pub environment: Environment,
    /// The broker's address.
    pub base_url: Option<BrokerAddress>,
    /// Whether the service's addresses may be plain http. They have to be loopback addresses even then.
    pub allow_http: bool,
    /// PEM file with the trust anchors for the service; `None` uses the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy for the service.
    pub proxy: ProxySetting,
    /// How long connecting to the broker may take.
    pub connect_timeout: Duration,
    /// How long one request may take, connecting included.
    pub request_timeout: Duration,
    /// The PKCS#11 module; `None` searches the known places. On Windows, `windows` stands for its own smartcard stack,
    /// which is used where none is found.
    pub pkcs11_module: Option<PathBuf>,
    /// The program `ticketapi-card`; `None` searches for it.
    pub helper: Option<PathBuf>,
    /// What happens to the card when it has signed.
    pub card_after_login: AfterLogin,
    /// How long one operation of the card may take.
    pub card_timeout: Duration,
    /// How long to wait for a card; zero looks once.
    pub card_wait: Duration,
    /// Label of the token to use.
    pub token_label: Option<String>,
    /// Serial number of the token to use.
    pub token_serial: Option<String>,
    /// Names of the issuers whose certificates may log in; empty accepts any.
    pub certificate_issuers: Vec<String>,
    /// Names of the issuers whose certificates may sign documents; empty accepts any.
    pub signing_issuers: Vec<String>,
    /// A PKCS#12 file to use as the card.
    pub software_card: Option<PathBuf>,
    /// Where users are asked.
    pub prompter: PrompterKind,
    /// The program that asks for the PIN: a path, or a name on the `PATH`. It is used even where
    /// there is a terminal.
    pub pinentry: Option<PathBuf>,
    /// How long a prompt waits for the user; zero waits for ever.
    pub prompt_timeout: Duration,
    /// Id of the role to take without asking.
    pub role: Option<String>,
    /// Program and arguments of the role chooser; empty if there is none.
    pub role_command: Vec<String>,
    /// Whether a user without roles is refused.
    pub require_role: bool,
    /// How old the broker's last word on the session may be before [`get_ticket`] asks again whether
    /// it is alive; zero never asks.
    ///
    /// [`get_ticket`]: crate::Engine::get_ticket
    pub check_session: Duration,
    /// The digest that the card signs.
    pub digest: Digest,
    /// Whether logins are the agent's.
    pub agent: AgentUse,
    /// The agent's socket; `None` uses the user's runtime folder.
    pub agent_socket: Option<PathBuf>,
    /// Whether the agent asks for the PIN when a card is inserted and nobody is logged in.
    pub offer_login: bool,
    /// What card and time do to a session.
    pub mode: Mode,
    /// How long a locked session waits for its user.
    pub lock_timeout: Duration,
    /// How long card and PIN are good for in [`Mode::Mobility`].
    pub reauthentication: Duration,
    /// The OpenID provider's issuer; `None` uses that of `environment`.
    pub issuer: Option<String>,
    /// This program's id at the provider.
    pub client_id: Option<String>,
    /// How this program proves to the provider which one it is.
    pub client_auth: ClientAuth,
    /// The file with the client secret.
    pub client_secret_file: Option<PathBuf>,
    /// The file with the private key that signs client assertions.
    pub client_key_file: Option<PathBuf>,
    /// The id of that key at the provider.
    pub client_key_id: Option<String>,
    /// The algorithm of that key's signatures.
    pub client_key_algorithm: KeyAlgorithm,
    /// The supplier's server that exchanges the code.
    pub exchange_url: Option<String>,
    /// Where the provider sends the browser at the end of a login.
    pub redirect_uri: RedirectUri,
    /// The scopes to request; `None` requests those of the service.
    pub scope: Option<String>,
    /// The authentication contexts to request; `None` requests those of the service.
    pub acr_values: Option<String>,
    /// Who asks for the role.
    pub role_selection: RoleSelection,
    /// Which of the provider's tokens is the ticket; `None` uses the service's default.
    pub ticket: Option<TicketKind>,
    /// What shows the provider's page.
    pub browser: BrowserChoice,
    /// How long a user may take in the browser.
    pub login_timeout: Duration,
    /// How long an unused session lasts, where the provider sets no limit.
    pub idle_timeout: Duration,
    /// How long a session lasts, where the provider sets no limit.
    pub max_session: Duration,
    /// Whether a session of a login in the browser is bound to the card in the reader.
    pub bind_card: bool,
    /// The organisation of the context that a session begins with.
    pub organization_id: Option<String>,
    /// Its care team.
    pub care_team_id: Option<String>,
    /// Its patient.
    pub patient_id: Option<String>,
    /// Its episode of care.
    pub episode_of_care_id: Option<String>,
    /// The internal address of the employer's Nuts node.
    pub nuts_node: Option<String>,
    /// The file with the private key that logs programs in at the node's API.
    pub nuts_token_key: Option<PathBuf>,
    /// The name of that key at the node.
    pub nuts_token_user: Option<String>,
    /// The node's name; `None` uses the host of `nuts_node`.
    pub nuts_token_audience: Option<String>,
    /// The version of the node's API.
    pub nuts_api: NutsApi,
    /// With the second version, the node's name of the employer.
    pub nuts_subject: Option<String>,
    /// The employer's DID.
    pub employer: Option<String>,
    /// The employee's number or name in the employer's records. Programs may set the employee themselves.
    pub employee_identifier: Option<String>,
    /// The employee's initials.
    pub employee_initials: Option<String>,
    /// The employee's family name.
    pub employee_family_name: Option<String>,
    /// The employee's role.
    pub employee_role: Option<String>,
    /// The contract that users sign.
    pub contract: String,
    /// Its language.
    pub contract_language: String,
    /// Its version.
    pub contract_version: String,
    /// The keys that Group Policy sets.
    pub(crate) policies: Vec<&'static str>,
    /// Whether `base_url` is the Identity Agent's.
    pub(crate) broker_of_identity_agent: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            service: ServiceKind::Ssb,
            environment: Environment::Live,
            base_url: None,
            allow_http: false,
            ca_file: None,
            proxy: ProxySetting::System,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(15),
            pkcs11_module: None,
            helper: None,
            card_after_login: AfterLogin::Reset,
            card_timeout: Duration::from_secs(20),
            card_wait: Duration::from_secs(60),
            token_label: None,
            token_serial: None,
            certificate_issuers: Vec::new(),
            signing_issuers: Vec::new(),
            software_card: None,
            prompter: PrompterKind::Auto,
            pinentry: None,
            prompt_timeout: Duration::from_secs(300),
            role: None,
            role_command: Vec::new(),
            require_role: true,
            check_session: Duration::ZERO,
            digest: Digest::Sha1,
            agent: AgentUse::Auto,
            agent_socket: None,
            offer_login: false,
            mode: Mode::Normal,
            lock_timeout: Duration::from_secs(30 * 60),
            reauthentication: Duration::from_secs(60 * 60),
            issuer: None,
            client_id: None,
            client_auth: ClientAuth::None,
            client_secret_file: None,
            client_key_file: None,
            client_key_id: None,
            client_key_algorithm: KeyAlgorithm::Rs512,
            exchange_url: None,
            redirect_uri: RedirectUri::default(),
            scope: None,
            acr_values: None,
            role_selection: RoleSelection::Own,
            ticket: None,
            browser: BrowserChoice::System,
            login_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(30 * 60),
            max_session: Duration::from_secs(600 * 60),
            bind_card: true,
            organization_id: None,
            care_team_id: None,
            patient_id: None,
            episode_of_care_id: None,
            nuts_node: None,
            nuts_token_key: None,
            nuts_token_user: None,
            nuts_token_audience: None,
            nuts_api: NutsApi::V1,
            nuts_subject: None,
            employer: None,
            employee_identifier: None,
            employee_initials: None,
            employee_family_name: None,
            employee_role: None,
            contract: "PractitionerLogin".into(),
            contract_language: "EN".into(),
            contract_version: "v3".into(),
            policies: Vec::new(),
            broker_of_identity_agent: false,
        }
    }
}

impl Config {
    /// The broker's address: `base_url`, else that of `environment`.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) for plain http that `allow_http` does not allow.
    pub fn broker(&self) -> crate::Result<BrokerAddress> {
        match &self.base_url {
            Some(address) if !address.is_tls() && !self.allow_http => {
                let detail = format!("base_url: {address} is plain http, and allow_http is not set");
                Err(Error::new(ErrorKind::Configuration, Stage::Configuration, detail))
            }
            Some(address) => Ok(address.clone()),
            None => Ok(self.environment.broker()),
        }
    }

    /// Checks `value` and keeps it. A relative path starts from `folder`.
    fn apply(&mut self, key: &str, value: &str, folder: &Path) -> Result<(), String> {
        let (_, apply) = KEYS.iter().find(|(name, _)| *name == key).ok_or("there is no such setting")?;
        apply(self, value, folder)?;
        if key == "base_url" {
            self.broker_of_identity_agent = false;
        } else if key == "environment" && mem::take(&mut self.broker_of_identity_agent) {
            // It stands for an environment, and this is a choice of another.
            self.base_url = None;
        }
        Ok(())
    }
}

impl From<&Config> for AgentSettings {
    fn from(config: &Config) -> Self {
        Self { wanted: config.agent, socket: config.agent_socket.clone() }
    }
}

impl From<&Config> for RoleSettings {
    fn from(config: &Config) -> Self {
        Self { role: config.role.clone(), require: config.require_role }
    }
}

impl From<&Config> for HttpsSettings {
    fn from(config: &Config) -> Self {
        Self {
            ca_file: config.ca_file.clone(),
            proxy: config.proxy.clone(),
            connect_deadline: config.connect_timeout,
            request_deadline: config.request_timeout,
        }
    }
}

impl From<&Config> for PrompterSettings {
    fn from(config: &Config) -> Self {
        Self {
            kind: config.prompter,
            pinentry: config.pinentry.clone(),
            role_command: config.role_command.clone(),
            timeout: config.prompt_timeout,
            title: config.service.title(),
        }
    }
}

#[cfg(test)]
mod templates;
#[cfg(test)]
mod tests;
