//! Smartcards without a PKCS#11 module, through Windows' own smartcard stack: certificates, PINs and signatures by the
//! card's minidriver, behind CNG's key storage provider. Everything but the calls themselves is tested on every system,
//! with a provider that follows a script.
//!
//! Windows does not say how many tries a PIN has left, how long PINs are, or which label a card has. A PIN pad would be
//! used by a window of Windows' own, which the helper never opens.

mod card;
mod error;
mod provider;
mod signing;
#[cfg(test)]
mod tests;
#[cfg(windows)]
mod windows;

use std::sync::Arc;
use std::time::SystemTime;

use ticketapi::card::certificate::{Candidate, PrivateKey, choose};
use ticketapi::card::examination::{Slot, SlotHolds, Token};
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::protocol::WireError;
use ticketapi::card::{Absence, Certificate};
use ticketapi::{Error, ErrorKind, Result, Stage};

use self::card::{CngCard, Held, unknown_pin};
use self::error::{failed, is_lost};
use self::provider::{CallError, CallResult, Key, Provider};
pub use self::signing::search as search_signer;
#[cfg(windows)]
pub use self::windows::open;
use crate::card_lock::{self, CardLock};
use crate::cards::{Missing, Search};
use crate::pcsc::Readers;

/// What can be read of a card without its PIN.
struct Contents {
    reader: String,
    /// In hexadecimal; empty if the card shows none.
    serial: String,
    keys: Vec<(Box<dyn Key>, Vec<u8>)>,
}

impl Contents {
    /// Returns the certificate to log in with, and the index of its key.
    fn chosen(&self, issuers: &[String]) -> Result<(usize, Certificate)> {
        let candidate = |(_, der): &(_, Vec<u8>)| Candidate {
            der: der.clone(),
            private_key: PrivateKey::There,
            // Windows does not say what the card's own key attributes are.
            key_can_decrypt: false,
        };
        let candidates: Vec<_> = self.keys.iter().map(candidate).collect();
        choose(&candidates, SystemTime::now(), issuers)
    }

    fn describe(&self) -> String {
        format!("\"{}\" (serial number {})", self.reader, self.serial)
    }
}

/// The cards with certificates.
enum Cards {
    Readable(Vec<Contents>),
    Absent(Missing),
}

/// Searches for the card to log in with, once.
///
/// # Errors
///
/// Those of a search through PKCS#11.
pub fn search(provider: Arc<dyn Provider>, settings: &CardSettings) -> Result<Search<CngCard>> {
    let _lock = lock(&*provider);
    // Read before Windows reads the cards: a card that is swapped meanwhile has another counter.
    let before = provider.readers();
    let cards = match cards(&*provider, settings, &before)? {
        Cards::Readable(cards) => cards,
        Cards::Absent(missing) => return Ok(Search::Absent(missing)),
    };
    let (mut usable, mut unusable) = (Vec::new(), Vec::new());
    for card in cards {
        match card.chosen(&settings.issuers) {
            Ok(chosen) => usable.push((chosen, card)),
            Err(error) => unusable.push((error, card)),
        }
    }
    let best = usable.iter().map(|((_, certificate), _)| certificate.purpose()).max();
    usable.retain(|((_, certificate), _)| Some(certificate.purpose()) == best);
    match (usable.pop(), usable.is_empty()) {
        (Some(((index, certificate), mut card)), true) => {
            let (key, _) = card.keys.swap_remove(index);
            let held = Held::new(provider, key, card.reader, certificate.der(), settings.after_login, &before);
            Ok(Search::Found(CngCard::new(held, certificate)))
        }
        (Some((_, last)), false) => {
            let mut names: Vec<_> = usable.iter().map(|(_, card)| card.describe()).collect();
            names.push(last.describe());
            let text = format!("there are several cards: {}", names.join(", "));
            Err(Error::new(ErrorKind::SeveralCards, Stage::Card, text))
        }
        (None, _) if unusable.len() == 1 => Err(unusable.remove(0).0),
        (None, _) => {
            let reasons: Vec<_> =
                unusable.iter().map(|(error, card)| format!("{}: {}", card.describe(), error.detail())).collect();
            let text = format!("none of the cards can be used to log in ({})", reasons.join("; "));
            Err(Error::new(ErrorKind::NoCertificate, Stage::Card, text))
        }
    }
}

/// Returns what is in every reader, for diagnosis. Tries no PIN.
pub fn slots(provider: &dyn Provider, issuers: &[String]) -> Vec<Slot> {
    let _lock = lock(provider);
    let readers = provider.readers();
    let slot = |reader: &str| {
        let holds = match read(provider, reader) {
            Ok(card) if card.keys.is_empty() => SlotHolds::Empty,
            Ok(card) => SlotHolds::Token(Token {
                label: reader.to_owned(),
                pin: unknown_pin(),
                certificate: card
                    .chosen(issuers)
                    .map(|(_, certificate)| certificate.der().to_owned())
                    .map_err(|error| WireError::from(&error)),
                serial: card.serial,
            }),
            Err(error) if is_lost(&error) => SlotHolds::Nothing,
            Err(error) if error::is_unknown(&error) => SlotHolds::Unknown,
            Err(error) => SlotHolds::Failed(WireError::from(&failed(Stage::Card, &error))),
        };
        Slot { description: reader.to_owned(), may_be_reader: true, holds }
    };
    readers.with_card().map(|reader| slot(&reader.state.name)).collect()
}

/// Takes the lock if there are cards, which another program could reset during the search.
fn lock(provider: &dyn Provider) -> Option<CardLock> {
    provider.readers().has_card().then(|| CardLock::with_cards(card_lock::PATIENCE))
}

/// Reads the card in a reader. Skips keys without a certificate.
fn read(provider: &dyn Provider, reader: &str) -> CallResult<Contents> {
    let (mut keys, mut serial) = (Vec::new(), String::new());
    for key in provider.keys(reader)? {
        match key.certificate() {
            Ok(der) => {
                if serial.is_empty() {
                    // Not every card has one.
                    let id = key.card().unwrap_or_default();
                    serial = id.iter().map(|byte| format!("{byte:02x}")).collect();
                }
                keys.push((key, der));
            }
            Err(error) if is_lost(&error) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(Contents { reader: reader.to_owned(), serial, keys })
}

/// Reads the cards that the settings allow.
fn cards(provider: &dyn Provider, settings: &CardSettings, before: &Readers) -> Result<Cards> {
    if settings.token_label.is_some() {
        let text = "token_label cannot choose a card of Windows' smartcard stack, which shows no labels: \
            set token_serial";
        return Err(Error::new(ErrorKind::Configuration, Stage::Card, text));
    }
    let (mut found, mut others, mut unknown, mut problem) = (Vec::new(), Vec::new(), Vec::new(), None);
    for reader in before.with_card() {
        match read(provider, &reader.state.name) {
            Ok(card) if card.keys.is_empty() => unknown.push(format!("{} has no certificate", reader.describe())),
            Ok(card) if !is_wanted(settings, &card) => others.push(card.describe()),
            Ok(card) => found.push(card),
            // It has just been taken out.
            Err(error) if is_lost(&error) => {}
            Err(error) if error::is_unknown(&error) => {
                let text = "is not known to Windows, which has no driver (minidriver) for it";
                unknown.push(format!("{} {text} ({error})", reader.describe()));
            }
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    match problem {
        _ if !found.is_empty() => Ok(Cards::Readable(found)),
        Some(error) => Err(failed(Stage::Card, &error)),
        None => Ok(Cards::Absent(missing(settings, before, &unknown, &others))),
    }
}

/// Compares the serial number, whose digits may be grouped as in `{00112233-…}`.
fn is_wanted(settings: &CardSettings, card: &Contents) -> bool {
    let digits = |text: &str| -> String {
        text.chars().filter(char::is_ascii_hexdigit).map(|digit| digit.to_ascii_lowercase()).collect()
    };
    settings.token_serial.as_ref().is_none_or(|wanted| !wanted.trim().is_empty() && digits(wanted) == card.serial)
}

fn missing(settings: &CardSettings, before: &Readers, unknown: &[String], others: &[String]) -> Missing {
    let named = settings.token_serial.as_ref().map(|serial| format!(" with serial number \"{serial}\""));
    let no_card = format!("no card{} is in a reader", named.unwrap_or_default());
    let (kind, text, absence) = match before.problem() {
        Some((text, absence)) => (ErrorKind::ReaderNotAvailable, text, absence),
        None if !unknown.is_empty() => {
            let text = unknown.join("; ");
            (ErrorKind::CardNotSupported, text.clone(), Absence::NotRecognised(text))
        }
        None if !others.is_empty() => {
            let text = format!("{no_card}; there is {}", others.join(", "));
            (ErrorKind::NoCard, text.clone(), Absence::NotRecognised(text))
        }
        None => (ErrorKind::NoCard, no_card, Absence::NoCard),
    };
    // A card that is not known now may be in use, or Windows may be fetching its driver.
    let watched = unknown.is_empty();
    Missing { absence, error: Error::new(kind, Stage::Card, text), readers: before.snapshot(), watched }
}
