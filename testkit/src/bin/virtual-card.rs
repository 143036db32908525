//! A PIV card in a virtual reader, for programs of any language to put in and take out.
//!
//! `virtual-card --state-dir DIR --helper FILE` prints settings for ticketapi and how to reach the PC/SC
//! service that has the reader:
//!
//! - `helper=`, the card helper FILE with that service, for `TICKETAPI_HELPER`;
//! - `service=`, its socket, for `PCSCLITE_CSOCK_NAME`;
//! - `pin=`, the card's.
//!
//! Then it obeys the lines on its standard input, and repeats each when it is done: `insert`, when the
//! service has powered the card up, and `remove`, at once; the service notices that half a second later. It
//! ends with its standard input, and the service with it. The card is of the CA in DIR, which
//! `spine-simulator --state-dir DIR` takes.

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
    let card = PivCard::new(&TestCa::load_or_create(&state)?.issue(&CardSpec::default())?)?;
    let helper = pcscd.helper_wrapper(&helper)?;
    let (helper, service) = (helper.display(), pcscd.socket());
    tell(&format!("helper={helper}\nservice={}\npin={}", service.display(), piv::DEFAULT_PIN))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.as_str() {
            "insert" => {
                card.insert(pcscd.port())?;
                if !card.wait_until_seen(Duration::from_secs(30)) {
                    return Err("the service does not see the card".into());
                }
            }
            "remove" => card.remove(),
            other => return Err(format!("{other:?} is neither insert nor remove").into()),
        }
        tell(&line)?;
    }
    Ok(())
}

fn tell(text: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}").and_then(|()| output.flush())
}
