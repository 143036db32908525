//! Commands, and the status words that end responses (ISO 7816-4).

use super::Command;

/// A short command.
pub(super) struct Apdu<'a> {
    class: u8,
    instruction: u8,
    pub(super) p2: u8,
    pub(super) data: &'a [u8],
    /// The maximum length of the response (Le). Without Le it is 0, and GET RESPONSE fetches the data.
    pub(super) expected: usize,
}

impl<'a> Apdu<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let [class, instruction, _, p2, rest @ ..] = bytes else { return None };
        let le = |byte: u8| if byte == 0 { 256 } else { usize::from(byte) };
        let (data, expected) = match rest {
            [] => (&[][..], 0),
            [length] => (&[][..], le(*length)),
            [length, rest @ ..] => match rest.split_at_checked(usize::from(*length))? {
                (data, []) => (data, 0),
                (data, [length]) => (data, le(*length)),
                _ => return None,
            },
        };
        Some(Self { class: *class, instruction: *instruction, p2: *p2, data, expected })
    }

    /// Returns `true` if the next command continues this command's data.
    pub(super) fn is_chained(&self) -> bool {
        self.class == 0x10
    }

    pub(super) fn command(&self) -> Command {
        match (self.class, self.instruction) {
            (0x00, 0xa4) => Command::Select,
            (0x00, 0xcb) => Command::GetData,
            (0x00, 0xc0) => Command::GetResponse,
            (0x00, 0x20) if self.data.is_empty() => Command::VerifyQuery,
            (0x00, 0x20) => Command::Verify,
            (0x00, 0x24) => Command::ChangePin,
            (0x00, 0x87) => Command::Sign,
            _ => Command::Other,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Status(u8, u8);

impl Status {
    pub(super) const OK: Self = Self(0x90, 0x00);
    pub(super) const MEMORY_FAILURE: Self = Self(0x65, 0x81);
    pub(super) const WRONG_LENGTH: Self = Self(0x67, 0x00);
    pub(super) const NOT_ALLOWED: Self = Self(0x69, 0x82);
    pub(super) const BLOCKED: Self = Self(0x69, 0x83);
    pub(super) const WRONG_DATA: Self = Self(0x6a, 0x80);
    pub(super) const NOT_FOUND: Self = Self(0x6a, 0x82);
    pub(super) const NOT_SUPPORTED: Self = Self(0x6d, 0x00);
    pub(super) const FAILED: Self = Self(0x6f, 0x00);

    pub(super) fn tries_left(tries: u8) -> Self {
        Self(0x63, 0xc0 | tries)
    }

    /// The number of bytes that are still available; 256 and more are reported as 0.
    pub(super) fn more(rest: usize) -> Self {
        Self(0x61, u8::try_from(rest).unwrap_or(0))
    }

    pub(super) fn to_vec(self) -> Vec<u8> {
        vec![self.0, self.1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_cases_of_a_command_are_parsed() {
        let read = |bytes: &'static [u8]| Apdu::read(bytes).map(|apdu| (apdu.data, apdu.expected));
        assert_eq!(read(&[0, 0x20, 0, 0x80]), Some((&[][..], 0)));
        assert_eq!(read(&[0, 0xc0, 0, 0, 0]), Some((&[][..], 256)));
        assert_eq!(read(&[0, 0x20, 0, 0x80, 2, 1, 2]), Some((&[1, 2][..], 0)));
        assert_eq!(read(&[0, 0xcb, 0x3f, 0xff, 1, 9, 8]), Some((&[9][..], 8)));
        assert_eq!(read(&[0, 0x20, 0, 0x80, 3, 1]), None);
        assert_eq!(read(&[0, 0x20, 0]), None);
    }
}
