//! Why the testkit could not do what it was told.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The result of everything in the testkit that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the testkit failed. The text is for the person who runs the test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or socket could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the name of the file or address.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// OpenSSL could not make or read a key, certificate or card.
    #[error("openssl: {0}")]
    OpenSsl(#[from] openssl::error::ErrorStack),
    /// The server's own certificates could not be made.
    #[error("the server's certificate: {0}")]
    ServerCertificate(String),
    /// A program that the testkit needs is missing or failed.
    #[error("{program}: {problem}")]
    Program {
        /// The program.
        program: String,
        /// What it said, or why it could not be started.
        problem: String,
    },
    /// A name or value that the testkit does not know.
    #[error("{0}")]
    Usage(String),
}

/// Names what was being done when the system refused.
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

/// Writes a key: a file that others cannot read.
pub(crate) fn write_key(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let open = std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path);
    open.and_then(|mut file| file.write_all(bytes.as_ref())).context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).context(|| format!("cannot read {}", path.display()))
}
