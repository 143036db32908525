//! The agent as a separate program, the same as `ticketapi agent`. `-v` reports every event.
#![forbid(unsafe_code)]
// It is started at logon: without a console.
#![cfg_attr(windows, windows_subsystem = "windows")]

use std::alloc::System;
use std::io;
use std::process::ExitCode;

use ticketapi::Config;
use tracing::Level;
use zeroizing_alloc::ZeroAlloc;

/// Wipes freed memory: TLS buffers hold tickets.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let level = if std::env::args().any(|argument| argument == "-v") { Level::TRACE } else { Level::WARN };
    tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_ansi(false).init();
    match Config::load().and_then(ticketapi_agent::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ticketapi-agent: {error}\n{}", error.remedy());
            ExitCode::FAILURE
        }
    }
}
