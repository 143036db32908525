//! Native messages: a length of 32 bits in the computer's byte order, then JSON.

use std::io::{self, Read, Write};

/// The longest message, either way.
pub const LIMIT: usize = 64 << 10;

/// Reads a message; `None` at the end between two messages.
///
/// # Errors
///
/// [`InvalidData`](io::ErrorKind::InvalidData) for a length that no message has;
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) for a truncated message.
pub fn read(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 4];
    let first = input.read(&mut header)?;
    if first == 0 {
        return Ok(None);
    }
    input.read_exact(&mut header[first..])?;
    let length = usize::try_from(u32::from_ne_bytes(header)).unwrap_or(usize::MAX);
    if length == 0 || length > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let mut message = vec![0; length];
    input.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Writes a message.
///
/// # Errors
///
/// [`InvalidData`](io::ErrorKind::InvalidData) if it is too long; those of writing.
pub fn write(output: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= LIMIT);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"))?;
    let mut whole = Vec::with_capacity(4 + message.len());
    whole.extend(length.to_ne_bytes());
    whole.extend(message);
    output.write_all(&whole)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        for message in [vec![b'a'], vec![b'b'; LIMIT]] {
            write(&mut bytes, &message).unwrap();
        }
        let mut input = bytes.as_slice();
        assert_eq!(read(&mut input).unwrap().unwrap(), b"a");
        assert_eq!(read(&mut input).unwrap().unwrap().len(), LIMIT);
        assert_eq!(read(&mut input).unwrap(), None);
        write(&mut bytes, &[0; LIMIT + 1]).unwrap_err();
    }

    #[test]
    fn wrong_lengths_and_truncated_messages_are_refused() {
        for length in [0, LIMIT as u32 + 1, 1 << 31, u32::MAX] {
            let error = read(&mut length.to_ne_bytes().as_slice()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{length}");
        }
        let mut whole = Vec::new();
        write(&mut whole, b"{}").unwrap();
        for length in 1..whole.len() {
            assert_eq!(read(&mut &whole[..length]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
