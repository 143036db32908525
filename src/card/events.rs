//! Which cards are in which readers, as PC/SC sees it, and what has changed.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::cancel::CancelToken;
use crate::error::Result;

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
    /// has changed. `None` once `until` has passed.
    ///
    /// # Errors
    ///
    /// [`Cancelled`](crate::ErrorKind::Cancelled) soon after `cancel` is cancelled, with nothing
    /// lost for the next call; every other kind means that nothing can be watched any more.
    fn next(&mut self, until: Option<Instant>, cancel: &CancelToken) -> Result<Option<Snapshot>>;
}
