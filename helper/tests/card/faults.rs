//! A module that fails, hangs, crashes, exits or corrupts the heap, at each call of a login.
//!
//! `TICKETAPI_TEST_ROUNDS` repeats all tests that often.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ticketapi::cancel::CancelToken;
use ticketapi::card::CardReader;
use ticketapi::card::helper::{HelperReader, HelperSettings};
use ticketapi::challenge::Digest;
use ticketapi::{ErrorKind, Pin, Result};
use ticketapi_testkit::write_script;

use crate::support::*;

/// How long a call may take beyond its deadline.
const TOLERANCE: Duration = Duration::from_millis(250);

/// Codes that PKCS#11 calls may return; the likelier ones at any call.
const CODES: [u64; 20] = [
    0x1,
    0x2,
    0x3,
    0x5,
    0x6,
    0x7,
    0x30,
    0x31,
    0x32,
    0x50,
    0x54,
    0x70,
    0x90,
    0xa0,
    0xa4,
    0xb3,
    0xe0,
    0xe1,
    0x190,
    0x8000_0001,
];

/// The calls of a successful login: the function, and which of its calls it is, from 1.
fn calls_of_a_login() -> Vec<(String, usize)> {
    let desk = Desk::with_card();
    log_in(&desk.scripted("")).unwrap();
    let mut seen = HashMap::new();
    let number = |function: String| {
        let times = seen.entry(function.clone()).or_insert(0);
        *times += 1;
        (function, *times)
    };
    let calls: Vec<_> = desk.calls().into_iter().map(number).collect();
    assert!(calls.iter().any(|(function, _)| function == "C_GetFunctionList") && calls.len() > 20, "{calls:?}");
    calls
}

/// Runs `check` for each of `cases` in two threads, each with its own desk.
fn for_each_case<C: Sync>(cases: &[C], check: impl Fn(&Desk, &C) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let desk = Desk::with_card();
                for _ in 0..rounds() * cases.len() {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case >= rounds() * cases.len() {
                        break;
                    }
                    check(&desk, &cases[case % cases.len()]);
                }
            });
        }
    });
}

/// A login in which each call of the API must meet a deadline.
fn log_in_within(settings: &HelperSettings, limit: Duration) -> Result<Vec<u8>> {
    let (card, took) = timed(|| card(settings));
    assert!(took < limit, "finding the card took {took:?}");
    let mut card = card?;
    let (signature, took) = timed(|| sign(&mut *card, PIN));
    assert!(took < limit, "signing took {took:?}");
    let ((), took) = timed(|| drop(card));
    assert!(took < limit, "letting go took {took:?}");
    signature
}

#[test]
fn a_module_that_hangs_at_any_call_is_abandoned_at_the_deadline() {
    let deadline = Duration::from_millis(300);
    for_each_case(&calls_of_a_login(), |desk, (function, call)| {
        let mut settings = desk.scripted(&format!("fault {function} {call} hang"));
        settings.deadline = deadline;
        if let Err(error) = log_in_within(&settings, deadline + TOLERANCE) {
            assert_eq!(*error.kind(), ErrorKind::CardFailed, "{function} {call}: {error}");
        }
        assert_eq!(desk.calls().last(), Some(function));
        let ((), took) = timed(|| assert_logs_in(&desk.settings()));
        assert!(took < Duration::from_secs(3), "the next login took {took:?}");
    });
}

#[test]
fn a_module_that_ends_its_process_at_any_call_causes_an_error() {
    for fault in ["crash", "exit"] {
        for_each_case(&calls_of_a_login(), |desk, (function, call)| {
            let settings = desk.scripted(&format!("fault {function} {call} {fault}"));
            match log_in_within(&settings, Duration::from_millis(500)) {
                Err(error) => {
                    assert_eq!(*error.kind(), ErrorKind::CardFailed, "{function} {call}: {error}");
                    let status = if fault == "crash" { "signal: 11" } else { "exit status: 3" };
                    assert!(error.detail().contains(status), "{function} {call}: {error}");
                }
                // After the signature only the helper is affected.
                Ok(_) => assert!(["C_Logout", "C_CloseSession", "C_Finalize"].contains(&function.as_str())),
            }
        });
        assert_logs_in(&Desk::with_card().settings());
    }
}

#[test]
fn a_module_that_corrupts_its_heap_does_not_affect_the_program() {
    for_each_case(&calls_of_a_login(), |desk, (function, call)| {
        let settings = desk.scripted(&format!("fault {function} {call} corrupt"));
        // The login may even succeed, or crash at any later call.
        let _ = log_in_within(&settings, Duration::from_millis(500));
    });
}

#[test]
fn any_failed_call_causes_an_error_without_another_try_of_the_pin() {
    let calls = calls_of_a_login();
    let cases: Vec<_> = CODES.iter().flat_map(|code| calls.iter().map(move |call| (call, code))).collect();
    for_each_case(&cases, |desk, ((function, call), code)| {
        let settings = desk.scripted(&format!("fault {function} {call} error {code:#x}"));
        if let Err(error) = log_in_within(&settings, Duration::from_secs(2)) {
            assert_ne!(*error.kind(), ErrorKind::Internal, "{function} {call} {code:#x}: {error}");
        }
        assert!(desk.called("C_Login") <= 1, "{function} {call} {code:#x}: {:?}", desk.calls());
    });
}

/// Cancels `work` once the module hangs in `function`. Returns the time from then on.
fn cancelled_in(desk: &Desk, function: &str, work: impl FnOnce(&CancelToken) -> ErrorKind + Send) -> Duration {
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let working = scope.spawn(|| work(&cancel));
        while desk.called(function) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        cancel.cancel();
        let (kind, took) = timed(|| working.join().unwrap());
        assert_eq!(kind, ErrorKind::Cancelled);
        took
    })
}

#[test]
fn a_search_that_hangs_can_be_cancelled() {
    let desk = Desk::with_card();
    let settings = desk.scripted("fault C_GetSlotList 1 hang");
    let took = cancelled_in(&desk, "C_GetSlotList", |cancel| {
        let reader = HelperReader::new(settings);
        reader.wait_for_card(Duration::ZERO, &mut |_| {}, cancel).err().unwrap().kind().clone()
    });
    assert!(took < Duration::from_millis(200), "{took:?}");
}

#[test]
fn a_signature_that_hangs_can_be_cancelled() {
    let desk = Desk::with_card();
    let mut card = card(&desk.scripted("reader Some Reader 00 00\nfault C_Sign 1 hang")).unwrap();
    let took = cancelled_in(&desk, "C_Sign", |cancel| {
        let pin = Some(Pin::new(PIN.to_owned()));
        card.sign(pin, Digest::Sha1, MESSAGE, cancel).unwrap_err().kind().clone()
    });
    assert!(took < Duration::from_millis(200), "{took:?}");
    assert_logs_in(&desk.settings());
}

#[test]
fn a_card_whose_helper_was_killed_is_reset_by_another_process() {
    let desk = Desk::with_card();
    let mut settings = desk.scripted("reader Some Reader 00 00\nfault C_Sign 1 hang");
    settings.deadline = Duration::from_millis(300);
    let log = desk.path("helpers");
    let recording = format!("echo \"$@\" >> '{}'\nexec '{}' \"$@\"\n", log.display(), settings.program.display());
    write_script(&desk.path("recording"), &recording).unwrap();
    settings.program = desk.path("recording");
    let reader = HelperReader::new(settings);
    let find = || reader.wait_for_card(Duration::ZERO, &mut |_| {}, &CancelToken::new()).unwrap();
    assert_eq!(*sign(&mut *find(), PIN).unwrap_err().kind(), ErrorKind::CardFailed);
    desk.scripted("");
    let (_, took) = timed(|| sign(&mut *find(), PIN).unwrap());
    assert!(took < Duration::from_secs(3), "the next login took {took:?}");
    assert_eq!(std::fs::read_to_string(log).unwrap(), "\nreset\n\n");
}
