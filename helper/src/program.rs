//! The helper program. It serves the program that started it over one socket.

mod examine;
pub(crate) mod process;
mod reset;
mod sign;
pub(crate) mod watch;

use std::io::IsTerminal;
#[cfg(windows)]
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ticketapi::Pin;
use ticketapi::card::helper::PIN_PAD_WAIT;
#[cfg(windows)]
use ticketapi::card::pkcs11::WINDOWS;
use ticketapi::card::protocol::{
    Channel, ChannelError, EVENTS_ARGUMENT, EXAMINE_ARGUMENT, Hello, RESET_ARGUMENT, Reply, Request, VERSION, WireError,
};

use self::watch::Watch;
use crate::cards::{LoginCard, Search};
#[cfg(windows)]
use crate::cng;
use crate::pkcs11::signing;
use crate::{Pkcs11Reader, events};

/// Serves one request over standard input: a login, a reset, an examination, or watching the readers.
pub fn run() -> ExitCode {
    let argument = std::env::args().nth(1);
    if std::io::stdin().is_terminal() {
        eprintln!("ticketapi-card uses the smartcard during a login. Programs that use ticketapi start it.");
        return ExitCode::from(2);
    }
    let Ok(channel) = process::prepare() else { return ExitCode::FAILURE };
    let result = match argument.as_deref() {
        None => serve(&channel),
        Some(EVENTS_ARGUMENT) => watch_readers(&channel),
        Some(EXAMINE_ARGUMENT) => examine::serve(&channel),
        Some(RESET_ARGUMENT) => reset::detach(&channel),
        Some(reset::NOW_ARGUMENT) => reset::now(&channel),
        Some(_) => return ExitCode::from(2),
    };
    match result {
        // A module's exit handlers could hang or crash, and are not needed.
        Ok(()) => process::vanish(),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Exchanges protocol versions. Returns `false` if they differ.
fn handshake(channel: &Channel) -> Result<bool, ChannelError> {
    let Hello { version } = channel.receive(None)?.message()?;
    channel.send(&Hello { version: VERSION }, None)?;
    Ok(version == VERSION)
}

fn watch_readers(channel: &Channel) -> Result<(), ChannelError> {
    if handshake(channel)? { events::stream(channel) } else { Ok(()) }
}

fn serve(channel: &Channel) -> Result<(), ChannelError> {
    if !handshake(channel)? {
        return Ok(());
    }
    let frame = channel.receive(None)?;
    let (settings, choice, deadline) = match frame.message()? {
        Request::Find { settings, deadline } => (settings, None, deadline),
        Request::FindSigner { settings, choice, deadline } => (settings, Some(choice), deadline),
        _ => return Err(ChannelError::Malformed(0)),
    };
    let watch = Watch::start(channel).map_err(|_| ChannelError::Closed)?;
    watch.busy(deadline);
    #[cfg(windows)]
    if settings.modules == [Path::new(WINDOWS)] {
        let provider = cng::open();
        return match choice {
            None => {
                let found = provider.and_then(|provider| cng::search(provider, &settings));
                serve_found(channel, &watch, found, deadline)
            }
            Some(choice) => {
                let found = provider.and_then(|provider| cng::search_signer(provider, &settings, &choice));
                sign::serve(channel, &watch, found, deadline)
            }
        };
    }
    match choice {
        None => serve_found(channel, &watch, Pkcs11Reader::exclusive(settings).search(), deadline),
        Some(choice) => sign::serve(channel, &watch, signing::search(&settings, &choice), deadline),
    }
}

fn serve_found(
    channel: &Channel,
    watch: &Watch,
    found: ticketapi::Result<Search<impl LoginCard>>,
    deadline: Duration,
) -> Result<(), ChannelError> {
    match found {
        Ok(Search::Found(card)) => serve_card(channel, watch, card, deadline),
        Ok(Search::Absent(missing)) => channel.send(&Reply::from(missing), None),
        Err(error) => channel.send(&Reply::Failed(WireError::from(&error)), None),
    }
}

/// Keeps the card until it has signed or is no longer needed.
fn serve_card(
    channel: &Channel,
    watch: &Watch,
    mut card: impl LoginCard,
    deadline: Duration,
) -> Result<(), ChannelError> {
    let reader = card.reader().map(str::to_owned);
    let certificate = der(&card);
    let label = card.label().to_owned();
    watch.idle();
    let presence = card.presence().cloned();
    channel.send(&Reply::Card { label, certificate, pin: card.pin_status(), reader, presence }, None)?;
    loop {
        let frame = channel.receive(None)?;
        let Request::Sign { pin, digest, message } = frame.message()? else { break };
        watch.busy(deadline + if pin.is_none() { PIN_PAD_WAIT } else { Duration::ZERO });
        watch.logged_in(card.reset_afterwards());
        let pin_pad = pin.is_none();
        let pin = pin.map(|pin| Pin::new(pin.to_owned()));
        let reply = match card.sign(pin, digest, message, &Default::default()) {
            Ok(signature) => Reply::Signature { signature, certificate: der(&card).unwrap_or_default() },
            Err(error) if card.may_sign_again(pin_pad, &error) => {
                watch.idle();
                let failure = WireError::from(&error);
                channel.send(&Reply::WrongPin { failure, pin: card.pin_status() }, None)?;
                continue;
            }
            Err(error) => Reply::Failed(WireError::from(&error)),
        };
        channel.send(&reply, None)?;
        break;
    }
    watch.busy(deadline);
    channel.send(&Reply::Done(card.end()), None)
}

fn der(card: &impl LoginCard) -> Option<Vec<u8>> {
    card.certificate().map(|certificate| certificate.der().to_owned())
}
