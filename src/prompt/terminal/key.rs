//! What a terminal gives: keys, and room.

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Key {
    Character(char),
    Enter,
    /// Ctrl-C, Ctrl-D or Esc.
    Cancel,
    Backspace,
    /// Ctrl-U: clears the input.
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
