//! A real Keycloak for programs of any language, with the realms of [`ticketapi_testkit::keycloak`].
//!
//! It prints settings for ticketapi, and ends with its standard input:
//!
//! - `issuer=`, that of the realm `ehealth`; other realms have their name in its place;
//! - `ca_file=`, for `TICKETAPI_CA_FILE`;
//! - `client_key_file=`, the key of the client that signs its requests.
//!
//! Then it answers the lines on its standard input: `sessions REALM USER` with how many sessions the user has,
//! and `end-sessions REALM USER` with 0 when they are ended.

use std::error::Error;
use std::io::{BufRead, Write};

use ticketapi_testkit::Keycloak;

fn main() -> Result<(), Box<dyn Error>> {
    let keycloak = Keycloak::start()?;
    let (ca, key) = (keycloak.ca_file().display(), keycloak.client_key_file());
    tell(&format!("issuer={}\nca_file={ca}\nclient_key_file={}", keycloak.issuer("ehealth"), key.display()))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let count = match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["sessions", realm, user] => keycloak.open_sessions(realm, user)?,
            ["end-sessions", realm, user] => {
                keycloak.end_sessions(realm, user)?;
                0
            }
            _ => return Err(format!("{line:?} is neither sessions nor end-sessions").into()),
        };
        tell(&count.to_string())?;
    }
    Ok(())
}

fn tell(text: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{text}").and_then(|()| output.flush())
}
