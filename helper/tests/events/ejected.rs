//! A card that is removed during a login.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ticketapi::cancel::CancelToken;
use ticketapi::card::{CardReader, SmartCard};
use ticketapi::challenge::Digest;
use ticketapi::{ErrorKind, Pin, Result};
use ticketapi_testkit::piv::{Command, DEFAULT_PIN, Fault};

use crate::desk::*;

/// Performs the card's part of a login, and counts the PINs that were entered.
fn log_in(desk: &Desk) -> (Result<()>, u32) {
    let cancel = CancelToken::new();
    let mut card = match desk.reader.wait_for_card(Duration::ZERO, &mut |_| {}, &cancel) {
        Ok(card) => card,
        Err(error) => return (Err(error), 0),
    };
    (sign(&mut *card), 1)
}

fn sign(card: &mut dyn SmartCard) -> Result<()> {
    let pin = Some(Pin::new(DEFAULT_PIN.to_owned()));
    card.sign(pin, Digest::Sha1, b"a challenge", &CancelToken::new()).map(drop)
}

#[test]
fn a_login_and_its_reset_leave_the_card_where_it_was() {
    let desk = Desk::new();
    let mut watch = desk.watch();
    desk.insert(0);
    watch.until(&inserted(0));
    let cancel = CancelToken::new();
    let mut card = desk.reader.wait_for_card(Duration::ZERO, &mut |_| {}, &cancel).unwrap();
    let resets = desk.cards[0].counts().resets;
    sign(&mut *card).unwrap();
    let presence = card.presence().unwrap().clone();
    drop(card);
    assert!(desk.cards[0].counts().resets > resets);
    assert!(presence.holds(&[watch.state(0).clone()]));
    watch.nothing_for(Duration::from_millis(1500));
}

#[test]
fn a_card_that_is_removed_while_it_signs_and_reinserted_at_once_logs_in_again() {
    let desk = Desk::new();
    let card = &desk.cards[0];
    desk.insert(0);
    desk.watch().until_card(0);
    for _ in 0..4 {
        card.set_fault(Some(Fault::RemovedAt(Command::Sign)));
        thread::scope(|scope| {
            let login = scope.spawn(|| log_in(&desk).0);
            assert!(card.wait_until_out(PATIENCE));
            card.set_fault(None);
            // When its reset would have been tried, and mostly before PC/SC has noticed.
            thread::sleep(Duration::from_millis(100));
            desk.insert(0);
            assert_eq!(*login.join().unwrap().unwrap_err().kind(), ErrorKind::CardFailed);
        });
        let began = Instant::now();
        let again = desk.reader.wait_for_card(PATIENCE, &mut |_| {}, &CancelToken::new());
        sign(&mut *again.unwrap()).unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

/// 8 logins in the check, each at another command; all commands with `TICKETAPI_TEST_ROUNDS`.
#[test]
fn a_card_that_is_removed_at_any_command_fails_only_its_own_login() {
    let commands = {
        let desk = Desk::new();
        desk.insert(0);
        desk.watch().until_card(0);
        log_in(&desk).0.unwrap();
        desk.cards[0].counts().commands() as usize
    };
    let step = if rounds() > 1 { 1 } else { commands / 8 };
    let (next, slow) = (AtomicUsize::new(1), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let desk = Desk::new();
                let mut watch = desk.watch();
                loop {
                    let command = next.fetch_add(step, Ordering::Relaxed);
                    if command > commands {
                        break;
                    }
                    if !eject(&desk, &mut watch, command as u32) {
                        slow.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let slow = slow.into_inner();
    assert!(slow * 100 <= commands / step, "{slow} of {commands} logins took more than 2 s");
}

/// Returns `true` if the next login must be fast.
fn eject(desk: &Desk, watch: &mut Watch, command: u32) -> bool {
    let card = &desk.cards[0];
    desk.insert(0);
    watch.until_card(0);
    let before = card.counts().verify;
    card.set_fault(Some(Fault::RemovedAfter(command)));
    // Every other time the card is back before PC/SC has noticed.
    let back_at_once = command.is_multiple_of(2);
    let (result, pins) = thread::scope(|scope| {
        let login = scope.spawn(|| {
            let began = Instant::now();
            let login = log_in(desk);
            assert!(began.elapsed() < Duration::from_secs(10), "{command}: {:?}", began.elapsed());
            login
        });
        if back_at_once {
            assert!(card.wait_until_out(PATIENCE));
            thread::sleep(Duration::from_millis(50));
            desk.insert(0);
        }
        login.join().unwrap()
    });
    // Otherwise the card had already signed.
    if let Err(error) = result {
        let kinds = [ErrorKind::CardFailed, ErrorKind::NoCard];
        assert!(kinds.contains(error.kind()), "{command}: {error} ({:?})", error.kind());
    }
    assert!(card.counts().verify - before <= pins, "{command}: {:?}", card.counts());
    card.set_fault(None);
    if !back_at_once {
        card.remove();
        watch.until_empty(0);
        desk.insert(0);
        watch.until_card(0);
    }
    let (before, began) = (card.counts().verify, Instant::now());
    let again = desk.reader.wait_for_card(Duration::from_secs(5), &mut |_| {}, &CancelToken::new());
    let mut again = again.unwrap_or_else(|error| panic!("{command}: {error}"));
    sign(&mut *again).unwrap();
    let quick = began.elapsed() < Duration::from_secs(2);
    assert_eq!(card.counts().verify - before, 1, "{command}");
    drop(again);
    card.remove();
    watch.until_empty(0);
    quick
}
