use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn reader(name: &str, card: bool, counter: u16) -> ReaderState {
    ReaderState { name: name.to_owned(), card, counter }
}

fn one(card: bool, counter: u16) -> Snapshot {
    Snapshot::Readers(vec![reader("a", card, counter)])
}

fn inserted() -> CardEvent {
    CardEvent::Inserted { reader: "a".to_owned() }
}

fn removed() -> CardEvent {
    CardEvent::Removed { reader: "a".to_owned() }
}

#[test]
fn a_swap_is_a_removal_and_an_insertion() {
    assert_eq!(changes(&one(true, 1), &one(true, 3)), [removed(), inserted()]);
    assert_eq!(changes(&one(false, 2), &one(false, 4)), [inserted(), removed()]);
}

#[test]
fn a_swap_is_detected_when_the_counter_overflows() {
    assert_eq!(changes(&one(true, u16::MAX), &one(true, 1)), [removed(), inserted()]);
}

#[test]
fn a_card_is_removed_before_its_reader_and_inserted_after_it() {
    let none = Snapshot::Readers(Vec::new());
    let name = || "a".to_owned();
    assert_eq!(changes(&none, &one(true, 1)), [CardEvent::ReaderAdded { reader: name() }, inserted()]);
    assert_eq!(changes(&one(true, 1), &none), [removed(), CardEvent::ReaderRemoved { reader: name() }]);
}

#[test]
fn counters_restart_with_the_service() {
    assert_eq!(changes(&one(true, 7), &Snapshot::Down), [CardEvent::ServiceStopped]);
    let added = CardEvent::ReaderAdded { reader: "a".to_owned() };
    assert_eq!(changes(&Snapshot::Down, &one(true, 7)), [CardEvent::ServiceStarted, added, inserted()]);
}

#[test]
fn a_card_is_present_until_its_readers_counter_changes() {
    let found = Presence { reader: "a".to_owned(), counter: 1 };
    assert!(found.holds(&[reader("b", false, 0), reader("a", true, 1)]));
    for readers in [vec![], vec![reader("b", true, 1)], vec![reader("a", true, 3)], vec![reader("a", false, 1)]] {
        assert!(!found.holds(&readers), "{readers:?}");
    }
}

/// What is known of the readers: whether each contains a card. `None` while the service is down.
type Known = Option<BTreeMap<String, bool>>;

fn known(snapshot: &Snapshot) -> Known {
    match snapshot {
        Snapshot::Down => None,
        Snapshot::Readers(readers) => Some(readers.iter().map(|reader| (reader.name.clone(), reader.card)).collect()),
    }
}

/// Applies `event` to `known`, and checks that it can happen in that state.
fn after(mut known: Known, event: CardEvent) -> Known {
    match (&mut known, event) {
        (Some(_), CardEvent::ServiceStopped) => return None,
        (None, CardEvent::ServiceStarted) => return Some(BTreeMap::new()),
        (Some(readers), CardEvent::ReaderAdded { reader }) => assert_eq!(readers.insert(reader, false), None),
        (Some(readers), CardEvent::ReaderRemoved { reader }) => assert_eq!(readers.remove(&reader), Some(false)),
        (Some(readers), CardEvent::Inserted { reader }) => assert_eq!(readers.insert(reader, true), Some(false)),
        (Some(readers), CardEvent::Removed { reader }) => assert_eq!(readers.insert(reader, false), Some(true)),
        (known, event) => panic!("{event:?} with {known:?}"),
    }
    known
}

fn snapshots() -> impl Strategy<Value = Snapshot> {
    let readers = prop::collection::btree_map("[a-d]", (any::<bool>(), 0_u16..5), 0..4);
    let readers = readers.prop_map(|readers| {
        let readers = readers.into_iter().map(|(name, (card, counter))| reader(&name, card, counter));
        Snapshot::Readers(readers.collect())
    });
    prop_oneof![1 => Just(Snapshot::Down), 9 => readers]
}

proptest! {
    #[test]
    fn the_events_lead_from_one_snapshot_to_the_next(before in snapshots(), now in snapshots()) {
        let events = changes(&before, &now);
        prop_assert_eq!(events.into_iter().fold(known(&before), after), known(&now));
    }

    #[test]
    fn a_card_that_is_not_held_any_more_was_removed(before in snapshots(), now in snapshots()) {
        let (Snapshot::Readers(old), Snapshot::Readers(new)) = (&before, &now) else { return Ok(()) };
        let events = changes(&before, &now);
        for ReaderState { name, counter, .. } in old.iter().filter(|reader| reader.card) {
            let found = Presence { reader: name.clone(), counter: *counter };
            let removed = events.contains(&CardEvent::Removed { reader: name.clone() });
            prop_assert_eq!(found.holds(new), !removed);
        }
    }

    #[test]
    fn nothing_happens_between_equal_snapshots(snapshot in snapshots()) {
        prop_assert_eq!(changes(&snapshot, &snapshot), []);
    }
}
