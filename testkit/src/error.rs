//! The testkit's errors.

use std::io::{self, Write};
#[cfg(unix)]
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The result of the testkit's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the testkit. The text is for whoever runs the test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or socket could not be used.
    #[error("{what}: {source}")]
    Io {
        /// The operation, with the name of the file or address.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// OpenSSL could not make or read a key, certificate or card.
    #[error("openssl: {0}")]
    OpenSsl(#[from] openssl::error::ErrorStack),
    /// The server's certificates could not be made.
    #[error("the server's certificate: {0}")]
    ServerCertificate(String),
    /// A program that the testkit needs is missing or failed.
    #[error("{program}: {problem}")]
    Program {
        /// The program.
        program: String,
        /// What it printed, or why it could not be started.
        problem: String,
    },
    /// An unknown name or value.
    #[error("{0}")]
    Usage(String),
}

/// Adds what was being done to an error of the system.
pub(crate) trait Context<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}

pub(crate) fn write_file(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(path, bytes).context(|| format!("cannot write {}", path.display()))
}

/// Writes a key to a file that only its owner can read.
pub(crate) fn write_key(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).truncate(true);
    // On Windows it has the rights of its folder.
    #[cfg(unix)]
    options.mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(bytes.as_ref()));
    written.context(|| format!("cannot write {}", path.display()))
}

/// Locks `folder` against other programs that make their files there, until what is returned is dropped.
pub(crate) fn lock_folder(folder: &Path) -> Result<std::fs::File> {
    #[cfg(unix)]
    let lock = std::fs::File::open(folder);
    // Windows locks no folders.
    #[cfg(windows)]
    let lock = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock"));
    let locked = lock.and_then(|file| file.lock().map(|()| file));
    locked.context(|| format!("cannot lock {}", folder.display()))
}

pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).context(|| format!("cannot read {}", path.display()))
}
