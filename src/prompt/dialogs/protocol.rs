//! The protocol with the program that shows dialogs, over a pipe.
//!
//! Frames are those of [`crate::framing`]. Each side starts with [`Hello`]; a [`Window`] and its [`Answer`] follow.
//! The program ends when the pipe does, and its window with it.

use serde::{Deserialize, Serialize};

use super::super::table::COLUMNS;

pub use crate::card::protocol::Hello;
pub use crate::framing::{Channel, ChannelError};

/// The protocol version. A program of another version is not used.
pub const VERSION: u32 = 1;

/// The longest frame: the roles that the broker's longest answer can hold.
pub const MAX_FRAME: usize = 8 << 20;

/// A window to show.
#[derive(Serialize, Deserialize)]
pub struct Window<'a> {
    /// Its title.
    pub title: &'a str,
    /// What it says.
    pub text: &'a str,
    /// The window of the program that asks, which it is shown above.
    pub above: Option<u64>,
    /// What it asks for.
    #[serde(borrow)]
    pub question: Question<'a>,
}

/// What a window asks for.
#[derive(Serialize, Deserialize)]
pub enum Question<'a> {
    /// A PIN.
    Pin,
    /// A clear yes.
    Confirm {
        /// The text of its button.
        yes: &'a str,
    },
    /// Nothing; it can be closed.
    Message,
    /// A role.
    Role {
        /// The roles.
        rows: Vec<Row>,
        /// There are enough to search them.
        search: bool,
    },
}

/// A role in a list.
#[derive(Serialize, Deserialize)]
pub struct Row {
    /// What is shown.
    pub cells: [String; COLUMNS],
    /// What is searched.
    pub line: String,
}

/// What the user did.
#[derive(Serialize, Deserialize)]
pub enum Answer<'a> {
    /// Typed this PIN.
    Typed(&'a str),
    /// Said yes.
    Accepted,
    /// Chose the role of this index.
    Chosen(u32),
    /// Closed the window.
    Closed,
    /// Nothing: no window could be shown, for this reason.
    Failed(&'a str),
}
