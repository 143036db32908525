//! What PKCS#11 cannot do: see whether the PC/SC service runs, and reset a card.

use std::ffi::CString;

use pcsc::{Context, Disposition, Error, Protocols, ReaderState, Scope, ShareMode, State};
use ticketapi::card::examination::{Holds, Reader};
use ticketapi::card::protocol::Reset;
use ticketapi::{ErrorKind, Stage};

/// The length of a slot's description in PKCS#11; modules cut the reader's name to it.
const DESCRIPTION: usize = 64;

/// Why no card can be seen at all, if so: the service is down, or there is no reader.
pub fn problem() -> Option<String> {
    match Context::establish(Scope::User).and_then(|context| context.list_readers_owned()) {
        Ok(readers) if readers.is_empty() => Some("there is no card reader".to_owned()),
        Ok(_) => None,
        Err(error) => Some(no_answer(error)),
    }
}

fn no_answer(error: Error) -> String {
    format!("the PC/SC service does not answer ({error})")
}

/// Every reader, and what is in it. No card is connected to.
///
/// # Errors
///
/// [`ErrorKind::ReaderNotAvailable`] when the service does not answer.
pub fn readers() -> ticketapi::Result<Vec<Reader>> {
    let down = |error| ticketapi::Error::new(ErrorKind::ReaderNotAvailable, Stage::Card, no_answer(error));
    let context = Context::establish(Scope::User).map_err(down)?;
    let names = context.list_readers_owned().map_err(down)?;
    let mut states: Vec<_> = names.into_iter().map(|name| ReaderState::new(name, State::UNAWARE)).collect();
    if !states.is_empty() {
        // A state that is asked for without an expectation is told at once.
        context.get_status_change(std::time::Duration::ZERO, &mut states).map_err(down)?;
    }
    Ok(states.iter().map(|reader| Reader { name: name(reader), holds: holds(reader) }).collect())
}

fn name(reader: &ReaderState) -> String {
    reader.name().to_string_lossy().into_owned()
}

fn holds(reader: &ReaderState) -> Holds {
    let (state, atr) = (reader.event_state(), reader.atr().to_vec());
    if state.intersects(State::UNAVAILABLE | State::UNKNOWN) {
        Holds::Broken
    } else if !state.contains(State::PRESENT) {
        Holds::Nothing
    } else if state.contains(State::MUTE) {
        Holds::Mute
    } else if state.contains(State::EXCLUSIVE) {
        Holds::Taken(atr)
    } else {
        Holds::Card(atr)
    }
}

/// Resets the card in the reader that a slot with this description stands for.
///
/// Blocks while another program is in a transaction with the card.
pub fn reset(description: &str) -> Reset {
    match try_reset(description) {
        Ok(reset) => reset,
        Err(Error::NoSmartcard | Error::RemovedCard) => Reset::NoReader,
        Err(error) => Reset::Failed(error.to_string()),
    }
}

fn try_reset(description: &str) -> Result<Reset, Error> {
    let context = Context::establish(Scope::User)?;
    let readers = context.list_readers_owned()?;
    let Some(reader) = readers.iter().find(|reader| is_described_by(reader, description)) else {
        return Ok(Reset::NoReader);
    };
    let mut card = context.connect(reader, ShareMode::Shared, Protocols::ANY)?;
    // Without the transaction the reset would be refused while another program is in one.
    card.transaction()?.end(Disposition::ResetCard).map_err(|(_, error)| error)?;
    card.disconnect(Disposition::LeaveCard).map_err(|(_, error)| error)?;
    Ok(Reset::Done)
}

/// A slot's description is the reader's name, cut to its field and padded with blanks.
fn is_described_by(reader: &CString, description: &str) -> bool {
    let name = reader.to_bytes();
    let name = String::from_utf8_lossy(&name[..name.len().min(DESCRIPTION)]);
    !description.is_empty() && name.trim_end_matches(' ') == description.trim_end_matches(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(reader: &str, description: &str) -> bool {
        is_described_by(&CString::new(reader).unwrap(), description)
    }

    #[test]
    fn a_reader_is_known_by_its_name() {
        assert!(described("Virtual PCD 00 00", "Virtual PCD 00 00"));
        assert!(!described("Virtual PCD 00 01", "Virtual PCD 00 00"));
        assert!(!described("Virtual PCD 00 00", "SoftHSM slot ID 0x1"));
        assert!(!described("", ""));
    }

    #[test]
    fn a_long_name_is_known_by_what_fits_into_a_slots_description() {
        let name = format!("{} 00 00", "R".repeat(62));
        assert!(described(&name, &format!("{} 0", "R".repeat(62))));
        assert!(described("Reader  ", "Reader"));
    }
}
