//! What a watching helper reports, and when it ends.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use ticketapi::ErrorKind;
use ticketapi::cancel::CancelToken;
use ticketapi::card::events::Snapshot;
use ticketapi::card::protocol::{Channel, EVENTS_ARGUMENT, Hello, MAX_FRAME, Reply, VERSION};
use ticketapi_testkit::artifacts::helper_program;
use ticketapi_testkit::piv::Fault;

use crate::desk::*;

#[test]
fn insertions_and_removals_in_two_readers_are_reported() {
    let desk = Desk::new();
    let mut watch = desk.watch();
    assert_eq!((watch.state(0).card, watch.state(1).card), (false, false));
    for reader in [0, 1] {
        desk.insert(reader);
        assert_eq!(watch.next(), [inserted(reader)]);
    }
    let counter = watch.state(1).counter;
    desk.cards[1].remove();
    assert_eq!(watch.next(), [removed(1)]);
    assert_eq!((watch.state(0).card, watch.state(1).card), (true, false));
    assert_ne!(watch.state(1).counter, counter);
    // A new watch first gets the current state.
    assert_eq!(desk.watch().last, watch.last);
}

#[test]
fn a_card_of_another_kind_is_reported() {
    let desk = Desk::new();
    let mut watch = desk.watch();
    desk.cards[0].set_fault(Some(Fault::NotPiv));
    desk.insert(0);
    assert_eq!(watch.next(), [inserted(0)]);
}

#[test]
fn a_slow_watch_misses_no_swapped_card() {
    // Each swap takes PC/SC about a second, in which it reports nothing.
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let desk = Desk::new();
                let (mut watch, mut witness) = (desk.watch(), desk.watch());
                for reader in [0, 1] {
                    desk.insert(reader);
                    witness.until(&inserted(reader));
                    watch.until(&inserted(reader));
                }
                for round in 0..6 * rounds() {
                    let reader = round % 2;
                    signal(desk.watchers()[0], Signal::SIGSTOP);
                    desk.cards[reader].remove();
                    assert_eq!(witness.next(), [removed(reader)]);
                    desk.insert(reader);
                    assert_eq!(witness.next(), [inserted(reader)]);
                    signal(desk.watchers()[0], Signal::SIGCONT);
                    let (mut told, swap) = (Vec::new(), [removed(reader), inserted(reader)]);
                    while !swap.iter().all(|event| told.contains(event)) {
                        told.extend(watch.next());
                    }
                    assert_eq!(watch.last, witness.last);
                }
            });
        }
    });
}

#[test]
fn cancelling_ends_a_wait_and_loses_nothing() {
    let desk = Desk::new();
    let mut watch = desk.watch();
    for round in 0..5 {
        let cancel = CancelToken::new();
        let waiting = thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let error = watch.watch.next(None, &cancel).unwrap_err();
                (error.kind().clone(), Instant::now())
            });
            thread::sleep(Duration::from_millis(20 * round));
            let began = Instant::now();
            cancel.cancel();
            let (kind, ended) = waiting.join().unwrap();
            assert!(ended - began < Duration::from_millis(200), "{:?}", ended - began);
            kind
        });
        assert_eq!(waiting, ErrorKind::Cancelled);
        // A wait that was cancelled before does not begin; it does not end as a deadline does.
        assert_eq!(*watch.watch.next(None, &cancel).unwrap_err().kind(), ErrorKind::Cancelled);
        let soon = Some(Instant::now() + Duration::from_millis(20));
        assert_eq!(watch.watch.next(soon, &CancelToken::new()).unwrap(), None);
    }
    desk.insert(0);
    assert_eq!(watch.next(), [inserted(0)]);
    assert_eq!(desk.watchers().len(), 1);
}

#[test]
fn a_watcher_that_is_killed_is_replaced_once() {
    let desk = Desk::new();
    let mut watch = desk.watch();
    let mut witness = desk.watch();
    signal(desk.watchers()[0], Signal::SIGKILL);
    desk.insert(0);
    assert_eq!(watch.next(), [inserted(0)]);
    witness.until(&inserted(0));
    let watchers = desk.watchers();
    assert_eq!(watchers.len(), 3);

    signal(watchers[2], Signal::SIGKILL);
    for _ in 0..2 {
        let error = watch.watch.next(None, &CancelToken::new()).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::CardFailed);
        assert!(error.detail().contains("signal: 9"), "{error}");
    }
    drop(watch);
    assert!(!is_there(watchers[0]) && !is_there(watchers[2]));
    // Other watches are not affected.
    desk.cards[0].remove();
    witness.until(&removed(0));
}

#[test]
fn a_new_watcher_reports_changes_since_the_last_one_ended() {
    let desk = Desk::new();
    let (mut watch, mut witness) = (desk.watch(), desk.watch());
    desk.insert(0);
    watch.until(&inserted(0));
    witness.until(&inserted(0));
    signal(desk.watchers()[0], Signal::SIGKILL);
    desk.cards[0].remove();
    witness.until(&removed(0));
    desk.insert(0);
    witness.until(&inserted(0));
    assert_eq!(watch.next(), [removed(0), inserted(0)]);
}

#[test]
fn a_watcher_ends_with_its_watch() {
    let desk = Desk::new();
    drop(desk.watch());
    assert!(!is_there(desk.watchers()[0]));
}

#[test]
fn a_watcher_whose_program_has_exited_ends_at_once() {
    let desk = Desk::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let helper = desk.pcscd.helper_wrapper(&helper_program()).unwrap();
    let mut helper = Command::new(helper).arg(EVENTS_ARGUMENT).stdin(OwnedFd::from(theirs)).spawn().unwrap();
    let channel = Channel::new(ours, MAX_FRAME);
    channel.send(&Hello { version: VERSION }, None).unwrap();
    let Hello { version } = channel.receive(None).unwrap().message().unwrap();
    assert_eq!(version, VERSION);
    let Reply::Readers(snapshot) = channel.receive(None).unwrap().message().unwrap() else { panic!("something else") };
    assert_ne!(snapshot, Snapshot::Down);
    drop(channel);
    let began = Instant::now();
    helper.wait().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn without_events_no_watcher_wakes_up() {
    let desk = Desk::new();
    let mut watch = desk.watch();
    desk.insert(0);
    watch.until(&inserted(0));
    let watcher = desk.watchers()[0];
    let quiet = Duration::from_secs(3);
    // It reads once more a second after a change.
    watch.nothing_for(Duration::from_secs(2));
    let before = wake_ups(watcher);
    watch.nothing_for(quiet);
    assert_eq!(wake_ups(watcher), before);
    // Proves that the numbers show an event, once the watcher waits again.
    desk.cards[0].remove();
    watch.until(&removed(0));
    watch.nothing_for(Duration::from_secs(2));
    assert_ne!(wake_ups(watcher), before);
}

/// Counts how often each thread of `process` has begun to wait.
fn wake_ups(process: Pid) -> Vec<u64> {
    let tasks = fs::read_dir(proc(process).join("task")).unwrap().flatten();
    let waits = tasks.map(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    });
    waits.collect()
}
