//! Which cards are in which readers, as PC/SC sees it, and what has changed.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::cancel::CancelToken;
use crate::error::Result;
use crate::printable;

/// What PC/SC shows of all readers at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Snapshot {
    /// The service does not answer: nobody knows where the cards are.
    Down,
    /// Every reader there is.
    Readers(Vec<ReaderState>),
}

/// One reader, as PC/SC shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderState {
    /// The reader's name.
    #[serde(deserialize_with = "printable::read_name")]
    pub name: String,
    /// Whether a card is in it.
    pub card: bool,
    /// How many cards have come and gone (the high word of `dwEventState`). Begins anew when the
    /// service does.
    pub counter: u16,
}

/// Where and when a card was found: it is still there as long as its reader has not counted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The name of the reader.
    #[serde(deserialize_with = "printable::read_name")]
    pub reader: String,
    /// [`ReaderState::counter`], read before the card was.
    pub counter: u16,
}

impl Presence {
    /// Whether the card has stayed where it was. Not to be asked of [`Snapshot::Down`], which knows
    /// nothing, nor across a restart of the service, which counts anew.
    pub fn holds(&self, readers: &[ReaderState]) -> bool {
        readers.iter().any(|reader| reader.card && reader.name == self.reader && reader.counter == self.counter)
    }
}

/// Watches the readers, for one user of it at a time.
pub trait CardWatch: Send {
    /// The next snapshot: the first call tells how it stands, each later one blocks until something
    /// has changed. `None` once `until` has passed, for which the time that the computer was suspended
    /// should count.
    ///
    /// # Errors
    ///
    /// [`Cancelled`](crate::ErrorKind::Cancelled) soon after `cancel` is cancelled, with nothing
    /// lost for the next call; every other kind means that nothing can be watched any more.
    fn next(&mut self, until: Option<Instant>, cancel: &CancelToken) -> Result<Option<Snapshot>>;
}

/// Something that has happened to the readers or to a card in one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CardEvent {
    /// A card was put in.
    Inserted {
        /// The name of the reader.
        reader: String,
    },
    /// A card was taken out, or went with its reader.
    Removed {
        /// The name of the reader.
        reader: String,
    },
    /// A reader was plugged in.
    ReaderAdded {
        /// Its name.
        reader: String,
    },
    /// A reader was unplugged.
    ReaderRemoved {
        /// Its name.
        reader: String,
    },
    /// The PC/SC service has gone: nobody knows where the cards are.
    ServiceStopped,
    /// The PC/SC service is there. Every reader is told as added after it, and every card as inserted.
    ServiceStarted,
}

/// What has happened between two snapshots that came one after the other, in an order in which it
/// can have happened.
///
/// Where the reader has counted on and a card is still there, or still is not, one has come and gone
/// meanwhile, or gone and come: both is told.
pub fn changes(before: &Snapshot, now: &Snapshot) -> Vec<CardEvent> {
    let mut events = Vec::new();
    let (before, now) = match (before, now) {
        (Snapshot::Down, Snapshot::Down) => return events,
        (Snapshot::Readers(_), Snapshot::Down) => return vec![CardEvent::ServiceStopped],
        (Snapshot::Down, Snapshot::Readers(now)) => {
            events.push(CardEvent::ServiceStarted);
            (&[][..], now)
        }
        (Snapshot::Readers(before), Snapshot::Readers(now)) => (&before[..], now),
    };
    for gone in before.iter().filter(|gone| named(now, &gone.name).is_none()) {
        if gone.card {
            events.push(CardEvent::Removed { reader: gone.name.clone() });
        }
        events.push(CardEvent::ReaderRemoved { reader: gone.name.clone() });
    }
    for ReaderState { name, card, counter } in now {
        let (had_card, still) = match named(before, name) {
            Some(reader) => (reader.card, reader.counter == *counter),
            None => {
                events.push(CardEvent::ReaderAdded { reader: name.clone() });
                (false, true)
            }
        };
        let inserted = || CardEvent::Inserted { reader: name.clone() };
        let removed = || CardEvent::Removed { reader: name.clone() };
        match (had_card, *card) {
            (true, false) => events.push(removed()),
            (false, true) => events.push(inserted()),
            _ if still => {}
            (true, true) => events.extend([removed(), inserted()]),
            (false, false) => events.extend([inserted(), removed()]),
        }
    }
    events
}

fn named<'a>(readers: &'a [ReaderState], name: &str) -> Option<&'a ReaderState> {
    readers.iter().find(|reader| reader.name == name)
}

#[cfg(test)]
mod tests;
