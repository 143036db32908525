//! Settings: from a file, then the environment, then the program. Every value is checked here, once.

mod layers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::agent::{AgentSettings, AgentUse};
use crate::card::Digest;
use crate::card::pkcs11::AfterLogin;
use crate::error::{Error, ErrorKind, Stage};
use crate::prompt::{PrompterKind, PrompterSettings};
use crate::session::Mode;
use crate::ssb::{BrokerAddress, Environment};

pub use layers::Sources;

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
    /// The broker, where `base_url` names none.
    pub environment: Environment,
    /// The broker's address.
    pub base_url: Option<BrokerAddress>,
    /// Whether `base_url` may be plain http. It has to be a loopback address even then.
    pub allow_http: bool,
    /// PEM file with the trust anchors for the broker; the system's where there is none.
    pub ca_file: Option<PathBuf>,
    /// How long connecting to the broker may take.
    pub connect_timeout: Duration,
    /// How long one request may take, connecting included.
    pub request_timeout: Duration,
    /// The PKCS#11 module; the known places are searched where there is none.
    pub pkcs11_module: Option<PathBuf>,
    /// The program `ticketapi-card`; searched where there is none.
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
    /// Names of the issuers whose certificates are for logging in; any where it is empty.
    pub certificate_issuers: Vec<String>,
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
    /// Program and arguments of the chooser for roles; empty where there is none.
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
    /// The agent's socket; in the user's runtime folder where there is none.
    pub agent_socket: Option<PathBuf>,
    /// Whether the agent asks for the PIN when a card is put in and nobody is logged in.
    pub offer_login: bool,
    /// What card and time do to a session.
    pub mode: Mode,
    /// How long a locked session waits for its user.
    pub lock_timeout: Duration,
    /// How long card and PIN are good for in [`Mode::Mobility`].
    pub reauthentication: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            environment: Environment::Live,
            base_url: None,
            allow_http: false,
            ca_file: None,
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
        }
    }
}

/// Every key there is, in the order of docs/settings.md. The variable of a key is `TICKETAPI_` and the
/// key in capitals.
const KEYS: &[&str] = &[
    "environment",
    "base_url",
    "allow_http",
    "ca_file",
    "connect_timeout",
    "request_timeout",
    "pkcs11_module",
    "helper",
    "card_after_login",
    "card_timeout",
    "card_wait",
    "token_label",
    "token_serial",
    "certificate_issuers",
    "software_card",
    "prompter",
    "pinentry",
    "prompt_timeout",
    "role",
    "role_command",
    "require_role",
    "check_session",
    "digest",
    "agent",
    "agent_socket",
    "offer_login",
    "mode",
    "lock_timeout",
    "reauthentication",
];

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
        match key {
            "environment" => {
                self.environment =
                    Environment::from_name(value).ok_or_else(|| format!("{value:?} is not one of live, int, dep"))?;
            }
            "base_url" => {
                // Whether http is allowed is known when every setting is: see `broker`.
                self.base_url = Some(BrokerAddress::parse(value, true).map_err(|bad| bad.to_string())?);
            }
            "allow_http" => self.allow_http = yes_or_no(value)?,
            "ca_file" => self.ca_file = Some(path(value, folder)?),
            "connect_timeout" => self.connect_timeout = seconds(value, 1)?,
            "request_timeout" => self.request_timeout = seconds(value, 1)?,
            "pkcs11_module" if !Path::new(value).is_absolute() => {
                return Err(format!("{value:?} is not an absolute path"));
            }
            "pkcs11_module" => self.pkcs11_module = Some(value.into()),
            "helper" => self.helper = Some(path(value, folder)?),
            "card_after_login" => {
                self.card_after_login = one_of(value, &[("reset", AfterLogin::Reset), ("leave", AfterLogin::Leave)])?;
            }
            "card_timeout" => self.card_timeout = seconds(value, 1)?,
            "card_wait" => self.card_wait = seconds(value, 0)?,
            "token_label" => self.token_label = Some(text(value)?),
            "token_serial" => self.token_serial = Some(text(value)?),
            "certificate_issuers" => {
                let names = value.split(';').map(str::trim).filter(|name| !name.is_empty());
                self.certificate_issuers = names.map(str::to_owned).collect();
            }
            "software_card" => self.software_card = Some(path(value, folder)?),
            "prompter" => {
                self.prompter = one_of(
                    value,
                    &[
                        ("auto", PrompterKind::Auto),
                        ("desktop", PrompterKind::Desktop),
                        ("terminal", PrompterKind::Terminal),
                        ("none", PrompterKind::None),
                    ],
                )?;
            }
            // A bare name is looked up on the PATH.
            "pinentry" if value.contains('/') => self.pinentry = Some(path(value, folder)?),
            "pinentry" => self.pinentry = Some(text(value)?.into()),
            "prompt_timeout" => self.prompt_timeout = seconds(value, 0)?,
            "role" => self.role = Some(text(value)?),
            "role_command" => {
                self.role_command = shlex::split(value)
                    .filter(|words| !words.is_empty())
                    .ok_or_else(|| format!("{value:?} is not a command line"))?;
            }
            "require_role" => self.require_role = yes_or_no(value)?,
            "check_session" => self.check_session = minutes(value, 0)?,
            "digest" => self.digest = one_of(value, &[("sha1", Digest::Sha1), ("sha256", Digest::Sha256)])?,
            "agent" => {
                let choices = [("auto", AgentUse::Auto), ("require", AgentUse::Require), ("never", AgentUse::Never)];
                self.agent = one_of(value, &choices)?;
            }
            "agent_socket" if !Path::new(value).is_absolute() => {
                return Err(format!("{value:?} is not an absolute path"));
            }
            "agent_socket" => self.agent_socket = Some(value.into()),
            "offer_login" => self.offer_login = yes_or_no(value)?,
            "mode" => {
                let modes =
                    [("normal", Mode::Normal), ("session_lock", Mode::SessionLock), ("mobility", Mode::Mobility)];
                self.mode = one_of(value, &modes)?;
            }
            "lock_timeout" => self.lock_timeout = minutes(value, 1)?,
            "reauthentication" => self.reauthentication = minutes(value, 1)?,
            _ => return Err(NO_SUCH_SETTING.into()),
        }
        Ok(())
    }
}

impl From<&Config> for AgentSettings {
    fn from(config: &Config) -> Self {
        Self { wanted: config.agent, socket: config.agent_socket.clone() }
    }
}

impl From<&Config> for PrompterSettings {
    fn from(config: &Config) -> Self {
        Self {
            kind: config.prompter,
            pinentry: config.pinentry.clone(),
            role_command: config.role_command.clone(),
            timeout: config.prompt_timeout,
        }
    }
}

const NO_SUCH_SETTING: &str = "there is no such setting";

fn text(value: &str) -> Result<String, String> {
    if value.is_empty() { Err("the value is empty".into()) } else { Ok(value.to_owned()) }
}

fn path(value: &str, folder: &Path) -> Result<PathBuf, String> {
    Ok(folder.join(text(value)?))
}

fn one_of<T: Copy>(value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices.iter().find(|(name, _)| *name == value).map(|&(_, choice)| choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("{value:?} is not one of {}", names.join(", "))
    })
}

fn yes_or_no(value: &str) -> Result<bool, String> {
    one_of(value, &[("true", true), ("false", false)])
}

/// A whole number of seconds, at most a day.
fn seconds(value: &str, least: u64) -> Result<Duration, String> {
    const DAY: u64 = 24 * 60 * 60;
    match value.parse() {
        Ok(number) if (least..=DAY).contains(&number) => Ok(Duration::from_secs(number)),
        _ => Err(format!("{value:?} is not a number of seconds from {least} to {DAY}")),
    }
}

/// A whole number of minutes, at most a day.
fn minutes(value: &str, least: u64) -> Result<Duration, String> {
    const DAY: u64 = 24 * 60;
    match value.parse() {
        Ok(number) if (least..=DAY).contains(&number) => Ok(Duration::from_secs(60 * number)),
        _ => Err(format!("{value:?} is not a number of minutes from {least} to {DAY}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_page_names_every_key_and_its_variable() {
        let page = include_str!("../docs/settings.md");
        for key in KEYS {
            let row = format!("| `{key}` | `TICKETAPI_{}` |", key.to_uppercase());
            assert!(page.contains(&row), "docs/settings.md has no row {row}");
        }
    }

    #[test]
    fn every_key_is_known_where_values_are_checked() {
        for key in KEYS {
            let answer = Config::default().apply(key, "", Path::new(""));
            assert_ne!(answer.err().as_deref(), Some(NO_SUCH_SETTING), "{key}");
        }
    }
}
