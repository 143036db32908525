//! Describes the contents of a module's slots, whether or not a login could use them.

use std::path::Path;

use cryptoki::error::RvError;
use cryptoki::slot::{Slot as Number, TokenInfo};
use ticketapi::card::examination::{Slot, SlotHolds, Token as Found};
use ticketapi::card::protocol::WireError;
use ticketapi::{Error, ErrorKind, Result, Stage};

use super::error::{code, failed};
use super::lock_for_search;
use super::module::{self, Module};
use super::token::{Token, pin_status, text};

/// Returns every slot of the module. Reads what a login reads before it asks for the PIN.
///
/// # Errors
///
/// [`NotInstalled`](ticketapi::ErrorKind::NotInstalled) if the module cannot be loaded,
/// [`CardFailed`](ticketapi::ErrorKind::CardFailed) if it cannot list its slots.
pub fn slots(module: &Path, issuers: &[String]) -> Result<Vec<Slot>> {
    let _lock = lock_for_search();
    let modules = module::load(&[module.to_owned()], true)?;
    let mut slots = Vec::new();
    for module in &modules {
        let numbers = module.context.get_all_slots().map_err(|error| failed(Stage::Card, &error))?;
        slots.extend(numbers.into_iter().map(|number| examine(module, number, issuers)));
    }
    modules.into_iter().for_each(Module::end);
    Ok(slots)
}

fn examine(module: &Module, number: Number, issuers: &[String]) -> Slot {
    let context = &module.context;
    let (description, may_be_reader) = match context.get_slot_info(number) {
        Ok(info) => (text(info.slot_description()), info.hardware_slot() || info.removable_device()),
        // The next call reports what is wrong with it.
        Err(_) => (format!("slot {number}"), true),
    };
    let holds = match context.get_token_info(number) {
        Ok(info) => match token(module, number, &info, issuers) {
            // Not every module sets the flag for initialized tokens.
            Found { certificate: Err(_), .. } if !info.token_initialized() => SlotHolds::Empty,
            token => SlotHolds::Token(token),
        },
        Err(error) => match code(&error) {
            Some(RvError::TokenNotPresent | RvError::DeviceRemoved) => SlotHolds::Nothing,
            Some(RvError::TokenNotRecognized) => SlotHolds::Unknown,
            _ => SlotHolds::Failed(WireError::from(&failed(Stage::Card, &error))),
        },
    };
    Slot { description, may_be_reader, holds }
}

fn token(module: &Module, number: Number, info: &TokenInfo, issuers: &[String]) -> Found {
    let hidden = || {
        let text = "the card shows no certificate before the PIN is entered";
        Error::new(ErrorKind::NoCertificate, Stage::Card, text)
    };
    let certificate = Token::open(module, number, info, issuers).and_then(|token| token.certificate.ok_or_else(hidden));
    Found {
        label: text(info.label()),
        serial: text(info.serial_number()),
        pin: pin_status(info),
        certificate: certificate
            .map(|certificate| certificate.der().to_owned())
            .map_err(|error| WireError::from(&error)),
    }
}
