//! Uses cards through another process: starts the helper, enforces its deadlines, kills it.
//!
//! A PKCS#11 module can hang, or crash its process. So modules run in the helper program `ticketapi-card`, in one
//! process for each login, and this process loads neither a module nor the PC/SC library. When a call returns, no
//! thread and no child is left.

mod held;
mod installed;
#[cfg(target_os = "linux")]
mod opensc;
mod process;
#[cfg(feature = "sign")]
mod signing;
mod turns;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::held::{ENDING, Held, report_reset};
pub use self::installed::find_helper;
use self::process::receive;
pub(super) use self::process::{Helper, interrupt};
#[cfg(feature = "sign")]
use self::signing::HelperSigner;
#[doc(hidden)]
pub use self::turns::lock_fault;
use self::watch::HelperWatch;
use super::events::{CardWatch, Presence, Snapshot};
use super::pkcs11::{CardSettings, known_places};
use super::protocol::{Channel, Reply, Request};
use super::{Absence, CardReader, Certificate, PinStatus, SmartCard};
#[cfg(feature = "sign")]
use super::{SignerCard, SignerChoice};
use crate::cancel::CancelToken;
use crate::card::Digest;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::secret::Pin;

/// The default time for one operation of a card.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A search is restarted this long before its deadline. OpenSC 0.23 deadlocks when another program resets a card
/// that it is identifying; other modules need most of the time.
const SECOND_SEARCH: Duration = Duration::from_secs(4);

/// A search that would have less time than this before is not restarted.
const FIRST_SEARCH: Duration = Duration::from_secs(10);

/// The additional time for entering a PIN on the reader's PIN pad.
pub const PIN_PAD_WAIT: Duration = Duration::from_secs(60);

/// How often to search for cards that PC/SC does not report: tokens that are not cards in its readers, and cards
/// that no module recognises, because another program may be using them.
const INTERVAL: Duration = Duration::from_secs(2);

/// How to reach cards through the helper process.
#[derive(Clone, Debug)]
pub struct HelperSettings {
    /// The helper program; see [`find_helper`].
    pub program: PathBuf,
    /// The settings that the helper uses.
    pub card: CardSettings,
    /// The time for each operation. Waiting for a card and entering a PIN on the reader take additional time. A
    /// search that has not ended 4 seconds before its deadline is restarted, unless the deadline is shorter than
    /// 14 seconds.
    pub deadline: Duration,
}

/// Finds cards through helper processes, a new one for each login.
///
/// Each call returns by its deadline, whatever the module does, and soon after it is cancelled. During the wait
/// for a card, one helper watches the readers, and another one searches after each change.
pub struct HelperReader {
    settings: HelperSettings,
    resetting: Resetting,
}

/// A reset that continues after its login; the next login waits for it.
type Resetting = Arc<Mutex<Option<Channel>>>;

impl HelperReader {
    /// Creates a reader. Starts nothing yet.
    pub fn new(settings: HelperSettings) -> Self {
        Self { settings, resetting: Arc::default() }
    }

    /// The settings of this reader.
    pub fn settings(&self) -> &HelperSettings {
        &self.settings
    }

    /// The next login's card must not be reset while it is used.
    fn wait_for_reset(&self, cancel: &CancelToken) {
        let resetting = self.resetting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(channel) = resetting {
            let _guard = cancel.on_cancel(interrupt(&channel));
            report_reset(&receive(&channel, Some(Instant::now() + ENDING)));
        }
    }
}

impl CardReader for HelperReader {
    fn wait_for_card(
        &self,
        wait: Duration,
        absent: &mut dyn FnMut(Absence),
        cancel: &CancelToken,
    ) -> Result<Box<dyn SmartCard>> {
        let request = Request::Find { settings: self.settings.card.clone(), deadline: self.settings.deadline };
        let found = |reply| match reply {
            Reply::Card { label, certificate, pin, reader, presence } => {
                tracing::debug!(reader, ?presence, tries = ?pin.tries, "card found");
                let certificate = certificate.as_deref().map(Certificate::from_der).transpose();
                Some(certificate.map(|certificate| ((label, certificate, pin, presence), reader)))
            }
            _ => None,
        };
        let ((label, certificate, pin, presence), held) = self.wait_for(&request, &found, wait, absent, cancel)?;
        Ok(Box::new(HelperCard { label, certificate, pin, presence, held }))
    }

    #[cfg(feature = "sign")]
    fn wait_for_signer(
        &self,
        choice: &SignerChoice,
        wait: Duration,
        absent: &mut dyn FnMut(Absence),
        cancel: &CancelToken,
    ) -> Result<Box<dyn SignerCard>> {
        Ok(Box::new(HelperSigner::find(self, choice, wait, absent, cancel)?))
    }

    fn watch(&self) -> Result<Option<Box<dyn CardWatch>>> {
        Ok(Some(Box::new(self.start_watch(&CancelToken::new())?)))
    }
}

/// Reads a reply that reports a card, and returns its reader with it. `None` for another reply.
type Found<'a, T> = &'a dyn Fn(Reply) -> Option<Result<(T, Option<String>)>>;

/// The result of a search.
enum Search<T> {
    Card(T, Held),
    Absent(Missing),
}

/// The fields of [`Reply::Absent`].
struct Missing {
    absence: Absence,
    error: Error,
    readers: Snapshot,
    watched: bool,
}

impl HelperReader {
    /// Searches until there is a card, for at most `wait`.
    fn wait_for<T>(
        &self,
        request: &Request<'_>,
        found: Found<'_, T>,
        wait: Duration,
        absent: &mut dyn FnMut(Absence),
        cancel: &CancelToken,
    ) -> Result<(T, Held)> {
        if self.settings.card.modules.is_empty() {
            let places = known_places();
            return Err(not_installed(format!("no PKCS#11 module is configured, and none was found ({places})")));
        }
        self.wait_for_reset(cancel);
        let until = Instant::now().checked_add(wait);
        let over = || until.is_some_and(|until| until <= Instant::now());
        let (mut reported, mut events) = (None, None);
        loop {
            let missing = match self.search(request, found, cancel)? {
                Search::Card(card, held) => return Ok((card, held)),
                Search::Absent(missing) => missing,
            };
            if over() {
                return Err(missing.error);
            }
            if reported.as_ref() != Some(&missing.absence) {
                absent(missing.absence.clone());
                reported = Some(missing.absence);
            }
            let events = events.get_or_insert_with(|| Events(self.start_watch(cancel).ok()));
            let next = if missing.watched { None } else { Instant::now().checked_add(INTERVAL) };
            events.wait(&missing.readers, [until, next].into_iter().flatten().min(), cancel)?;
        }
    }

    /// Searches once, or again if the search hangs: the user has not been asked for a PIN yet.
    fn search<T>(&self, request: &Request<'_>, found: Found<'_, T>, cancel: &CancelToken) -> Result<Search<T>> {
        let (began, deadline) = (Instant::now(), self.settings.deadline);
        let first = deadline.checked_sub(SECOND_SEARCH).filter(|time| *time >= FIRST_SEARCH).unwrap_or(deadline);
        match self.search_within(request, found, first, cancel) {
            Err(error) if *error.kind() == ErrorKind::CardFailed && (first..deadline).contains(&began.elapsed()) => {
                tracing::warn!(%error, "the search for the card is repeated");
                self.search_within(request, found, deadline.saturating_sub(began.elapsed()), cancel)
            }
            looked => looked,
        }
    }

    /// Searches with a new helper, because an earlier one may have outdated information about the readers.
    fn search_within<T>(
        &self,
        request: &Request<'_>,
        found: Found<'_, T>,
        time: Duration,
        cancel: &CancelToken,
    ) -> Result<Search<T>> {
        let program = &self.settings.program;
        cancel.check(Stage::Card)?;
        let until = Some(Instant::now() + time);
        let mut helper = Helper::start(program, None)?;
        let _guard = cancel.on_cancel(interrupt(&helper.channel));
        helper.greet(program, until, cancel)?;
        match helper.channel.send(request, until).and_then(|()| receive(&helper.channel, until)) {
            Ok(Reply::Absent { absence, failure, readers, watched }) => {
                let error = Error::from(failure);
                tracing::debug!(%error, ?readers, "no card yet");
                Ok(Search::Absent(Missing { absence, error, readers, watched }))
            }
            Ok(Reply::Failed(failure)) => Err(failure.into()),
            Ok(reply) => {
                let Some(card) = found(reply) else { return Err(helper.lost(None, Stage::Card, cancel)) };
                let (card, reader) = card?;
                let held = Held::new(helper, reader, &self.settings, &self.resetting, cancel);
                Ok(Search::Card(card, held))
            }
            Err(error) => Err(helper.lost(Some(error), Stage::Card, cancel)),
        }
    }

    fn start_watch(&self, cancel: &CancelToken) -> Result<HelperWatch> {
        HelperWatch::start(self.settings.program.clone(), self.settings.deadline, cancel)
    }
}

/// Signals that another search is worthwhile. `None` if the readers cannot be watched.
struct Events(Option<HelperWatch>);

impl Events {
    /// Waits until the readers differ from `seen`, at most until `until`. If they cannot be watched, waits for
    /// [`INTERVAL`].
    fn wait(&mut self, seen: &Snapshot, until: Option<Instant>, cancel: &CancelToken) -> Result<()> {
        while let Some(watch) = &mut self.0 {
            match watch.next(until, cancel) {
                // The searched state, or an older one.
                Ok(Some(snapshot)) if snapshot == *seen => {}
                Ok(_) => return Ok(()),
                Err(error) if *error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "cards are searched for every {} seconds", INTERVAL.as_secs());
                    self.0 = None;
                }
            }
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        cancel.wait(left.map_or(INTERVAL, |left| left.min(INTERVAL)));
        Ok(())
    }
}

/// The card that a helper logs in with.
struct HelperCard {
    label: String,
    certificate: Option<Certificate>,
    pin: PinStatus,
    presence: Option<Presence>,
    held: Held,
}

impl SmartCard for HelperCard {
    fn label(&self) -> &str {
        &self.label
    }

    fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    fn pin_status(&self) -> PinStatus {
        self.pin
    }

    fn presence(&self) -> Option<&Presence> {
        self.presence.as_ref()
    }

    fn sign(&mut self, pin: Option<Pin>, digest: Digest, message: &[u8], cancel: &CancelToken) -> Result<Vec<u8>> {
        let Self { held, certificate, pin: status, .. } = self;
        let until = held.until(pin.is_none());
        let helper = held.helper(cancel)?;
        let _guard = cancel.on_cancel(interrupt(&helper.channel));
        let request = Request::Sign { pin: pin.as_ref().map(Pin::expose), digest, message };
        let sent = helper.channel.send(&request, until);
        drop(pin);
        let result = match sent.and_then(|()| receive(&helper.channel, until)) {
            Ok(Reply::WrongPin { failure, pin }) => {
                *status = pin;
                held.waits();
                return Err(failure.into());
            }
            Ok(Reply::Signature { signature, certificate: der }) => Certificate::from_der(&der).map(|der| {
                *certificate = Some(der);
                signature
            }),
            Ok(Reply::Failed(failure)) => Err(failure.into()),
            other => return Err(held.lost(other.err(), cancel)),
        };
        held.ends();
        result
    }
}

fn not_installed(detail: String) -> Error {
    Error::new(ErrorKind::NotInstalled, Stage::Card, detail)
}

fn failed(stage: Stage, detail: &str) -> Error {
    Error::new(ErrorKind::CardFailed, stage, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_a_helper_is_named() {
        let settings = HelperSettings {
            program: "/bin/true".into(),
            card: CardSettings { modules: vec!["/nowhere.so".into()], ..CardSettings::default() },
            deadline: DEADLINE,
        };
        let reader = HelperReader::new(settings);
        let error = reader.wait_for_card(Duration::ZERO, &mut |_| {}, &CancelToken::new()).err().unwrap();
        assert_eq!(*error.kind(), ErrorKind::NotInstalled);
        assert!(error.detail().contains("/bin/true"), "{error}");
    }

    #[test]
    fn the_error_without_any_module_lists_the_searched_places() {
        let settings =
            HelperSettings { program: "/bin/true".into(), card: CardSettings::default(), deadline: DEADLINE };
        let error =
            HelperReader::new(settings).wait_for_card(Duration::ZERO, &mut |_| {}, &CancelToken::new()).err().unwrap();
        assert_eq!(*error.kind(), ErrorKind::NotInstalled);
        let module = if cfg!(windows) { "opensc-pkcs11.dll" } else { "opensc-pkcs11.so" };
        assert!(error.detail().contains(module), "{error}");
    }
}
