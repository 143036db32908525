//! The program that logs in and emits everything that it can.

use std::time::Duration;

use ticketapi::cancel::CancelToken;
use ticketapi::card::CardReader;
use ticketapi::card::software::SoftwareCardReader;
use ticketapi::challenge::{self, Digest};
use ticketapi::prompt::{PinRequest, Prompter, SystemPrompter};
use ticketapi::ssb::{HttpsSettings, HttpsTransport, Role, Ssb};
use ticketapi::{Config, Engine, Pin, Result};

use crate::output::{log_everything, print, print_error};
use crate::support::memory::{FORMS, Masked};

/// Logs in with the settings in the environment.
pub fn run(way: &str) {
    log_everything();
    let pins: Vec<_> = std::env::var("TICKETAPI_TEST_PINS").unwrap().split(',').map(Masked::from_hex).collect();
    assert_no_pin(&pins, "before the login");
    for pin in &pins {
        let planted = FORMS.map(|form| pin.written_as(form));
        let found = pin.forms_in_memory();
        assert!(FORMS.iter().all(|form| found.contains(form)), "only {found:?} of the planted ones");
        drop(planted);
    }

    let config = Config::load().unwrap();
    print(&config);
    let outcome = match way {
        "engine" => through_the_engine(config, &pins),
        _ => step_by_step(&config),
    };
    assert_no_pin(&pins, "after the session");
    match outcome {
        Ok(()) => println!("outcome: a session"),
        Err(error) => println!("outcome: {:?} at {:?}", error.kind(), error.stage()),
    }
}

fn through_the_engine(config: Config, pins: &[Masked]) -> Result<()> {
    let engine = Engine::builder(config.clone()).prompter(Printing(SystemPrompter::new(&config))).build().unwrap();
    let ticket = engine.get_ticket();
    assert_no_pin(pins, "after the login");
    print(&ticket);
    let outcome = ticket.map(drop).inspect_err(print_error);
    for result in [engine.get_ticket_no_auth().map(drop), outcome.clone()] {
        let _ = result.inspect_err(print_error);
    }
    print(&engine.session());
    let ended = engine.destroy_ticket().inspect_err(print_error);
    outcome.and(ended)
}

fn step_by_step(config: &Config) -> Result<()> {
    let cancel = CancelToken::new();
    print(&cancel);
    let settings = HttpsSettings { ca_file: config.ca_file.clone(), ..HttpsSettings::default() };
    print(&settings);
    let mut ssb = Ssb::new(Box::new(HttpsTransport::new(config.broker()?, settings)));
    let reader = SoftwareCardReader::new(config.software_card.clone().unwrap());
    print(&reader);
    let mut card = reader.wait_for_card(Duration::ZERO, &mut |_| {}, &cancel)?;
    let activation = ssb.activate(&cancel)?;
    print(&activation);
    let request = PinRequest::new(card.label(), card.pin_status());
    let pin = Printing(SystemPrompter::new(config)).pin(&request, &cancel)?;
    let signature = card.sign(Some(pin), Digest::Sha1, activation.challenge(), &cancel)?;
    let certificate = card.certificate().unwrap();
    print(certificate);
    let response = challenge::response(activation.challenge(), certificate, Digest::Sha1, &signature)?;
    let authentication = ssb.validate(&activation, certificate.uid(), &response, &cancel)?;
    print(&authentication);
    let session = authentication.session;
    print(session.ticket());
    ssb.select_role(&session, &authentication.roles[0].id, &cancel)?;
    ssb.log_out(&session, &cancel)?;
    // The broker has already ended the session.
    ssb.select_role(&session, &authentication.roles[0].id, &cancel).inspect_err(print_error).unwrap_err();
    ssb.log_out(&session, &cancel).inspect_err(print_error).unwrap_err();
    Ok(())
}

/// Prompts with programs, and prints each request and answer.
struct Printing(SystemPrompter);

impl Prompter for Printing {
    fn pin(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<Pin> {
        print(&self.0);
        print(request);
        self.0.pin(request, cancel).inspect(print).inspect_err(print_error)
    }

    fn use_last_try(&self, request: &PinRequest<'_>, cancel: &CancelToken) -> Result<bool> {
        self.0.use_last_try(request, cancel)
    }

    fn role(&self, roles: &[Role], cancel: &CancelToken) -> Result<usize> {
        print(&roles);
        self.0.role(roles, cancel)
    }
}

fn assert_no_pin(pins: &[Masked], when: &str) {
    for (number, pin) in pins.iter().enumerate() {
        assert_eq!(pin.forms_in_memory(), [], "PIN {number} is in memory {when}");
    }
}
