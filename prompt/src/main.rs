//! `ticketapi-prompt`: asks the user in a dialog of Windows. Started by `ticketapi`, not by hand.
#![forbid(unsafe_code)]
#![cfg_attr(windows, windows_subsystem = "windows")]

#[cfg(windows)]
mod windows;

#[cfg(windows)]
use windows::run;

#[cfg(not(windows))]
fn run() -> std::process::ExitCode {
    eprintln!("ticketapi-prompt is for Windows only.");
    std::process::ExitCode::FAILURE
}

fn main() -> std::process::ExitCode {
    run()
}
