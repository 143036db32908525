//! The cards and readers that PC/SC shows, and the changes between two snapshots.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::cancel::CancelToken;
use crate::error::Result;
use crate::printable;

/// All readers at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Snapshot {
    /// The PC/SC service does not answer.
    Down,
    /// Every reader.
    Readers(Vec<ReaderState>),
}

/// One reader, as PC/SC shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderState {
    /// The reader's name.
    #[serde(deserialize_with = "printable::read_name")]
    pub name: String,
    /// Whether a card is in the reader.
    pub card: bool,
    /// Counts insertions and removals (the high word of `dwEventState`). Restarts with the service.
    pub counter: u16,
}

/// Where a card was found. It is still there while its reader's counter has not changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The name of the reader.
    #[serde(deserialize_with = "printable::read_name")]
    pub reader: String,
    /// [`ReaderState::counter`], read before the card.
    pub counter: u16,
}

impl Presence {
    /// Returns `true` if the card has not left. Meaningless for [`Snapshot::Down`], and across a restart of
    /// the service, which restarts the counters.
    pub fn holds(&self, readers: &[ReaderState]) -> bool {
        readers.iter().any(|reader| reader.card && reader.name == self.reader && reader.counter == self.counter)
    }
}

/// A watch of the readers, for one caller at a time.
pub trait CardWatch: Send {
    /// Returns the next snapshot. The first call returns the current one; later calls block until something
    /// changes. Returns `None` when `until` has passed; suspended time should count.
    ///
    /// # Errors
    ///
    /// [`Cancelled`](crate::ErrorKind::Cancelled) soon after `cancel` is cancelled; the next call loses no
    /// change. Any other kind: the readers can no longer be watched.
    fn next(&mut self, until: Option<Instant>, cancel: &CancelToken) -> Result<Option<Snapshot>>;
}

/// A change of a reader or a card.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CardEvent {
    /// A card was inserted.
    Inserted {
        /// The name of the reader.
        reader: String,
    },
    /// A card was removed, or its reader was.
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
    /// The PC/SC service has ended: the cards' state is unknown.
    ServiceStopped,
    /// The PC/SC service is back. [`ReaderAdded`](Self::ReaderAdded) and [`Inserted`](Self::Inserted) follow for
    /// everything that it reports.
    ServiceStarted,
}

/// Returns the events between two consecutive snapshots, in a possible order.
///
/// If a reader's counter has changed while its card is still there (or still absent), the card was removed
/// and inserted (or inserted and removed): both events are returned.
#[doc(hidden)]
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
