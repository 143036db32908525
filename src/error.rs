//! The error type: the stage, what happened, and what the user can do.

use std::sync::Arc;
use std::{fmt, io};

use serde::{Deserialize, Serialize};

use crate::os::lacks_resources;

/// The result of every fallible operation here.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation failed.
///
/// [`fmt::Display`] says what happened in one sentence; [`Error::remedy`] says what the user can
/// do about it. Neither ever holds a PIN, a ticket or a challenge.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Error {
    kind: ErrorKind,
    stage: Stage,
    detail: String,
    #[source]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The step in which an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Stage {
    /// Reading the settings.
    Configuration,
    /// Waiting for the card and reading its certificate.
    Card,
    /// Asking the user for the PIN, or logging in to the card with it.
    Pin,
    /// Signing the challenge on the card.
    Signing,
    /// Asking the broker for a challenge.
    Activation,
    /// Sending the signed challenge to the broker.
    Authentication,
    /// Choosing the role, or sending the choice to the broker.
    RoleSelection,
    /// Using or ending an existing session.
    Session,
    /// Waiting for the user to log in on a page in the browser.
    Browser,
}

/// The kind of a failure. Each has its own code in the Ticket API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration cannot be read, or a value in it is wrong.
    Configuration,
    /// No PKCS#11 module or card helper is configured or found, or it cannot be loaded or started.
    NotInstalled,
    /// The PC/SC service is not running, or there is no reader.
    ReaderNotAvailable,
    /// No card came within the time allowed.
    NoCard,
    /// Several cards match; the settings must name one.
    SeveralCards,
    /// The module does not recognise the card in the reader.
    CardNotSupported,
    /// The card has no authentication certificate.
    NoCertificate,
    /// The card has no private key for its authentication certificate.
    NoKey,
    /// The authentication certificate's key cannot be used for a login: it is not RSA, has another size, or is for
    /// PSS only.
    KeyNotSupported,
    /// The PKCS#12 file of a software card is damaged, or in an unsupported form.
    SoftwareCard,
    /// The certificate has expired or is not valid yet.
    CertificateNotValid,
    /// The PIN was wrong.
    PinIncorrect {
        /// Tries left; `None` if the card does not report them.
        tries_left: Option<u8>,
    },
    /// The PIN is locked. No further try was made.
    PinLocked,
    /// The card left the reader, or the module failed, hung or crashed.
    CardFailed,
    /// The user cancelled, or the session was ended during the login.
    Cancelled,
    /// The user must be asked, and no prompter is available.
    NoPrompter,
    /// The broker cannot be reached or does not answer in time.
    ServerNotAvailable,
    /// No trusted connection: unknown issuer, wrong name, expired certificate.
    Tls,
    /// The server's TLS or certificate is of a kind that is not supported, whatever is trusted.
    TlsNotSupported,
    /// The broker's response cannot be understood.
    BadAnswer,
    /// The broker refused.
    Refused,
    /// The user is unknown to the broker, or has no role, or not the role that the settings ask for.
    UserNotValid,
    /// There is no session, and the caller asked not to start one.
    TicketNotAvailable,
    /// A prompt asked for a ticket while its own login was in progress.
    LoginUnderWay,
    /// The settings require the agent, and it is not running, not trusted, or has ended.
    AgentNotAvailable,
    /// An agent is already running.
    AgentRunning,
    /// The settings require the agent, and it has another version.
    AgentVersion,
    /// A defect of ticketapi.
    Internal,
    /// Another program of this user kept using the card; the PIN was not tried.
    CardBusy,
    /// The identity service does not have this operation.
    NotImplemented,
    /// The program passed a value that cannot be right.
    InvalidParameter,
    /// A file, or standard output, cannot be written.
    NotWritten,
    /// The system refused a thread, a process, a file descriptor or memory, because there is none left for this program.
    NoResources,
}

/// The groups of the Ticket API's codes (`TCK_ERR_GRP_`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Group {
    /// Use of the library, or the connection.
    Generic,
    /// The card or the reader.
    CardDevice,
    /// The login.
    Authentication,
    /// The computer's configuration.
    Configuration,
}

impl Group {
    /// Returns the group's number in exit codes of the command, and in answers about signatures.
    #[doc(hidden)]
    pub fn status_code(self) -> u8 {
        match self {
            Self::Generic => 1,
            Self::CardDevice => 3,
            Self::Authentication => 4,
            Self::Configuration => 5,
        }
    }

    /// Returns the group's name as in the codes, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::CardDevice => "card device",
            Self::Authentication => "authentication",
            Self::Configuration => "config",
        }
    }
}

impl Error {
    /// Creates an error of `kind` at `stage`. `detail` is the sentence that says what happened.
    pub fn new(kind: ErrorKind, stage: Stage, detail: impl Into<String>) -> Self {
        Self { kind, stage, detail: detail.into(), source: None }
    }

    /// Creates the error for what the system refused with `error`: of `kind`, or [`NoResources`](ErrorKind::NoResources)
    /// if that is the reason.
    pub(crate) fn refused(kind: ErrorKind, stage: Stage, detail: impl Into<String>, error: io::Error) -> Self {
        let kind = if lacks_resources(&error) { ErrorKind::NoResources } else { kind };
        Self::new(kind, stage, detail).because(error)
    }

    /// Creates the error for a thread that cannot be started: the system has none left.
    pub(crate) fn no_thread(stage: Stage, error: io::Error) -> Self {
        Self::new(ErrorKind::NoResources, stage, format!("no thread could be started: {error}")).because(error)
    }

    /// Adds the cause, which must hold no secret.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// Creates the error of a login cancelled at `stage`.
    pub fn cancelled(stage: Stage) -> Self {
        Self::new(ErrorKind::Cancelled, stage, "the login was cancelled")
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns the step in which it happened.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns what happened, in one sentence, without the stage.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns the number of PIN tries left, if known.
    pub fn tries_left(&self) -> Option<u8> {
        match self.kind {
            ErrorKind::PinIncorrect { tries_left } => tries_left,
            ErrorKind::PinLocked => Some(0),
            _ => None,
        }
    }

    /// Returns what the user can do.
    pub fn remedy(&self) -> &'static str {
        match (&self.kind, self.stage) {
            // The server responded as it should before, so the address is right.
            (ErrorKind::BadAnswer, Stage::Authentication | Stage::RoleSelection | Stage::Session) => {
                "Try again. If the error persists, report it to the service desk with the text above: the server's response is wrong."
            }
            (ErrorKind::NoPrompter, Stage::Browser) => {
                "Log in where there is a desktop with a browser, or set browser to a program that opens web pages (none prints the address)."
            }
            _ => self.kind.remedy(),
        }
    }
}

impl ErrorKind {
    /// Returns the group of the Ticket API's codes it belongs to.
    pub fn group(&self) -> Group {
        match self {
            Self::Configuration
            | Self::NotInstalled
            | Self::SoftwareCard
            | Self::NoPrompter
            | Self::AgentNotAvailable
            | Self::AgentRunning
            | Self::AgentVersion => Group::Configuration,
            Self::ReaderNotAvailable
            | Self::CardNotSupported
            | Self::NoCertificate
            | Self::NoKey
            | Self::KeyNotSupported
            | Self::CertificateNotValid
            | Self::PinLocked
            | Self::CardFailed
            | Self::CardBusy => Group::CardDevice,
            Self::NoCard
            | Self::SeveralCards
            | Self::PinIncorrect { .. }
            | Self::Cancelled
            | Self::ServerNotAvailable
            | Self::BadAnswer
            | Self::Refused
            | Self::UserNotValid => Group::Authentication,
            Self::Tls
            | Self::TlsNotSupported
            | Self::TicketNotAvailable
            | Self::LoginUnderWay
            | Self::Internal
            | Self::NotImplemented
            | Self::InvalidParameter
            | Self::NotWritten
            | Self::NoResources => Group::Generic,
        }
    }

    /// Returns the kind's name, without its fields.
    #[doc(hidden)]
    pub fn name(&self) -> String {
        let name = format!("{self:?}");
        name.split([' ', '{']).next().unwrap_or_default().to_owned()
    }

    /// Returns what the user can do about a failure of this kind.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Configuration => "Correct the setting that is named, then try again.",
            Self::NotInstalled => {
                "Install the card's software, or set pkcs11_module (or helper) to the full path of the file."
            }
            Self::ReaderNotAvailable => "Plug the card reader in and check that the PC/SC service (pcscd) is running.",
            Self::NoCard => "Put your smartcard into the reader and log in again.",
            Self::SeveralCards => "Take the other cards out, or name yours with token_label or token_serial.",
            Self::CardNotSupported => {
                "Check that the card is the right way round. If it is, its software is missing: set pkcs11_module."
            }
            Self::NoCertificate | Self::NoKey => {
                "This card cannot be used to log in. Ask your Registration Authority to look at it."
            }
            Self::KeyNotSupported => {
                "This card's key cannot be used to log in. Ask your Registration Authority for a card with an ordinary RSA key."
            }
            Self::SoftwareCard => {
                "Export the key and its certificate again, as a PKCS#12 file (.p12 or .pfx) that is protected with a password."
            }
            Self::CertificateNotValid => {
                "Ask your Registration Authority to renew the card, and check this computer's date."
            }
            Self::PinIncorrect { .. } => "Log in again with the right PIN; too many wrong ones lock the card.",
            Self::PinLocked => "Ask your Registration Authority to unlock the card.",
            Self::CardFailed => "Leave the card in the reader until the login has ended, then log in again.",
            Self::CardBusy => "Wait until the other program has logged in, or end it; then log in again.",
            Self::Cancelled => "Log in again when you are ready.",
            Self::NoPrompter => {
                "Log in on a desktop or a terminal; or set pinentry, and role or role_command for users with several roles."
            }
            Self::ServerNotAvailable => {
                "Check the connection to the health network and the settings that name the server and the proxy, then try again."
            }
            Self::Tls => {
                "Set ca_file to the CA certificate of the server. If it is set, check this computer's date and do not continue: the server may not be the one you expect."
            }
            Self::TlsNotSupported => {
                "Check base_url, issuer or environment; if they are right, ask the operator of the server to change this: no setting makes ticketapi accept it."
            }
            Self::BadAnswer => {
                "Check base_url, issuer or environment: the server does not respond as an identity service does."
            }
            Self::Refused => {
                "The text above is the identity service's reason. Ask your Registration Authority if the error persists."
            }
            Self::UserNotValid => "Ask your Registration Authority or service desk which roles you have.",
            Self::TicketNotAvailable => "Log in first.",
            Self::LoginUnderWay => "A prompt must not request a ticket; request it when the login has ended.",
            Self::AgentNotAvailable => {
                "Start the agent (systemctl --user start ticketapi-agent.socket, or ticketapi agent), or set agent to auto."
            }
            Self::AgentRunning => "You need not do anything: the running agent serves all of your programs.",
            Self::AgentVersion => "Restart the agent, so that it runs the installed version.",
            Self::NotImplemented => "If your site uses an identity service that supports this, set service to it.",
            Self::InvalidParameter => "Report it to the maker of the program that you used.",
            Self::NotWritten => "Check that you may write there and that the disk has room, then try again.",
            Self::NoResources => "Close programs that you do not need, or start this one again; then try again.",
            Self::Internal => "This is a defect of ticketapi. Please report it with the steps that led to it.",
        }
    }
}

impl Stage {
    /// Returns the stage as the start of an error sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Card => "card",
            Self::Pin => "PIN",
            Self::Signing => "signing",
            Self::Activation => "activation",
            Self::Authentication => "authentication",
            Self::RoleSelection => "role selection",
            Self::Session => "session",
            Self::Browser => "browser",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage, self.detail)
    }
}
