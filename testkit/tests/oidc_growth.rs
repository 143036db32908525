//! What many logins and renewals leave behind in the simulated provider. Alone in its test program, because it counts
//! the memory of the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod common;
#[path = "oidc/party.rs"]
#[allow(dead_code, reason = "each test program uses its own part")]
mod party;

use party::{Party, text};
use ticketapi_testkit::OidcProvider;

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn many_logins_and_renewals_leave_nothing_behind() {
    let provider = OidcProvider::builder().capacity(20).start().unwrap();
    let mut party = Party::new(&provider);
    // In one browser, so that one session gets all the tokens.
    let mut run = |logins: usize| {
        for _ in 0..logins {
            let mut tokens = party.log_in();
            for _ in 0..3 {
                tokens = party.refresh(text(&tokens, "refresh_token"), &[]).json();
            }
        }
    };
    run(100);
    let before = resident_bytes();
    run(300);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 1 << 20, "grew by {grown} bytes");
    assert_eq!(provider.open_sessions(), 1);
}
