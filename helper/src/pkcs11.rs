//! Cards through a PKCS#11 module, in this process.

pub mod card;
mod error;
mod look;
mod module;
mod token;

use std::time::{Duration, Instant};

use ticketapi::cancel::CancelToken;
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::{Absence, CardReader, SmartCard};
use ticketapi::{Error, ErrorKind, Result, Stage};

use self::card::Pkcs11Card;
pub use self::look::slots;
use self::token::Look;

/// How often a card is looked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Finds cards through PKCS#11 modules that are loaded into this process.
///
/// A module that hangs blocks its caller for ever: only waiting for a card can be cancelled here.
/// A module stays loaded and initialized, since nobody can know who else in this process has come
/// to rely on it; `CKR_CRYPTOKI_ALREADY_INITIALIZED` is as good as success.
pub struct Pkcs11Reader {
    settings: CardSettings,
    exclusive: bool,
}

impl Pkcs11Reader {
    /// Loads nothing yet.
    pub fn new(settings: CardSettings) -> Self {
        Self { settings, exclusive: false }
    }

    /// For a process in which nobody else uses a module: cards finalize theirs (`C_Finalize`).
    pub(crate) fn exclusive(settings: CardSettings) -> Self {
        Self { settings, exclusive: true }
    }

    /// [`CardReader::wait_for_card`], with the card's own type.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn find(&self, wait: Duration, absent: &mut dyn FnMut(Absence), cancel: &CancelToken) -> Result<Pkcs11Card> {
        let modules = module::load(&self.settings.modules, self.exclusive)?;
        let until = Instant::now().checked_add(wait);
        let mut told = false;
        loop {
            cancel.check(Stage::Card)?;
            let others = match token::look(&modules, &self.settings)? {
                Look::Found(token) => return Ok(Pkcs11Card::new(token, modules, self.settings.after_login)),
                Look::Absent { others } => others,
            };
            let left = until.map_or(INTERVAL, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(self.no_card(wait, &others));
            }
            if !told {
                absent(Absence::NoCard);
                told = true;
            }
            cancel.wait(left.min(INTERVAL));
        }
    }

    fn no_card(&self, wait: Duration, others: &[String]) -> Error {
        let CardSettings { token_label, token_serial, .. } = &self.settings;
        let named = |what, name: &Option<String>| {
            name.as_ref().map_or(String::new(), |name| format!(" with {what} \"{name}\""))
        };
        let card = format!("no card{}{}", named("label", token_label), named("serial number", token_serial));
        let mut detail = match wait.as_secs() {
            0 => format!("{card} is in a reader"),
            seconds => format!("{card} came within {seconds} seconds"),
        };
        if !others.is_empty() {
            detail = format!("{detail}; there is {}", others.join(", "));
        }
        Error::new(ErrorKind::NoCard, Stage::Card, detail)
    }
}

impl CardReader for Pkcs11Reader {
    fn wait_for_card(
        &self,
        wait: Duration,
        absent: &mut dyn FnMut(Absence),
        cancel: &CancelToken,
    ) -> Result<Box<dyn SmartCard>> {
        Ok(Box::new(self.find(wait, absent, cancel)?))
    }
}
