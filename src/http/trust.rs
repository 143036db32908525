//! The trust anchors: those of a file, or the system's.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{env, io};

use rustls::{ClientConfig, RootCertStore};

use super::{ca_file, tls};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::fs::{FileVersion, read_trusted, trusted};
use crate::os::privilege::{is_raised, variable};

/// What was made of the file that was used last: programs log in again and again.
static LAST: Mutex<Option<Made>> = Mutex::new(None);

struct Made {
    file: PathBuf,
    version: FileVersion,
    config: Arc<ClientConfig>,
}

/// Reads the trust anchors, unless the file is the same as last time and has not changed.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>> {
    // Taken before the file is read: a change in between shows next time.
    let version = ca_file.and_then(|file| Some((file, FileVersion::of(file)?)));
    // Never waited for: another thread may have held it when this process was forked.
    let last = || LAST.try_lock().ok();
    let is_same =
        |made: &&mut Made| version.as_ref().is_some_and(|(file, is)| made.file == *file && made.version == *is);
    if let Some(made) = last().as_mut().and_then(|last| last.as_mut()).filter(is_same) {
        return Ok(Arc::clone(&made.config));
    }
    let config = Arc::new(tls::client_config(roots(ca_file)?)?.0);
    if let (Some((file, version)), Some(mut last)) = (version, last()) {
        *last = Some(Made { file: file.to_owned(), version, config: Arc::clone(&config) });
    }
    Ok(config)
}

pub(super) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore> {
    ca_file.map_or_else(system_roots, roots_from)
}

/// More than ten times what systems trust.
const CA_FILE_LIMIT: u64 = 16 << 20;

fn roots_from(file: &Path) -> Result<RootCertStore> {
    let wrong = |what: &str| {
        Error::new(ErrorKind::Configuration, Stage::Configuration, format!("ca_file {}: {what}", file.display()))
    };
    let pem = read_trusted(file, CA_FILE_LIMIT).map_err(|error| wrong(&format!("it cannot be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in ca_file::certificates(&pem).map_err(wrong)? {
        roots
            .add(certificate)
            .map_err(|error| wrong("it contains something that is not a certificate").because(error))?;
    }
    Ok(roots)
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
