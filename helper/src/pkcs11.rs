//! Cards through a PKCS#11 module, in this process.

mod calls;
pub mod card;
mod error;
mod look;
mod module;
mod objects;
mod token;

use std::time::{Duration, Instant};

use ticketapi::cancel::CancelToken;
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::{Absence, CardReader, SmartCard};
use ticketapi::{Error, ErrorKind, Result, Stage};

use self::card::Pkcs11Card;
pub use self::look::slots;
use self::module::Module;
use self::token::Lack;
use crate::card_lock::{self, CardLock};
use crate::pcsc::Readers;

/// How often a card is looked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Finds cards through PKCS#11 modules that are loaded into this process.
///
/// A module that hangs blocks its caller for ever: only waiting for a card can be cancelled here. A
/// card is looked for once a second, and its removal is not watched for ([`CardReader::watch`]).
/// A module stays loaded and initialized, since other code in this process may rely on it;
/// `CKR_CRYPTOKI_ALREADY_INITIALIZED` counts as success.
pub struct Pkcs11Reader {
    settings: CardSettings,
    exclusive: bool,
}

impl Pkcs11Reader {
    /// Loads nothing yet.
    pub fn new(settings: CardSettings) -> Self {
        Self { settings, exclusive: false }
    }

    /// For a process in which no other code uses a module: cards finalize theirs (`C_Finalize`).
    pub(crate) fn exclusive(settings: CardSettings) -> Self {
        Self { settings, exclusive: true }
    }

    /// Looks once, or once more where a card has moved meanwhile.
    pub(crate) fn look(&self) -> Result<Look> {
        match self.try_look(false)? {
            Tried::Look(look) => Ok(look),
            Tried::Unsure(_) => match self.try_look(true)? {
                Tried::Look(look) => Ok(look),
                Tried::Unsure(error) => Err(error),
            },
        }
    }

    fn try_look(&self, again: bool) -> Result<Tried> {
        let _lock = lock_for_search();
        // Before the module sees the card: one that is swapped meanwhile has another counter then.
        let before = Readers::now();
        let modules = match module::load(&self.settings.modules, self.exclusive) {
            Ok(modules) => modules,
            // One may start once there is a reader or a card.
            Err(unusable) if unusable.may_start && !before.has_card() => {
                return Ok(Tried::Look(Look::Absent(Lack::without_reader(unusable.error, &before))));
            }
            Err(unusable) => return Err(unusable.error),
        };
        let found = match token::look(&modules, &self.settings, &before) {
            Ok(token::Look::Found(token)) => Ok(token),
            Ok(token::Look::Absent(lack)) => return Ok(Tried::Look(Look::Absent(lack))),
            Err(error) if matches!(error.kind(), ErrorKind::NoCertificate | ErrorKind::NoKey) => Err(error),
            Err(error) => return Err(error),
        };
        // Modules show no certificate either of a card that leaves or is reset while it is read.
        let doubtful = found.as_ref().map_or(true, |token| token.certificate.is_none());
        if doubtful && before.has_card() && before.lost_a_card(&Readers::once_noticed()) {
            let text = "the card was taken out while it was read";
            return Err(Error::new(ErrorKind::CardFailed, Stage::Card, text));
        }
        let mut token = match found {
            Ok(token) if !doubtful || again || !before.has_card() => token,
            unsure => {
                let error = unsure.err().unwrap_or_else(|| token::no_certificate("the card shows no certificate"));
                // Or it forgets nothing.
                modules.into_iter().for_each(Module::end);
                return if before.has_card() { Ok(Tried::Unsure(error)) } else { Err(error) };
            }
        };
        // Not every module calls a slot what PC/SC calls its reader.
        if let Some(slot) = &token.reader
            && let Some(reader) = before.of_slot(slot)
        {
            token.reader = Some(reader.to_owned());
        }
        let presence = |readers: &Readers| readers.presence(token.reader.as_deref()?);
        let here = presence(&before);
        if here.is_none() && presence(&Readers::now()).is_some() {
            // It is unknown since when.
            let text = "the set of cards kept changing while it was read";
            return Ok(Tried::Unsure(Error::new(ErrorKind::CardFailed, Stage::Card, text)));
        }
        Ok(Tried::Look(Look::Found(Pkcs11Card::new(token, modules, self.settings.after_login, here))))
    }

    /// [`CardReader::wait_for_card`], with the card's own type.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn find(&self, wait: Duration, absent: &mut dyn FnMut(Absence), cancel: &CancelToken) -> Result<Pkcs11Card> {
        let until = Instant::now().checked_add(wait);
        let mut told = None;
        loop {
            cancel.check(Stage::Card)?;
            let lack = match self.look()? {
                Look::Found(card) => return Ok(card),
                Look::Absent(lack) => lack,
            };
            let left = until.map_or(INTERVAL, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Err(lack.error);
            }
            if told.as_ref() != Some(&lack.absence) {
                absent(lack.absence.clone());
                told = Some(lack.absence);
            }
            cancel.wait(left.min(INTERVAL));
        }
    }
}

/// Where there are cards that another program could reset meanwhile.
fn lock_for_search() -> Option<CardLock> {
    Readers::now().has_card().then(|| CardLock::with_cards(card_lock::PATIENCE))
}

/// What a look at the readers gave.
#[expect(clippy::large_enum_variant, reason = "there is one of it at a time")]
pub(crate) enum Look {
    /// The card to log in with.
    Found(Pkcs11Card),
    /// None yet.
    Absent(Lack),
}

#[expect(clippy::large_enum_variant, reason = "there is one of it at a time")]
enum Tried {
    Look(Look),
    /// With the error, should it be the same the next time.
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
