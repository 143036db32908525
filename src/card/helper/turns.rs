//! Whether this user's programs take turns with the cards: the helper's locks are in the user's own folder, and hold
//! nothing without it.

use std::path::Path;
use std::sync::Once;

use tracing::warn;

use crate::os::fs::own_folder;

/// Returns why the helper cannot lock cards, as a sentence; `None` if it can. Makes the folder if it is missing.
#[doc(hidden)]
pub fn lock_fault() -> Option<String> {
    let Some(folder) = own_folder() else {
        return Some("no folder of the user's own is known: neither XDG_RUNTIME_DIR nor HOME is set".to_owned());
    };
    open(&folder).err()
}

#[cfg(unix)]
fn open(folder: &Path) -> Result<(), String> {
    crate::agent::socket::Folder::make(folder).map(drop).map_err(|unusable| unusable.to_string())
}

#[cfg(windows)]
fn open(folder: &Path) -> Result<(), String> {
    let _ = std::fs::create_dir_all(folder);
    crate::os::fs::trusted(folder).map(drop).map_err(|error| error.to_string())
}

/// Says so in the log, once for each process.
pub(super) fn warn_without_locks() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        if let Some(fault) = lock_fault() {
            warn!(fault, "this user's programs do not take turns with the card, which wrong PINs may lock sooner");
        }
    });
}
