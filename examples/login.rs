//! Logs in with this computer's settings and prints the session.
//!
//! `cargo run --example login -- [--json] [--show-ticket]`

use std::process::ExitCode;

use serde_json::json;
use ticketapi::session::Session;
use ticketapi::{Engine, Error};

const USAGE: &str = "usage: login [--json] [--show-ticket]";

struct Options {
    json: bool,
    show_ticket: bool,
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match log_in(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if options.json {
                let error = json!({
                    "error": {
                        "kind": format!("{:?}", error.kind()),
                        "stage": error.stage().as_str(),
                        "message": error.to_string(),
                        "remedy": error.remedy(),
                        "tries_left": error.tries_left(),
                    }
                });
                println!("{error:#}");
            } else {
                eprintln!("{error}\n{}", error.remedy());
            }
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, lexopt::Error> {
    let mut options = Options { json: false, show_ticket: false };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("json") => options.json = true,
            lexopt::Arg::Long("show-ticket") => options.show_ticket = true,
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn log_in(options: &Options) -> Result<(), Error> {
    let engine = Engine::new()?;
    let session = engine.log_in()?;
    if options.json {
        println!("{:#}", as_json(&session, options.show_ticket));
    } else {
        print_words(&session, options.show_ticket);
    }
    engine.destroy_ticket()
}

fn ticket(session: &Session, whole: bool) -> String {
    if whole { session.ticket().expose().to_owned() } else { session.ticket().shortened() }
}

fn as_json(session: &Session, show_ticket: bool) -> serde_json::Value {
    let roles: Vec<_> = session
        .roles()
        .iter()
        .map(|role| {
            json!({
                "id": role.id,
                "organisation_code": role.organisation_code,
                "organisation": role.organisation,
                "type": role.role_type,
                "sub_type": role.sub_type,
                "name": role.name,
            })
        })
        .collect();
    json!({
        "user": { "uid": session.user().uid, "name": session.user().name },
        "ticket": ticket(session, show_ticket),
        "role": session.role().map(|role| &role.id),
        "roles": roles,
        "minutes": session.limits().total.map(|time| time.as_secs() / 60),
    })
}

fn print_words(session: &Session, show_ticket: bool) {
    println!("user    {} ({})", session.user().name, session.user().uid);
    match session.role() {
        Some(role) => println!("role    {role} [{}]", role.id),
        None => println!("role    none"),
    }
    println!("roles   {}", session.roles().len());
    println!("ticket  {}", ticket(session, show_ticket));
}
