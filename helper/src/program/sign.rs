//! Signs documents.

use std::time::Duration;

use ticketapi::Pin;
use ticketapi::card::helper::PIN_PAD_WAIT;
use ticketapi::card::pkcs11::CardSettings;
use ticketapi::card::protocol::{Channel, ChannelError, Reply, Request, WireError};
use ticketapi::card::{SignerChoice, SmartCard};

use super::watch::Watch;
use crate::pkcs11::signing::{Search, SigningCard, SigningKey, search};

pub fn serve(
    channel: &Channel,
    watch: &Watch,
    settings: &CardSettings,
    choice: &SignerChoice,
    deadline: Duration,
) -> Result<(), ChannelError> {
    match search(settings, choice) {
        Ok(Search::Found(card)) => serve_card(channel, watch, card, deadline),
        Ok(Search::Absent(missing)) => channel.send(&Reply::from(missing), None),
        Err(error) => channel.send(&Reply::Failed(WireError::from(&error)), None),
    }
}

/// Keeps the card until it is no longer needed.
fn serve_card(
    channel: &Channel,
    watch: &Watch,
    mut signer: SigningCard,
    deadline: Duration,
) -> Result<(), ChannelError> {
    let (label, pin) = (signer.card().label().to_owned(), signer.card().pin_status());
    let reader = signer.card().reader().map(str::to_owned);
    let certificate = signer.signer().map(|signer| signer.der().to_owned());
    watch.idle();
    channel.send(&Reply::Signer { label, certificate, pin, reader }, None)?;
    loop {
        let frame = channel.receive(None)?;
        let Request::LogIn { pin } = frame.message()? else { break };
        let pin_pad = pin.is_none();
        let limit = deadline + if pin_pad { PIN_PAD_WAIT } else { Duration::ZERO };
        watch.busy(limit);
        watch.logged_in(signer.card().reset_afterwards());
        let pin = pin.map(|pin| Pin::new(pin.to_owned()));
        match signer.log_in(pin, |key| sign_hashes(channel, watch, key, limit)) {
            Ok(served) => served?,
            Err(error) if signer.may_sign_again(pin_pad, &error) => {
                watch.idle();
                let failure = WireError::from(&error);
                channel.send(&Reply::WrongPin { failure, pin: signer.card().pin_status() }, None)?;
                continue;
            }
            Err(error) => channel.send(&Reply::Failed(WireError::from(&error)), None)?,
        }
        break;
    }
    watch.busy(deadline);
    channel.send(&Reply::Done(signer.end()), None)
}

/// Signs until another request comes.
fn sign_hashes(
    channel: &Channel,
    watch: &Watch,
    key: &mut SigningKey<'_>,
    limit: Duration,
) -> Result<(), ChannelError> {
    let (certificate, chain) = (key.signer().der().to_owned(), key.chain().to_vec());
    channel.send(&Reply::LoggedIn { certificate, chain }, None)?;
    loop {
        // Also while it waits for the next hash: a program that is stopped must not keep the card logged in.
        watch.busy(limit);
        let frame = channel.receive(None)?;
        let Request::SignHash { hash } = frame.message()? else { return Ok(()) };
        watch.busy(limit);
        let signed = key.sign(hash).map_err(|error| WireError::from(&error));
        channel.send(&Reply::Signed(signed), None)?;
    }
}
