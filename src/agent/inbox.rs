//! Bytes as they come in, taken apart into messages. Wiped as soon as they are read.

use zeroize::{Zeroize, Zeroizing};

use super::protocol::{Malformed, PREFIX, length};
use crate::secret::SecretBytes;

/// Most messages are shorter.
const USUAL: usize = 512;

/// What has come in on one connection and was not yet read.
pub struct Inbox {
    bytes: SecretBytes,
    filled: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { bytes: Zeroizing::new(vec![0; USUAL]), filled: 0 }
    }
}

impl Inbox {
    /// Where the next bytes go; never empty, unless a whole message is there. Grows with the
    /// message that is coming in, never beyond the longest one.
    ///
    /// # Errors
    ///
    /// [`Malformed::Length`].
    pub fn room(&mut self) -> Result<&mut [u8], Malformed> {
        let needed = self.announced()?.map_or(PREFIX, |length| PREFIX + length).max(USUAL);
        if needed != self.bytes.len() && self.filled <= needed {
            let mut bytes = Zeroizing::new(vec![0; needed]);
            bytes[..self.filled].copy_from_slice(&self.bytes[..self.filled]);
            self.bytes = bytes;
        }
        Ok(&mut self.bytes[self.filled..])
    }

    /// Tells that `count` bytes were put into [`Inbox::room`].
    pub fn add(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.bytes.len());
    }

    /// The next message, without its length, if it is there as a whole.
    ///
    /// # Errors
    ///
    /// [`Malformed::Length`].
    pub fn message(&self) -> Result<Option<&[u8]>, Malformed> {
        let length = self.announced()?;
        Ok(length.filter(|length| self.filled >= PREFIX + length).map(|length| &self.bytes[PREFIX..PREFIX + length]))
    }

    /// Wipes that message.
    pub fn done(&mut self) {
        let Ok(Some(message)) = self.message() else { return };
        let over = PREFIX + message.len();
        self.bytes.copy_within(over..self.filled, 0);
        self.bytes[self.filled - over..self.filled].zeroize();
        self.filled -= over;
    }

    /// Whether part of a message is there.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    fn announced(&self) -> Result<Option<usize>, Malformed> {
        self.bytes[..self.filled].first_chunk::<PREFIX>().map(|prefix| length(*prefix)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{MAX_MESSAGE, Request};
    use super::*;

    fn put(inbox: &mut Inbox, mut bytes: &[u8]) -> Vec<Request> {
        let mut read = Vec::new();
        while !bytes.is_empty() {
            let room = inbox.room().unwrap();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            inbox.add(count);
            bytes = &bytes[count..];
            while let Some(message) = inbox.message().unwrap() {
                read.push(Request::decode(message).unwrap());
                inbox.done();
            }
        }
        read
    }

    #[test]
    fn messages_are_read_however_they_are_cut() {
        let requests = [Request::Status, Request::Session { known: 7 }, Request::Ticket];
        let bytes: Vec<u8> = requests.iter().flat_map(|request| request.encode().to_vec()).collect();
        for cut in 0..=bytes.len() {
            let mut inbox = Inbox::default();
            let mut read = put(&mut inbox, &bytes[..cut]);
            read.extend(put(&mut inbox, &bytes[cut..]));
            assert_eq!(read, requests);
            assert!(inbox.is_empty());
        }
    }

    #[test]
    fn what_was_read_is_wiped_and_a_long_message_leaves_no_long_buffer() {
        let mut inbox = Inbox::default();
        let mut long = Request::Status.encode().to_vec();
        long.resize(PREFIX + MAX_MESSAGE, b'x');
        long[..PREFIX].copy_from_slice(&(MAX_MESSAGE as u32).to_le_bytes());
        assert_eq!(put(&mut inbox, &long), [Request::Status]);
        assert!(inbox.bytes.iter().all(|&byte| byte == 0));
        assert_eq!(inbox.room().unwrap().len(), USUAL);
    }

    #[test]
    fn a_length_beyond_the_longest_message_is_told_from_its_four_bytes() {
        for length in [0, 1, MAX_MESSAGE as u32 + 1, 64 << 20, u32::MAX] {
            let mut inbox = Inbox::default();
            inbox.room().unwrap()[..PREFIX].copy_from_slice(&length.to_le_bytes());
            inbox.add(PREFIX);
            assert_eq!(inbox.message(), Err(Malformed::Length(length as usize)));
            assert!(inbox.room().is_err());
        }
    }
}
