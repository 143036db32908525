//! What many connections leave behind in the simulator's process. Alone in its test program, because it counts
//! resources of the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod common;

use common::{Client, SOON};
use ticketapi_testkit::spine::Role;
use ticketapi_testkit::{CardSpec, Spine, TestCa};

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn many_connections_and_logins_leave_nothing_behind() {
    let ca = TestCa::new().unwrap();
    let card = ca.issue(&CardSpec::default()).unwrap();
    let (threads, files) = (count("/proc/self/task"), count("/proc/self/fd"));
    let spine = Spine::builder().strict().card_ca(&ca).capacity(50).these_roles(Role::generate(40)).start().unwrap();
    let run = |logins: usize, connections: usize| {
        let mut client = Client::connect(&spine);
        for _ in 0..logins {
            client.log_in(&card);
        }
        for _ in 0..connections {
            Client::connect(&spine).activate();
        }
    };
    run(60, 300);
    let before = resident_bytes();
    run(60, 300);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 1 << 20, "grew by {grown} bytes");
    assert!(spine.wait_for_connections(SOON, 0));
    drop(spine);
    assert_eq!((count("/proc/self/task"), count("/proc/self/fd")), (threads, files));
}
