//! Cards through a PKCS#11 module, in this process.

pub mod card;
mod error;
mod module;
mod token;

use std::time::{Duration, Instant};

use ticketapi::cancel::CancelToken;
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::{Absence, CardReader, SmartCard};
use ticketapi::{Error, ErrorKind, Result, Stage};

use self::card::Pkcs11Card;
use self::token::Lack;
use crate::pcsc::Readers;

/// How often a card is looked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked again where the card came meanwhile.
const LOOKS: usize = 3;

/// Finds cards through PKCS#11 modules that are loaded into this process.
///
/// A module that hangs blocks its caller for ever: only waiting for a card can be cancelled here. A
/// card is looked for once a second, and its removal is not watched for ([`CardReader::watch`]).
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

    /// Looks once.
    pub(crate) fn look(&self) -> Result<Look> {
        for _ in 1..LOOKS {
            if let Some(look) = self.try_look()? {
                return Ok(look);
            }
        }
        let detail = "cards come and go while they are looked at";
        self.try_look()?.ok_or_else(|| Error::new(ErrorKind::CardFailed, Stage::Card, detail))
    }

    /// `None` where a card came while it was looked, so that nobody knows since when it is there.
    fn try_look(&self) -> Result<Option<Look>> {
        // Before the module sees the card: one that is swapped meanwhile has another counter then.
        let before = Readers::now();
        let modules = module::load(&self.settings.modules, self.exclusive)?;
        let token = match token::look(&modules, &self.settings, &before) {
            Ok(token::Look::Found(token)) => token,
            Ok(token::Look::Absent(lack)) => return Ok(Some(Look::Absent(lack))),
            Err(error) => return Err(unless_taken_out(error, &before)),
        };
        let presence = |readers: &Readers| readers.presence(token.reader.as_deref()?);
        let here = presence(&before);
        if here.is_none() && presence(&Readers::now()).is_some() {
            return Ok(None);
        }
        Ok(Some(Look::Found(Pkcs11Card::new(token, modules, self.settings.after_login, here))))
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

/// Modules say of a card that left while it was read that it has no certificate.
fn unless_taken_out(error: Error, before: &Readers) -> Error {
    let of_the_card = matches!(error.kind(), ErrorKind::NoCertificate | ErrorKind::NoKey);
    if of_the_card && before.with_card().next().is_some() && before.lost_a_card(&Readers::once_noticed()) {
        return Error::new(ErrorKind::CardFailed, Stage::Card, "the card was taken out while it was read");
    }
    error
}

/// What a look at the readers gave.
#[expect(clippy::large_enum_variant, reason = "there is one of it at a time")]
pub(crate) enum Look {
    /// The card to log in with.
    Found(Pkcs11Card),
    /// None yet.
    Absent(Lack),
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
