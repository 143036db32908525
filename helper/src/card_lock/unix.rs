//! Unix.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use ticketapi::agent::socket::Folder;

/// Returns `None` if the folder cannot be used. Only this user or root can cause that.
pub(super) fn open(folder: &Path, name: &str) -> Option<File> {
    let folder = Folder::make(folder).ok()?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    openat(&folder, name, flags, Mode::RUSR | Mode::WUSR).ok().map(File::from)
}
