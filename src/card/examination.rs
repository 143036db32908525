//! What there is of readers, modules and cards, for somebody who looks for what keeps a login from
//! them. Nothing is signed, and no PIN is tried.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::PinStatus;
use super::helper::{Helper, interrupt};
use super::protocol::{EXAMINE_ARGUMENT, Failure, Request};
use crate::cancel::CancelToken;
use crate::error::{Error, Result, Stage};
use crate::printable;

/// What the helper sees.
#[derive(Debug, Serialize, Deserialize)]
pub enum Examination {
    /// The readers, as the PC/SC service shows them.
    Readers(Vec<Reader>),
    /// The slots of a module that could be loaded.
    Slots(Vec<Slot>),
    /// The service does not answer, or the module cannot be loaded or used.
    Failed(Failure),
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

/// What is in a reader (`dwEventState`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holds {
    /// Nothing.
    Nothing,
    /// A card with this answer to reset.
    Card(Vec<u8>),
    /// A card that does not answer.
    Mute,
    /// A card that another program has for itself alone.
    Taken(Vec<u8>),
    /// The reader does not work.
    Broken,
}

/// A slot of a module.
#[derive(Debug, Serialize, Deserialize)]
pub struct Slot {
    /// Its description, which is the reader's name where it stands for one.
    #[serde(deserialize_with = "printable::read_name")]
    pub description: String,
    /// It may stand for a reader; otherwise its token is in software.
    pub may_be_reader: bool,
    /// What is in it.
    pub holds: SlotHolds,
}

/// What is in a slot.
#[derive(Debug, Serialize, Deserialize)]
pub enum SlotHolds {
    /// Nothing.
    Nothing,
    /// A card that the module does not know.
    Unknown,
    /// A token that has not been initialized.
    Empty,
    /// A token.
    Token(Token),
    /// The module fails on it.
    Failed(Failure),
}

/// A token, without its secrets.
#[derive(Debug, Serialize, Deserialize)]
pub struct Token {
    /// Its label.
    #[serde(deserialize_with = "printable::read_name")]
    pub label: String,
    /// Its serial number.
    #[serde(deserialize_with = "printable::read_name")]
    pub serial: String,
    /// How it stands with the PIN.
    pub pin: PinStatus,
    /// The certificate that a login takes, as DER, or why there is none.
    pub certificate: std::result::Result<Vec<u8>, Failure>,
}

/// Has the helper `program` look at the PC/SC service and its readers, or at one `module`, whose
/// certificates are to be of one of `issuers`, where there are any.
///
/// Blocks until `deadline` at most. Each call is a process of its own: so a module that hangs or
/// crashes is known by name.
///
/// # Errors
///
/// [`NotInstalled`](crate::ErrorKind::NotInstalled) when the helper cannot be used,
/// [`CardFailed`](crate::ErrorKind::CardFailed) when it does not come back, and whatever it fails
/// with.
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
