//! `ticketapi`: the healthcare login in a terminal, and the diagnosis of a computer that cannot log in.
#![forbid(unsafe_code)]

mod doctor;
mod exit;
mod interrupt;
mod options;
#[cfg(any(windows, test))]
mod original;
mod progress;
mod session;
mod show;
mod sign;

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser;
use ticketapi::config::Sources;
use ticketapi::session::Context;
use ticketapi::{Config, Result};
use tracing_subscriber::filter::LevelFilter;

use options::{Command, Common, Options};
use zeroizing_alloc::ZeroAlloc;

/// Wipes freed memory: TLS buffers hold tickets, and the agent runs for long.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    #[cfg(windows)]
    {
        use std::os::windows::io::AsHandle;
        ticketapi_platform::module::harden_program();
        // The line that shows the progress needs it.
        ticketapi_platform::console::enable_sequences(std::io::stderr().as_handle());
    }
    let command = match Options::try_parse() {
        Ok(options) => options.command,
        Err(error) => return refuse(&error),
    };
    let (outcome, common) = match command {
        #[cfg(windows)]
        Command::ReplaceOriginal => return original::run(true),
        #[cfg(windows)]
        Command::PutOriginalBack => return original::run(false),
        Command::Doctor(common) => return doctor::run(&common),
        Command::Login(common) => (session::login(&common), common),
        Command::Ticket { no_auth, common } => (session::ticket(&common, no_auth), common),
        Command::Status(common) => (session::status(&common), common),
        Command::Roles(common) => (session::roles(&common), common),
        Command::Assertion(common) => (session::assertion(&common), common),
        Command::Claims(common) => (session::claims(&common), common),
        Command::ChangeRole(common) => (session::change_role(&common), common),
        Command::Context { list: true, common, .. } => (session::contexts(&common), common),
        Command::Context { organization, care_team, patient, episode, common, .. } => {
            let mut context = Context::new();
            context.organization_id = organization;
            context.care_team_id = care_team;
            context.patient_id = patient;
            context.episode_of_care_id = episode;
            (session::switch_context(&common, &context), common)
        }
        Command::NutsToken { authorizer, service, common } => {
            (session::access_token(&common, &authorizer, &service), common)
        }
        Command::Agent { verbose, common } => (agent(&common, verbose), common),
        Command::Sign { options, common } => return sign::run(&options, &common),
        Command::Logout(common) => (session::logout(&common), common),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            show::error(&error, common.json);
            exit::code(error.kind())
        }
    }
}

/// Reports a wrong command line, or prints the requested help.
fn refuse(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        show::usage(&error.render().to_string());
        return ExitCode::from(2);
    }
    error.exit()
}

fn agent(common: &Common, verbose: bool) -> Result<()> {
    let level = if verbose { LevelFilter::TRACE } else { LevelFilter::WARN };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_ansi(false).init();
    ticketapi_agent::run(settings(common)?.0)
}

/// The settings of the command line, and their sources.
fn settings(common: &Common) -> Result<(Config, Sources)> {
    let (mut config, sources) = Config::load_telling(common.config.as_deref())?;
    for (key, value) in &common.settings {
        config.set(key, value)?;
    }
    let employee = &common.employee;
    for (key, value) in [
        ("employee_identifier", &employee.employee_identifier),
        ("employee_initials", &employee.employee_initials),
        ("employee_family_name", &employee.employee_family_name),
        ("employee_role", &employee.employee_role),
    ] {
        if let Some(value) = value {
            config.set(key, value)?;
        }
    }
    Ok((config, sources))
}
