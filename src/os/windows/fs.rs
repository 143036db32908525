//! Which files are trusted: those that only the user, Administrators, SYSTEM and TrustedInstaller can change.
//!
//! A program that others can replace would get the PIN, and a configuration that others can write could name such
//! a program.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf, Prefix, absolute};

use ticketapi_platform::file::Attributes;
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
    let real = resolved(path)?;
    check(&real, if Attributes::of(&real)?.is_folder { Rights::Add } else { Rights::Change })?;
    for (above, folder) in real.ancestors().skip(1).enumerate() {
        // Another file beside a program could be loaded by it.
        check(folder, if above == 0 { Rights::Add } else { Rights::Replace })?;
    }
    Ok(simplified(real))
}

/// Returns the path without links. Some file systems, such as those of RAM disks, cannot tell it, nor Wine if it is
/// long: there it is the path itself, if nothing of it is a link.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    /// `ERROR_INVALID_FUNCTION` and `ERROR_MORE_DATA`.
    const UNKNOWN: [i32; 2] = [1, 234];
    let error = match fs::canonicalize(path) {
        Err(error) if error.raw_os_error().is_some_and(|code| UNKNOWN.contains(&code)) => error,
        resolved => return resolved,
    };
    let whole = absolute(path)?;
    for part in whole.ancestors() {
        if fs::symlink_metadata(part)?.is_symlink() {
            return Err(error);
        }
    }
    let mut verbatim = OsString::from(r"\\?\");
    verbatim.push(&whole);
    let is_on_drive =
        matches!(whole.components().next(), Some(Component::Prefix(of)) if matches!(of.kind(), Prefix::Disk(_)));
    Ok(if is_on_drive { verbatim.into() } else { whole })
}

/// As [`trusted`], for programs and libraries that will run: they must also be on this computer. Whoever can pose as the
/// server of a share could replace them.
///
/// # Errors
///
/// As [`trusted`].
pub fn trusted_program(path: &Path) -> io::Result<PathBuf> {
    // Not opened first: that would tell the server who this user is.
    let local = |path: PathBuf| if is_on_share(&path) { Err(on_share(&path)) } else { Ok(path) };
    local(path.to_owned()).and_then(|path| trusted(&path)).and_then(local)
}

fn on_share(path: &Path) -> io::Error {
    let text = format!("{} is on a network share; install it on this computer", path.display());
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// Returns `true` for a path of a share, also one of this computer. The letters of such drives have been resolved.
fn is_on_share(path: &Path) -> bool {
    match path.components().next() {
        Some(Component::Prefix(prefix)) => match prefix.kind() {
            Prefix::UNC(..) | Prefix::VerbatimUNC(..) | Prefix::DeviceNS(_) => true,
            Prefix::Verbatim(_) | Prefix::VerbatimDisk(_) | Prefix::Disk(_) => false,
        },
        _ => false,
    }
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
    TrustedFile::open(path, limit)?.read()
}

/// A trusted regular file, for reading.
pub(crate) struct TrustedFile {
    path: PathBuf,
    version: FileVersion,
    limit: u64,
}

impl TrustedFile {
    /// Checks what [`read_trusted`] checks, but for the size. It is opened when it is read: what changes before is read,
    /// and noticed the next time.
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let path = trusted(path)?;
        let version = FileVersion::of(&path)?;
        if version.is_folder {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(Self { path, version, limit })
    }

    pub(crate) fn version(&self) -> FileVersion {
        self.version.clone()
    }

    /// Reads it all.
    pub(crate) fn read(self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_into(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads it all, and at most one byte more than the limit.
    fn read_into(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        File::open(&self.path)?.take(self.limit + 1).read_to_end(bytes)?;
        if bytes.len() as u64 > self.limit {
            let text = format!("it is too large (more than {} bytes)", self.limit);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(())
    }
}

/// Differs after a change of a file, unless its times are set back.
pub(crate) type FileVersion = Attributes;

/// Does the same as [`read_trusted`] for a file with a secret: other users must not be able to read it either.
#[cfg(any(feature = "nuts", feature = "oidc"))]
pub(crate) fn read_secret(path: &Path, limit: u64) -> io::Result<crate::secret::SecretBytes> {
    let file = TrustedFile::open(path, limit)?;
    check(&file.path, Rights::Read)?;
    // Allocated at its full size, with room for noticing the end: a buffer that grows leaves copies behind.
    let mut bytes = crate::secret::secret_buffer(usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(32));
    file.read_into(&mut bytes)?;
    Ok(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_on_shares_are_not_trusted_whatever_their_access_lists_say() {
        for path in [r"\\server\share\x.exe", r"\\?\UNC\server\share\x.exe", r"//server/share/x.exe", r"\\.\x\x.exe"] {
            let error = trusted_program(path.as_ref()).unwrap_err();
            assert_eq!(error.to_string(), format!("{path} is on a network share; install it on this computer"));
        }
        for path in [r"C:\x\x.exe", r"\\?\C:\x\x.exe", r"\x\x.exe", "x.exe"] {
            assert!(!is_on_share(path.as_ref()), "{path}");
        }
    }
}
