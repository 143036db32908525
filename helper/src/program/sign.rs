//! Signs documents.

use std::time::Duration;

use ticketapi::Pin;
use ticketapi::card::helper::PIN_PAD_WAIT;
use ticketapi::card::protocol::{Channel, ChannelError, Reply, Request, WireError};

use super::watch::Watch;
use crate::cards::{DocumentCard, Search};
use crate::hash_key::HashKey;

pub fn serve(
    channel: &Channel,
    watch: &Watch,
    found: ticketapi::Result<Search<impl DocumentCard>>,
    deadline: Duration,
) -> Result<(), ChannelError> {
    match found {
        Ok(Search::Found(card)) => serve_card(channel, watch, card, deadline),
        Ok(Search::Absent(missing)) => channel.send(&Reply::from(missing), None),
        Err(error) => channel.send(&Reply::Failed(WireError::from(&error)), None),
    }
}

/// Keeps the card until it is no longer needed.
fn serve_card(
    channel: &Channel,
    watch: &Watch,
    mut card: impl DocumentCard,
    deadline: Duration,
) -> Result<(), ChannelError> {
    let (label, pin) = (card.label().to_owned(), card.pin_status());
    let reader = card.reader().map(str::to_owned);
    let certificate = card.signer().map(|signer| signer.der().to_owned());
    watch.idle();
    channel.send(&Reply::Signer { label, certificate, pin, reader }, None)?;
    loop {
        let frame = channel.receive(None)?;
        let Request::LogIn { pin } = frame.message()? else { break };
        let pin_pad = pin.is_none();
        let limit = deadline + if pin_pad { PIN_PAD_WAIT } else { Duration::ZERO };
        watch.busy(limit);
        watch.logged_in(card.reset_afterwards());
        let pin = pin.map(|pin| Pin::new(pin.to_owned()));
        let mut served = Ok(());
        match card.log_in(pin, &mut |key| served = sign_hashes(channel, watch, key, limit)) {
            Ok(()) => served?,
            Err(error) if card.may_sign_again(pin_pad, &error) => {
                watch.idle();
                let failure = WireError::from(&error);
                channel.send(&Reply::WrongPin { failure, pin: card.pin_status() }, None)?;
                continue;
            }
            Err(error) => channel.send(&Reply::Failed(WireError::from(&error)), None)?,
        }
        break;
    }
    watch.busy(deadline);
    channel.send(&Reply::Done(card.end()), None)
}

/// Signs until another request comes.
fn sign_hashes(channel: &Channel, watch: &Watch, key: &mut HashKey<'_>, limit: Duration) -> Result<(), ChannelError> {
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
