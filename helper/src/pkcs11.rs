//! Smartcards through a PKCS#11 module in this process.

mod calls;
pub mod card;
mod error;
mod module;
mod objects;
pub mod signing;
mod slots;
mod token;

use std::time::{Duration, Instant};

use ticketapi::cancel::CancelToken;
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::{Absence, CardReader, SmartCard};
use ticketapi::{Error, ErrorKind, Result, Stage};

use self::card::Pkcs11Card;
use self::module::Module;
pub use self::slots::slots;
use crate::card_lock::{self, CardLock};
use crate::cards::{Missing, Search};
use crate::pcsc::Readers;

/// How often to search for a card.
const INTERVAL: Duration = Duration::from_secs(1);

/// Finds cards through PKCS#11 modules that are loaded into this process.
///
/// A module that hangs blocks its caller for ever: only waiting for a card can be cancelled. It searches for a
/// card once a second and does not report the card's removal ([`CardReader::watch`]). Modules stay loaded and
/// initialized, because other code in this process may use them; `CKR_CRYPTOKI_ALREADY_INITIALIZED` counts as
/// success.
pub struct Pkcs11Reader {
    settings: CardSettings,
    exclusive: bool,
}

impl Pkcs11Reader {
    /// Creates a reader. Loads no module yet.
    pub fn new(settings: CardSettings) -> Self {
        Self { settings, exclusive: false }
    }

    /// For a process in which no other code uses the modules: cards finalize theirs (`C_Finalize`).
    pub(crate) fn exclusive(settings: CardSettings) -> Self {
        Self { settings, exclusive: true }
    }

    /// Searches once, or twice if a card moved during the first search.
    pub(crate) fn search(&self) -> Result<Search<Pkcs11Card>> {
        match self.try_search(false)? {
            Tried::Done(search) => Ok(search),
            Tried::Unsure(_) => match self.try_search(true)? {
                Tried::Done(search) => Ok(search),
                Tried::Unsure(error) => Err(error),
            },
        }
    }

    fn try_search(&self, again: bool) -> Result<Tried> {
        let _lock = lock_for_search();
        // Read before the module sees the card: a card that is swapped during the search has another counter.
        let before = Readers::now();
        let modules = match load(&self.settings, self.exclusive, &before)? {
            Loaded::Modules(modules) => modules,
            Loaded::Absent(missing) => return Ok(Tried::Done(Search::Absent(missing))),
        };
        let found = match token::search(&modules, &self.settings, &before) {
            Ok(Search::Found(token)) => Ok(token),
            Ok(Search::Absent(missing)) => return Ok(Tried::Done(Search::Absent(missing))),
            Err(error) if matches!(error.kind(), ErrorKind::NoCertificate | ErrorKind::NoKey) => Err(error),
            Err(error) => return Err(error),
        };
        // Modules also show no certificate of a card that is removed or reset while it is read.
        let doubtful = found.as_ref().map_or(true, |token| token.certificate.is_none());
        if doubtful && before.has_card() && before.lost_a_card(&Readers::once_noticed()) {
            let text = "the card was taken out while it was read";
            return Err(Error::new(ErrorKind::CardFailed, Stage::Card, text));
        }
        let mut token = match found {
            Ok(token) if !doubtful || again || !before.has_card() => token,
            unsure => {
                let error = unsure.err().unwrap_or_else(|| token::no_certificate("the card shows no certificate"));
                // Without C_Finalize the module would keep what it has cached.
                modules.into_iter().for_each(Module::end);
                return if before.has_card() { Ok(Tried::Unsure(error)) } else { Err(error) };
            }
        };
        token.name_reader(&before);
        let presence = |readers: &Readers| readers.presence(token.reader.as_deref()?);
        let here = presence(&before);
        if here.is_none() && presence(&Readers::now()).is_some() {
            // Nobody can say when this card was inserted.
            let text = "cards were put in or taken out while they were read";
            return Ok(Tried::Unsure(Error::new(ErrorKind::CardFailed, Stage::Card, text)));
        }
        Ok(Tried::Done(Search::Found(Pkcs11Card::new(token, modules, self.settings.after_login, here))))
    }

    /// Like [`CardReader::wait_for_card`], but returns the card's own type.
    ///
    /// # Errors
    ///
    /// Those of [`CardReader::wait_for_card`].
    pub fn find(&self, wait: Duration, absent: &mut dyn FnMut(Absence), cancel: &CancelToken) -> Result<Pkcs11Card> {
        let until = Instant::now().checked_add(wait);
        let mut reported = None;
        loop {
            cancel.check(Stage::Card)?;
            let missing = match self.search()? {
                Search::Found(card) => return Ok(card),
                Search::Absent(missing) => missing,
            };
            let left = until.map_or(INTERVAL, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(missing.error);
            }
            if reported.as_ref() != Some(&missing.absence) {
                absent(missing.absence.clone());
                reported = Some(missing.absence);
            }
            cancel.wait(left.min(INTERVAL));
        }
    }
}

/// Takes the lock if there are cards, which another program could reset during the search.
fn lock_for_search() -> Option<CardLock> {
    Readers::now().has_card().then(|| CardLock::with_cards(card_lock::PATIENCE))
}

/// The modules of the settings.
enum Loaded {
    Modules(Vec<Module>),
    /// None starts, but one may once there is a reader or a card.
    Absent(Missing),
}

/// Loads the modules that can be loaded. `before` is the readers' state.
fn load(settings: &CardSettings, exclusive: bool, before: &Readers) -> Result<Loaded> {
    match module::load(&settings.modules, exclusive) {
        Ok(modules) => Ok(Loaded::Modules(modules)),
        Err(unusable) if unusable.may_start && !before.has_card() => {
            Ok(Loaded::Absent(Missing::without_reader(unusable.error, before)))
        }
        Err(unusable) => Err(unusable.error),
    }
}

#[expect(clippy::large_enum_variant, reason = "there is one of it at a time")]
enum Tried {
    Done(Search<Pkcs11Card>),
    /// Contains the error to report if the next search gives the same result.
    Unsure(Error),
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
