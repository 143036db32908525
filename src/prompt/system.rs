//! The prompter of programs without their own: uses what this computer has, as the settings say.

use std::path::PathBuf;
use std::time::Duration;

use super::desktop::{self, Windows};
use super::dialogs::Dialogs;
use super::{LoginPage, Notice, PinRequest, Pinentry, Prompter, RoleCommand, Terminal, nobody, program, shown, text};
use crate::cancel::CancelToken;
use crate::card::Absence;
use crate::error::{Result, Stage};
use crate::secret::Pin;
use crate::session::Role;

/// Where the user is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrompterKind {
    /// By the configured programs; else on the desktop, if there is one; else on the terminal.
    #[default]
    Auto,
    /// In windows, never on the terminal: for programs started from a terminal that the user does not see.
    Desktop,
    /// On the controlling terminal, whatever else is set.
    Terminal,
    /// Nowhere: every question fails.
    None,
}

/// The prompt settings.
#[derive(Clone, Debug)]
pub struct PrompterSettings {
    /// Where the user is asked.
    pub kind: PrompterKind,
    /// The program that asks for the PIN: a path, or a name on the `PATH`.
    pub pinentry: Option<PathBuf>,
    /// The role chooser and its arguments; empty for none.
    pub role_command: Vec<String>,
    /// How long a prompt waits for the user; zero waits forever.
    pub timeout: Duration,
    /// The title of windows: what the login is for.
    pub title: &'static str,
}

/// Asks with pinentry, a role chooser or the terminal, as the settings say. Chooses anew for each
/// question: terminals move to the background and programs get installed.
#[derive(Clone, Debug)]
pub struct SystemPrompter {
    kind: PrompterKind,
    pinentry: Option<PathBuf>,
    role_command: Option<RoleCommand>,
    timeout: Option<Duration>,
    title: &'static str,
}

enum PinWay {
    Pinentry(Pinentry),
    Dialogs(Dialogs),
    Terminal(Terminal),
}

impl SystemPrompter {
    /// Uses these settings.
    pub fn new(settings: impl Into<PrompterSettings>) -> Self {
        let PrompterSettings { kind, pinentry, role_command, timeout, title } = settings.into();
        let timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
        let words = Some(role_command).filter(|words| !words.is_empty());
        Self { kind, pinentry, role_command: words.map(|words| RoleCommand::new(words, timeout)), timeout, title }
    }

    /// Returns the pinentry program that would ask for the PIN now, a path or a name on the `PATH`; `None` for the
    /// terminal. Does not prompt.
    ///
    /// # Errors
    ///
    /// [`NoPrompter`](crate::ErrorKind::NoPrompter) if nobody can be asked.
    pub fn pin_program(&self) -> Result<Option<PathBuf>> {
        match self.pin_way()? {
            PinWay::Pinentry(pinentry) => Ok(Some(pinentry.program().to_owned())),
            PinWay::Dialogs(dialogs) => Ok(Some(dialogs.program().to_owned())),
            PinWay::Terminal(_) if Terminal::is_there() => Ok(None),
            PinWay::Terminal(_) => Err(nobody(Stage::Pin, "the PIN: there is no terminal")),
        }
    }

    fn pin_way(&self) -> Result<PinWay> {
        let pinentry = |program| PinWay::Pinentry(Pinentry::new(program, self.timeout).titled(self.title));
        let set = || self.pinentry.clone().map(pinentry);
        let found = || program::find("pinentry").map(pinentry);
        let mut why = None;
        let mut dialogs = || self.dialogs().map(PinWay::Dialogs).map_err(|reason| why = reason).ok();
        let way = match self.kind {
            PrompterKind::Auto => set()
                .or_else(&mut dialogs)
                .or_else(|| if desktop::is_there() { found() } else { None })
                .or_else(|| Terminal::is_there().then(|| self.terminal()))
                // It may need no desktop, as on GNOME and macOS.
                .or_else(found),
            PrompterKind::Desktop => set().or_else(dialogs).or_else(found),
            PrompterKind::Terminal => Some(self.terminal()),
            PrompterKind::None => return Err(nobody(Stage::Pin, "the PIN: prompter is set to none")),
        };
        let why = why.unwrap_or_else(|| "there is no pinentry and no terminal".into());
        way.ok_or_else(|| nobody(Stage::Pin, &format!("the PIN: {why}")))
    }

    /// Returns Windows' dialogs, or why they cannot be used; `None` on other systems.
    fn dialogs(&self) -> std::result::Result<Dialogs, Option<String>> {
        Dialogs::find(self.title, self.timeout)
    }

    fn terminal(&self) -> PinWay {
        PinWay::Terminal(Terminal::new(self.timeout))
    }

    /// Returns the windows for the role list, if the settings allow windows.
    fn windows(&self) -> Option<Windows> {
        let wanted = matches!(self.kind, PrompterKind::Auto | PrompterKind::Desktop);
        if wanted && desktop::is_there() { Windows::find(self.title) } else { None }
    }

    /// Shows a message while the notice lives, if it can.
    fn tell(&self, message: &str, cancel: &CancelToken) -> Notice {
        if let Some(windows) = self.windows().filter(Windows::has_messages) {
            return windows.message(message, cancel);
        }
        match self.pin_way() {
            Ok(PinWay::Dialogs(dialogs)) => dialogs.message(message, cancel),
            Ok(PinWay::Pinentry(pinentry)) => {
                let (message, cancel) = (message.to_owned(), cancel.clone());
                shown::while_kept(move |stop| match pinentry.show(&message, stop) {
                    Ok(false) if !stop.is_cancelled() => cancel.cancel(),
                    Err(error) if !stop.is_cancelled() => {
                        tracing::warn!(%error, "a message could not be shown");
                    }
                    _ => {}
                })
            }
            Ok(PinWay::Terminal(terminal)) => terminal.message(message, cancel),
            Err(_) => Notice::default(),
        }
    }
}

impl Prompter for SystemPrompter {
    fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin> {
        match self.pin_way()? {
            PinWay::Pinentry(pinentry) => pinentry.pin(request, cancel),
            PinWay::Dialogs(dialogs) => dialogs.pin(request, cancel),
            PinWay::Terminal(terminal) => terminal.pin(request, cancel),
        }
    }

    fn use_last_try(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<bool> {
        match self.pin_way()? {
            PinWay::Pinentry(pinentry) => pinentry.use_last_try(request, cancel),
            PinWay::Dialogs(dialogs) => dialogs.use_last_try(request, cancel),
            PinWay::Terminal(terminal) => terminal.use_last_try(request, cancel),
        }
    }

    fn role(&self, roles: &[Role], cancel: &CancelToken) -> Result<usize> {
        let command = match self.kind {
            PrompterKind::Auto | PrompterKind::Desktop => self.role_command.as_ref(),
            PrompterKind::Terminal => None,
            PrompterKind::None => return Err(nobody(Stage::RoleSelection, "the role: prompter is set to none")),
        };
        if let Some(command) = command {
            return command.role(roles, cancel);
        }
        if let Some(windows) = self.windows() {
            return windows.role(roles, self.timeout, cancel);
        }
        let dialogs = match self.kind {
            PrompterKind::Terminal => Err(None),
            _ => self.dialogs(),
        };
        let why = match dialogs {
            Ok(dialogs) => return dialogs.role(roles, cancel),
            Err(why) => why.unwrap_or_else(|| "there is no chooser on a desktop".into()),
        };
        let terminal = match self.kind {
            PrompterKind::Auto => Terminal::is_there(),
            kind => kind == PrompterKind::Terminal,
        };
        if terminal {
            return Terminal::new(self.timeout).role(roles, cancel);
        }
        let detail = format!("the role: neither role nor role_command is set, and {why}");
        Err(nobody(Stage::RoleSelection, &detail))
    }

    fn enter_pin_on_reader(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Notice {
        self.tell(&text::enter_pin_on_reader(request), cancel)
    }

    fn insert_card(&self, absence: &Absence, cancel: &CancelToken) -> Notice {
        self.tell(&text::insert_card(absence), cancel)
    }

    fn browser_opened(&self, _page: &LoginPage<'_>, cancel: &CancelToken) -> Notice {
        self.tell(text::BROWSER_OPENED, cancel)
    }
}
