//! A PIV card in a virtual reader, which programs in any language can insert and remove. It has a pair of keys for
//! logging in and one for signing documents.
//!
//! `virtual-card --state-dir DIR --helper FILE` prints settings for ticketapi and the PC/SC service:
//!
//! - `helper=`, the card helper FILE with that service, for `TICKETAPI_HELPER`;
//! - `service=`, the service's socket, for `PCSCLITE_CSOCK_NAME`;
//! - `pin=`, the card's PIN.
//!
//! Then it reads commands from standard input and prints each one when it is done: `insert`, after the service has
//! powered up the card, and `remove`, at once (the service notices half a second later). `resets` prints how often the
//! card was reset or lost its power. It ends when its standard input ends, and ends the service. The CA in DIR issues
//! the card; `spine-simulator --state-dir DIR` accepts it.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use ticketapi_testkit::{CardSpec, Pcscd, PivCard, TestCa, piv};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut state, mut helper) = (None, None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("state-dir") => state = Some(PathBuf::from(arguments.value()?)),
            Long("helper") => helper = Some(PathBuf::from(arguments.value()?)),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let (Some(state), Some(helper)) = (state, helper) else {
        return Err("usage: virtual-card --state-dir DIR --helper FILE".into());
    };

    let pcscd = Pcscd::start()?;
    let ca = TestCa::load_or_create(&state)?;
    let signer = ca.issue(&CardSpec::default().for_signing().key_number(1))?;
    let card = PivCard::with_signature(&ca.issue(&CardSpec::default())?, Some(&signer))?;
    let helper = pcscd.helper_wrapper(&helper)?;
    let (helper, service) = (helper.display(), pcscd.socket());
    print(&format!("helper={helper}\nservice={}\npin={}", service.display(), piv::DEFAULT_PIN))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut done = line.clone();
        match line.as_str() {
            "insert" => {
                card.insert(pcscd.port())?;
                if !card.wait_until_seen(Duration::from_secs(30)) {
                    return Err("the service does not see the card".into());
                }
            }
            "remove" => card.remove(),
            "resets" => done = format!("resets={}", card.counts().resets),
            other => return Err(format!("{other:?} is neither insert, remove nor resets").into()),
        }
        print(&done)?;
    }
    Ok(())
}

fn print(text: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}").and_then(|()| output.flush())
}
