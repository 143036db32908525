//! Windows.

use std::fs::{self, File};
use std::path::Path;

use ticketapi::os::fs::trusted;

/// Returns `None` if the folder cannot be used. Only this user or an administrator can cause that.
pub(super) fn open(folder: &Path, name: &str) -> Option<File> {
    let _ = fs::create_dir_all(folder);
    let folder = trusted(folder).ok()?;
    File::options().read(true).write(true).create(true).truncate(false).open(folder.join(name)).ok()
}
