//! What the helper inherits from the program, and what it does not.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use ticketapi::card::protocol::{Channel, Hello, MAX_FRAME, Request, VERSION};

use crate::support::*;

#[test]
fn the_helper_inherits_no_descriptor_and_its_arguments_and_environment_hold_no_pin() {
    let desk = Desk::empty();
    let pin = "canary-7391";
    desk.add_card(LABEL, pin);
    let planted = File::create(desk.path("planted")).unwrap();
    fcntl(planted.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let report = desk.path("report");
    let mut card = card(&desk.scripted(&format!("report C_Sign {}", report.display()))).unwrap();
    sign(&mut *card, pin).unwrap();

    let report = String::from_utf8_lossy(&fs::read(report).unwrap()).into_owned();
    assert!(report.contains("SOFTHSM2_CONF"), "{report}");
    assert!(!report.contains(pin), "{report}");
    let is_descriptor = |line: &&str| line.starts_with(|first: char| first.is_ascii_digit());
    let descriptors: Vec<_> = report.lines().filter(is_descriptor).collect();
    assert!(!descriptors.iter().any(|line| line.contains("planted")), "{descriptors:?}");
    // Proves that the report lists descriptors and variables, among them the one that keeps OpenSC from caching
    // the PIN.
    let is_there = |name: &str| descriptors.iter().any(|line| line.starts_with(name));
    assert!(report.contains("OPENSC_CONF=/proc/self/fd/1\0") && is_there("1 /memfd:opensc.conf"), "{report}");
    assert_eq!(descriptors.iter().filter(|line| line.contains("socket:")).count(), 1, "{descriptors:?}");
}

/// Starts a helper by hand, whose module hangs.
fn hanging_helper(desk: &Desk, deadline: Duration) -> (Child, Channel) {
    let settings = desk.scripted("fault C_GetSlotList 1 hang");
    let (helper, channel) = start_helper(desk);
    channel.send(&Hello { version: VERSION }, None).unwrap();
    channel.send(&Request::Find { settings: settings.card, deadline }, None).unwrap();
    while desk.called("C_GetSlotList") == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    (helper, channel)
}

fn start_helper(desk: &Desk) -> (Child, Channel) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let helper = Command::new(desk.path("helper")).stdin(OwnedFd::from(theirs)).spawn().unwrap();
    (helper, Channel::new(ours, MAX_FRAME))
}

#[test]
fn a_helper_whose_program_has_exited_ends_while_the_module_hangs() {
    let desk = Desk::with_card();
    let (mut helper, channel) = hanging_helper(&desk, Duration::from_secs(60));
    drop(channel);
    let (_, took) = timed(|| helper.wait().unwrap());
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_helper_whose_program_is_suspended_ends_after_the_deadline() {
    let desk = Desk::with_card();
    let (mut helper, _channel) = hanging_helper(&desk, Duration::ZERO);
    let (_, took) = timed(|| helper.wait().unwrap());
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_helper_of_another_version_is_not_used() {
    let desk = Desk::empty();
    let (mut helper, channel) = start_helper(&desk);
    channel.send(&Hello { version: 999 }, None).unwrap();
    let Hello { version } = channel.receive(None).unwrap().message().unwrap();
    assert_ne!(version, 999);
    assert!(channel.receive(None).is_err(), "it goes on all the same");
    helper.wait().unwrap();
}
