//! The readers, modules and cards of this computer, for diagnosis. Signs nothing and tries no PIN.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::PinStatus;
use super::helper::{Helper, interrupt};
use super::protocol::{EXAMINE_ARGUMENT, Request, WireError};
use crate::cancel::CancelToken;
use crate::error::{Error, Result, Stage};
use crate::printable;

/// What the helper found.
#[derive(Debug, Serialize, Deserialize)]
pub enum Examination {
    /// The readers, as the PC/SC service shows them.
    Readers(Vec<Reader>),
    /// The slots of a module that loaded.
    Slots(Vec<Slot>),
    /// The service does not answer, or the module cannot be loaded or used.
    Failed(WireError),
}

/// A reader, as the PC/SC service shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// Its name.
    #[serde(deserialize_with = "printable::read_name")]
    pub name: String,
    /// What is in it.
    pub holds: Holds,
}

/// The contents of a reader (`dwEventState`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holds {
    /// Nothing.
    Nothing,
    /// A card with this answer to reset (ATR).
    Card(Vec<u8>),
    /// A card that does not answer.
    Mute,
    /// A card that another program uses exclusively.
    Taken(Vec<u8>),
    /// The reader does not work.
    Broken,
}

/// A slot of a module.
#[derive(Debug, Serialize, Deserialize)]
pub struct Slot {
    /// Its description; the reader's name if the slot is a reader.
    #[serde(deserialize_with = "printable::read_name")]
    pub description: String,
    /// Whether the slot may be a reader. If not, its token is in software.
    pub may_be_reader: bool,
    /// What is in it.
    pub holds: SlotHolds,
}

/// The contents of a slot.
#[derive(Debug, Serialize, Deserialize)]
pub enum SlotHolds {
    /// Nothing.
    Nothing,
    /// A card that the module does not know.
    Unknown,
    /// A token that is not initialized.
    Empty,
    /// A token.
    Token(Token),
    /// The module fails on this slot.
    Failed(WireError),
}

/// A token's public information.
#[derive(Debug, Serialize, Deserialize)]
pub struct Token {
    /// Its label.
    #[serde(deserialize_with = "printable::read_name")]
    pub label: String,
    /// Its serial number.
    #[serde(deserialize_with = "printable::read_name")]
    pub serial: String,
    /// Its PIN status.
    pub pin: PinStatus,
    /// The certificate a login would use, as DER, or why there is none.
    pub certificate: std::result::Result<Vec<u8>, WireError>,
}

/// Lets the helper `program` examine the PC/SC service and its readers, or one `module`. `issuers` limits
/// the certificates, unless it is empty.
///
/// Blocks until `deadline` at most. Each call starts a process, so a module that hangs or crashes is
/// identified.
///
/// # Errors
///
/// [`NotInstalled`](crate::ErrorKind::NotInstalled) if the helper cannot be used,
/// [`CardFailed`](crate::ErrorKind::CardFailed) if it does not answer, and its own errors.
pub fn examine(
    program: &Path,
    module: Option<&Path>,
    issuers: &[String],
    deadline: Duration,
    cancel: &CancelToken,
) -> Result<Examination> {
    let until = Some(Instant::now() + deadline);
    let mut helper = Helper::start(program, Some(EXAMINE_ARGUMENT))?;
    let _guard = cancel.on_cancel(interrupt(&helper.channel));
    helper.greet(program, until, cancel)?;
    let request = Request::Examine { module: module.map(Path::to_owned), issuers: issuers.to_vec(), deadline };
    let answer = helper.channel.send(&request, until).and_then(|()| helper.channel.receive(until)?.message());
    match answer {
        Ok(Examination::Failed(failure)) => Err(Error::from(failure)),
        Ok(examination) => Ok(examination),
        Err(error) => Err(helper.lost(Some(error), Stage::Card, cancel)),
    }
}
