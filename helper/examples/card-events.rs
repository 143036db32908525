//! Prints when cards come and go, for tests in other languages.
//!
//! `card-events HELPER` watches the readers with that card helper. After each change it prints how many readers
//! contain a card, and when the change was reported, in nanoseconds of the monotonic clock.

use std::error::Error;
use std::io::{Write, stdout};

use nix::time::{ClockId, clock_gettime};
use ticketapi::cancel::CancelToken;
use ticketapi::card::CardReader;
use ticketapi::card::events::Snapshot;
use ticketapi::card::helper::{DEADLINE, HelperReader, HelperSettings};
use ticketapi::card::pkcs11::CardSettings;

fn main() -> Result<(), Box<dyn Error>> {
    let program = std::env::args_os().nth(1).ok_or("usage: card-events HELPER")?.into();
    let settings = HelperSettings { program, card: CardSettings::default(), deadline: DEADLINE };
    let mut watch = HelperReader::new(settings).watch()?.ok_or("the readers cannot be watched")?;
    while let Some(snapshot) = watch.next(None, &CancelToken::new())? {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
        if let Snapshot::Readers(readers) = snapshot {
            let cards = readers.iter().filter(|reader| reader.card).count();
            println!("{cards} {}", i128::from(now.tv_sec()) * 1_000_000_000 + i128::from(now.tv_nsec()));
            stdout().flush()?;
        }
    }
    Ok(())
}
