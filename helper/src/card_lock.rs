//! Programs of one user that log in at the same moment take turns with the cards.
//!
//! A card tells how many tries are left, and then it is asked to check a PIN: two programs that both
//! see two left, and whose users are both wrong, would lock it. A program that resets the card after a
//! login would end the one that another program has just begun. And OpenSC 0.23 waits for itself, for
//! ever, when a card is reset while it finds out which one it is.
//!
//! A lock is a file in the user's own folder (`flock(2)`), where no other user can hold it, see it or
//! remove it. The system releases it when its holder ends, however that ends. Programs that have other
//! folders, as those in some sandboxes, and programs of other users do not wait.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::{Errno, retry_on_intr};
use ticketapi::agent::socket::Folder;
use ticketapi::cancel::CancelToken;
use ticketapi::os::fs::own_folder;
use ticketapi::{Error, ErrorKind, Result, Stage};

/// How long to wait for another program: signing and a reset take less than a second, and so do
/// most searches. A PIN that is entered at the reader takes longer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A lock that this process holds until it is dropped; none where there is no folder for it.
pub struct CardLock {
    _file: Option<File>,
}

impl CardLock {
    /// Waits until no other program uses the PIN of this card. `card` is its certificate, or else its serial
    /// number and label; the end of it identifies the card.
    ///
    /// # Errors
    ///
    /// [`CardBusy`](ErrorKind::CardBusy) when one has used it for too long;
    /// [`Cancelled`](ErrorKind::Cancelled).
    pub fn with_pin(card: &[u8], cancel: &CancelToken) -> Result<Self> {
        Self::take(&format!("pin-{}.lock", end(card)), cancel, PATIENCE)
    }

    /// Waits until no other program searches or resets the cards; for `patience` at most, as that is
    /// only in the way.
    pub fn with_cards(patience: Duration) -> Self {
        // Each service has cards of its own.
        let service = std::env::var_os("PCSCLITE_CSOCK_NAME").unwrap_or_default();
        let name = format!("cards-{}.lock", end(service.as_encoded_bytes()));
        Self::take(&name, &CancelToken::new(), patience).unwrap_or(Self { _file: None })
    }

    fn take(name: &str, cancel: &CancelToken, patience: Duration) -> Result<Self> {
        let file = own_folder().and_then(|folder| open(&folder, name));
        file.map_or(Ok(Self { _file: None }), |file| lock(file, cancel, patience))
    }
}

/// Nothing where the folder cannot be used: only this user and root can bring that about.
fn open(folder: &Path, name: &str) -> Option<File> {
    // What is there is checked below.
    let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let folder = Folder::open(folder).ok()?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(&folder, name, flags, Mode::RUSR | Mode::WUSR).ok().map(File::from)
}

fn lock(file: File, cancel: &CancelToken, patience: Duration) -> Result<CardLock> {
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Ok(CardLock { _file: Some(file) }),
        Err(Errno::WOULDBLOCK) => cancel.check(Stage::Pin)?,
        // Some file systems have no locks.
        Err(_) => return Ok(CardLock { _file: None }),
    }
    let (locked, result) = mpsc::channel();
    let cancelled = locked.clone();
    let _guard = cancel.on_cancel(move || drop(cancelled.send(None)));
    // flock has no deadline. A lock that arrives after the deadline is released at once.
    let wait = move || {
        if retry_on_intr(|| flock(&file, FlockOperation::LockExclusive)).is_ok() {
            let _ = locked.send(Some(file));
        }
    };
    let started = thread::Builder::new().name("card lock".to_owned()).spawn(wait).is_ok();
    match result.recv_timeout(if started { patience } else { Duration::ZERO }) {
        Ok(Some(file)) => Ok(CardLock { _file: Some(file) }),
        Ok(None) => Err(Error::cancelled(Stage::Pin)),
        Err(_) => {
            let text = "another program is using the card, so the PIN was not tried";
            Err(Error::new(ErrorKind::CardBusy, Stage::Pin, text))
        }
    }
}

/// The last bytes in hexadecimal: of a certificate, they are its issuer's signature, which is like no
/// other.
fn end(bytes: &[u8]) -> String {
    bytes[bytes.len().saturating_sub(32)..].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    struct Place(TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn open(&self) -> Option<File> {
            open(&self.0.path().join("own"), "card.lock")
        }

        fn take(&self, patience: Duration) -> Result<CardLock> {
            lock(self.open().unwrap(), &CancelToken::new(), patience)
        }
    }

    #[test]
    fn the_next_program_has_the_lock_when_the_first_has_ended() {
        let place = Place::new();
        let first = place.take(PATIENCE).unwrap();
        thread::scope(|scope| {
            let second = scope.spawn(|| place.take(PATIENCE).unwrap());
            thread::sleep(SHORT);
            assert!(!second.is_finished());
            drop(first);
            assert!(second.join().unwrap()._file.is_some());
        });
        assert!(place.take(SHORT).unwrap()._file.is_some());
    }

    #[test]
    fn a_lock_that_is_held_too_long_is_no_reason_to_try_the_pin() {
        let place = Place::new();
        let _first = place.take(PATIENCE).unwrap();
        let error = place.take(SHORT).err().unwrap();
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::CardBusy, Stage::Pin));
    }

    #[test]
    fn a_lock_that_comes_too_late_is_released() {
        let place = Place::new();
        let first = place.take(PATIENCE).unwrap();
        assert!(place.take(SHORT).is_err());
        drop(first);
        assert!(place.take(PATIENCE).unwrap()._file.is_some());
    }

    #[test]
    fn waiting_for_a_lock_can_be_cancelled() {
        let (place, cancel) = (Place::new(), CancelToken::new());
        let _first = place.take(PATIENCE).unwrap();
        thread::scope(|scope| {
            let second = scope.spawn(|| lock(place.open().unwrap(), &cancel, PATIENCE).err().unwrap());
            thread::sleep(SHORT);
            assert!(!second.is_finished());
            cancel.cancel();
            assert_eq!(*second.join().unwrap().kind(), ErrorKind::Cancelled);
        });
        assert_eq!(*lock(place.open().unwrap(), &cancel, PATIENCE).err().unwrap().kind(), ErrorKind::Cancelled);
    }

    #[test]
    fn the_folder_and_the_lock_are_the_users_alone() {
        let place = Place::new();
        let _lock = place.take(PATIENCE).unwrap();
        let folder = place.0.path().join("own");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("card.lock"))), (0o700, 0o600));
        fs::set_permissions(&folder, Permissions::from_mode(0o770)).unwrap();
        assert!(place.open().is_none());
    }

    #[test]
    fn a_link_in_place_of_the_folder_or_of_the_lock_is_not_followed() {
        let place = Place::new();
        let folder = place.0.path().join("own");
        std::os::unix::fs::symlink("/tmp", &folder).unwrap();
        assert!(place.open().is_none());
        fs::remove_file(&folder).unwrap();
        drop(place.open().unwrap());
        fs::remove_file(folder.join("card.lock")).unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.join("card.lock")).unwrap();
        assert!(place.open().is_none());
    }

    #[test]
    fn each_certificate_has_a_lock_of_its_own() {
        assert_eq!(end(b"\x01\xfe"), "01fe");
        let certificate: Vec<u8> = (0..100).collect();
        assert_eq!(end(&certificate), end(&certificate[68..]));
        assert_eq!(end(&certificate).len(), 64);
    }
}
