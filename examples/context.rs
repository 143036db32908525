//! Keeps a session at an OpenID provider: shows the ticket's size and end, and what changes it.
//!
//! `cargo run --example context -- [--care-team ID [--patient ID]]`, with the settings of docs/services.md. Ends on
//! Enter.

use std::process::ExitCode;
use std::time::SystemTime;

use ticketapi::engine::Event;
use ticketapi::session::{Context, Session};
use ticketapi::{Config, Engine, Error};

const USAGE: &str = "usage: context [--care-team ID [--patient ID]]";

fn main() -> ExitCode {
    let context = match context() {
        Ok(context) => context,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n{}", error.remedy());
            ExitCode::FAILURE
        }
    }
}

fn context() -> Result<Context, lexopt::Error> {
    use lexopt::ValueExt;

    let mut context = Context::new();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("care-team") => context = context.care_team(arguments.value()?.string()?),
            lexopt::Arg::Long("patient") => context = context.patient(arguments.value()?.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(context)
}

fn run(context: &Context) -> Result<(), Error> {
    // Events also come from the background, where tickets are renewed.
    let engine = Engine::builder(Config::load()?).listener(|event: &Event| println!("{event:?}")).build()?;
    show(&*engine.log_in()?);
    if *context != Context::new() {
        // Every program of the session gets the new ticket. If this fails, the old one still works.
        show(&*engine.switch_context(context)?);
    }
    let _ = std::io::stdin().read_line(&mut String::new());
    // Ask each time the ticket is needed: it lives for minutes, and this is the newest one.
    let ticket = engine.get_ticket()?;
    println!("the ticket now has {} bytes", ticket.expose().len());
    engine.destroy_ticket()
}

fn show(session: &Session) {
    let user = session.user();
    let size = session.ticket().expose().len();
    println!("{} ({}): a ticket of {size} bytes", user.name, user.uid);
    if let Some(left) = session.expires().and_then(|end| end.duration_since(SystemTime::now()).ok()) {
        println!("it expires in {} s, and is renewed before that", left.as_secs());
    }
    match session.role() {
        Some(role) => println!("role: {role}"),
        None => session.roles().iter().for_each(|role| println!("may work as: {role}")),
    }
}
