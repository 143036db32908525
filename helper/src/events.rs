//! Watches the readers through PC/SC, without a PKCS#11 module.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pcsc::{Context, Error, PNP_NOTIFICATION, ReaderState, Scope, State};
use ticketapi::card::events::Snapshot;
use ticketapi::card::protocol::{Channel, ChannelError, Reply};

use crate::pcsc::reader_state;
use crate::program::process;

/// How often to try a service that is down, and how long to wait before reading again after a change.
const INTERVAL: Duration = Duration::from_secs(1);

/// Sends the readers' state now and after each change, until the program disconnects.
pub fn stream(channel: &Channel) -> Result<(), ChannelError> {
    let socket = Arc::clone(channel.socket());
    let end = move || {
        process::until_closed(&socket, None);
        process::vanish()
    };
    thread::Builder::new().name("watch".to_owned()).spawn(end).map_err(|_| ChannelError::Closed)?;
    let mut stream = Stream { channel, last: None };
    loop {
        // Sent even if the service is back at once, because its counters start anew. SCardIsValidContext does not
        // detect a restart, so any error counts as the end of the context.
        match stream.follow() {
            Ended::Service => drop(stream.send(Snapshot::Down)?),
            Ended::Program(error) => return Err(error),
        }
        thread::sleep(INTERVAL);
    }
}

struct Stream<'a> {
    channel: &'a Channel,
    last: Option<Snapshot>,
}

/// Why watching the readers ended.
enum Ended {
    Service,
    Program(ChannelError),
}

impl Stream<'_> {
    /// Reports changes for as long as the service answers.
    fn follow(&mut self) -> Ended {
        match Context::establish(Scope::User) {
            Ok(context) => self.follow_in(&context),
            Err(_) => Ended::Service,
        }
    }

    fn follow_in(&mut self, context: &Context) -> Ended {
        let mut states = vec![ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE)];
        let (mut wait, mut gone) = (Some(Duration::ZERO), false);
        loop {
            if list(context, &mut states).is_err() {
                return Ended::Service;
            }
            match context.get_status_change(wait, &mut states) {
                // A reader was unplugged just now. Tolerated once, not twice in a row.
                Err(Error::UnknownReader) if !gone => {
                    gone = true;
                    wait = Some(INTERVAL);
                    continue;
                }
                // Read once more: PC/SC reports no change for a reader that was plugged in after the list was
                // made.
                Ok(()) => wait = Some(INTERVAL),
                Err(Error::Timeout) => wait = wait.filter(Duration::is_zero).map(|_| INTERVAL),
                Err(_) => return Ended::Service,
            }
            gone = false;
            states.iter_mut().for_each(ReaderState::sync_current_state);
            let readers: Vec<_> = states[1..].iter().filter(|state| is_there(state)).map(reader_state).collect();
            // PC/SC does not compare a counter that is zero, so it would not report a swapped card.
            if readers.iter().any(|reader| reader.card && reader.counter == 0) {
                wait = Some(INTERVAL);
            }
            match self.send(Snapshot::Readers(readers)) {
                // Also after a timeout: a reader may be plugged in before the next wait begins.
                Ok(true) => wait = Some(INTERVAL),
                Ok(false) => {}
                Err(error) => return Ended::Program(error),
            }
        }
    }

    /// Sends the snapshot if it differs from the last one, and returns `true` if so.
    fn send(&mut self, snapshot: Snapshot) -> Result<bool, ChannelError> {
        let new = self.last.as_ref() != Some(&snapshot);
        if new {
            self.channel.send(&Reply::Readers(snapshot.clone()), None)?;
            self.last = Some(snapshot);
        }
        Ok(new)
    }
}

/// Brings `states` up to date with the readers, after the first entry, which stands for all of them.
fn list(context: &Context, states: &mut Vec<ReaderState>) -> Result<(), Error> {
    let names = match context.list_readers_owned() {
        // A reader was plugged in between the two calls that make the list.
        Err(Error::InsufficientBuffer) => context.list_readers_owned()?,
        names => names?,
    };
    let mut at = 0;
    states.retain(|state| {
        at += 1;
        at == 1 || names.iter().any(|name| **name == *state.name())
    });
    for name in names {
        if !states.iter().any(|state| *state.name() == *name) {
            states.push(ReaderState::new(name, State::UNAWARE));
        }
    }
    Ok(())
}

fn is_there(state: &ReaderState) -> bool {
    !state.event_state().intersects(State::UNKNOWN | State::IGNORE)
}
