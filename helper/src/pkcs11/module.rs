//! Loads PKCS#11 modules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as CallError, RvError};
use ticketapi::os::fs::trusted_program;
use ticketapi::{Error, ErrorKind, Stage};

use super::calls::Calls;
use super::error::{CallResult, call, code};

/// Every module that was loaded so far. They are never unloaded: modules leave threads behind, which would crash
/// the process.
static LOADED: Mutex<BTreeMap<PathBuf, Loaded>> = Mutex::new(BTreeMap::new());

#[derive(Clone)]
struct Loaded {
    context: Pkcs11,
    calls: Option<Arc<Calls>>,
}

/// An initialized module.
pub struct Module {
    pub path: PathBuf,
    pub context: Pkcs11,
    /// Calls that `context` cannot make, if the module allows them.
    pub calls: Option<Arc<Calls>>,
    /// No other code in this process uses the module.
    pub exclusive: bool,
}

/// Why a module cannot be used.
struct Refusal {
    reason: String,
    /// The module could be loaded, but not initialized.
    loaded: bool,
}

/// Why no module can be used.
pub struct Unusable {
    /// Gives the reason for each module.
    pub error: Error,
    /// One of them could be loaded, but not initialized. Some modules do not start without a reader.
    pub may_start: bool,
}

impl From<Unusable> for Error {
    fn from(unusable: Unusable) -> Self {
        unusable.error
    }
}

impl Module {
    fn load(path: &Path, exclusive: bool) -> std::result::Result<Self, Refusal> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let Loaded { context, calls } = match loaded.get(path) {
            Some(loaded) => loaded.clone(),
            None => {
                let module = open(path).map_err(|reason| Refusal { reason, loaded: false })?;
                loaded.entry(path.to_owned()).or_insert(module).clone()
            }
        };
        // Done each time, because other code in the process may have finalized the module.
        match initialize(&context, calls.as_deref()) {
            Ok(()) => {}
            Err(error) if code(&error) == Some(RvError::CryptokiAlreadyInitialized) => {}
            Err(error) => {
                let reason = format!("{} cannot be started ({})", path.display(), call(&error));
                return Err(Refusal { reason, loaded: true });
            }
        }
        Ok(Self { path: path.to_owned(), context, calls, exclusive })
    }

    /// Calls `C_Finalize`, unless other code may use the module.
    pub fn end(self) {
        if self.exclusive {
            // An error here cannot be handled.
            let _ = self.context.finalize();
        }
    }
}

fn open(path: &Path) -> std::result::Result<Loaded, String> {
    let name = path.display();
    if !path.is_file() {
        return Err(format!("{name} does not exist"));
    }
    let real = trusted_program(path).map_err(|error| format!("{name} is not trusted: {error}"))?;
    #[cfg(windows)]
    {
        fits(&real).map_err(|reason| format!("{name} {reason}"))?;
        // With what is beside it, as makers install it; then it is loaded for cryptoki too.
        ticketapi_platform::module::load(&real).map_err(|error| format!("{name} cannot be loaded ({error})"))?;
    }
    let context = Pkcs11::new(&real).map_err(|error| match error {
        CallError::MissingSymbol(symbol) => format!("{name} is not a PKCS#11 module ({symbol} is missing)"),
        CallError::LibraryLoading(error) => format!("{name} cannot be loaded ({error})"),
        error => format!("{name} cannot be loaded ({})", call(&error)),
    })?;
    Ok(Loaded { context, calls: Calls::open(&real).map(Arc::new) })
}

/// Checks that the module is for the same processor as this program.
#[cfg(windows)]
fn fits(module: &Path) -> std::result::Result<(), &'static str> {
    use ticketapi::card::pkcs11::Machine;
    match Machine::of(module) {
        Err(_) => Ok(()),
        Ok(machine) if machine == Machine::OWN => Ok(()),
        Ok(Machine::X86) => Err("is for 32-bit programs: use ticketapi-card32.exe, or the maker's 64-bit module"),
        Ok(Machine::X64) => Err("is for 64-bit programs: use ticketapi-card.exe, or the maker's 32-bit module"),
        Ok(Machine::Other) => Err("is for another kind of processor"),
    }
}

/// Initializes a module. Some modules cannot use the system's locks, and some take no arguments. Each module is
/// used by one thread at a time here, so it needs no locks.
fn initialize(context: &Pkcs11, calls: Option<&Calls>) -> CallResult<()> {
    let refused = |started: &CallResult<()>| {
        let code = started.as_ref().err().and_then(code);
        matches!(code, Some(RvError::CantLock | RvError::ArgumentsBad | RvError::NeedToCreateThreads))
    };
    let mut started = context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    if refused(&started) {
        started = context.initialize(CInitializeArgs::new(CInitializeFlags::empty()));
    }
    match calls {
        Some(calls) if refused(&started) => calls.initialize(),
        _ => started,
    }
}

/// Loads the modules that can be loaded.
///
/// # Errors
///
/// [`ErrorKind::NotInstalled`] with the reason for each, if none can be loaded.
pub fn load(paths: &[PathBuf], exclusive: bool) -> std::result::Result<Vec<Module>, Unusable> {
    let (mut modules, mut refusals) = (Vec::new(), Vec::new());
    for path in paths {
        match Module::load(path, exclusive) {
            Ok(module) => modules.push(module),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if modules.is_empty() {
        let reasons: Vec<_> = refusals.iter().map(|refusal| refusal.reason.as_str()).collect();
        let reasons = if reasons.is_empty() { "no PKCS#11 module is configured".into() } else { reasons.join("; ") };
        let error = Error::new(ErrorKind::NotInstalled, Stage::Card, reasons);
        return Err(Unusable { error, may_start: refusals.iter().any(|refusal| refusal.loaded) });
    }
    Ok(modules)
}
