//! What a Nuts node sends. The first byte selects one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ticketapi::fuzzing;

fuzz_target!(|data: &[u8]| {
    if let Some((kind, data)) = data.split_first() {
        fuzzing::nuts(*kind, data);
    }
});
