//! What a login leaves behind in its program. The tests run one at a time, because each examines the whole
//! process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use ticketapi::cancel::CancelToken;
use ticketapi::card::CardReader;
use ticketapi::card::helper::HelperSettings;
use ticketapi::challenge::Digest;
use ticketapi::{ErrorKind, Pin};
use ticketapi_card::Pkcs11Reader;
use zeroize::Zeroize;

use support::*;

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Children and descriptors of this process.
fn held() -> (String, BTreeSet<String>) {
    let children = fs::read_dir("/proc/self/task").unwrap().flatten();
    let children = children.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect();
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    (children, descriptors.map(|entry| entry.file_name().display().to_string()).collect())
}

#[test]
fn logins_leave_no_process_and_no_descriptor() {
    let _alone = alone();
    let desk = Desk::with_card();
    let before = held();
    for script in
        ["", "fault C_Sign 1 hang", "fault C_Sign 1 crash", "fault C_Login 1 error 0xa0", "fault C_Logout 1 exit"]
    {
        let mut settings = desk.scripted(&format!("reader Some Reader 00 00\n{script}"));
        settings.deadline = Duration::from_millis(300);
        for _ in 0..20 * rounds() {
            let _ = log_in(&settings);
        }
    }
    assert_eq!(held(), before);
    // Proves that a further child and descriptor are found.
    let mut planted = std::process::Command::new("true").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let after = held();
    assert!(after.0 != before.0 && after.1 != before.1, "{after:?}");
    planted.wait().unwrap();
}

/// One test, because this process has one SoftHSM with one configuration.
#[test]
fn the_hosts_own_use_of_the_module_is_not_disturbed() {
    let _alone = alone();
    let desk = Desk::with_card();
    let settings = desk.scripted("");
    let host = Pkcs11::new(&settings.card.modules[0]).unwrap();
    // The helpers get their own token: SoftHSM rewrites its files at each login, and an instance that starts at
    // that moment considers the token broken.
    the_host_may_use_it_while_helpers_do(&host, &Desk::with_card().settings());
    the_hosts_sessions_are_left_alone_by_helpers(&host, &desk.settings());

    desk.scripted("");
    let reader = Pkcs11Reader::new(settings.card);
    a_program_may_use_the_card_in_its_own_process(&reader, &desk);
    desk.scripted("");
    a_host_that_is_logged_in_stays_so(&host, &reader, &desk);
    host.finalize().unwrap();
}

fn the_host_may_use_it_while_helpers_do(host: &Pkcs11, settings: &HelperSettings) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let using = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                host.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
                let slot = host.get_slots_with_initialized_token().unwrap()[0];
                let first = host.open_ro_session(slot).unwrap();
                first.login(UserType::User, Some(&AuthPin::from(PIN))).unwrap();
                thread::scope(|scope| {
                    for _ in 0..8 {
                        scope.spawn(|| sign_as_the_host(host, slot));
                    }
                });
                first.logout().unwrap();
                first.close().unwrap();
                host.clone().finalize().unwrap();
            }
        });
        for _ in 0..20 * rounds() {
            assert_logs_in(settings);
        }
        ended.store(true, Ordering::Relaxed);
        using.join().unwrap();
    });
}

fn the_hosts_sessions_are_left_alone_by_helpers(host: &Pkcs11, settings: &HelperSettings) {
    host.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = host.get_slots_with_initialized_token().unwrap()[0];
    let first = host.open_ro_session(slot).unwrap();
    first.login(UserType::User, Some(&AuthPin::from(PIN))).unwrap();
    for _ in 0..5 * rounds() {
        assert_logs_in(settings);
        sign_as_the_host(host, slot);
    }
    first.logout().unwrap();
    first.close().unwrap();
    host.clone().finalize().unwrap();
}

fn a_program_may_use_the_card_in_its_own_process(reader: &Pkcs11Reader, desk: &Desk) {
    // At the second login the module is already initialized.
    for _ in 0..2 {
        let mut card = reader.wait_for_card(Duration::ZERO, &mut |_| {}, &CancelToken::new()).unwrap();
        let signature = sign(&mut *card, PIN).unwrap();
        assert!(person().signed(Digest::Sha1, MESSAGE, &signature));
    }
    assert_eq!((desk.called("C_Initialize"), desk.called("C_Finalize")), (2, 0));
    assert_eq!((desk.called("C_Logout"), desk.called("C_CloseSession")), (2, 2));
}

fn a_host_that_is_logged_in_stays_so(host: &Pkcs11, reader: &Pkcs11Reader, desk: &Desk) {
    let session = host.open_ro_session(host.get_slots_with_initialized_token().unwrap()[0]).unwrap();
    session.login(UserType::User, Some(&AuthPin::from(PIN))).unwrap();
    let mut card = reader.wait_for_card(Duration::ZERO, &mut |_| {}, &CancelToken::new()).unwrap();
    // The card has not checked this PIN.
    let error = sign(&mut *card, "4321").unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::CardFailed, "{error}");
    drop(card);
    assert_eq!((desk.called("C_Logout"), desk.called("C_Finalize")), (0, 0));
    assert_eq!(session.find_objects(&[Attribute::Private(true)]).unwrap().len(), 1, "logged out");
}

fn sign_as_the_host(host: &Pkcs11, slot: Slot) {
    let session = host.open_ro_session(slot).unwrap();
    for _ in 0..5 {
        let key = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()[0];
        session.sign(&Mechanism::Sha1RsaPkcs, key, MESSAGE).unwrap();
    }
}

/// A PIN that is in this process's memory only if somebody puts it there: in ROT13, which the shell reverses where
/// a program needs the PIN.
const MASKED: &str = "pnanel-jvgu-n-ybat-gnvy-fb-gung-n-serrq-oybpx-fgvyy-unf-fbzr-bs-vg";

/// How many bytes to search for: the end, which the heap's bookkeeping in a freed block does not overwrite.
const LOOKED_FOR: usize = 16;

fn unmask(masked: u8) -> u8 {
    if masked.is_ascii_lowercase() { b'a' + (masked - b'a' + 13) % 26 } else { masked }
}

fn unmasked() -> String {
    let mut pin = String::with_capacity(MASKED.len());
    pin.extend(MASKED.bytes().map(|byte| char::from(unmask(byte))));
    pin
}

/// Counts the occurrences of the PIN in this process's memory.
fn times_in_memory() -> usize {
    const CHUNK: usize = 1 << 20;
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let end_of_pin = &MASKED.as_bytes()[MASKED.len() - LOOKED_FOR..];
    let first = unmask(end_of_pin[0]);
    let mut chunk = vec![0; CHUNK + LOOKED_FOR - 1];
    let mut times = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        for at in (start..end).step_by(CHUNK) {
            let length = chunk.len().min(usize::try_from(end - at).unwrap());
            if memory.read_exact_at(&mut chunk[..length], at).is_ok() {
                let starts = chunk[..length].windows(LOOKED_FOR).filter(|here| here[0] == first);
                times += starts
                    .filter(|here| here.iter().zip(end_of_pin).all(|(byte, masked)| *byte == unmask(*masked)))
                    .count();
            }
            chunk.as_mut_slice().zeroize();
        }
    }
    times
}

#[test]
fn the_pin_is_nowhere_in_memory_after_the_login() {
    let _alone = alone();
    let desk = Desk::empty();
    // This process must not see the PIN, not even while the token is created.
    let make = format!(
        "pin=$(printf '%s' '{MASKED}' | tr a-z n-za-m)
        softhsm2-util --init-token --free --label card --pin \"$pin\" --so-pin 12345678
        softhsm2-util --import '{}' --id 01 --label key --pin \"$pin\" --token card
        pkcs11-tool --module {MODULE} --token-label card --login --pin \"$pin\" --write-object '{}' --type cert --id 01",
        person().path("key.p8").display(),
        person().path("certificate.der").display(),
    );
    desk.run("sh", &["-ec", &make]);
    assert_eq!(times_in_memory(), 0, "before");

    let mut card = card(&desk.settings()).unwrap();
    let signature = card.sign(Some(Pin::new(unmasked())), Digest::Sha1, MESSAGE, &CancelToken::new()).unwrap();
    assert!(person().signed(Digest::Sha1, MESSAGE, &signature));
    assert_eq!(times_in_memory(), 0, "after the signature");
    drop(card);
    assert_eq!(times_in_memory(), 0, "after the login");

    let planted = std::hint::black_box(unmasked());
    assert_ne!(times_in_memory(), 0, "a planted PIN is not found");
    drop(planted);
}
