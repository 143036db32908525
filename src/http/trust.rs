//! The trust anchors: those of a file, or the system's.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{env, io};

use rustls::{ClientConfig, RootCertStore};

use super::{ca_file, tls};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::fs::{FileVersion, TrustedFile, read_trusted, trusted};
use crate::os::privilege::{is_raised, variable};

/// What was made of the file that was used last: programs log in again and again.
static LAST: Mutex<Option<Made>> = Mutex::new(None);

#[derive(Clone)]
struct Made {
    file: PathBuf,
    version: FileVersion,
    config: Arc<ClientConfig>,
}

/// Checks each time who may change the file. Reads it unless it is the same as last time and has not changed.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>> {
    let config = |roots| tls::client_config(roots).map(|(config, _)| Arc::new(config));
    let Some(file) = ca_file else { return config(system_roots()?) };
    let opened = open(file)?;
    let version = opened.version();
    // Never waited for: another thread may have held it when this process was forked.
    let last = LAST.try_lock().ok().and_then(|last| last.clone());
    if let Some(made) = last.filter(|made| made.file == *file && made.version == version) {
        return Ok(made.config);
    }
    let config = config(read_roots(file, opened)?)?;
    if let Ok(mut last) = LAST.try_lock() {
        *last = Some(Made { file: file.to_owned(), version, config: Arc::clone(&config) });
    }
    Ok(config)
}

pub(super) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore> {
    ca_file.map_or_else(system_roots, |file| read_roots(file, open(file)?))
}

/// More than ten times what systems trust.
const CA_FILE_LIMIT: u64 = 16 << 20;

fn open(file: &Path) -> Result<TrustedFile> {
    TrustedFile::open(file, CA_FILE_LIMIT).map_err(|error| unreadable(file, &error))
}

fn read_roots(file: &Path, opened: TrustedFile) -> Result<RootCertStore> {
    let pem = opened.read().map_err(|error| unreadable(file, &error))?;
    let mut roots = RootCertStore::empty();
    for certificate in ca_file::certificates(&pem).map_err(|what| unusable(file, what))? {
        roots
            .add(certificate)
            .map_err(|error| unusable(file, "it contains something that is not a certificate").because(error))?;
    }
    Ok(roots)
}

fn unreadable(file: &Path, error: &io::Error) -> Error {
    unusable(file, &format!("it cannot be read: {error}"))
}

fn unusable(file: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Configuration, Stage::Configuration, format!("ca_file {}: {what}", file.display()))
}

/// Where systems have their trust anchors in one file; used if the environment is not trusted to name it.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

fn system_certificates() -> Result<Vec<rustls::pki_types::CertificateDer<'static>>> {
    if is_raised() {
        let pem = BUNDLES.iter().find_map(|file| read_trusted(Path::new(file), CA_FILE_LIMIT).ok()).unwrap_or_default();
        return Ok(ca_file::certificates(&pem).unwrap_or_default());
    }
    let refused = |name: &str, path: &Path, error: io::Error| {
        let detail = format!("{name} {}: it cannot be read: {error}", path.display());
        Error::new(ErrorKind::Configuration, Stage::Configuration, detail)
    };
    // What is not there is skipped below.
    if let Some(file) = variable("SSL_CERT_FILE").map(PathBuf::from).filter(|file| file.exists()) {
        read_trusted(&file, CA_FILE_LIMIT).map_err(|error| refused("SSL_CERT_FILE", &file, error))?;
    }
    for folder in env::split_paths(&variable("SSL_CERT_DIR").unwrap_or_default()).filter(|folder| folder.exists()) {
        trusted(&folder).map_err(|error| refused("SSL_CERT_DIR", &folder, error))?;
    }
    Ok(rustls_native_certs::load_native_certs().certs)
}

fn system_roots() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // Systems ship certificates that do not parse; the rest are used.
    roots.add_parsable_certificates(system_certificates()?);
    if roots.is_empty() {
        let detail = "this system has no trusted certificates, and ca_file names none";
        return Err(Error::new(ErrorKind::Configuration, Stage::Configuration, detail));
    }
    Ok(roots)
}
