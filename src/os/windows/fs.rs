//! Which files are trusted: those that only the user, Administrators, SYSTEM and TrustedInstaller can change.
//!
//! A program that others can replace would get the PIN, and a configuration that others can write could name such
//! a program.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ticketapi_platform::security::{Fault, Rights, fault};

/// The longest path that every program can use.
const SHORT: usize = 240;

/// Resolves `path` and checks that only this user and the system's administrators can change the file, add files
/// beside it, and replace each folder above it. Use the returned path, not `path`, because links may change.
///
/// # Errors
///
/// If it does not exist; [`PermissionDenied`](io::ErrorKind::PermissionDenied) if it is not trusted.
pub fn trusted(path: &Path) -> io::Result<PathBuf> {
    let real = fs::canonicalize(path)?;
    check(&real, if real.is_dir() { Rights::Add } else { Rights::Change })?;
    for (above, folder) in real.ancestors().skip(1).enumerate() {
        // Another file beside a program could be loaded by it.
        check(folder, if above == 0 { Rights::Add } else { Rights::Replace })?;
    }
    Ok(simplified(real))
}

fn check(path: &Path, rights: Rights) -> io::Result<()> {
    let shown = simplified(path.to_owned());
    let shown = shown.display();
    let text = match fault(path, rights)? {
        None => return Ok(()),
        Some(Fault::Owner) => format!("{shown} belongs to another user; it must belong to you or to Administrators"),
        Some(Fault::Others) if rights == Rights::Read => format!("{shown} can be read by other users"),
        Some(Fault::Others) => format!("{shown} can be changed by other users; take their right to write (icacls)"),
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

/// Returns the path without the prefix that few programs understand, where it means the same.
fn simplified(path: PathBuf) -> PathBuf {
    let Some(text) = path.to_str().filter(|text| text.len() < SHORT) else { return path };
    match text.strip_prefix(r"\\?\") {
        Some(simple) if simple.as_bytes().get(1..3) == Some(br":\") => simple.into(),
        _ => path,
    }
}

/// Reads the trusted file at `path`, of at most `limit` bytes.
///
/// # Errors
///
/// Those of [`trusted`]; also if it is not a regular file or too large.
pub(crate) fn read_trusted(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = open_trusted(path, limit)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    within(limit, bytes.len() as u64)?;
    Ok(bytes)
}

/// Does the same as [`read_trusted`] for a file with a secret: other users must not be able to read it either.
#[cfg(any(feature = "nuts", feature = "oidc"))]
pub(crate) fn read_secret(path: &Path, limit: u64) -> io::Result<crate::secret::SecretBytes> {
    let mut file = open_trusted(path, limit)?;
    check(&fs::canonicalize(path)?, Rights::Read)?;
    // Allocated at its full size, with room for noticing the end: a buffer that grows leaves copies behind.
    let mut bytes = crate::secret::secret_buffer(usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(32));
    file.read_to_end(&mut bytes)?;
    within(limit, bytes.len() as u64)?;
    Ok(bytes)
}

fn within(limit: u64, size: u64) -> io::Result<()> {
    if size > limit {
        let text = format!("it is too large (more than {limit} bytes)");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(())
}

/// Opens a trusted regular file, for reading at most one byte more than `limit`.
fn open_trusted(path: &Path, limit: u64) -> io::Result<io::Take<File>> {
    let real = trusted(path)?;
    let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    if !fs::metadata(&real)?.is_file() {
        return Err(no_file());
    }
    let file = File::open(&real)?;
    if !file.metadata()?.is_file() {
        return Err(no_file());
    }
    Ok(file.take(limit + 1))
}

/// Returns `true` if `file` is a program.
pub(crate) fn can_be_run(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("exe")) && file.is_file()
}

/// The user's own folder for locks, `%LOCALAPPDATA%\ticketapi`. It may not exist yet.
pub fn own_folder() -> Option<PathBuf> {
    let folder = env::var_os("LOCALAPPDATA").map(PathBuf::from).filter(|folder| folder.is_absolute())?;
    Some(folder.join("ticketapi"))
}
