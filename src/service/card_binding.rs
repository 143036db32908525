//! The card of a session that a login in the browser has started.

use std::time::{Duration, Instant};

use tracing::info;

use super::Desk;
use crate::card::events::{Presence, Snapshot};
use crate::error::{ErrorKind, Result};

/// How long the reader may take to say whether a card is in it.
const CARD_LOOK: Duration = Duration::from_secs(5);

impl Desk<'_> {
    /// Binds the session to the card that is in a reader, if there is one. Returns `true` if there is.
    pub(super) fn bind_card(&self) -> Result<bool> {
        let looked = self.cards.watch().and_then(|watch| match watch {
            Some(mut watch) => watch.next(Some(Instant::now() + CARD_LOOK), self.cancel),
            None => Ok(None),
        });
        let readers = match looked {
            Ok(Some(Snapshot::Readers(readers))) => readers,
            Ok(Some(Snapshot::Down) | None) => return Ok(false),
            Err(error) if *error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => {
                info!(%error, "the session is bound to no card: the readers cannot be watched");
                return Ok(false);
            }
        };
        let Some(reader) = readers.into_iter().find(|reader| reader.card) else { return Ok(false) };
        (self.card_found)(&Presence { reader: reader.name, counter: reader.counter })?;
        info!("the session is bound to the card in the reader");
        Ok(true)
    }
}
