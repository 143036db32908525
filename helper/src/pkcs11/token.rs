//! Finding the token to log in with, and the certificate on it.

use std::collections::BTreeSet;
use std::time::SystemTime;

use cryptoki::context::Pkcs11;
use cryptoki::error::RvError;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use ticketapi::card::certificate::{Candidate, choose};
use ticketapi::card::events::Snapshot;
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::protocol::{Failure, Reply};
use ticketapi::card::{Absence, Certificate, PinStatus, PinTries};
use ticketapi::{Error, ErrorKind, Result, Stage};

use super::error::{code, failed};
use super::module::Module;
use crate::pcsc::{Reader, Readers, is_described_by};

type CallResult<T> = cryptoki::error::Result<T>;

/// What there is in the readers.
#[expect(clippy::large_enum_variant, reason = "there is one of it at a time")]
pub enum Look {
    /// The card to log in with.
    Found(Token),
    /// None yet.
    Absent(Lack),
}

/// Why there is no card to log in with, though one may come.
pub struct Lack {
    /// For the user.
    pub absence: Absence,
    /// Where nobody waits.
    pub error: Error,
    /// How it stood before it was looked.
    pub readers: Snapshot,
    /// [`Reply::Absent`]'s.
    pub watched: bool,
}

impl From<Lack> for Reply {
    fn from(Lack { absence, error, readers, watched }: Lack) -> Self {
        Self::Absent { absence, failure: Failure::from(&error), readers, watched }
    }
}

/// A token with a certificate to log in with, and a session on it.
pub struct Token {
    pub context: Pkcs11,
    pub slot: Slot,
    pub session: Session,
    /// The token's label (`CK_TOKEN_INFO`).
    pub label: String,
    /// The slot's description, where the slot may be a reader.
    pub reader: Option<String>,
    pub pin: PinStatus,
    pub certificate: Certificate,
    /// `CKA_ID` of the certificate and of its key.
    pub key_id: Vec<u8>,
}

/// Looks once; the first module that has a card to log in with is the one. `before` is how the
/// readers stood before.
///
/// What is wrong with one module or its card counts only when no other has a card.
pub fn look(modules: &[Module], settings: &CardSettings, before: &Readers) -> Result<Look> {
    let (mut problem, mut seen) = (None, Vec::new());
    for module in modules {
        let mut see = See::default();
        let looked = see.slots(module, settings, modules.len() == 1).map_err(|error| failed(Stage::Card, &error));
        match looked.and_then(|()| one_of(module, settings, std::mem::take(&mut see.tokens))) {
            Ok(Some(token)) => return Ok(Look::Found(token)),
            Ok(None) => problem = problem.or(see.problem.take()),
            Err(error) if *error.kind() == ErrorKind::SeveralCards => return Err(error),
            Err(error) => problem = problem.or(Some(error)),
        }
        seen.push(see);
    }
    problem.map_or_else(|| Ok(Look::Absent(lack(modules, settings, before, seen))), Err)
}

#[derive(Default)]
struct See {
    /// Tokens that the settings allow.
    tokens: Vec<(Slot, TokenInfo)>,
    /// Tokens that they do not allow.
    others: Vec<String>,
    /// Why waiting would not help.
    problem: Option<Error>,
    /// The descriptions of the slots with a token.
    known: Vec<String>,
    /// The descriptions of the slots with a card that the module does not know.
    unknown: Vec<String>,
    /// The descriptions of all slots.
    slots: Vec<String>,
}

impl See {
    fn slots(&mut self, module: &Module, settings: &CardSettings, only: bool) -> CallResult<()> {
        let mut uninitialized = None;
        // Not only those with a token: OpenSC leaves a card that it does not know out of these.
        for slot in module.context.get_all_slots()? {
            let description = module.context.get_slot_info(slot);
            let description = description.map_or_else(|_| String::new(), |info| info.slot_description().to_owned());
            self.slots.push(description.clone());
            let info = match module.context.get_token_info(slot) {
                Ok(info) => info,
                Err(error) => match code(&error) {
                    Some(RvError::TokenNotRecognized) => {
                        self.unknown.push(description);
                        continue;
                    }
                    Some(RvError::TokenNotPresent | RvError::DeviceRemoved) => continue,
                    _ => return Err(error),
                },
            };
            self.known.push(description);
            let allowed =
                |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted.trim() == is.trim());
            if !info.token_initialized() {
                uninitialized = Some(slot);
            } else if allowed(&settings.token_label, info.label())
                && allowed(&settings.token_serial, info.serial_number())
            {
                self.tokens.push((slot, info));
            } else {
                self.others.push(describe(&info));
            }
        }
        // A module for tokens in software always has an empty one, which is no card beside others.
        let alone = only && self.tokens.is_empty() && self.others.is_empty() && self.unknown.is_empty();
        if let (Some(slot), true) = (uninitialized, alone) {
            let text = format!("the token in slot {slot} is empty: it has not been initialized");
            self.problem = Some(Error::new(ErrorKind::NoCertificate, Stage::Card, text));
        }
        Ok(())
    }
}

fn lack(modules: &[Module], settings: &CardSettings, before: &Readers, seen: Vec<See>) -> Lack {
    let unknown = unknown_cards(before, &seen);
    // Any other slot may get a token without PC/SC knowing, and a module that shows no slot may show
    // one later. A card that is not known now may be in use, or not be ready.
    let only_readers = |see: &See| !see.slots.is_empty() && see.slots.iter().all(|slot| before.describes(slot));
    let watched = unknown.is_empty() && seen.iter().all(only_readers);

    let others: Vec<_> = seen.iter().flat_map(|see| see.others.iter().map(String::as_str)).collect();
    let out_of_sight = seen.iter().any(|see| see.slots.is_empty()).then(|| before.problem()).flatten();
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
    Lack { absence, error: Error::new(kind, Stage::Card, detail), readers: before.snapshot(), watched }
}

fn no_card(CardSettings { token_label, token_serial, .. }: &CardSettings) -> String {
    let named =
        |what, name: &Option<String>| name.as_ref().map_or(String::new(), |name| format!(" with {what} \"{name}\""));
    format!("no card{}{} is in a reader", named("label", token_label), named("serial number", token_serial))
}

/// The cards, in words, that are there and that no module knows.
fn unknown_cards(before: &Readers, seen: &[See]) -> Vec<String> {
    let known = |reader: &str| seen.iter().any(|see| see.known.iter().any(|slot| is_described_by(reader, slot)));
    let suspects: Vec<_> = before.with_card().filter(|reader| !known(&reader.state.name)).collect();
    // One that came or went while it was looked is no stranger.
    let after = (!suspects.is_empty()).then(Readers::once_noticed);
    let mut cards: Vec<_> = suspects
        .into_iter()
        .filter(|reader| after.as_ref().is_some_and(|after| reader.is_still_in(after)))
        .map(Reader::describe)
        .collect();
    // Where PC/SC shows no such reader.
    let slots = seen.iter().flat_map(|see| &see.unknown).filter(|slot| !before.describes(slot));
    let slots: BTreeSet<_> = slots.filter(|slot| !seen.iter().any(|see| see.known.contains(slot))).collect();
    cards.extend(slots.into_iter().map(|slot| format!("the card in {}", slot.trim())));
    cards
}

fn one_of(module: &Module, settings: &CardSettings, tokens: Vec<(Slot, TokenInfo)>) -> Result<Option<Token>> {
    let (mut usable, mut unusable) = (Vec::new(), Vec::new());
    for (slot, info) in tokens {
        match Token::open(&module.context, slot, &info, &settings.issuers) {
            Ok(token) => usable.push((token, info)),
            Err(error) => unusable.push((error, info)),
        }
    }
    match (usable.len(), unusable.len()) {
        (0, 0) => Ok(None),
        (0, 1) => Err(unusable.remove(0).0),
        (0, _) => {
            let reasons: Vec<_> =
                unusable.iter().map(|(error, info)| format!("{}: {}", describe(info), error.detail())).collect();
            let text = format!("none of the cards can be used to log in ({})", reasons.join("; "));
            Err(Error::new(ErrorKind::NoCertificate, Stage::Card, text))
        }
        (1, _) => Ok(Some(usable.remove(0).0)),
        _ => {
            let names: Vec<_> = usable.iter().map(|(_, info)| describe(info)).collect();
            let text = format!("there are several cards: {}", names.join(", "));
            Err(Error::new(ErrorKind::SeveralCards, Stage::Card, text))
        }
    }
}

fn describe(info: &TokenInfo) -> String {
    format!("\"{}\" (serial number {})", info.label().trim(), info.serial_number().trim())
}

impl Token {
    pub fn open(context: &Pkcs11, slot: Slot, info: &TokenInfo, issuers: &[String]) -> Result<Self> {
        let call_failed = |error| failed(Stage::Card, &error);
        let session = context.open_ro_session(slot).map_err(call_failed)?;
        let (mut candidates, ids) = candidates(&session, info.login_required()).map_err(call_failed)?;
        let now = SystemTime::now();
        let (index, certificate) = match choose(&candidates, now, issuers) {
            Err(error) if *error.kind() == ErrorKind::NoKey && info.login_required() => {
                // The key may be one that shows itself after the login only.
                candidates.iter_mut().for_each(|candidate| candidate.has_private_key = true);
                choose(&candidates, now, issuers)?
            }
            chosen => chosen?,
        };
        let slot_info = context.get_slot_info(slot).map_err(call_failed)?;
        let may_be_reader = slot_info.hardware_slot() || slot_info.removable_device();
        Ok(Self {
            context: context.clone(),
            slot,
            session,
            label: info.label().to_owned(),
            reader: may_be_reader.then(|| slot_info.slot_description().to_owned()),
            pin: pin_status(info),
            certificate,
            key_id: ids[index].clone(),
        })
    }
}

/// How it stands with the PIN (`CK_TOKEN_INFO`).
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
    PinStatus { tries, min_len, max_len, pin_pad: info.protected_authentication_path() }
}

/// Modules that do not know the lengths say zero or `CK_UNAVAILABLE_INFORMATION`, which is all ones.
fn pin_lengths(min: usize, max: usize) -> (usize, usize) {
    if min <= max && max > 0 && min < usize::MAX { (min, max) } else { (1, 255) }
}

/// The certificates on the token, each with its `CKA_ID`.
///
/// Private keys mostly cannot be seen before the login. Then the public keys tell which
/// certificates have one, where there are any.
fn candidates(session: &Session, login_required: bool) -> CallResult<(Vec<Candidate>, Vec<Vec<u8>>)> {
    let private_keys = keys(session, ObjectClass::PRIVATE_KEY, AttributeType::Decrypt)?;
    let public_keys =
        if login_required { keys(session, ObjectClass::PUBLIC_KEY, AttributeType::Encrypt)? } else { Vec::new() };
    let (mut candidates, mut ids) = (Vec::new(), Vec::new());
    for certificate in session.find_objects(&[Attribute::Class(ObjectClass::CERTIFICATE)])? {
        let (mut id, mut der) = (Vec::new(), Vec::new());
        for attribute in session.get_attributes(certificate, &[AttributeType::Id, AttributeType::Value])? {
            match attribute {
                Attribute::Id(value) => id = value,
                Attribute::Value(value) => der = value,
                _ => {}
            }
        }
        let key = private_keys.iter().chain(&public_keys).find(|key| key.id == id);
        let hidden = login_required && private_keys.is_empty() && public_keys.is_empty();
        candidates.push(Candidate {
            der,
            has_private_key: key.is_some() || hidden,
            key_can_decrypt: key.is_some_and(|key| key.can_decrypt),
        });
        ids.push(id);
    }
    Ok((candidates, ids))
}

struct Key {
    id: Vec<u8>,
    can_decrypt: bool,
}

fn keys(session: &Session, class: ObjectClass, can: AttributeType) -> CallResult<Vec<Key>> {
    let objects = session.find_objects(&[Attribute::Class(class)])?;
    objects.into_iter().map(|key| key_of(session, key, can)).collect()
}

fn key_of(session: &Session, key: ObjectHandle, can: AttributeType) -> CallResult<Key> {
    let mut found = Key { id: Vec::new(), can_decrypt: false };
    for attribute in session.get_attributes(key, &[AttributeType::Id, can])? {
        match attribute {
            Attribute::Id(id) => found.id = id,
            Attribute::Decrypt(can) | Attribute::Encrypt(can) => found.can_decrypt = can,
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_a_module_does_not_know_keep_no_pin_away() {
        const UNAVAILABLE: usize = usize::MAX;
        assert_eq!([(4, 8), (8, 8), (0, 8)].map(|(min, max)| pin_lengths(min, max)), [(4, 8), (8, 8), (0, 8)]);
        assert_eq!(pin_lengths(4, UNAVAILABLE), (4, UNAVAILABLE));
        let unknown = [(0, 0), (UNAVAILABLE, UNAVAILABLE), (UNAVAILABLE, 8), (8, 4)];
        assert_eq!(unknown.map(|(min, max)| pin_lengths(min, max)), [(1, 255); 4]);
    }
}
