//! Finds a secret in this process's own memory. The secret is passed masked, so that the search does not add a
//! copy.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::FileExt;

use zeroize::Zeroizing;

const MASK: u8 = 0xa5;

/// A secret, each byte XOR [`MASK`]. It should be long, because the allocator overwrites the first 16 bytes of a
/// freed block.
pub struct Masked(Vec<u8>);

/// A form in which memory could contain a secret.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form {
    /// The distance between characters: 2 is UTF-16 in either byte order.
    stride: usize,
    /// XORed with each byte, as HMAC does with its key.
    pad: u8,
}

pub const FORMS: [Form; 5] = [
    Form { stride: 1, pad: 0 },
    Form { stride: 2, pad: 0 },
    Form { stride: 1, pad: 0x36 },
    Form { stride: 1, pad: 0x5c },
    Form { stride: 1, pad: 0x36 ^ 0x5c },
];

impl Masked {
    pub fn from_masked(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// Encodes a secret, to pass it on from a process that may contain it.
    pub fn hex_of(secret: &str) -> String {
        secret.bytes().map(|byte| format!("{:02x}", byte ^ MASK)).collect()
    }

    pub fn from_hex(hex: &str) -> Self {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        Self((0..hex.len()).step_by(2).map(byte).collect())
    }

    pub fn unmasked(&self) -> Zeroizing<String> {
        let mut secret = Zeroizing::new(String::with_capacity(self.0.len()));
        secret.extend(self.0.iter().map(|masked| char::from(masked ^ MASK)));
        secret
    }

    /// The secret in this form.
    pub fn written_as(&self, form: Form) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 * self.0.len()));
        for masked in &self.0 {
            bytes.extend([masked ^ MASK ^ form.pad, 0].into_iter().take(form.stride));
        }
        bytes
    }

    /// The forms in which this process's writable memory contains eight consecutive characters of the secret.
    pub fn forms_in_memory(&self) -> Vec<Form> {
        let memory = fs::File::open("/proc/self/mem").unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut found = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
            // Half a buffer at a time, so that nothing is missed at the borders.
            for at in (start..end).step_by(buffer.len() / 2) {
                // Some regions cannot be read, or were unmapped meanwhile.
                let Ok(length) = memory.read_at(&mut buffer, at) else { break };
                found.extend(FORMS.into_iter().filter(|&form| self.is_in(&buffer[..length], form)));
            }
            // The search would also read the buffer itself.
            buffer.fill(0);
        }
        found
    }

    fn is_in(&self, bytes: &[u8], form: Form) -> bool {
        self.0.chunks_exact(8).any(|part| {
            let expected = |i: usize| part[i] ^ MASK ^ form.pad;
            memchr::memchr_iter(expected(0), bytes)
                .any(|at| (1..8).all(|i| bytes.get(at + i * form.stride) == Some(&expected(i))))
        })
    }
}
