//! What OpenID providers send, what browsers send at the end of a login, and files with private keys. The first byte
//! selects one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ticketapi::fuzzing;

fuzz_target!(|data: &[u8]| {
    if let Some((kind, data)) = data.split_first() {
        fuzzing::openid(*kind, data);
    }
});
