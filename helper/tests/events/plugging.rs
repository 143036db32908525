//! Readers that are plugged in and unplugged.

use std::thread;
use std::time::Duration;

use ticketapi::cancel::CancelToken;
use ticketapi::card::events::{CardEvent, Snapshot};
use ticketapi::card::{Absence, CardReader};

use crate::desk::*;

const USB: [&str; 2] = ["USB Reader 00 00", "USB Reader 00 01"];

/// Waits until this many matching events were reported. Returns all events until then.
fn until(watch: &mut Watch, count: usize, wanted: impl Fn(&CardEvent) -> bool) -> Vec<CardEvent> {
    let mut told = Vec::new();
    while told.iter().filter(|event| wanted(event)).count() < count {
        told.extend(watch.next());
    }
    told
}

#[test]
fn readers_that_are_plugged_in_and_unplugged_are_reported_with_their_cards() {
    let desk = Desk::with_usb();
    let mut watch = desk.watch();
    assert_eq!(watch.last, Snapshot::Readers(vec![]));
    for _ in 0..3 * rounds() {
        desk.pcscd.plug_in().unwrap();
        let added = USB.map(|reader| CardEvent::ReaderAdded { reader: reader.to_owned() });
        let told = until(&mut watch, 2, |event| added.contains(event));
        assert!(told.len() == 2 && added.iter().all(|event| told.contains(event)), "{told:?}");
        desk.insert(1);
        assert_eq!(watch.next(), [CardEvent::Inserted { reader: USB[1].to_owned() }]);

        desk.pcscd.unplug().unwrap();
        let told = until(&mut watch, 2, |event| matches!(event, CardEvent::ReaderRemoved { .. }));
        let place = |event: &CardEvent| told.iter().position(|told| told == event).unwrap();
        let removed = CardEvent::Removed { reader: USB[1].to_owned() };
        assert!(place(&removed) < place(&CardEvent::ReaderRemoved { reader: USB[1].to_owned() }), "{told:?}");
        assert_eq!((told.len(), &watch.last), (3, &Snapshot::Readers(vec![])), "{told:?}");
    }
    assert_eq!(desk.watchers().len(), 1);
}

#[test]
fn a_card_in_a_reader_that_is_plugged_in_while_waiting_is_found() {
    let desk = Desk::with_usb();
    let mut absences = Vec::new();
    let card = thread::scope(|scope| {
        let waiting = scope
            .spawn(|| desk.reader.wait_for_card(PATIENCE, &mut |absence| absences.push(absence), &CancelToken::new()));
        while desk.watchers().is_empty() {
            thread::sleep(Duration::from_millis(5));
        }
        let mut witness = desk.watch();
        desk.pcscd.plug_in().unwrap();
        until(&mut witness, 1, |event| matches!(event, CardEvent::ReaderAdded { .. }));
        desk.insert(0);
        waiting.join().unwrap()
    });
    assert_eq!(card.unwrap().presence().unwrap().reader, USB[0]);
    assert_eq!(absences[0], Absence::NoReader);
}
