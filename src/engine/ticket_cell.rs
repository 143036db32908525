//! The ticket of the live session, where readers find it without a lock.
//!
//! Programs ask for the ticket before every request they make, on many threads. A lock, or the
//! count of an `Arc`, would have these threads pass one cache line around. Here they only read: the
//! writer counts `sequence` up before and after it writes, and a reader that saw an odd number, or
//! two different ones, reads again.
//!
//! Readers must also check the limits, and reading the boot-time clock takes longer than all the rest.
//! So a ticket is valid for one tick of a coarse clock: the first reader in each tick takes the lock,
//! checks the limits and starts the next tick. A suspend, and any step of the wall clock, ends the
//! tick.

use std::sync::{Arc, PoisonError};

use crate::secret::Ticket;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Mutex, MutexGuard, spin_loop};

const WORD: usize = size_of::<u64>();
/// SSB tickets have 60 bytes. A longer one than fits, such as a JWT, is shared: word by word, copying it would take
/// longer than the short lock and the count.
/// A model checker could not try every order of that many reads.
const CAPACITY: usize = if cfg!(model) { 16 } else { 256 };
/// Tickets of up to this length are cheaper to copy and to wipe.
const SMALL: u64 = if cfg!(model) { 8 } else { 64 };
/// The value of `length` for a ticket that does not fit.
const SHARED: u64 = u64::MAX;
/// The number of tries before a reader takes the lock: a suspended writer must not keep readers spinning.
const TRIES: usize = if cfg!(model) { 2 } else { 64 };

/// What a reader gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup<T> {
    /// There is no ticket.
    Nothing,
    /// What the reader made of the ticket.
    Ticket(T),
    /// The ticket is just changing, or not lent for this tick: ask at the engine's lock.
    Elsewhere,
}

/// How long a reader keeps a shared ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lending {
    /// For a copy. The reader does nothing else: it holds the lock that a writer waits for.
    Brief,
    /// For as long as it likes.
    Any,
}

/// Holds one ticket. One writer at a time; any number of readers.
// Lines of its own, so that readers are not disturbed by what is written beside it.
#[repr(align(128))]
pub(super) struct TicketCell {
    /// Odd while it is written.
    sequence: AtomicU64,
    /// In bytes; 0 for none.
    length: AtomicU64,
    /// The tick in which it may be read; 0 for none.
    lease: AtomicU64,
    words: [AtomicU64; CAPACITY / WORD],
    /// The ticket that does not fit into `words`.
    shared: Mutex<Option<Arc<Ticket>>>,
}

impl Default for TicketCell {
    fn default() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            length: AtomicU64::new(0),
            lease: AtomicU64::new(0),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            shared: Mutex::new(None),
        }
    }
}

impl TicketCell {
    /// Puts `ticket` in, not lent yet, or wipes what is in. Call it under the lock that makes writers
    /// take turns.
    pub(super) fn set(&self, ticket: Option<&Ticket>) {
        let text = ticket.map_or("", Ticket::expose).as_bytes();
        let (text, length, shared) = match ticket {
            Some(ticket) if text.len() > CAPACITY => (&[][..], SHARED, Some(Arc::new(ticket.clone()))),
            _ => (text, text.len() as u64, None),
        };
        self.write(|| {
            *self.lock_shared() = shared;
            self.length.store(length, Ordering::Relaxed);
            self.lease.store(0, Ordering::Relaxed);
            let mut chunks = text.chunks(WORD);
            for word in &self.words {
                let mut bytes = [0; WORD];
                let chunk = chunks.next().unwrap_or_default();
                bytes[..chunk.len()].copy_from_slice(chunk);
                word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
            }
        });
    }

    /// Lets the ticket be read in `tick`, or only at the lock. Under the same lock as [`Self::set`].
    pub(super) fn lend(&self, tick: Option<u64>) {
        self.write(|| self.lease.store(tick.unwrap_or(0), Ordering::Relaxed));
    }

    fn write(&self, store: impl FnOnce()) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        store();
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// Gives the ticket's bytes to `reader` and wipes them after; `tick` tells which one it is. Does
    /// not block.
    pub(super) fn read<T>(
        &self,
        lending: Lending,
        tick: impl Fn() -> u64,
        reader: impl FnOnce(&[u8]) -> T,
    ) -> Lookup<T> {
        for _ in 0..TRIES {
            let sequence = self.sequence.load(Ordering::Acquire);
            let lease = self.lease.load(Ordering::Relaxed);
            let is_lent = || lease != 0 && lease == tick();
            match self.length.load(Ordering::Relaxed) {
                0 if self.is_still(sequence) => return Lookup::Nothing,
                // A lease that is just changing will be there in a moment, but so is the lock.
                _ if !is_lent() => break,
                SHARED => {
                    let shared = self.lock_shared();
                    if let Some(ticket) = shared.as_ref().filter(|_| self.is_still(sequence)) {
                        if lending == Lending::Brief {
                            return Lookup::Ticket(reader(ticket.expose().as_bytes()));
                        }
                        // Counting costs as much as the lock.
                        let ticket = Arc::clone(ticket);
                        drop(shared);
                        return Lookup::Ticket(reader(ticket.expose().as_bytes()));
                    }
                }
                length @ 1..=SMALL => {
                    let mut bytes = [0; SMALL as usize];
                    if self.copy(&mut bytes, sequence) {
                        return Lookup::Ticket(hand_over(&mut bytes, length, reader));
                    }
                }
                length => {
                    let mut bytes = [0; CAPACITY];
                    if self.copy(&mut bytes, sequence) {
                        return Lookup::Ticket(hand_over(&mut bytes, length, reader));
                    }
                }
            }
            spin_loop();
        }
        Lookup::Elsewhere
    }

    /// Copies the first words; false when what was copied may be of two tickets.
    // A call, and a loop over what is not known to be this long, would take as long as all the rest.
    #[inline(always)]
    fn copy<const SIZE: usize>(&self, bytes: &mut [u8; SIZE], sequence: u64) -> bool {
        for (chunk, word) in bytes.as_chunks_mut::<WORD>().0.iter_mut().zip(&self.words) {
            *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        self.is_still(sequence)
    }

    /// Held for as long as it takes to copy or to count.
    fn lock_shared(&self) -> MutexGuard<'_, Option<Arc<Ticket>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing was written since `sequence` was read.
    fn is_still(&self, sequence: u64) -> bool {
        fence(Ordering::Acquire);
        sequence.is_multiple_of(2) && sequence == self.sequence.load(Ordering::Relaxed)
    }
}

/// Gives the first bytes to `reader`, then wipes all.
fn hand_over<T, const SIZE: usize>(bytes: &mut [u8; SIZE], length: u64, reader: impl FnOnce(&[u8]) -> T) -> T {
    let result = reader(&bytes[..length as usize]);
    *bytes = [0; SIZE];
    // Byte by byte, as zeroize does it, would take longer than all the rest.
    std::hint::black_box(bytes);
    result
}

impl Drop for TicketCell {
    fn drop(&mut self) {
        self.set(None);
    }
}

#[cfg(test)]
#[cfg(not(model))]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    fn ticket(text: &str) -> Ticket {
        Ticket::new(text.into())
    }

    const TICK: u64 = 7;

    fn lent(cell: &TicketCell, ticket: Option<&Ticket>) {
        cell.set(ticket);
        cell.lend(Some(TICK));
    }

    fn read(cell: &TicketCell) -> Lookup<String> {
        cell.read(Lending::Brief, || TICK, |bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_ticket_is_read_in_the_tick_it_is_lent_for_and_no_other() {
        let cell = TicketCell::default();
        let elsewhere = |tick| cell.read(Lending::Brief, || tick, |_| ()) == Lookup::Elsewhere;
        cell.set(Some(&ticket("x")));
        assert!(elsewhere(0) && elsewhere(TICK), "it was lent for no tick");
        cell.lend(Some(TICK));
        assert!(!elsewhere(TICK) && elsewhere(TICK - 1) && elsewhere(TICK + 1));
        cell.lend(None);
        assert!(elsewhere(0) && elsewhere(TICK));
        lent(&cell, Some(&ticket("x")));
        cell.set(Some(&ticket("y")));
        assert!(elsewhere(TICK), "a new ticket was lent for the old one's tick");
    }

    #[test]
    fn a_reader_finds_what_was_set_last() {
        let cell = TicketCell::default();
        assert_eq!(read(&cell), Lookup::Nothing);
        for length in [1, 7, 8, 9, 60, CAPACITY, CAPACITY + 1, 1500, 4096, 100_000] {
            let text = "x".repeat(length);
            lent(&cell, Some(&ticket(&text)));
            assert_eq!(read(&cell), Lookup::Ticket(text));
        }
        cell.set(None);
        assert_eq!(read(&cell), Lookup::Nothing);
    }

    #[test]
    fn a_ticket_that_is_gone_is_wiped() {
        let cell = TicketCell::default();
        cell.set(Some(&ticket(&"x".repeat(CAPACITY))));
        cell.set(Some(&ticket(&"y".repeat(CAPACITY + 1))));
        assert!(cell.words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        cell.set(None);
        assert!(cell.lock_shared().is_none());
    }

    #[test]
    fn a_writer_that_sleeps_in_its_middle_sends_readers_elsewhere() {
        let cell = TicketCell::default();
        cell.sequence.store(1, Ordering::Relaxed);
        assert_eq!(read(&cell), Lookup::Elsewhere);
    }

    #[test]
    fn a_reader_of_a_long_ticket_may_replace_it() {
        let (cell, long) = (TicketCell::default(), "x".repeat(4096));
        lent(&cell, Some(&ticket(&long)));
        let read = cell.read(
            Lending::Any,
            || TICK,
            |bytes| {
                cell.set(None);
                bytes.to_vec()
            },
        );
        assert_eq!(read, Lookup::Ticket(long.into_bytes()));
    }

    #[test]
    fn readers_never_see_parts_of_two_tickets() {
        let (cell, over) = (TicketCell::default(), AtomicBool::new(false));
        let tickets: Vec<_> =
            [24, 60, CAPACITY, 4096].iter().zip(["a", "b", "c", "d"]).map(|(&n, c)| ticket(&c.repeat(n))).collect();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        if let Lookup::Ticket(text) = read(&cell) {
                            assert!(tickets.iter().any(|ticket| ticket.expose() == text), "torn: {text}");
                        }
                    }
                });
            }
            for round in 0..200_000 {
                lent(&cell, tickets.get(round % 5));
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}
