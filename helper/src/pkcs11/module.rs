//! Loading modules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as CallError, RvError};
use ticketapi::os::fs::trusted;
use ticketapi::{Error, ErrorKind, Result, Stage};

use super::error::{call, code};

/// Every module that was ever loaded here: unloading one may crash the process, as modules leave
/// threads behind.
static LOADED: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// A module that is ready to be used.
pub struct Module {
    pub path: PathBuf,
    pub context: Pkcs11,
    /// Nobody else in this process uses it.
    pub exclusive: bool,
}

impl Module {
    fn load(path: &Path, exclusive: bool) -> std::result::Result<Self, String> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let context = match loaded.get(path) {
            Some(context) => context.clone(),
            None => {
                let context = open(path)?;
                loaded.insert(path.to_owned(), context.clone());
                context
            }
        };
        // Each time, as somebody else in the process may have finalized it.
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) => {}
            Err(error) if code(&error) == Some(RvError::CryptokiAlreadyInitialized) => {}
            Err(error) => return Err(format!("{} cannot be started ({})", path.display(), call(&error))),
        }
        Ok(Self { path: path.to_owned(), context, exclusive })
    }

    /// `C_Finalize`, where that takes nothing away from anybody.
    pub fn end(self) {
        if self.exclusive {
            // There is nothing left to do about an error.
            let _ = self.context.finalize();
        }
    }
}

fn open(path: &Path) -> std::result::Result<Pkcs11, String> {
    let name = path.display();
    if !path.is_file() {
        return Err(format!("{name} is not there"));
    }
    let real = trusted(path).map_err(|error| format!("{name} is not trusted: {error}"))?;
    Pkcs11::new(real).map_err(|error| match error {
        CallError::MissingSymbol(symbol) => format!("{name} is no PKCS#11 module ({symbol} is missing)"),
        CallError::LibraryLoading(error) => format!("{name} cannot be loaded ({error})"),
        error => format!("{name} cannot be loaded ({})", call(&error)),
    })
}

/// Loads those of the modules that can be loaded.
///
/// # Errors
///
/// [`ErrorKind::NotInstalled`] with the reason of each, where that is none.
pub fn load(paths: &[PathBuf], exclusive: bool) -> Result<Vec<Module>> {
    let (mut modules, mut reasons) = (Vec::new(), Vec::new());
    for path in paths {
        match Module::load(path, exclusive) {
            Ok(module) => modules.push(module),
            Err(reason) => reasons.push(reason),
        }
    }
    if modules.is_empty() {
        let reasons =
            if reasons.is_empty() { "no PKCS#11 module is configured".to_owned() } else { reasons.join("; ") };
        return Err(Error::new(ErrorKind::NotInstalled, Stage::Card, reasons));
    }
    Ok(modules)
}
