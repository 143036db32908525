//! Logs an employee in at the employer's Nuts node, and gets an access token for another organisation's data.
//!
//! `nuts-simulator` in the test kit prints the settings for a node to try it with. Then:
//!
//! `cargo run --example nuts -- AUTHORIZER SERVICE`

use std::process::ExitCode;

use ticketapi::session::{AssuranceLevel, Employee};
use ticketapi::{Config, Engine, Result};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [authorizer, service] = arguments.as_slice() else {
        eprintln!("usage: nuts AUTHORIZER SERVICE");
        return ExitCode::from(2);
    };
    match run(authorizer, service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n{}", error.remedy());
            ExitCode::FAILURE
        }
    }
}

fn run(authorizer: &str, service: &str) -> Result<()> {
    let mut config = Config::load()?;
    config.set("service", "nuts")?;
    let engine = Engine::builder(config).build()?;
    // A real program knows who works at the desk.
    engine.set_employee(&Employee::new("481", "J", "van Dijk").role("Verpleegkundige niveau 2"))?;

    // Opens the node's page in the browser, and waits until the user has accepted the contract.
    let session = engine.log_in()?;
    println!("user   {} ({})", session.user().name, session.user().uid);
    println!("usi    {} bytes", session.ticket().expose().len());

    if engine.assurance_level()?.is_some_and(|level| level.satisfies(AssuranceLevel::Low)) {
        let token = engine.access_token(authorizer, service)?;
        // A real program would now send it with its requests to the authorizer.
        println!("access {} bytes", token.expose().len());
    }
    engine.destroy_ticket()
}
