//! Chooses the token to log in with, and its certificate.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as CallError, RvError};
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use ticketapi::card::certificate::choose;
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::{Absence, Certificate, PinStatus, PinTries};
use ticketapi::{Error, ErrorKind, Result, Stage};

use super::calls::Calls;
use super::error::{CallResult, code, failed, is_lost};
use super::module::Module;
use super::objects::{self, CertificateObject, Key};
use crate::cards::{Missing, Search};
use crate::pcsc::{Reader, Readers, is_described_by};

/// A token to log in with, with a session.
pub struct Token {
    pub context: Pkcs11,
    pub calls: Option<Arc<Calls>>,
    pub slot: Slot,
    pub session: Session,
    /// The token's label (`CK_TOKEN_INFO`).
    pub label: String,
    /// The token's serial number (`CK_TOKEN_INFO`).
    pub serial: String,
    /// The slot's description, if the slot may be a reader.
    pub reader: Option<String>,
    pub pin: PinStatus,
    /// `None` if the token shows no certificate before the login.
    pub certificate: Option<Certificate>,
    /// `CKA_ID` of the certificate.
    id: Vec<u8>,
    /// Subject names of the accepted issuers; empty accepts all.
    issuers: Vec<String>,
}

/// Searches once. Returns the card of the first module that has one to log in with. `before` is the readers' state
/// before the search.
///
/// A problem with one module or its card counts only if no other module has a card.
pub fn search(modules: &[Module], settings: &CardSettings, before: &Readers) -> Result<Search<Token>> {
    let (mut problem, mut scans) = (None, Vec::new());
    for module in modules {
        let mut scan = Scan::default();
        if let Err(error) = scan.slots(module, settings) {
            scan.failed = Some(error);
        }
        let tokens = std::mem::take(&mut scan.tokens);
        let found = match one_of(module, settings, tokens) {
            Ok(None) => unmarked(module, settings, &scan),
            found => found.map(|token| token.map_or(Offer::Nothing, Offer::Token)),
        };
        match found {
            Ok(Offer::Token(token)) => return Ok(Search::Found(token)),
            Ok(Offer::Nothing) => {}
            Ok(Offer::Empty(slot)) if modules.len() == 1 && scan.others.is_empty() && scan.unknown.is_empty() => {
                let text = format!("the token in slot {slot} is empty: it has not been initialized");
                problem = problem.or(Some(Error::new(ErrorKind::NoCertificate, Stage::Card, text)));
            }
            // A module for software tokens always has an empty one, which does not count beside other cards.
            Ok(Offer::Empty(_)) => {}
            Err(error) if *error.kind() == ErrorKind::SeveralCards => return Err(error),
            Err(error) => problem = problem.or(Some(error)),
        }
        scans.push(scan);
    }
    let failed =
        scans.iter().find_map(|scan| scan.failed.as_ref().map(|error| (failed(Stage::Card, error), scan.vacant)));
    match (failed, problem) {
        // Modules report a missing service or reader with various codes.
        (Some((error, _)), None) if before.problem().is_some() => {
            Ok(Search::Absent(Missing::without_reader(error, before)))
        }
        (Some((error, true)), None) => Ok(Search::Absent(Missing::beside_fault(error, before))),
        (_, Some(error)) | (Some((error, false)), None) => Err(error),
        (None, None) => Ok(Search::Absent(missing(modules, settings, before, scans))),
    }
}

/// What one module offers.
#[expect(clippy::large_enum_variant, reason = "there is one of it at a time")]
enum Offer {
    Token(Token),
    Nothing,
    /// A token that has not been initialized.
    Empty(Slot),
}

#[derive(Default)]
struct Scan {
    /// Tokens that match the settings.
    tokens: Vec<(Slot, TokenInfo)>,
    /// Matching tokens without the flag for initialized tokens.
    unmarked: Vec<(Slot, TokenInfo)>,
    /// Tokens that do not match the settings.
    others: Vec<String>,
    /// Why a slot, or the list of slots, cannot be read.
    failed: Option<CallError>,
    /// There is a slot without a token.
    vacant: bool,
    /// The descriptions of the slots with a token.
    known: Vec<String>,
    /// The descriptions of the slots with a card that the module does not recognize.
    unknown: Vec<String>,
    /// The descriptions of all slots.
    slots: Vec<String>,
}

impl Scan {
    fn slots(&mut self, module: &Module, settings: &CardSettings) -> CallResult<()> {
        // Not only slots with a token: OpenSC does not list a card there that it does not recognize.
        for slot in module.context.get_all_slots()? {
            let description = module.context.get_slot_info(slot);
            let description = description.map_or_else(|_| String::new(), |info| text(info.slot_description()));
            self.slots.push(description.clone());
            let info = match module.context.get_token_info(slot) {
                Ok(info) => info,
                Err(error) => {
                    match code(&error) {
                        Some(RvError::TokenNotRecognized) => self.unknown.push(description),
                        Some(RvError::TokenNotPresent | RvError::DeviceRemoved) => self.vacant = true,
                        // The card may be in another slot.
                        _ => self.failed = self.failed.take().or(Some(error)),
                    }
                    continue;
                }
            };
            self.known.push(description);
            if !is_wanted(settings, &info) {
                if info.token_initialized() {
                    self.others.push(describe(&info));
                }
            } else if info.token_initialized() {
                self.tokens.push((slot, info));
            } else {
                self.unmarked.push((slot, info));
            }
        }
        Ok(())
    }
}

/// Trims a text field of PKCS#11, which is padded with blanks, or by some modules with NUL.
pub fn text(field: &str) -> String {
    field.split('\0').next().unwrap_or_default().trim().to_owned()
}

/// Returns `true` if label and serial number are those that the settings ask for.
pub fn is_wanted(settings: &CardSettings, info: &TokenInfo) -> bool {
    let allowed = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| is_same(wanted, &text(is)));
    allowed(&settings.token_label, info.label()) && allowed(&settings.token_serial, info.serial_number())
}

/// Compares a token's text with the wanted one. Some texts are in ISO 8859-1, of which only ASCII could be
/// decoded.
fn is_same(wanted: &str, is: &str) -> bool {
    let same = |(wanted, is): (char, char)| wanted == is || is == char::REPLACEMENT_CHARACTER && !wanted.is_ascii();
    let wanted = wanted.trim();
    wanted.chars().count() == is.chars().count() && wanted.chars().zip(is.chars()).all(same)
}

impl Missing {
    /// One slot fails, but a card can be put into another one.
    fn beside_fault(error: Error, before: &Readers) -> Self {
        let absence = Absence::NotRecognised(error.detail().to_owned());
        Self { absence, error, readers: before.snapshot(), watched: false }
    }
}

fn missing(modules: &[Module], settings: &CardSettings, before: &Readers, scans: Vec<Scan>) -> Missing {
    let unknown = unknown_cards(before, &scans);
    // Slots that are no readers may get a token without PC/SC noticing, and a module without slots may get some
    // later. A card that is not recognized now may be in use, or not be ready.
    let only_readers = |scan: &Scan| !scan.slots.is_empty() && scan.slots.iter().all(|slot| before.describes(slot));
    let watched = unknown.is_empty() && scans.iter().all(only_readers);

    let others: Vec<_> = scans.iter().flat_map(|scan| scan.others.iter().map(String::as_str)).collect();
    let out_of_sight = scans.iter().any(|scan| scan.slots.is_empty()).then(|| before.problem()).flatten();
    let (kind, detail, absence) = if !unknown.is_empty() {
        let modules: Vec<_> = modules.iter().map(|module| module.path.display().to_string()).collect();
        let text = format!("{} is not known to {}", unknown.join(" and "), modules.join(" or "));
        (ErrorKind::CardNotSupported, text.clone(), Absence::NotRecognised(text))
    } else if let Some((text, absence)) = out_of_sight {
        (ErrorKind::ReaderNotAvailable, text, absence)
    } else if others.is_empty() {
        (ErrorKind::NoCard, no_card(settings), Absence::NoCard)
    } else {
        let text = format!("{}; there is {}", no_card(settings), others.join(", "));
        (ErrorKind::NoCard, text.clone(), Absence::NotRecognised(text))
    };
    Missing { absence, error: Error::new(kind, Stage::Card, detail), readers: before.snapshot(), watched }
}

fn no_card(CardSettings { token_label, token_serial, .. }: &CardSettings) -> String {
    let named =
        |what, name: &Option<String>| name.as_ref().map_or(String::new(), |name| format!(" with {what} \"{name}\""));
    format!("no card{}{} is in a reader", named("label", token_label), named("serial number", token_serial))
}

/// Describes the cards that no module recognizes.
fn unknown_cards(before: &Readers, scans: &[Scan]) -> Vec<String> {
    let known = |reader: &str| scans.iter().any(|scan| scan.known.iter().any(|slot| is_described_by(reader, slot)));
    let suspects: Vec<_> = before.with_card().filter(|reader| !known(&reader.state.name)).collect();
    // A card that came or went during the search is not counted.
    let after = (!suspects.is_empty()).then(Readers::once_noticed);
    let mut cards: Vec<_> = suspects
        .into_iter()
        .filter(|reader| after.as_ref().is_some_and(|after| reader.is_still_in(after)))
        .map(Reader::describe)
        .collect();
    // Slots that are none of PC/SC's readers.
    let slots = scans.iter().flat_map(|scan| &scan.unknown).filter(|slot| !before.describes(slot));
    let slots: BTreeSet<_> = slots.filter(|slot| !scans.iter().any(|scan| scan.known.contains(slot))).collect();
    cards.extend(slots.into_iter().map(|slot| format!("the card in {}", slot.trim())));
    cards
}

/// Returns a token whose flag says that it is not initialized, but which has a certificate.
fn unmarked(module: &Module, settings: &CardSettings, scan: &Scan) -> Result<Offer> {
    for (slot, info) in &scan.unmarked {
        match Token::open(module, *slot, info, &settings.issuers) {
            Ok(token) if token.certificate.is_some() => return Ok(Offer::Token(token)),
            _ => {}
        }
    }
    Ok(scan.unmarked.first().map_or(Offer::Nothing, |(slot, _)| Offer::Empty(*slot)))
}

fn one_of(module: &Module, settings: &CardSettings, tokens: Vec<(Slot, TokenInfo)>) -> Result<Option<Token>> {
    let (mut usable, mut unusable) = (Vec::new(), Vec::new());
    for (slot, info) in tokens {
        match Token::open(module, slot, &info, &settings.issuers) {
            Ok(token) => usable.push((token, info)),
            Err(error) => unusable.push((error, info)),
        }
    }
    // A card may appear as two tokens: one to log in with and one to sign documents with.
    let purpose = |token: &Token| token.certificate.as_ref().map(Certificate::purpose);
    let best = usable.iter().map(|(token, _)| purpose(token)).max();
    usable.retain(|(token, _)| Some(purpose(token)) == best);
    if usable.len() > 1 && best == Some(None) {
        let error = || no_certificate("it shows no certificate before the PIN is entered");
        unusable.extend(usable.drain(..).map(|(_, info)| (error(), info)));
    }
    match (usable.len(), unusable.len()) {
        (0, 0) => Ok(None),
        (0, 1) => Err(unusable.remove(0).0),
        (0, _) => {
            let reasons: Vec<_> =
                unusable.iter().map(|(error, info)| format!("{}: {}", describe(info), error.detail())).collect();
            Err(no_certificate(&format!("none of the cards can be used to log in ({})", reasons.join("; "))))
        }
        (1, _) => Ok(Some(usable.remove(0).0)),
        _ => {
            let names: Vec<_> = usable.iter().map(|(_, info)| describe(info)).collect();
            let text = format!("there are several cards: {}", names.join(", "));
            Err(Error::new(ErrorKind::SeveralCards, Stage::Card, text))
        }
    }
}

pub fn no_certificate(text: &str) -> Error {
    Error::new(ErrorKind::NoCertificate, Stage::Card, text)
}

fn describe(info: &TokenInfo) -> String {
    format!("\"{}\" (serial number {})", text(info.label()), text(info.serial_number()))
}

impl Token {
    /// Opens a session and chooses the certificate to log in with.
    ///
    /// Keys, and on some cards certificates, are visible only after the login. So before it the certificate's
    /// purpose counts more than a visible key.
    pub fn open(module: &Module, slot: Slot, info: &TokenInfo, issuers: &[String]) -> Result<Self> {
        let (mut token, certificates, keys) = Self::read(module, slot, info)?;
        match chosen(&certificates, &keys, true, issuers) {
            Err(_) if certificates.is_empty() => {}
            chosen => {
                let (certificate, id) = chosen?;
                (token.certificate, token.id) = (Some(certificate), id);
            }
        }
        token.issuers = issuers.to_vec();
        Ok(token)
    }

    /// Opens a session and reads what is visible, without choosing a certificate.
    pub fn read(module: &Module, slot: Slot, info: &TokenInfo) -> Result<(Self, Vec<CertificateObject>, Vec<Key>)> {
        let call_failed = |error| failed(Stage::Card, &error);
        let context = &module.context;
        let session = context.open_ro_session(slot).map_err(call_failed)?;
        let certificates = objects::certificates(&session).map_err(call_failed)?;
        let mut keys = Vec::new();
        for read in [objects::private_keys(&session), objects::public_keys(&session)] {
            match read {
                Ok(some) => keys.extend(some),
                Err(error) if is_lost(&error) => return Err(call_failed(error)),
                // Reading them may need the login.
                Err(_) => {}
            }
        }
        let slot_info = context.get_slot_info(slot);
        let reader = slot_info.ok().filter(|info| info.hardware_slot() || info.removable_device());
        let token = Self {
            context: context.clone(),
            calls: module.calls.clone(),
            slot,
            session,
            label: text(info.label()),
            serial: text(info.serial_number()),
            reader: reader.map(|info| text(info.slot_description())),
            pin: pin_status(info),
            certificate: None,
            id: Vec::new(),
            issuers: Vec::new(),
        };
        Ok((token, certificates, keys))
    }

    /// Names the reader as PC/SC does: not every module names its slots so.
    pub fn name_reader(&mut self, readers: &Readers) {
        let reader = self.reader.as_deref().and_then(|slot| readers.of_slot(slot));
        if let Some(reader) = reader.map(str::to_owned) {
            self.reader = Some(reader);
        }
    }

    /// Returns the keys that may be the certificate's, best first, after the login. Chooses the certificate again
    /// if none was visible before, or if it has no key or is not marked for logging in.
    pub fn keys(&mut self) -> Result<Vec<Key>> {
        let call_failed = |error| failed(Stage::Signing, &error);
        let mut keys = objects::private_keys(&self.session).map_err(call_failed)?;
        let has_key = |certificate: &&Certificate| keys.iter().any(|key| key.belongs_to(certificate, &self.id));
        let confirmed = self.certificate.as_ref().filter(has_key).is_some_and(Certificate::is_for_login);
        if !confirmed {
            let certificates = objects::certificates(&self.session).map_err(call_failed)?;
            let (certificate, id) = chosen(&certificates, &keys, false, &self.issuers)
                .map_err(|error| Error::new(error.kind().clone(), Stage::Signing, error.detail()))?;
            (self.certificate, self.id) = (Some(certificate), id);
        }
        keys.retain(|key| self.certificate.as_ref().is_some_and(|certificate| key.belongs_to(certificate, &self.id)));
        // Keys of other types may have the same id.
        if keys.iter().any(|key| key.modulus.is_some()) {
            keys.retain(|key| key.modulus.is_some());
        }
        Ok(keys)
    }
}

/// Chooses the certificate to log in with. Returns it with its `CKA_ID`.
pub fn chosen(
    certificates: &[CertificateObject],
    keys: &[Key],
    hidden: bool,
    issuers: &[String],
) -> Result<(Certificate, Vec<u8>)> {
    let candidates: Vec<_> = certificates.iter().map(|object| object.candidate(keys, hidden)).collect();
    let (index, certificate) = choose(&candidates, SystemTime::now(), issuers)?;
    Ok((certificate, certificates[index].id.clone()))
}

/// Returns the PIN status, from `CK_TOKEN_INFO`.
pub fn pin_status(info: &TokenInfo) -> PinStatus {
    let tries = if info.user_pin_locked() {
        PinTries::Locked
    } else if info.user_pin_final_try() {
        PinTries::Last
    } else if info.user_pin_count_low() {
        PinTries::Low
    } else {
        PinTries::Unknown
    };
    let (min_len, max_len) = pin_lengths(info.min_pin_length(), info.max_pin_length());
    let mut status = PinStatus::new(tries, min_len, max_len);
    status.pin_pad = info.protected_authentication_path();
    status
}

/// Modules that do not know the lengths return zero or `CK_UNAVAILABLE_INFORMATION`, which is all ones. An empty
/// PIN is never tried.
fn pin_lengths(min: usize, max: usize) -> (usize, usize) {
    if min <= max && max > 0 && min < usize::MAX { (min.max(1), max) } else { (1, 255) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_padding_of_a_text_is_trimmed() {
        assert_eq!(["CARD", "CARD   ", "CARD\0\0", "CARD\0x", "CARD \0 "].map(text), ["CARD"; 5]);
        assert_eq!(text(""), "");
    }

    #[test]
    fn a_text_in_another_encoding_is_compared_by_its_ascii_characters() {
        let latin1 = String::from_utf8_lossy(b"Karte M\xfcller");
        assert!(is_same("Karte M\u{fc}ller", &latin1) && is_same(" Karte M\u{fc}ller ", "Karte M\u{fc}ller"));
        assert!(!is_same("Karte Miller", &latin1) && !is_same("Karte M\u{fc}llers", &latin1));
    }

    #[test]
    fn a_module_that_does_not_know_the_lengths_accepts_pins_of_any_length() {
        const UNAVAILABLE: usize = usize::MAX;
        assert_eq!([(4, 8), (8, 8), (0, 8)].map(|(min, max)| pin_lengths(min, max)), [(4, 8), (8, 8), (1, 8)]);
        assert_eq!(pin_lengths(4, UNAVAILABLE), (4, UNAVAILABLE));
        let unknown = [(0, 0), (UNAVAILABLE, UNAVAILABLE), (UNAVAILABLE, 8), (8, 4)];
        assert_eq!(unknown.map(|(min, max)| pin_lengths(min, max)), [(1, 255); 4]);
    }
}
