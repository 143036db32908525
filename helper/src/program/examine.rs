//! Examines readers and slots, for `ticketapi doctor`.

use std::path::Path;

use ticketapi::card::examination::Examination;
#[cfg(windows)]
use ticketapi::card::pkcs11::WINDOWS;
use ticketapi::card::protocol::{Channel, ChannelError, Request, WireError};

use super::watch::Watch;
use crate::{pcsc, pkcs11};

/// Answers one request.
pub fn serve(channel: &Channel) -> Result<(), ChannelError> {
    if !super::handshake(channel)? {
        return Ok(());
    }
    let frame = channel.receive(None)?;
    let Request::Examine { module, issuers, deadline } = frame.message()? else {
        return Err(ChannelError::Malformed(0));
    };
    let watch = Watch::start(channel).map_err(|_| ChannelError::Closed)?;
    watch.busy(deadline);
    let examined = examine(module.as_deref(), &issuers);
    channel.send(&examined.unwrap_or_else(|error| Examination::Failed(WireError::from(&error))), None)
}

fn examine(module: Option<&Path>, issuers: &[String]) -> ticketapi::Result<Examination> {
    match module {
        None => pcsc::examine().map(Examination::Readers),
        #[cfg(windows)]
        Some(module) if module == Path::new(WINDOWS) => {
            let provider = crate::cng::open()?;
            Ok(Examination::Slots(crate::cng::slots(&*provider, issuers)))
        }
        Some(module) => pkcs11::slots(module, issuers).map(Examination::Slots),
    }
}
