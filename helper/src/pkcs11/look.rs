//! What is in the slots of a module, whether or not a login could use it.

use std::path::Path;

use cryptoki::context::Pkcs11;
use cryptoki::error::RvError;
use cryptoki::slot::{Slot as Number, TokenInfo};
use ticketapi::card::examination::{Slot, SlotHolds, Token as Found};
use ticketapi::card::protocol::Failure;
use ticketapi::{Result, Stage};

use super::error::{code, failed};
use super::module;
use super::token::{Token, pin_status};
use super::turn_to_search;

/// Every slot of the module. Reads what a login reads before it asks for the PIN.
///
/// # Errors
///
/// [`NotInstalled`](ticketapi::ErrorKind::NotInstalled) when the module cannot be loaded,
/// [`CardFailed`](ticketapi::ErrorKind::CardFailed) when it does not tell its slots.
pub fn slots(module: &Path, issuers: &[String]) -> Result<Vec<Slot>> {
    let _turn = turn_to_search();
    let modules = module::load(&[module.to_owned()], true)?;
    let mut slots = Vec::new();
    for module in &modules {
        let numbers = module.context.get_all_slots().map_err(|error| failed(Stage::Card, &error))?;
        slots.extend(numbers.into_iter().map(|number| look(&module.context, number, issuers)));
    }
    modules.into_iter().for_each(module::Module::end);
    Ok(slots)
}

fn look(context: &Pkcs11, number: Number, issuers: &[String]) -> Slot {
    let (description, may_be_reader) = match context.get_slot_info(number) {
        Ok(info) => (info.slot_description().to_owned(), info.hardware_slot() || info.removable_device()),
        // What is wrong with it shows below.
        Err(_) => (format!("slot {number}"), true),
    };
    let holds = match context.get_token_info(number) {
        Ok(info) if !info.token_initialized() => SlotHolds::Empty,
        Ok(info) => SlotHolds::Token(token(context, number, &info, issuers)),
        Err(error) => match code(&error) {
            Some(RvError::TokenNotPresent | RvError::DeviceRemoved) => SlotHolds::Nothing,
            Some(RvError::TokenNotRecognized) => SlotHolds::Unknown,
            _ => SlotHolds::Failed(Failure::from(&failed(Stage::Card, &error))),
        },
    };
    Slot { description, may_be_reader, holds }
}

fn token(context: &Pkcs11, number: Number, info: &TokenInfo, issuers: &[String]) -> Found {
    let opened = Token::open(context, number, info, issuers);
    Found {
        label: info.label().trim().to_owned(),
        serial: info.serial_number().trim().to_owned(),
        pin: pin_status(info),
        certificate: opened.map(|token| token.certificate.der().to_owned()).map_err(|error| Failure::from(&error)),
    }
}
