//! Logs in on a computer without card or health network: with a test card, and a Spine simulator in this process.
//!
//! If SoftHSM2 is installed, it logs in again, with a PKCS#11 token in the card helper.

use std::error::Error;
use std::time::Instant;

use ticketapi::cancel::CancelToken;
use ticketapi::prompt::{PinRequest, Prompter};
use ticketapi::ssb::Role;
use ticketapi::{Config, Engine, Pin};
use ticketapi_testkit::artifacts::helper_program;
use ticketapi_testkit::{CardSpec, SoftHsm, Spine, TestCa};
use tracing_subscriber::fmt::time::uptime;

const PIN: &str = "4821";

/// A user who knows the PIN and chooses the second role.
struct DemoUser;

impl Prompter for DemoUser {
    fn pin(&self, request: &PinRequest<'_>, _: &CancelToken) -> ticketapi::Result<Pin> {
        println!("  PIN asked for {}", request.card_name());
        Ok(Pin::new(PIN.into()))
    }

    fn use_last_try(&self, _: &PinRequest<'_>, _: &CancelToken) -> ticketapi::Result<bool> {
        Ok(false)
    }

    fn role(&self, roles: &[Role], _: &CancelToken) -> ticketapi::Result<usize> {
        println!("  role asked, of {}", roles.len());
        Ok(1.min(roles.len() - 1))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_timer(uptime()).with_target(false).init();

    let ca = TestCa::new()?;
    let card = ca.issue(&CardSpec::new("123456789012"))?;
    let spine = Spine::builder().card_ca(&ca).roles(5).display_name("NURSE DEMO").start()?;
    let mut config = Config::default();
    config.set("base_url", &spine.url())?;
    config.ca_file = Some(spine.ca_file().to_owned());
    println!("Spine simulator at {}", spine.url());

    println!("\n== A software card (PKCS#12 file)");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("nurse.p12");
    card.write_pkcs12(&file, PIN)?;
    let mut software = config.clone();
    software.software_card = Some(file);
    log_in(software, &spine)?;

    if SoftHsm::find_module().is_some() {
        println!("\n== A PKCS#11 token (SoftHSM2), in the card helper");
        let tokens = SoftHsm::new()?;
        tokens.add_card("NHS demo card", PIN, &card)?;
        config.pkcs11_module = Some(tokens.module().to_owned());
        config.helper = Some(tokens.helper_wrapper(&helper_program())?);
        log_in(config, &spine)?;
    } else {
        println!("\nSoftHSM2 is not installed, so there is no PKCS#11 token to log in with.");
    }
    Ok(())
}

fn log_in(config: Config, spine: &Spine) -> Result<(), Box<dyn Error>> {
    let engine = Engine::builder(config).prompter(DemoUser).build()?;
    let start = Instant::now();
    let session = engine.log_in()?;
    println!("logged in after {:.1} ms", start.elapsed().as_secs_f64() * 1000.0);
    println!("  user    {} ({})", session.user().name, session.user().uid);
    println!("  roles");
    for role in session.roles() {
        println!("          {role} [{}]", role.id);
    }
    match session.role() {
        Some(role) => println!("  chosen  {role}"),
        None => println!("  chosen  none"),
    }
    println!("  ticket  {}", session.ticket().shortened());
    engine.destroy_ticket()?;
    println!("logged out; sessions left on the broker: {}", spine.open_sessions());
    Ok(())
}
