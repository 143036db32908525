//! `ticketapi-card`: uses the smartcard in a process of its own. Started by `ticketapi`, not by hand.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ticketapi_card::program::run()
}
