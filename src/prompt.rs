//! Asking the user: for a card, for the PIN, for the role.

pub(crate) mod assuan;
pub mod command;
pub mod pinentry;

use crate::cancel::CancelToken;
use crate::card::{Absence, PinStatus};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::secret::Pin;
use crate::ssb::Role;

pub use command::RoleCommand;
pub use pinentry::Pinentry;

/// Asks the user during a login.
///
/// Each method is called on the thread that logs in, and may block: a user takes the time a user
/// takes. It has to return soon after `cancel` is cancelled.
///
/// An answer of [`Cancelled`](ErrorKind::Cancelled) means that the user does not want to go on,
/// [`NoPrompter`](ErrorKind::NoPrompter) that nobody can be asked.
pub trait Prompter: Send + Sync {
    /// Asks for the card's PIN.
    fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin>;

    /// Asks whether to use the last try: true is a clear yes. Called before [`Prompter::pin`].
    fn use_last_try(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<bool>;

    /// Asks which role to take; the answer is an index into `roles`, of which there are two or more.
    fn role(&self, roles: &[Role], cancel: &CancelToken) -> Result<usize>;

    /// Tells that the PIN is to be entered on the reader's own keys. Must not wait.
    fn enter_pin_on_reader(&self, _request: &PinRequest<'_>) {}

    /// Tells that a card is waited for, and why, until what it returns is dropped. Must not wait;
    /// a user who does not want to go on is heard by cancelling `cancel`.
    fn insert_card(&self, _absence: &Absence, _cancel: &CancelToken) -> Notice {
        Notice::default()
    }
}

/// What a user is shown until this is dropped.
#[derive(Default)]
#[must_use = "what is shown goes away when the notice is dropped"]
pub struct Notice(#[expect(dead_code, reason = "kept to be dropped")] Option<Box<dyn Send>>);

impl Notice {
    /// Shown until `shown` is dropped.
    pub fn new(shown: impl Send + 'static) -> Self {
        Self(Some(Box::new(shown)))
    }
}

/// What there is to say to a user who is asked for a PIN.
#[derive(Clone, Copy, Debug)]
pub struct PinRequest<'a> {
    /// Which card: the token's label, or the name of a software card's file.
    pub label: &'a str,
    /// The user's id, where the card tells it before it has the PIN.
    pub uid: Option<&'a str>,
    /// How it stands with the PIN.
    pub status: PinStatus,
    /// Why it is asked again, where the last answer was not taken.
    pub problem: Option<PinProblem>,
}

impl PinRequest<'_> {
    /// The card in words for the user.
    pub fn card_name(&self) -> String {
        match self.uid {
            Some(uid) => format!("{} (user {uid})", self.label),
            None => self.label.to_owned(),
        }
    }
}

/// Why a PIN is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinProblem {
    /// It was wrong: the card counted a try.
    Incorrect {
        /// How many tries are left, where the card tells.
        tries_left: Option<u8>,
    },
    /// It was shorter or longer than the card's PINs are; the card was not asked.
    WrongLength,
}

/// Asks with the programs that the settings name: a pinentry for the PIN, a chooser for the role.
#[derive(Clone, Debug)]
pub struct Programs {
    pinentry: Pinentry,
    role_command: Option<RoleCommand>,
}

impl Programs {
    /// The programs of `config`.
    pub fn new(config: &Config) -> Self {
        let timeout = Some(config.prompt_timeout).filter(|timeout| !timeout.is_zero());
        let words = Some(config.role_command.clone()).filter(|words| !words.is_empty());
        Self {
            pinentry: Pinentry::new(&config.pinentry, timeout),
            role_command: words.map(|words| RoleCommand::new(words, timeout)),
        }
    }
}

impl Prompter for Programs {
    fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin> {
        self.pinentry.pin(request, cancel)
    }

    fn use_last_try(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<bool> {
        self.pinentry.use_last_try(request, cancel)
    }

    fn role(&self, roles: &[Role], cancel: &CancelToken) -> Result<usize> {
        match &self.role_command {
            Some(command) => command.role(roles, cancel),
            None => Err(nobody(Stage::RoleSelection, "the role: neither role nor role_command is set")),
        }
    }
}

/// The prompter where nobody can be asked: every question fails.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPrompter;

impl Prompter for NoPrompter {
    fn pin(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<Pin> {
        Err(nobody(Stage::Pin, "the PIN"))
    }

    fn use_last_try(&self, _: &PinRequest<'_>, _: &CancelToken) -> Result<bool> {
        Err(nobody(Stage::Pin, "the PIN"))
    }

    fn role(&self, _: &[Role], _: &CancelToken) -> Result<usize> {
        Err(nobody(Stage::RoleSelection, "the role"))
    }
}

fn nobody(stage: Stage, what: &str) -> Error {
    Error::new(ErrorKind::NoPrompter, stage, format!("there is nobody to ask for {what}"))
}
