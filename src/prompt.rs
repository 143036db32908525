//! Asking the user: for a card, for the PIN, for the role.

pub(crate) mod assuan;
mod command;
mod desktop;
mod pinentry;
mod program;
mod search;
mod shown;
mod system;
mod table;
#[cfg(feature = "terminal")]
mod terminal;
#[cfg(not(feature = "terminal"))]
#[path = "prompt/no_terminal.rs"]
mod terminal;
#[doc(hidden)]
pub mod text;

use crate::cancel::CancelToken;
use crate::card::{Absence, PinStatus};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::secret::Pin;
use crate::session::Role;

#[doc(hidden)]
pub use command::RoleCommand;
#[doc(hidden)]
pub use pinentry::Pinentry;
#[doc(hidden)]
pub use program::locate;
#[doc(hidden)]
pub use system::PrompterSettings;
pub use system::{PrompterKind, SystemPrompter};
use terminal::Terminal;

/// So many roles are seen at a glance; more have to be searched.
const FEW_ROLES: usize = 5;

/// Asks the user during a login.
///
/// Each method is called on the thread that logs in, and may block: a user takes the time a user
/// takes. It has to return soon after `cancel` is cancelled.
///
/// ```
/// use ticketapi::cancel::CancelToken;
/// use ticketapi::prompt::{PinRequest, Prompter};
/// use ticketapi::session::Role;
/// use ticketapi::{Error, Pin, Result, Stage};
///
/// /// Has the PIN from the program, and takes the first role.
/// struct Unattended(String);
///
/// impl Prompter for Unattended {
///     fn pin(&self, request: &PinRequest<'_>, _cancel: &CancelToken) -> Result<Pin> {
///         match request.problem {
///             None => Ok(Pin::new(self.0.clone())),
///             Some(_) => Err(Error::cancelled(Stage::Pin)), // the same PIN would be wrong again
///         }
///     }
///
///     fn use_last_try(&self, _request: &PinRequest<'_>, _cancel: &CancelToken) -> Result<bool> {
///         Ok(false)
///     }
///
///     fn role(&self, _roles: &[Role], _cancel: &CancelToken) -> Result<usize> {
///         Ok(0)
///     }
/// }
/// ```
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

    /// Tells that the PIN is to be entered on the reader's own keys, until what it returns is
    /// dropped. Must not wait; cancelling is as with [`Prompter::insert_card`].
    fn enter_pin_on_reader(&self, _request: &PinRequest<'_>, _cancel: &CancelToken) -> Notice {
        Notice::default()
    }

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
    /// How often the PIN may still be tried, where the card tells or told with the last wrong PIN.
    pub fn tries_left(&self) -> Option<u8> {
        let told = match self.problem {
            Some(PinProblem::Incorrect { tries_left }) => tries_left,
            _ => None,
        };
        self.status.tries.left().or(told)
    }

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
    Error::new(ErrorKind::NoPrompter, stage, format!("nobody can be asked for {what}"))
}
