//! What PKCS#11 cannot do: see readers and cards as PC/SC does, and reset a card.

use std::ffi::{CStr, CString};
use std::thread;
use std::time::Duration;

use pcsc::{Context, Disposition, Error, Protocols, Scope, ShareMode, State};
use ticketapi::card::Absence;
use ticketapi::card::events::{Presence, ReaderState, Snapshot};
use ticketapi::card::examination::{Holds, Reader as Examined};
use ticketapi::card::protocol::Reset;
use ticketapi::{ErrorKind, Stage};

use crate::card_lock::CardLock;

/// The length of a slot's description in PKCS#11; modules cut the reader's name to it.
const DESCRIPTION: usize = 64;

/// PC/SC looks about every 0.4 s whether a card is still there.
const NOTICED: Duration = Duration::from_millis(500);

/// How long to wait for a search that a reset could disturb.
const SEARCHED: Duration = Duration::from_secs(1);

/// What PC/SC shows of all readers at one moment.
pub struct Readers(Result<Vec<Reader>, Error>);

/// A reader, and what its card answered when it was powered up.
pub struct Reader {
    pub state: ReaderState,
    atr: Vec<u8>,
}

impl Readers {
    pub fn now() -> Self {
        Self(readers())
    }

    /// When PC/SC will have noticed a card that has just left.
    pub fn once_noticed() -> Self {
        thread::sleep(NOTICED);
        Self::now()
    }

    pub fn snapshot(&self) -> Snapshot {
        match &self.0 {
            Ok(readers) => Snapshot::Readers(readers.iter().map(|reader| reader.state.clone()).collect()),
            Err(_) => Snapshot::Down,
        }
    }

    /// Why no card can be seen at all, if so.
    pub fn problem(&self) -> Option<(String, Absence)> {
        match &self.0 {
            Ok(readers) if readers.is_empty() => Some(("there is no card reader".to_owned(), Absence::NoReader)),
            Ok(_) => None,
            Err(error) => Some((no_answer(*error), Absence::NoService)),
        }
    }

    /// The readers that have a card.
    pub fn with_card(&self) -> impl Iterator<Item = &Reader> {
        self.0.iter().flatten().filter(|reader| reader.state.card)
    }

    pub fn has_card(&self) -> bool {
        self.with_card().next().is_some()
    }

    /// Whether a card that is there now has gone in `later`.
    pub fn lost_a_card(&self, later: &Self) -> bool {
        self.with_card().any(|reader| !reader.is_still_in(later))
    }

    /// Whether a slot with this description is one of the readers.
    pub fn describes(&self, description: &str) -> bool {
        self.0.iter().flatten().any(|reader| is_described_by(&reader.state.name, description))
    }

    /// The reader with the card in the slot with this description. Where no reader is called that, it is the one whose
    /// name is a part of it, or the only one with a card.
    pub fn of_slot(&self, description: &str) -> Option<&str> {
        let names: Vec<_> = self.with_card().map(|reader| reader.state.name.as_str()).collect();
        if self.describes(description) {
            return names.into_iter().find(|name| is_described_by(name, description));
        }
        let parts: Vec<_> = names.iter().copied().filter(|name| description.contains(name.trim_end())).collect();
        match (&parts[..], &names[..]) {
            ([name], _) | ([], [name]) => Some(name),
            _ => None,
        }
    }

    /// Where the card is that is in the slot with this description.
    pub fn presence(&self, description: &str) -> Option<Presence> {
        let reader = self.with_card().find(|reader| is_described_by(&reader.state.name, description))?;
        Some(Presence { reader: reader.state.name.clone(), counter: reader.state.counter })
    }
}

impl Reader {
    /// Whether its card is the same one in `later`.
    pub fn is_still_in(&self, later: &Readers) -> bool {
        later.with_card().any(|reader| reader.state == self.state)
    }

    /// Reader and card in words. A card that is the wrong way round has no ATR.
    pub fn describe(&self) -> String {
        let name = &self.state.name;
        if self.atr.is_empty() {
            return format!("the card in {name}, which does not answer,");
        }
        let bytes: Vec<_> = self.atr.iter().map(|byte| format!("{byte:02X}")).collect();
        format!("the card in {name} (ATR {})", bytes.join(" "))
    }
}

fn no_answer(error: Error) -> String {
    format!("the PC/SC service does not answer ({error})")
}

fn states() -> Result<Vec<pcsc::ReaderState>, Error> {
    let context = Context::establish(Scope::User)?;
    let names = context.list_readers_owned()?;
    let mut states: Vec<_> = names.into_iter().map(|name| pcsc::ReaderState::new(name, State::UNAWARE)).collect();
    if !states.is_empty() {
        // A state requested without an expectation returns at once.
        context.get_status_change(Duration::ZERO, &mut states)?;
    }
    Ok(states)
}

fn readers() -> Result<Vec<Reader>, Error> {
    let reader = |state| Reader { state: reader_state(state), atr: state.atr().to_vec() };
    Ok(states()?.iter().map(reader).collect())
}

/// Every reader, and what is in it. No card is connected to.
///
/// # Errors
///
/// [`ErrorKind::ReaderNotAvailable`] when the service does not answer.
pub fn examine() -> ticketapi::Result<Vec<Examined>> {
    let down = |error| ticketapi::Error::new(ErrorKind::ReaderNotAvailable, Stage::Card, no_answer(error));
    Ok(states().map_err(down)?.iter().map(|state| Examined { name: text(state.name()), holds: holds(state) }).collect())
}

fn holds(reader: &pcsc::ReaderState) -> Holds {
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

/// A reader as PC/SC last told of it.
pub fn reader_state(state: &pcsc::ReaderState) -> ReaderState {
    ReaderState {
        name: text(state.name()),
        card: state.event_state().contains(State::PRESENT),
        // It is the high word of 32 bits.
        counter: state.event_count() as u16,
    }
}

fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

/// Resets the card in the reader that a slot with this description stands for.
///
/// Blocks while another program is in a transaction with the card; and for a moment after a login that
/// failed (`wary`), which the card may have left: reset before pcscd 1.9 has noticed that, the reader
/// would count as empty until the card is taken out once more.
pub fn reset(description: &str, wary: bool) -> Reset {
    let _lock = CardLock::with_cards(SEARCHED);
    match try_reset(description, wary) {
        Ok(reset) => reset,
        Err(Error::NoSmartcard | Error::RemovedCard) => Reset::NoReader,
        Err(error) => Reset::Failed(error.to_string()),
    }
}

fn try_reset(description: &str, wary: bool) -> Result<Reset, Error> {
    let context = Context::establish(Scope::User)?;
    let readers = context.list_readers_owned()?;
    let described = |reader: &&CString| is_described_by(&text(reader), description);
    let Some(reader) = readers.iter().find(described) else {
        return Ok(Reset::NoReader);
    };
    let mut card = context.connect(reader, ShareMode::Shared, Protocols::ANY)?;
    // Without the transaction the reset would be refused while another program is in one.
    let transaction = card.transaction()?;
    if wary {
        thread::sleep(NOTICED);
    }
    transaction.end(Disposition::ResetCard).map_err(|(_, error)| error)?;
    card.disconnect(Disposition::LeaveCard).map_err(|(_, error)| error)?;
    Ok(Reset::Done)
}

/// A slot's description is the reader's name, cut to its field and padded with blanks.
pub fn is_described_by(reader: &str, description: &str) -> bool {
    let cut = |name: &str| {
        let name = String::from_utf8_lossy(&name.as_bytes()[..name.len().min(DESCRIPTION)]);
        name.trim_end_matches(' ').to_owned()
    };
    !description.is_empty() && cut(reader) == cut(description)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_known_by_its_name() {
        assert!(is_described_by("Virtual PCD 00 00", "Virtual PCD 00 00"));
        assert!(!is_described_by("Virtual PCD 00 01", "Virtual PCD 00 00"));
        assert!(!is_described_by("Virtual PCD 00 00", "SoftHSM slot ID 0x1"));
        assert!(!is_described_by("", ""));
    }

    fn readers(names: &[(&str, bool)]) -> Readers {
        let reader = |(name, card): &(&str, bool)| Reader {
            state: ReaderState { name: (*name).to_owned(), card: *card, counter: 1 },
            atr: Vec::new(),
        };
        Readers(Ok(names.iter().map(reader).collect()))
    }

    #[test]
    fn a_slot_by_another_name_is_the_reader_that_it_can_only_be() {
        let one = readers(&[("Reader 00", false), ("Reader 01", true)]);
        let two = readers(&[("Reader 00", true), ("Reader 01", true)]);
        assert_eq!(one.of_slot("Slot 1"), Some("Reader 01"));
        assert_eq!(one.of_slot("Reader 00"), None, "its card has gone");
        assert_eq!(two.of_slot("Slot 1"), None);
        assert_eq!(two.of_slot("Reader 01"), Some("Reader 01"));
        assert_eq!(two.of_slot("Maker's Reader 01 (CARD)"), Some("Reader 01"));
        assert_eq!(readers(&[("Reader 00", false)]).of_slot("Slot 1"), None);
    }

    #[test]
    fn a_long_name_is_known_by_what_fits_into_a_slots_description() {
        let name = format!("{} 00 00", "R".repeat(62));
        assert!(is_described_by(&name, &format!("{} 0", "R".repeat(62))));
        assert!(is_described_by("Reader  ", "Reader"));
        assert!(is_described_by(&name, &name));
    }
}
