//! Watching the readers through PC/SC. No module is loaded for it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pcsc::{Context, Error, PNP_NOTIFICATION, ReaderState, Scope, State};
use ticketapi::card::events::Snapshot;
use ticketapi::card::protocol::{Channel, ChannelError, Reply};

use crate::pcsc::reader_state;
use crate::program::{process, watch};

/// How often to look for the service while it is down, and how long to wait before looking again after a
/// change.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells how the readers stand, now and each time that it has changed, until the program has gone.
pub fn stream(channel: &Channel) -> Result<(), ChannelError> {
    let socket = Arc::clone(channel.socket());
    let end = move || {
        watch::wait_until_gone(&socket);
        process::vanish()
    };
    thread::Builder::new().name("watch".to_owned()).spawn(end).map_err(|_| ChannelError::Closed)?;
    let mut stream = Stream { channel, last: None };
    loop {
        // Also when the service is back at once: it counts anew then. SCardIsValidContext would not
        // tell, so any error is taken as the end of the context.
        match stream.follow() {
            Lost::Service => drop(stream.tell(Snapshot::Down)?),
            Lost::Program(error) => return Err(error),
        }
        thread::sleep(INTERVAL);
    }
}

struct Stream<'a> {
    channel: &'a Channel,
    last: Option<Snapshot>,
}

/// Why the readers can no longer be followed.
enum Lost {
    Service,
    Program(ChannelError),
}

impl Stream<'_> {
    /// Follows the changes for as long as the service answers.
    fn follow(&mut self) -> Lost {
        match Context::establish(Scope::User) {
            Ok(context) => self.follow_in(&context),
            Err(_) => Lost::Service,
        }
    }

    fn follow_in(&mut self, context: &Context) -> Lost {
        let mut states = vec![ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE)];
        let (mut wait, mut gone) = (Some(Duration::ZERO), false);
        loop {
            if list(context, &mut states).is_err() {
                return Lost::Service;
            }
            match context.get_status_change(wait, &mut states) {
                // A reader that was unplugged just now, but not twice in a row.
                Err(Error::UnknownReader) if !gone => {
                    gone = true;
                    wait = Some(INTERVAL);
                    continue;
                }
                // Once more: a reader that was plugged in after the list was made is no change.
                Ok(()) => wait = Some(INTERVAL),
                Err(Error::Timeout) => wait = wait.filter(Duration::is_zero).map(|_| INTERVAL),
                Err(_) => return Lost::Service,
            }
            gone = false;
            states.iter_mut().for_each(ReaderState::sync_current_state);
            let readers: Vec<_> = states[1..].iter().filter(|state| is_there(state)).map(reader_state).collect();
            // PC/SC does not compare a counter that is zero, so it would not tell of a swap.
            if readers.iter().any(|reader| reader.card && reader.counter == 0) {
                wait = Some(INTERVAL);
            }
            match self.tell(Snapshot::Readers(readers)) {
                // Also where the wait had passed: a reader may come before the next one begins.
                Ok(true) => wait = Some(INTERVAL),
                Ok(false) => {}
                Err(error) => return Lost::Program(error),
            }
        }
    }

    /// Tells what is new; false where nothing is.
    fn tell(&mut self, snapshot: Snapshot) -> Result<bool, ChannelError> {
        let new = self.last.as_ref() != Some(&snapshot);
        if new {
            self.channel.send(&Reply::Readers(snapshot.clone()), None)?;
            self.last = Some(snapshot);
        }
        Ok(new)
    }
}

/// Has `states` hold the readers that there are now, after the one that stands for all.
fn list(context: &Context, states: &mut Vec<ReaderState>) -> Result<(), Error> {
    let names = match context.list_readers_owned() {
        // One came while they were listed.
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
