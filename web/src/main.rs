//! `ticketapi-web`: gives the agent's ticket to web pages. A browser starts one for each page, and speaks to it by
//! native messaging.
#![forbid(unsafe_code)]

mod host;
mod message;
mod origins;
mod sign;

use std::alloc::System;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use ticketapi::Config;
use ticketapi::agent::AgentUse;
use zeroizing_alloc::ZeroAlloc;

/// Wipes freed memory: messages hold tickets.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(io::stderr).with_ansi(false).init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("ticketapi-web: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    // Browsers pass arguments of their own, which say nothing that is needed here.
    let mut arguments = std::env::args_os().skip(1);
    let file = match arguments.next() {
        Some(first) if first == "--origins" => arguments.next().map(PathBuf::from).ok_or("--origins needs a file")?,
        _ => PathBuf::from(origins::FILE),
    };
    let mut input = io::stdin().lock();
    let origin = match message::read(&mut input) {
        Ok(Some(message)) => host::origin(&message)?,
        Ok(None) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let rights = origins::read(&file)?.rights(&origin).ok_or("this origin is not allowed")?;
    let mut config = Config::load().map_err(|error| format!("{error}\n{}", error.remedy()))?;
    // Prompts are the agent's, and so is the session: this process holds no ticket between two calls.
    config.agent = AgentUse::Require;
    host::serve(input, config, origin, rights).map_err(|error| error.to_string())
}
