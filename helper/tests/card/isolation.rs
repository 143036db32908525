//! What the helper gets from this process, and what it does not.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

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
    assert_eq!(descriptors.iter().filter(|line| line.contains("socket:")).count(), 1, "{descriptors:?}");
}

#[test]
fn a_helper_whose_program_has_gone_ends_itself_even_while_the_module_hangs() {
    // Killing this process is no test, so another helper's end of the socket is dropped instead.
    use ticketapi::card::protocol::{Channel, Hello, Request, VERSION};
    let desk = Desk::with_card();
    let settings = desk.scripted("fault C_GetSlotList 1 hang");
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut helper = std::process::Command::new(&settings.program)
        .stdin(std::os::fd::OwnedFd::from(theirs))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let channel = Channel::new(ours);
    channel.send(&Hello { version: VERSION }, None).unwrap();
    let minute = Duration::from_secs(60);
    channel.send(&Request::Find { settings: settings.card, wait: minute, deadline: minute }, None).unwrap();
    while desk.called("C_GetSlotList") == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(channel);
    let (_, took) = timed(|| helper.wait().unwrap());
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_helper_of_another_version_is_not_used() {
    use ticketapi::card::protocol::{Channel, Hello};
    let desk = Desk::empty();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut helper =
        std::process::Command::new(desk.path("helper")).stdin(std::os::fd::OwnedFd::from(theirs)).spawn().unwrap();
    let channel = Channel::new(ours);
    channel.send(&Hello { version: 999 }, None).unwrap();
    let Hello { version } = channel.receive(None).unwrap().message().unwrap();
    assert_ne!(version, 999);
    assert!(channel.receive(None).is_err(), "it goes on all the same");
    helper.wait().unwrap();
}
