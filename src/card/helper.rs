//! Cards in a process of their own: start the helper, keep its deadlines, kill it.
//!
//! A PKCS#11 module can hang or crash, and takes its process along. So modules run in the helper
//! program `ticketapi-card`, one process for each login, and this process loads neither a module
//! nor the PC/SC library. No thread and no child is left when a call returns.

#[cfg(target_os = "linux")]
mod opensc;
mod process;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::process::{Answer, receive};
pub(super) use self::process::{Helper, interrupt};
use self::watch::HelperWatch;
use super::events::{CardWatch, Presence, Snapshot};
use super::pkcs11::{AfterLogin, CardSettings, known_places};
use super::protocol::{Channel, RESET_ARGUMENT, Reply, Request, Reset};
use super::{Absence, CardReader, Certificate, PinStatus, SmartCard};
use crate::cancel::CancelToken;
use crate::card::Digest;
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::fs::trusted;
use crate::secret::Pin;

/// The time that one operation of a card may take, where nothing else is set.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// This long before its deadline a search is begun anew. OpenSC 0.23 waits for itself, for ever, when another program
/// resets a card that it is finding out about; other modules just need most of the time.
const SECOND_SEARCH: Duration = Duration::from_secs(4);

/// A search that would have less time than this before is not begun anew.
const FIRST_SEARCH: Duration = Duration::from_secs(10);

/// The time that a user gets to enter a PIN on the reader's own keys, in addition to the deadline.
pub const PIN_PAD_WAIT: Duration = Duration::from_secs(60);

/// The time that a helper gets to let go of the card.
const ENDING: Duration = Duration::from_secs(2);

/// The time that a helper gets to begin the reset of a card that another helper left behind.
const DETACHING: Duration = Duration::from_millis(200);

/// How often cards are looked for that PC/SC does not tell of: tokens that are no cards in its readers,
/// and cards that no module knows, as they may be in use by another program.
const INTERVAL: Duration = Duration::from_secs(2);

const PROGRAM: &str = "ticketapi-card";

/// How to reach cards through the helper process.
#[derive(Clone, Debug)]
pub struct HelperSettings {
    /// The helper program; see [`find_helper`].
    pub program: PathBuf,
    /// What the helper does.
    pub card: CardSettings,
    /// The time that each operation may take; waiting for a card and entering a PIN on the reader
    /// come on top. A search for the card that has not ended 4 seconds before its deadline is begun anew, unless the
    /// deadline is shorter than 14.
    pub deadline: Duration,
}

/// The helper program: `configured`, or the first trusted one that is in one of `folders`, in
/// `libexec/ticketapi` of the prefix that it is the `bin` or `lib` of, or in the system's libexec.
///
/// # Errors
///
/// [`ErrorKind::NotInstalled`] with every place that was looked at.
pub fn find_helper(configured: Option<&Path>, folders: &[PathBuf]) -> Result<PathBuf> {
    let places: Vec<PathBuf> = match configured {
        Some(path) => vec![path.to_owned()],
        None => folders
            .iter()
            .flat_map(|folder| [Some(folder.clone()), prefix(folder).map(|prefix| prefix.join("libexec/ticketapi"))])
            .flatten()
            .chain(["/usr/local/libexec/ticketapi".into(), "/usr/libexec/ticketapi".into()])
            .map(|folder| folder.join(PROGRAM))
            .collect(),
    };
    let mut not_trusted = String::new();
    for path in places.iter().filter(|path| path.is_file()) {
        match trusted(path) {
            Ok(found) => return Ok(found),
            Err(error) => not_trusted += &format!("; {} is not trusted: {error}", path.display()),
        }
    }
    let places: Vec<_> = places.iter().map(|path| path.display().to_string()).collect();
    let places = places.join(", ");
    Err(not_installed(format!("the card helper {PROGRAM} does not exist (searched: {places}){not_trusted}")))
}

/// The prefix that `folder` belongs to: it is `bin`, `lib` or `lib64` there, or `lib/<machine>` as Debian has it.
/// Nothing above another folder is looked at, as that may be anybody's.
fn prefix(folder: &Path) -> Option<&Path> {
    let is =
        |folder: &Path, names: &[&str]| names.iter().any(|name| folder.file_name().is_some_and(|own| own == *name));
    let above = folder.parent()?;
    match folder {
        _ if is(folder, &["bin", "lib", "lib64"]) => Some(above),
        _ if is(above, &["lib"]) => above.parent(),
        _ => None,
    }
}

/// Finds cards through the helper process, a new one for each login.
///
/// Each call is back by its deadline, whatever the module does, and soon after it is cancelled. While
/// a card is waited for, another helper watches the readers, and a new one looks when they change.
pub struct HelperReader {
    settings: HelperSettings,
    resetting: Resetting,
}

/// A reset that goes on after the login that it belongs to, for the next login to wait for.
type Resetting = Arc<Mutex<Option<Channel>>>;

impl HelperReader {
    /// Starts nothing yet.
    pub fn new(settings: HelperSettings) -> Self {
        Self { settings, resetting: Arc::default() }
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &HelperSettings {
        &self.settings
    }

    /// The card of the next login must not be reset under its hands.
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
        let HelperSettings { card: settings, .. } = &self.settings;
        if settings.modules.is_empty() {
            let places = known_places();
            return Err(not_installed(format!("no PKCS#11 module is configured, and none was found ({places})")));
        }
        self.wait_for_reset(cancel);
        let until = Instant::now().checked_add(wait);
        let over = || until.is_some_and(|until| until <= Instant::now());
        let (mut told, mut events) = (None, None);
        loop {
            let lack = match self.look(cancel)? {
                Look::Card(card) => return Ok(card),
                Look::Absent(lack) => lack,
            };
            if over() {
                return Err(lack.error);
            }
            if told.as_ref() != Some(&lack.absence) {
                absent(lack.absence.clone());
                told = Some(lack.absence);
            }
            let events = events.get_or_insert_with(|| Events(self.start_watch(cancel).ok()));
            let next = if lack.watched { None } else { Instant::now().checked_add(INTERVAL) };
            events.wait(&lack.readers, [until, next].into_iter().flatten().min(), cancel)?;
        }
    }

    fn watch(&self) -> Result<Option<Box<dyn CardWatch>>> {
        Ok(Some(Box::new(self.start_watch(&CancelToken::new())?)))
    }
}

/// What a look at the readers gave.
enum Look {
    Card(Box<dyn SmartCard>),
    Absent(Lack),
}

/// [`Reply::Absent`].
struct Lack {
    absence: Absence,
    error: Error,
    readers: Snapshot,
    watched: bool,
}

impl HelperReader {
    /// Looks once, or once more where that has hung: no PIN has been asked for yet.
    fn look(&self, cancel: &CancelToken) -> Result<Look> {
        let (began, deadline) = (Instant::now(), self.settings.deadline);
        let first = deadline.checked_sub(SECOND_SEARCH).filter(|time| *time >= FIRST_SEARCH).unwrap_or(deadline);
        match self.look_for(first, cancel) {
            Err(error) if *error.kind() == ErrorKind::CardFailed && (first..deadline).contains(&began.elapsed()) => {
                tracing::warn!(%error, "the search for the card is repeated");
                self.look_for(deadline.saturating_sub(began.elapsed()), cancel)
            }
            looked => looked,
        }
    }

    /// In a new helper: one that looked before may have an old view of the readers.
    fn look_for(&self, time: Duration, cancel: &CancelToken) -> Result<Look> {
        let HelperSettings { program, card: settings, .. } = &self.settings;
        cancel.check(Stage::Card)?;
        let until = Some(Instant::now() + time);
        let mut helper = Helper::start(program, None)?;
        let _guard = cancel.on_cancel(interrupt(&helper.channel));
        helper.greet(program, until, cancel)?;
        let request = Request::Find { settings: settings.clone(), deadline: self.settings.deadline };
        match helper.channel.send(&request, until).and_then(|()| receive(&helper.channel, until)) {
            Ok(Reply::Card { label, certificate, pin, reader, presence }) => {
                tracing::debug!(reader, ?presence, tries = ?pin.tries, "card found");
                Ok(Look::Card(Box::new(HelperCard {
                    label,
                    certificate: certificate.as_deref().map(Certificate::from_der).transpose()?,
                    pin,
                    presence,
                    // Without a name there is nothing that could be reset.
                    reset: reader.filter(|_| settings.after_login == AfterLogin::Reset),
                    settings: self.settings.clone(),
                    resetting: Arc::clone(&self.resetting),
                    helper: Some(helper),
                    progress: Progress::NotTried,
                    cancel: cancel.clone(),
                })))
            }
            Ok(Reply::Absent { absence, failure, readers, watched }) => {
                let error = Error::from(failure);
                tracing::debug!(%error, ?readers, "no card yet");
                Ok(Look::Absent(Lack { absence, error, readers, watched }))
            }
            Ok(Reply::Failed(failure)) => Err(failure.into()),
            other => Err(helper.lost(other.err(), Stage::Card, cancel)),
        }
    }

    fn start_watch(&self, cancel: &CancelToken) -> Result<HelperWatch> {
        HelperWatch::start(self.settings.program.clone(), self.settings.deadline, cancel)
    }
}

/// What tells that it is worth looking again. `None` where nothing can be watched.
struct Events(Option<HelperWatch>);

impl Events {
    /// Waits until the readers are not as they were `seen`, at most until `until`; where they cannot be
    /// watched, for [`INTERVAL`].
    fn wait(&mut self, seen: &Snapshot, until: Option<Instant>, cancel: &CancelToken) -> Result<()> {
        while let Some(watch) = &mut self.0 {
            match watch.next(until, cancel) {
                // This is what has been looked at, or older.
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

/// The card that a helper holds.
struct HelperCard {
    label: String,
    certificate: Option<Certificate>,
    pin: PinStatus,
    presence: Option<Presence>,
    /// The reader whose card is to be reset when the helper cannot do it.
    reset: Option<String>,
    settings: HelperSettings,
    resetting: Resetting,
    /// None once the helper has been given up.
    helper: Option<Helper>,
    progress: Progress,
    cancel: CancelToken,
}

#[derive(Clone, Copy)]
enum Progress {
    /// No PIN has been sent.
    NotTried,
    /// A PIN was wrong; the helper waits for another.
    WrongPin,
    /// The helper is letting go of the card, until then.
    Ending(Instant),
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
        cancel.check(Stage::Signing)?;
        let (Some(helper), Progress::NotTried | Progress::WrongPin) = (&mut self.helper, self.progress) else {
            return Err(failed(Stage::Signing, "the card has already been released"));
        };
        self.cancel = cancel.clone();
        let _guard = cancel.on_cancel(interrupt(&helper.channel));
        let pin_pad = if pin.is_none() { PIN_PAD_WAIT } else { Duration::ZERO };
        let until = Some(Instant::now() + self.settings.deadline + pin_pad);
        let request = Request::Sign { pin: pin.as_ref().map(Pin::expose), digest, message };
        let sent = helper.channel.send(&request, until);
        drop(pin);
        let result = match sent.and_then(|()| receive(&helper.channel, until)) {
            Ok(Reply::WrongPin { failure, pin }) => {
                self.pin = pin;
                self.progress = Progress::WrongPin;
                return Err(failure.into());
            }
            Ok(Reply::Signature { signature, certificate }) => Certificate::from_der(&certificate).map(|certificate| {
                self.certificate = Some(certificate);
                signature
            }),
            Ok(Reply::Failed(failure)) => Err(failure.into()),
            other => {
                let error = helper.lost(other.err(), Stage::Signing, cancel);
                self.give_up();
                return Err(error);
            }
        };
        self.progress = Progress::Ending(Instant::now() + self.settings.deadline.min(ENDING));
        result
    }
}

impl HelperCard {
    /// Ends the helper. The card may be left logged in then, so another helper resets it, which
    /// this process does not wait for.
    fn give_up(&mut self) {
        self.helper = None;
        let Some(reader) = &self.reset else { return };
        match reset_apart(&self.settings.program, reader) {
            Ok(channel) => *self.resetting.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel),
            Err(error) => tracing::warn!(%error, "the card was not reset"),
        }
    }
}

impl Drop for HelperCard {
    fn drop(&mut self) {
        let Some(helper) = self.helper.as_ref().filter(|helper| helper.owner.is_this_process()) else { return };
        let until = match self.progress {
            Progress::NotTried => return,
            Progress::Ending(until) => until,
            Progress::WrongPin => {
                let until = Instant::now() + self.settings.deadline.min(ENDING);
                // Where it cannot be sent, no answer will come either.
                let _ = helper.channel.send(&Request::End, Some(until));
                until
            }
        };
        let ended = {
            let _guard = self.cancel.on_cancel(interrupt(&helper.channel));
            receive(&helper.channel, Some(until))
        };
        report_reset(&ended);
        if !matches!(ended, Ok(Reply::Done(_))) {
            self.give_up();
        }
    }
}

/// Has a new helper reset the card in `reader`, in a process that is no child of this one.
fn reset_apart(program: &Path, reader: &str) -> Result<Channel> {
    let until = Some(Instant::now() + DETACHING);
    let mut helper = Helper::start(program, Some(RESET_ARGUMENT))?;
    let sent = helper.channel.send(&Request::Reset { reader }, until);
    match sent.and_then(|()| receive(&helper.channel, until)) {
        Ok(Reply::Detached) => Ok(helper.channel.clone()),
        other => Err(helper.lost(other.err(), Stage::Card, &CancelToken::new())),
    }
}

fn report_reset(reply: &Answer) {
    match reply {
        Ok(Reply::Done(Reset::Failed(reason))) => tracing::warn!(reason, "the card could not be reset"),
        Ok(Reply::Done(reset)) => tracing::debug!(?reset, "the helper has released the card"),
        _ => tracing::warn!("the helper did not release the card in time"),
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
    fn a_configured_helper_is_the_only_one() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(PROGRAM), "").unwrap();
        let elsewhere = directory.path().join("elsewhere");
        let error = find_helper(Some(&elsewhere), &[directory.path().to_owned()]).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::NotInstalled);
        assert!(error.detail().contains(elsewhere.to_str().unwrap()), "{error}");
    }

    /// Puts a helper there.
    fn put(folder: &Path) -> PathBuf {
        std::fs::create_dir_all(folder).unwrap();
        let helper = folder.join(PROGRAM);
        std::fs::write(&helper, "").unwrap();
        helper
    }

    #[test]
    fn a_helper_is_found_beside_the_library_and_in_its_own_prefix() {
        let prefix = tempfile::tempdir().unwrap();
        let helper = put(&prefix.path().join("libexec/ticketapi"));
        for folder in ["lib", "lib64", "bin", "lib/x86_64-linux-gnu"] {
            let folder = prefix.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            assert_eq!(find_helper(None, std::slice::from_ref(&folder)).unwrap(), helper);
            let beside = put(&folder);
            assert_eq!(find_helper(None, &[folder]).unwrap(), beside);
        }
    }

    #[test]
    fn a_helper_beside_the_prefix_is_anybodys() {
        let shared = tempfile::tempdir().unwrap();
        put(&shared.path().join("libexec/ticketapi"));
        for folder in ["x", "x/lib", "x/lib/x86_64-linux-gnu", "x/unpacked/1234"] {
            let folder = shared.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            assert!(find_helper(None, std::slice::from_ref(&folder)).is_err(), "{}", folder.display());
        }
    }

    #[test]
    fn a_helper_that_others_can_change_is_not_used_and_the_next_one_is() {
        use std::os::unix::fs::PermissionsExt;
        let prefix = tempfile::tempdir().unwrap();
        let lib = prefix.path().join("lib");
        let beside = put(&lib);
        std::fs::set_permissions(&lib, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = find_helper(None, std::slice::from_ref(&lib)).unwrap_err();
        let reason = format!("{} is not trusted: {} can be changed by other users", beside.display(), lib.display());
        assert!(error.detail().contains(&reason), "{error}");
        assert!(find_helper(Some(&beside), &[]).unwrap_err().detail().contains(&reason));
        let next = put(&prefix.path().join("libexec/ticketapi"));
        assert_eq!(find_helper(None, &[lib]).unwrap(), next);
    }

    #[test]
    fn a_program_that_is_no_helper_is_named() {
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
    fn a_reader_without_any_module_says_where_it_looked() {
        let settings =
            HelperSettings { program: "/bin/true".into(), card: CardSettings::default(), deadline: DEADLINE };
        let error =
            HelperReader::new(settings).wait_for_card(Duration::ZERO, &mut |_| {}, &CancelToken::new()).err().unwrap();
        assert_eq!(*error.kind(), ErrorKind::NotInstalled);
        assert!(error.detail().contains("opensc-pkcs11.so"), "{error}");
    }
}
