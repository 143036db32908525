//! What PKCS#11 cannot do: list readers and cards as PC/SC sees them, and reset a card.

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

/// The length of a slot's description in PKCS#11. Modules truncate the reader's name to it.
const DESCRIPTION: usize = 64;

/// PC/SC checks about every 0.4 s whether a card is still there.
const NOTICED: Duration = Duration::from_millis(500);

/// How long to wait for a search that a reset could disturb.
const SEARCHED: Duration = Duration::from_secs(1);

/// All readers as PC/SC sees them at one moment.
pub struct Readers(Result<Vec<Reader>, Error>);

/// A reader, and its card's answer to reset.
pub struct Reader {
    pub state: ReaderState,
    atr: Vec<u8>,
}

impl Readers {
    pub fn now() -> Self {
        Self(readers())
    }

    /// Reads the readers after PC/SC has had time to notice that a card has left.
    pub fn once_noticed() -> Self {
        thread::sleep(NOTICED);
        Self::now()
    }

    /// Readers with cards, or empty ones, and their counters.
    #[cfg(test)]
    pub fn of(readers: &[(&str, bool, u16)]) -> Self {
        let reader = |(name, card, counter): &(&str, bool, u16)| Reader {
            state: ReaderState { name: (*name).to_owned(), card: *card, counter: *counter },
            atr: vec![0x3b],
        };
        Self(Ok(readers.iter().map(reader).collect()))
    }

    pub fn snapshot(&self) -> Snapshot {
        match &self.0 {
            Ok(readers) => Snapshot::Readers(readers.iter().map(|reader| reader.state.clone()).collect()),
            Err(_) => Snapshot::Down,
        }
    }

    /// Returns why no card can be seen at all, if so.
    pub fn problem(&self) -> Option<(String, Absence)> {
        match &self.0 {
            Ok(readers) if readers.is_empty() => Some(("there is no card reader".to_owned(), Absence::NoReader)),
            Ok(_) => None,
            Err(error) => Some((no_answer(*error), Absence::NoService)),
        }
    }

    /// The readers that contain a card.
    pub fn with_card(&self) -> impl Iterator<Item = &Reader> {
        self.0.iter().flatten().filter(|reader| reader.state.card)
    }

    pub fn has_card(&self) -> bool {
        self.with_card().next().is_some()
    }

    /// Returns `true` if a card that is present now is missing in `later`.
    pub fn lost_a_card(&self, later: &Self) -> bool {
        self.with_card().any(|reader| !reader.is_still_in(later))
    }

    /// Returns `true` if a slot with this description is one of the readers.
    pub fn describes(&self, description: &str) -> bool {
        self.0.iter().flatten().any(|reader| is_described_by(&reader.state.name, description))
    }

    /// Returns the reader that holds the card of the slot with this description: the reader of that name; or else
    /// the one whose name is part of the description; or else the only one with a card.
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

    /// Returns the reader and counter of the card in the slot with this description.
    pub fn presence(&self, description: &str) -> Option<Presence> {
        let reader = self.with_card().find(|reader| is_described_by(&reader.state.name, description))?;
        Some(Presence { reader: reader.state.name.clone(), counter: reader.state.counter })
    }
}

impl Reader {
    /// Returns `true` if the same card is present in `later`.
    pub fn is_still_in(&self, later: &Readers) -> bool {
        later.with_card().any(|reader| reader.state == self.state)
    }

    /// Reader and card in words. A card that was inserted the wrong way round has no ATR.
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
        // Returns at once, as the current state is given as unknown.
        context.get_status_change(Duration::ZERO, &mut states)?;
    }
    Ok(states)
}

fn readers() -> Result<Vec<Reader>, Error> {
    let reader = |state| Reader { state: reader_state(state), atr: state.atr().to_vec() };
    Ok(states()?.iter().map(reader).collect())
}

/// Lists every reader and its contents, without connecting to a card.
///
/// # Errors
///
/// [`ErrorKind::ReaderNotAvailable`] if the service does not answer.
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

/// A reader's state, as PC/SC last reported it.
pub fn reader_state(state: &pcsc::ReaderState) -> ReaderState {
    ReaderState {
        name: text(state.name()),
        card: state.event_state().contains(State::PRESENT),
        // PC/SC keeps the counter in the high word of 32 bits.
        counter: state.event_count() as u16,
    }
}

fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

/// Resets the card in the reader that this slot description names.
///
/// Blocks while another program has a transaction with the card. After a failed login (`wary`) it waits a moment
/// first, because the card may have been removed: pcscd before 1.9, if it resets a card that it has not yet
/// noticed to be gone, reports the reader as empty until the next card is removed again.
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
    // Without a transaction PC/SC would refuse the reset during another program's transaction.
    let transaction = card.transaction()?;
    if wary {
        thread::sleep(NOTICED);
    }
    transaction.end(Disposition::ResetCard).map_err(|(_, error)| error)?;
    card.disconnect(Disposition::LeaveCard).map_err(|(_, error)| error)?;
    Ok(Reset::Done)
}

/// A slot's description is the reader's name, truncated to the field's length and padded with blanks.
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
    fn a_slot_matches_the_reader_of_its_name() {
        assert!(is_described_by("Virtual PCD 00 00", "Virtual PCD 00 00"));
        assert!(!is_described_by("Virtual PCD 00 01", "Virtual PCD 00 00"));
        assert!(!is_described_by("Virtual PCD 00 00", "SoftHSM slot ID 0x1"));
        assert!(!is_described_by("", ""));
    }

    fn readers(names: &[(&str, bool)]) -> Readers {
        Readers::of(&names.iter().map(|&(name, card)| (name, card, 1)).collect::<Vec<_>>())
    }

    #[test]
    fn a_slot_with_another_name_matches_the_only_possible_reader() {
        let one = readers(&[("Reader 00", false), ("Reader 01", true)]);
        let two = readers(&[("Reader 00", true), ("Reader 01", true)]);
        assert_eq!(one.of_slot("Slot 1"), Some("Reader 01"));
        assert_eq!(one.of_slot("Reader 00"), None, "it has no card");
        assert_eq!(two.of_slot("Slot 1"), None);
        assert_eq!(two.of_slot("Reader 01"), Some("Reader 01"));
        assert_eq!(two.of_slot("Maker's Reader 01 (CARD)"), Some("Reader 01"));
        assert_eq!(readers(&[("Reader 00", false)]).of_slot("Slot 1"), None);
    }

    #[test]
    fn a_long_reader_name_is_compared_by_what_fits_into_a_slots_description() {
        let name = format!("{} 00 00", "R".repeat(62));
        assert!(is_described_by(&name, &format!("{} 0", "R".repeat(62))));
        assert!(is_described_by("Reader  ", "Reader"));
        assert!(is_described_by(&name, &name));
    }
}
