//! The ticket cell under loom: every order in which a writer and readers can run, and every value that the memory
//! of a weakly ordered processor may return.

// The engine uses the rest.
#![allow(dead_code)]

#[path = "../../../src/engine/ticket_cell.rs"]
mod cell;
#[path = "../../../src/secret.rs"]
mod secret;

/// Replaces src/sync.rs.
mod sync {
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
}

use std::sync::Arc;

use cell::{Lookup, Lending, TicketCell};
use loom::thread;
use secret::Ticket;

/// One ticket that fits the small buffer, two that need the large one, and one that is shared.
const TICKETS: [&str; 4] = ["aaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccc", "dddddddddddddddddddd"];

fn ticket(text: &str) -> Ticket {
    Ticket::new(text.to_owned())
}

/// Tries all orders with at most this many interruptions of threads. Few faults need more than one or two.
fn check(interruptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(interruptions);
    model.check(body);
}

const TICK: u64 = 7;

fn lend(cell: &TicketCell, text: &str) {
    cell.set(Some(&ticket(text)));
    cell.lend(Some(TICK));
}

fn read(cell: &TicketCell) -> Lookup<String> {
    cell.read(Lending::Brief, || TICK, |bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

#[test]
fn a_reader_gets_one_whole_ticket_or_none() {
    check(2, || {
        let cell = Arc::new(TicketCell::default());
        let reader = thread::spawn({
            let cell = Arc::clone(&cell);
            move || read(&cell)
        });
        lend(&cell, TICKETS[0]);
        lend(&cell, TICKETS[1]);
        match reader.join().unwrap() {
            Lookup::Ticket(text) => assert!(TICKETS[..2].contains(&text.as_str()), "{text}"),
            Lookup::Nothing | Lookup::Elsewhere => {}
        }
        assert_eq!(read(&cell), Lookup::Ticket(TICKETS[1].to_owned()));
    });
}

#[test]
fn a_removed_ticket_is_not_read_by_threads_that_know_of_its_removal() {
    check(2, || {
        let cell = Arc::new(TicketCell::default());
        lend(&cell, TICKETS[1]);
        let gone = Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let reader = thread::spawn({
            let (cell, gone) = (Arc::clone(&cell), Arc::clone(&gone));
            move || {
                let knows = gone.load(loom::sync::atomic::Ordering::Acquire);
                (knows, read(&cell))
            }
        });
        cell.set(None);
        gone.store(true, loom::sync::atomic::Ordering::Release);
        match reader.join().unwrap() {
            (true, found) => assert_eq!(found, Lookup::Nothing),
            (false, Lookup::Ticket(text)) => assert_eq!(text, TICKETS[1]),
            (false, _) => {}
        }
    });
}

#[test]
fn a_reader_gets_a_long_ticket_whole_whatever_replaces_it() {
    let changes = [(TICKETS[3], Some(TICKETS[0])), (TICKETS[1], Some(TICKETS[3])), (TICKETS[3], None)];
    let of = |lending| changes.map(|(first, second)| (first, second, lending));
    for (first, second, lending) in [of(Lending::Brief), of(Lending::Any)].concat() {
        check(2, move || {
            let cell = Arc::new(TicketCell::default());
            lend(&cell, first);
            let reader = thread::spawn({
                let cell = Arc::clone(&cell);
                move || cell.read(lending, || TICK, |bytes| String::from_utf8(bytes.to_vec()).unwrap())
            });
            match second {
                Some(second) => lend(&cell, second),
                None => cell.set(None),
            }
            match reader.join().unwrap() {
                Lookup::Ticket(text) => assert!(text == first || Some(&*text) == second, "{text}"),
                Lookup::Nothing => assert_eq!(second, None),
                Lookup::Elsewhere => {}
            }
            assert_eq!(read(&cell), second.map_or(Lookup::Nothing, |second| Lookup::Ticket(second.to_owned())));
        });
    }
}

#[test]
fn two_readers_do_not_disturb_each_other() {
    check(1, || {
        let cell = Arc::new(TicketCell::default());
        lend(&cell, TICKETS[0]);
        let readers = [(); 2].map(|()| {
            let cell = Arc::clone(&cell);
            thread::spawn(move || read(&cell))
        });
        lend(&cell, TICKETS[2]);
        for reader in readers {
            if let Lookup::Ticket(text) = reader.join().unwrap() {
                assert!([TICKETS[0], TICKETS[2]].contains(&text.as_str()), "{text}");
            }
        }
    });
}

#[test]
fn a_ticket_is_read_only_in_the_tick_that_it_is_lent_for() {
    check(2, || {
        let cell = Arc::new(TicketCell::default());
        lend(&cell, TICKETS[0]);
        let reader = thread::spawn({
            let cell = Arc::clone(&cell);
            move || cell.read(Lending::Brief, || TICK + 1, |_| ())
        });
        // The next ticket replaces it, first lent for no tick, then for the tick that is read.
        cell.set(Some(&ticket(TICKETS[1])));
        assert_eq!(read(&cell), Lookup::Elsewhere);
        assert_ne!(reader.join().unwrap(), Lookup::Ticket(()));
        cell.lend(Some(TICK + 1));
        assert_eq!(cell.read(Lending::Brief, || TICK + 1, |_| ()), Lookup::Ticket(()));
    });
}
