//! A PC/SC service that ends and starts again.

use std::time::{Duration, Instant};

use ticketapi::card::events::{CardEvent, Snapshot};

use crate::desk::*;

#[test]
fn a_service_that_is_killed_and_restarted_is_watched_again() {
    let mut desk = Desk::new();
    let mut watch = desk.watch();
    desk.insert(0);
    watch.until(&inserted(0));
    let watcher = desk.watchers()[0];
    let descriptors = || std::fs::read_dir(proc(watcher).join("fd")).unwrap().count();
    let before = descriptors();
    for round in 0..5 * rounds() as u32 {
        // Each time after another delay.
        std::thread::sleep(Duration::from_millis(u64::from(round * 137 % 700)));
        desk.pcscd.kill();
        watch.until(&CardEvent::ServiceStopped);
        assert_eq!(watch.last, Snapshot::Down);
        desk.pcscd.restart().unwrap();
        let back = Instant::now();
        watch.until(&CardEvent::ServiceStarted);
        desk.insert(0);
        while !watch.state(0).card {
            watch.next();
        }
        assert!(back.elapsed() < Duration::from_secs(3), "round {round}: {:?}", back.elapsed());
    }
    assert_eq!(desk.watchers(), [watcher]);
    assert_eq!(descriptors(), before);
}

#[test]
fn a_service_that_is_replaced_at_once_is_reported_as_stopped_in_between() {
    let mut desk = Desk::new();
    let mut watch = desk.watch();
    desk.pcscd.restart().unwrap();
    assert_eq!(watch.next(), [CardEvent::ServiceStopped]);
    watch.until(&CardEvent::ServiceStarted);
}

#[test]
fn a_watch_that_begins_while_the_service_is_down_reports_its_start() {
    let mut desk = Desk::new();
    desk.pcscd.kill();
    let mut watch = Watch {
        watch: ticketapi::card::CardReader::watch(&desk.reader).unwrap().unwrap(),
        last: Snapshot::Readers(vec![]),
    };
    watch.next();
    assert_eq!(watch.last, Snapshot::Down);
    desk.pcscd.restart().unwrap();
    assert!(watch.next().contains(&CardEvent::ServiceStarted));
}
