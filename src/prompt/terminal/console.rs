//! Windows' console: not used yet, so that there is no terminal.

use std::io::{self, ErrorKind};
use std::time::Instant;

use crate::cancel::CancelToken;

#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(dead_code, reason = "no key is read yet")]
pub(super) enum Key {
    Character(char),
    Enter,
    Cancel,
    Backspace,
    Clear,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Other,
}

#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

pub(super) fn is_there() -> bool {
    false
}

/// There is none.
pub(super) enum Tty {}

impl Tty {
    pub(super) fn open(_: Option<Instant>, _: &CancelToken) -> io::Result<Self> {
        Err(ErrorKind::Unsupported.into())
    }

    pub(super) fn has_cursor(&self) -> bool {
        match *self {}
    }

    pub(super) fn size(&self) -> Size {
        match *self {}
    }

    pub(super) fn key(&mut self) -> io::Result<Key> {
        match *self {}
    }

    pub(super) fn write(&mut self, _: &str) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn show(&mut self, _: &[String]) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn erase(&mut self) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn leave(&mut self) {
        match *self {}
    }
}
