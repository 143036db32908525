//! Waiting for a card to log in with.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ticketapi::cancel::CancelToken;
use ticketapi::card::{Absence, CardReader, SmartCard};
use ticketapi::{ErrorKind, Result};
use ticketapi_testkit::piv::Fault;

use crate::desk::*;

/// Waits for a card while `meanwhile` runs, which receives what the user is shown.
fn wait(
    desk: &Desk,
    time: Duration,
    cancel: &CancelToken,
    meanwhile: impl FnOnce(&mpsc::Receiver<Absence>),
) -> (Result<Box<dyn SmartCard>>, Instant) {
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            let mut absent = |absence| tell.send(absence).unwrap();
            (desk.reader.wait_for_card(time, &mut absent, cancel), Instant::now())
        });
        meanwhile(&told);
        waiting.join().unwrap()
    })
}

fn told(told: &mpsc::Receiver<Absence>) -> Absence {
    told.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn a_card_that_is_inserted_while_waiting_is_found_at_once_with_its_reader() {
    let desk = Desk::new();
    let mut witness = desk.watch();
    let mut seen = None;
    let (card, found) = wait(&desk, PATIENCE, &CancelToken::new(), |absences| {
        assert_eq!(told(absences), Absence::NoCard);
        desk.insert(1);
        witness.until(&inserted(1));
        seen = Some(Instant::now());
    });
    let card = card.unwrap();
    assert!(card.presence().unwrap().holds(&[witness.state(1).clone()]));
    assert!(found.saturating_duration_since(seen.unwrap()) < Duration::from_secs(1));
    // Only the test's own watch is left.
    assert!(!is_there(desk.watchers()[1]));
}

#[test]
fn a_missing_reader_and_then_a_missing_service_are_reported() {
    let mut desk = Desk::without_readers();
    let cancel = CancelToken::new();
    let service = &mut desk.pcscd;
    let (tell, absences) = mpsc::channel();
    let error = thread::scope(|scope| {
        let waiting = scope.spawn(|| desk.reader.wait_for_card(PATIENCE, &mut |why| tell.send(why).unwrap(), &cancel));
        assert_eq!(told(&absences), Absence::NoReader);
        service.kill();
        assert_eq!(told(&absences), Absence::NoService);
        cancel.cancel();
        waiting.join().unwrap().err().unwrap()
    });
    assert_eq!(*error.kind(), ErrorKind::Cancelled);
    let error = desk.reader.wait_for_card(Duration::ZERO, &mut |_| {}, &CancelToken::new()).err().unwrap();
    assert_eq!(*error.kind(), ErrorKind::ReaderNotAvailable);
}

#[test]
fn a_card_in_the_reader_is_found_without_watching() {
    let desk = Desk::new();
    desk.insert(0);
    desk.watch().until_card(0);
    let watchers = desk.watchers().len();
    let card = desk.reader.wait_for_card(PATIENCE, &mut |_| panic!("it is there"), &CancelToken::new()).unwrap();
    assert_eq!(card.presence().unwrap().reader, READERS[0]);
    assert_eq!(desk.watchers().len(), watchers);
}

#[test]
fn without_events_there_is_no_further_search() {
    let desk = Desk::new();
    let wait = Duration::from_secs(5);
    let began = Instant::now();
    let error = desk.reader.wait_for_card(wait, &mut |_| {}, &CancelToken::new()).err().unwrap();
    assert_eq!(*error.kind(), ErrorKind::NoCard);
    assert!(began.elapsed() >= wait);
    // At the beginning, and at the end.
    assert_eq!(desk.looks(), 2);
}

#[test]
fn an_unrecognized_card_is_reported_with_its_reader_until_a_recognized_one_is_inserted() {
    let desk = Desk::new();
    desk.cards[0].set_fault(Some(Fault::NotPiv));
    desk.insert(0);
    desk.watch().until_card(0);
    let (card, _) = wait(&desk, PATIENCE, &CancelToken::new(), |absences| {
        let Absence::NotRecognised(text) = told(absences) else { panic!("there is a card") };
        assert!(text.contains("Virtual PCD 00 00 (ATR 3B 80 80 01 01)"), "{text}");
        desk.cards[0].remove();
        assert_eq!(told(absences), Absence::NoCard);
        desk.insert(1);
    });
    assert_eq!(card.unwrap().presence().unwrap().reader, READERS[1]);
}

#[test]
fn an_unrecognized_card_is_the_error_if_no_other_is_inserted() {
    let desk = Desk::new();
    desk.cards[0].set_fault(Some(Fault::NotPiv));
    desk.insert(0);
    desk.watch().until_card(0);
    for time in [Duration::ZERO, Duration::from_secs(1)] {
        let error = desk.reader.wait_for_card(time, &mut |_| {}, &CancelToken::new()).err().unwrap();
        assert_eq!(*error.kind(), ErrorKind::CardNotSupported, "{error}");
        assert!(error.detail().contains(READERS[0]) && error.detail().contains("opensc-pkcs11.so"), "{error}");
    }
}

#[test]
fn a_card_that_is_recognized_later_is_found_without_an_event() {
    let desk = Desk::new();
    desk.cards[0].set_fault(Some(Fault::NotPiv));
    desk.insert(0);
    desk.watch().until_card(0);
    let (card, _) = wait(&desk, PATIENCE, &CancelToken::new(), |absences| {
        assert_ne!(told(absences), Absence::NoCard);
        desk.cards[0].set_fault(None);
    });
    card.unwrap();
}

#[test]
fn the_wait_includes_a_service_that_is_down_which_is_reported_at_the_end() {
    let mut desk = Desk::new();
    desk.pcscd.kill();
    for time in [Duration::ZERO, Duration::from_secs(1)] {
        let error = desk.reader.wait_for_card(time, &mut |_| {}, &CancelToken::new()).err().unwrap();
        assert_eq!(*error.kind(), ErrorKind::ReaderNotAvailable, "{error}");
    }
    let reader = &desk.reader;
    let (ready, begun) = mpsc::channel();
    let card = thread::scope(|scope| {
        let mut absent = |_| ready.send(()).unwrap_or_default();
        let waiting = scope.spawn(move || reader.wait_for_card(PATIENCE, &mut absent, &CancelToken::new()));
        begun.recv_timeout(PATIENCE).unwrap();
        desk.pcscd.restart().unwrap();
        desk.cards[0].insert(desk.pcscd.port()).unwrap();
        waiting.join().unwrap()
    });
    assert_eq!(card.unwrap().presence().unwrap().reader, READERS[0]);
}

#[test]
fn cancelling_ends_the_wait_at_once() {
    let desk = Desk::new();
    let cancel = CancelToken::new();
    let mut cancelled = None;
    let (card, ended) = wait(&desk, PATIENCE, &cancel, |absences| {
        told(absences);
        while desk.watchers().is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        cancelled = Some(Instant::now());
        cancel.cancel();
    });
    assert_eq!(*card.err().unwrap().kind(), ErrorKind::Cancelled);
    let took = ended - cancelled.unwrap();
    assert!(took < Duration::from_millis(200), "{took:?}");
    assert!(desk.watchers().iter().all(|watcher| !is_there(*watcher)));
}

#[test]
fn cards_are_found_although_readers_cannot_be_watched() {
    let desk = Desk::new();
    let (card, _) = wait(&desk, PATIENCE, &CancelToken::new(), |absences| {
        told(absences);
        for count in 1..=2 {
            // Until it watches, with two threads.
            while desk.watchers().get(count - 1).is_none_or(|watcher| threads(*watcher) != 2) {
                thread::sleep(Duration::from_millis(5));
            }
            signal(desk.watchers()[count - 1], Signal::SIGKILL);
        }
        desk.insert(0);
    });
    card.unwrap();
}
