//! Prompts: for a card, for the PIN, for the role.

pub(crate) mod assuan;
mod browser;
mod command;
mod desktop;
#[cfg(windows)]
#[doc(hidden)]
pub mod dialogs;
#[cfg(not(windows))]
#[path = "prompt/no_dialogs.rs"]
mod dialogs;
mod pinentry;
mod program;
#[doc(hidden)]
pub mod search;
mod shown;
mod system;
#[doc(hidden)]
pub mod table;
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

pub use browser::{Browser, BrowserChoice, LoginPage, Opened, SystemBrowser};
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

/// The most roles that are shown without a search.
const FEW_ROLES: usize = 5;

/// Asks the user during a login.
///
/// Each method runs on the thread that logs in and may block for as long as the user takes. It must
/// return soon after `cancel` is cancelled.
///
/// ```
/// use ticketapi::cancel::CancelToken;
/// use ticketapi::prompt::{PinRequest, Prompter};
/// use ticketapi::session::Role;
/// use ticketapi::{Error, Pin, Result, Stage};
///
/// /// Knows the PIN, and chooses the first role.
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
/// Return [`Cancelled`](ErrorKind::Cancelled) if the user cancels, and
/// [`NoPrompter`](ErrorKind::NoPrompter) if nobody can be asked.
pub trait Prompter: Send + Sync {
    /// Asks for the card's PIN.
    fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin>;

    /// Asks whether to use the last try: `true` is a clear yes. Called before [`Prompter::pin`].
    fn use_last_try(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<bool>;

    /// Asks which role to use. Returns an index into `roles`, which holds two or more.
    fn role(&self, roles: &[Role], cancel: &CancelToken) -> Result<usize>;

    /// Shows that the PIN must be entered on the reader's keys, until the returned notice is dropped. Must
    /// not block; cancelling is as for [`Prompter::insert_card`].
    fn enter_pin_on_reader(&self, _request: &PinRequest<'_>, _cancel: &CancelToken) -> Notice {
        Notice::default()
    }

    /// Shows that a card is needed, and why, until the returned notice is dropped. Must not block. If the
    /// user dismisses it, cancel `cancel`.
    fn insert_card(&self, _absence: &Absence, _cancel: &CancelToken) -> Notice {
        Notice::default()
    }

    /// Shows that the login continues in the browser, where `page` is open, until the returned notice is dropped.
    /// Must not block. If the user dismisses it, cancel `cancel`: a page that shows an error never ends the login.
    fn browser_opened(&self, _page: &LoginPage<'_>, _cancel: &CancelToken) -> Notice {
        Notice::default()
    }
}

/// Something shown to the user until it is dropped.
#[derive(Default)]
#[must_use = "what is shown goes away when the notice is dropped"]
pub struct Notice(#[expect(dead_code, reason = "kept to be dropped")] Option<Box<dyn Send>>);

impl Notice {
    /// Keeps `shown` until the notice is dropped.
    pub fn new(shown: impl Send + 'static) -> Self {
        Self(Some(Box::new(shown)))
    }
}

/// Returns what shows that a card is needed, and why, until it is dropped: for [`CardReader::wait_for_card`].
///
/// [`CardReader::wait_for_card`]: crate::card::CardReader::wait_for_card
pub(crate) fn ask_for_card<'a>(prompter: &'a dyn Prompter, cancel: &'a CancelToken) -> impl FnMut(Absence) + 'a {
    let mut notice = Notice::default();
    move |absence| {
        // Closes one notice before the next is shown.
        drop(std::mem::take(&mut notice));
        notice = prompter.insert_card(&absence, cancel);
    }
}

/// A request for a PIN.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PinRequest<'a> {
    /// The card's name: the token's label, or a software card's file name.
    pub label: &'a str,
    /// The user's id, if the card shows it before the PIN.
    pub uid: Option<&'a str>,
    /// The PIN status.
    pub status: PinStatus,
    /// Why the PIN is asked for again, if the last one was not accepted.
    pub problem: Option<PinProblem>,
    /// What the PIN is for, such as "sign 3 documents: …", and for which program. `None` for a login.
    pub purpose: Option<&'a str>,
}

impl<'a> PinRequest<'a> {
    /// Returns the first request for the PIN of the card with this name: for tests of a [`Prompter`]. The other fields
    /// may be changed.
    pub fn new(label: &'a str, status: PinStatus) -> Self {
        Self { label, uid: None, status, problem: None, purpose: None }
    }

    /// Returns the PIN tries left, if the card reports them or reported them with the last wrong PIN.
    pub fn tries_left(&self) -> Option<u8> {
        let told = match self.problem {
            Some(PinProblem::Incorrect { tries_left }) => tries_left,
            _ => None,
        };
        self.status.tries.left().or(told)
    }

    /// Returns the card's description for the user.
    pub fn card_name(&self) -> String {
        match self.uid {
            Some(uid) => format!("{} (user {uid})", self.label),
            None => self.label.to_owned(),
        }
    }
}

/// Why a PIN is asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinProblem {
    /// It was wrong and cost a try.
    Incorrect {
        /// Tries left, if the card reports them.
        tries_left: Option<u8>,
    },
    /// It was too short or too long; the card was not used.
    WrongLength,
}

/// The prompter if nobody can be asked: every question fails.
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
