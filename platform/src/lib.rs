//! The calls of Windows that `ticketapi` needs and no safe crate offers, behind safe functions: the core forbids
//! `unsafe`. Empty on other systems.
#![cfg(windows)]

pub mod clock;
pub mod cng;
pub mod console;
pub mod desktop;
#[cfg(feature = "dialogs")]
pub mod dialog;
pub mod event;
pub mod file;
pub mod logon;
pub mod module;
pub mod named;
pub mod pipe;
pub mod process;
pub mod registry;
pub mod security;
pub mod socket;
pub mod system;

use std::ffi::OsStr;
use std::os::windows::ffi::OsStrExt;

/// Returns `text` as Windows expects it: UTF-16 with a zero at the end.
///
/// # Errors
///
/// [`InvalidInput`](std::io::ErrorKind::InvalidInput) if there is a zero within.
fn wide(text: &OsStr) -> std::io::Result<Vec<u16>> {
    let mut wide: Vec<u16> = text.encode_wide().collect();
    if wide.contains(&0) {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "the text contains a zero"));
    }
    wide.push(0);
    Ok(wide)
}

/// Returns the last error of this thread if a call returned zero.
fn check(result: i32) -> std::io::Result<()> {
    if result == 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
