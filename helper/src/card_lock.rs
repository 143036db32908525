//! Makes programs of one user that log in at the same moment take turns with the cards.
//!
//! Reading the tries left and trying a PIN are separate calls: if two programs both read two tries left and both
//! users enter a wrong PIN, the card locks. A program that resets the card after its login would end a login that
//! another program has just begun. And OpenSC 0.23 deadlocks when a card is reset while it identifies that card.
//!
//! A lock is a file in the user's own folder (`flock(2)`, or `LockFileEx`), where no other user can hold, see or remove it. The
//! system releases it when its holder exits or is killed. Programs with other folders, as in some sandboxes, and
//! programs of other users do not wait.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::fs::{File, TryLockError};
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ticketapi::cancel::CancelToken;
use ticketapi::os::fs::own_folder;
use ticketapi::{Error, ErrorKind, Result, Stage};

#[cfg(unix)]
use unix::open;
#[cfg(windows)]
use windows::open;

/// How long to wait for another program. Signing, a reset and most searches take less than a second; entering a
/// PIN at the reader takes longer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A lock held until it is dropped. Holds nothing where there is no folder for lock files.
pub struct CardLock {
    file: Option<File>,
}

impl Drop for CardLock {
    fn drop(&mut self) {
        // Closing it is not enough: a child of this process that has not executed a program holds it, too.
        let _ = self.file.as_ref().map(File::unlock);
    }
}

impl CardLock {
    /// Waits until no other program uses this card's PIN. `card` is the certificate, or else serial number and
    /// label; its last bytes identify the card.
    ///
    /// # Errors
    ///
    /// [`CardBusy`](ErrorKind::CardBusy) if another program holds the lock for too long;
    /// [`Cancelled`](ErrorKind::Cancelled).
    pub fn with_pin(card: &[u8], cancel: &CancelToken) -> Result<Self> {
        Self::acquire(&format!("pin-{}.lock", end(card)), cancel, PATIENCE)
    }

    /// Waits until no other program searches or resets cards, for at most `patience`; then goes on without the
    /// lock.
    pub fn with_cards(patience: Duration) -> Self {
        // Each PC/SC service has its own cards.
        let service = std::env::var_os("PCSCLITE_CSOCK_NAME").unwrap_or_default();
        let name = format!("cards-{}.lock", end(service.as_encoded_bytes()));
        Self::acquire(&name, &CancelToken::new(), patience).unwrap_or(Self { file: None })
    }

    fn acquire(name: &str, cancel: &CancelToken, patience: Duration) -> Result<Self> {
        let file = own_folder().and_then(|folder| open(&folder, name));
        file.map_or(Ok(Self { file: None }), |file| lock(file, cancel, patience))
    }
}

fn lock(file: File, cancel: &CancelToken, patience: Duration) -> Result<CardLock> {
    match file.try_lock() {
        Ok(()) => return Ok(CardLock { file: Some(file) }),
        Err(TryLockError::WouldBlock) => cancel.check(Stage::Pin)?,
        // Some file systems do not support locks.
        Err(TryLockError::Error(_)) => return Ok(CardLock { file: None }),
    }
    let (locked, result) = mpsc::channel();
    let cancelled = locked.clone();
    let _guard = cancel.on_cancel(move || drop(cancelled.send(None)));
    // The system has no timeout for it. A lock obtained after the deadline is released at once.
    let wait = move || {
        if lock_retried(&file).is_ok() {
            let _ = locked.send(Some(file));
        }
    };
    let started = thread::Builder::new().name("card lock".to_owned()).spawn(wait).is_ok();
    match result.recv_timeout(if started { patience } else { Duration::ZERO }) {
        Ok(Some(file)) => Ok(CardLock { file: Some(file) }),
        Ok(None) => Err(Error::cancelled(Stage::Pin)),
        Err(_) => {
            let text = "another program is using the card, so the PIN was not tried";
            Err(Error::new(ErrorKind::CardBusy, Stage::Pin, text))
        }
    }
}

/// A signal may interrupt the wait.
fn lock_retried(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            locked => return locked,
        }
    }
}

/// The last bytes in hexadecimal. In a certificate they are the issuer's signature, which is unique.
fn end(bytes: &[u8]) -> String {
    bytes[bytes.len().saturating_sub(32)..].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

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

        fn acquire(&self, patience: Duration) -> Result<CardLock> {
            lock(self.open().unwrap(), &CancelToken::new(), patience)
        }
    }

    #[test]
    fn a_lock_ends_although_a_forked_child_has_its_file_open() {
        let place = Place::new();
        let first = place.acquire(PATIENCE).unwrap();
        let inherited = first.file.as_ref().unwrap().try_clone().unwrap();
        drop(first);
        place.acquire(Duration::ZERO).unwrap();
        drop(inherited);
    }

    #[test]
    fn the_next_program_gets_the_lock_when_the_first_releases_it() {
        let place = Place::new();
        let first = place.acquire(PATIENCE).unwrap();
        thread::scope(|scope| {
            let second = scope.spawn(|| place.acquire(PATIENCE).unwrap());
            thread::sleep(SHORT);
            assert!(!second.is_finished());
            drop(first);
            assert!(second.join().unwrap().file.is_some());
        });
        assert!(place.acquire(SHORT).unwrap().file.is_some());
    }

    #[test]
    fn the_pin_is_not_tried_if_another_program_holds_the_lock_too_long() {
        let place = Place::new();
        let _first = place.acquire(PATIENCE).unwrap();
        let error = place.acquire(SHORT).err().unwrap();
        assert_eq!((error.kind(), error.stage()), (&ErrorKind::CardBusy, Stage::Pin));
    }

    #[test]
    fn a_lock_obtained_after_the_deadline_is_released() {
        let place = Place::new();
        let first = place.acquire(PATIENCE).unwrap();
        assert!(place.acquire(SHORT).is_err());
        drop(first);
        assert!(place.acquire(PATIENCE).unwrap().file.is_some());
    }

    #[test]
    fn waiting_for_a_lock_can_be_cancelled() {
        let (place, cancel) = (Place::new(), CancelToken::new());
        let _first = place.acquire(PATIENCE).unwrap();
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
    fn only_the_user_can_access_the_folder_and_the_lock() {
        let place = Place::new();
        let _lock = place.acquire(PATIENCE).unwrap();
        let folder = place.0.path().join("own");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("card.lock"))), (0o700, 0o600));
        fs::set_permissions(&folder, Permissions::from_mode(0o770)).unwrap();
        assert!(place.open().is_none());
    }

    #[test]
    fn symbolic_links_in_place_of_the_folder_or_the_lock_are_not_followed() {
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
    fn each_certificate_has_its_own_lock() {
        assert_eq!(end(b"\x01\xfe"), "01fe");
        let certificate: Vec<u8> = (0..100).collect();
        assert_eq!(end(&certificate), end(&certificate[68..]));
        assert_eq!(end(&certificate).len(), 64);
    }
}
