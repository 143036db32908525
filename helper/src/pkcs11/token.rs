//! Finding the token to log in with, and the certificate on it.

use std::time::SystemTime;

use cryptoki::context::Pkcs11;
use cryptoki::error::RvError;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use ticketapi::card::certificate::{Candidate, choose};
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::{Certificate, PinStatus, PinTries};
use ticketapi::{Error, ErrorKind, Result, Stage};

use super::error::{code, failed};
use super::module::Module;
use crate::pcsc;

type CallResult<T> = cryptoki::error::Result<T>;

/// What there is in the readers.
#[expect(clippy::large_enum_variant, reason = "there is one of it at a time")]
pub enum Look {
    /// The card to log in with.
    Found(Token),
    /// Not that card, but perhaps these.
    Absent { others: Vec<String> },
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

/// Looks once; the first module that has a card to log in with is the one.
///
/// What is wrong with one module or its card counts only when no other has a card.
pub fn look(modules: &[Module], settings: &CardSettings) -> Result<Look> {
    let (mut problem, mut others) = (None, Vec::new());
    for module in modules {
        let mut seen = See::default();
        let looked = see(module, settings, modules.len() == 1, &mut seen).map_err(|error| failed(Stage::Card, &error));
        match looked.and_then(|()| one_of(module, settings, seen.tokens)) {
            Ok(Some(token)) => return Ok(Look::Found(token)),
            Ok(None) => problem = problem.or(seen.problem),
            Err(error) if *error.kind() == ErrorKind::SeveralCards => return Err(error),
            Err(error) => problem = problem.or(Some(error)),
        }
        others.append(&mut seen.others);
    }
    problem.map_or(Ok(Look::Absent { others }), Err)
}

#[derive(Default)]
struct See {
    /// Tokens that the settings allow.
    tokens: Vec<(Slot, TokenInfo)>,
    /// Tokens that they do not allow.
    others: Vec<String>,
    /// Why waiting would not help.
    problem: Option<Error>,
}

fn see(module: &Module, settings: &CardSettings, only: bool, seen: &mut See) -> CallResult<()> {
    // Not only those with a token: OpenSC leaves a card that it does not know out of these.
    let slots = module.context.get_all_slots()?;
    if slots.is_empty() {
        seen.problem = pcsc::problem().map(|text| Error::new(ErrorKind::ReaderNotAvailable, Stage::Card, text));
    }
    let mut uninitialized = None;
    for slot in slots {
        let info = match module.context.get_token_info(slot) {
            Ok(info) => info,
            Err(error) => match code(&error) {
                Some(RvError::TokenNotRecognized) => {
                    let text = format!("there is a card that {} does not know", module.path.display());
                    seen.problem = Some(Error::new(ErrorKind::CardNotSupported, Stage::Card, text));
                    continue;
                }
                Some(RvError::TokenNotPresent | RvError::DeviceRemoved) => continue,
                _ => return Err(error),
            },
        };
        let allowed =
            |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted.trim() == is.trim());
        if !info.token_initialized() {
            uninitialized = Some(slot);
        } else if allowed(&settings.token_label, info.label()) && allowed(&settings.token_serial, info.serial_number())
        {
            seen.tokens.push((slot, info));
        } else {
            seen.others.push(describe(&info));
        }
    }
    // A module for tokens in software always has an empty one, which is no card beside others.
    if let (Some(slot), true, true) = (uninitialized, only, seen.others.is_empty()) {
        let text = format!("the token in slot {slot} is empty: it has not been initialized");
        seen.problem.get_or_insert(Error::new(ErrorKind::NoCertificate, Stage::Card, text));
    }
    Ok(())
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
    // Modules that do not know the lengths say zero or `CK_UNAVAILABLE_INFORMATION`.
    let (min_len, max_len) = match (info.min_pin_length(), info.max_pin_length()) {
        (min, max) if min <= max && max > 0 => (min, max),
        _ => (1, 255),
    };
    PinStatus { tries, min_len, max_len, pin_pad: info.protected_authentication_path() }
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
