//! A PKCS#11 module that follows a script: it forwards calls to a real module, and fails, hangs or crashes where
//! the script says so. For tests only.
//!
//! The script is the file `<path of this module>.script`, so each copy of the module has its own. Its lines, in
//! any order:
//!
//! ```text
//! module /usr/lib/softhsm/libsofthsm2.so          the real module
//! token 1234 /tmp/x/card.der /tmp/x/key.der       instead of a module: a token with this PIN, certificate and key
//! without certificate                             the token lacks it; or its key
//! env SOFTHSM2_CONF /tmp/x/softhsm2.conf          sets a variable before the real module is loaded
//! log /tmp/x/calls                                appends a line for each call: the function's name
//! fault C_Sign 1 error 0x30                       a fault at the first call of C_Sign:
//! fault C_Sign 2 hang                             error, hang, crash, exit or corrupt (the heap); for C_Sign also
//!                                                 wrong (another signature); print (on standard output)
//! hold C_SignInit /tmp/x/go                       waits until the file exists
//! flag USER_PIN_FINAL_TRY C_Login 1               sets a token flag after that many calls of C_Login
//! clear-flag LOGIN_REQUIRED                       never sets this flag
//! pin-lengths 6 8                                 the token's minimum and maximum PIN length
//! bad-slot 0x30                                   adds a first slot whose C_GetTokenInfo fails
//! private-certificates                            hides certificates until the login
//! hide-mechanism 0x6                              removes it from C_GetMechanismList
//! pin-pad 1234                                    makes the reader a PIN pad on which this PIN is entered
//! reader Some Reader 00 00                        makes the slots readers of this name
//! no-slots                                        removes all slots
//! report C_Sign /tmp/x/report                     writes descriptors, arguments and environment
//! ```
//!
//! Calls are counted from the start of the process. Functions that a login does not use are forwarded unchanged.

#![allow(non_snake_case, reason = "the functions are called what PKCS#11 calls them")]

mod fault;
mod script;
mod token;

use std::ffi::c_void;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use cryptoki_sys::*;

use script::{Fault, Script};

struct Module {
    script: Script,
    real: CK_FUNCTION_LIST,
    // Keeps the real module loaded.
    _library: Option<libloading::Library>,
}

// SAFETY: a function list holds function pointers only, and PKCS#11 functions may be called from
// any thread once the module is initialized with CKF_OS_LOCKING_OK.
unsafe impl Sync for Module {}
// SAFETY: as above.
unsafe impl Send for Module {}

/// The id of the slot that fails.
const BAD_SLOT: CK_SLOT_ID = 0xBAD;

static MODULE: OnceLock<Option<Module>> = OnceLock::new();
/// Counts the calls of each function. Not on the heap, which a script may have corrupted.
static CALLS: Mutex<[(&str, usize); 32]> = Mutex::new([("", 0); 32]);
static LIST: OnceLock<List> = OnceLock::new();

struct List(CK_FUNCTION_LIST);
// SAFETY: the list is never written after its creation, and holds only function pointers.
unsafe impl Sync for List {}
// SAFETY: as above.
unsafe impl Send for List {}

fn module() -> Option<&'static Module> {
    MODULE.get_or_init(load).as_ref()
}

fn load() -> Option<Module> {
    let script = Script::parse(&fs::read_to_string(script_path()?).ok()?)?;
    for (name, value) in &script.env {
        // SAFETY: the helper reads its environment only before it loads modules.
        unsafe { std::env::set_var(name, value) };
    }
    if let Some((pin, certificate, key)) = &script.token {
        let real = token::functions(&script, pin, certificate, key)?;
        return Some(Module { script, real, _library: None });
    }
    // SAFETY: the script names a PKCS#11 module, whose initializers may run in any process.
    let library = unsafe { libloading::Library::new(&script.module) }.ok()?;
    let mut list: CK_FUNCTION_LIST_PTR = std::ptr::null_mut();
    // SAFETY: the function has this type in every PKCS#11 module. The list that it returns is valid while the
    // module is loaded, and is copied here.
    let real = unsafe {
        let get_function_list: libloading::Symbol<'_, unsafe extern "C" fn(CK_FUNCTION_LIST_PTR_PTR) -> CK_RV> =
            library.get(b"C_GetFunctionList").ok()?;
        if get_function_list(&mut list) != CKR_OK {
            return None;
        }
        *list
    };
    Some(Module { script, real, _library: Some(library) })
}

/// Returns the path of the script beside this module's file.
fn script_path() -> Option<PathBuf> {
    let mut path = own_path()?.into_os_string();
    path.push(".script");
    Some(path.into())
}

#[cfg(windows)]
fn own_path() -> Option<PathBuf> {
    ticketapi_platform::module::path().ok()
}

#[cfg(unix)]
fn own_path() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;

    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: the address is in this module, and dladdr fills in the structure when it returns non-zero. The name
    // is valid while the module is loaded.
    let name = unsafe {
        if libc::dladdr(C_GetFunctionList as *const c_void, info.as_mut_ptr()) == 0 {
            return None;
        }
        std::ffi::CStr::from_ptr(info.assume_init().dli_fname)
    };
    Some(std::ffi::OsStr::from_bytes(name.to_bytes()).into())
}

impl Module {
    /// Counts and logs a call, and applies the script. Returns the code that ends the call, if it ends here.
    fn called(&self, function: &'static str) -> Option<CK_RV> {
        let count = count(function);
        if let Some(log) = &self.script.log {
            let file = OpenOptions::new().create(true).append(true).open(log);
            let _ = file.and_then(|mut file| file.write_all(format!("{function}\n").as_bytes()));
        }
        for (at, path) in &self.script.reports {
            if at == function {
                let _ = fs::write(path, fault::report());
            }
        }
        for (_, path) in self.script.holds.iter().filter(|(at, _)| at == function) {
            fault::wait_for(path);
        }
        self.script.fault(function, count).and_then(fault::run)
    }
}

fn calls() -> MutexGuard<'static, [(&'static str, usize); 32]> {
    CALLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a call of a function and returns the new count.
fn count(function: &'static str) -> usize {
    let mut calls = calls();
    let Some(place) = calls.iter_mut().find(|(name, _)| [function, ""].contains(name)) else { return 0 };
    *place = (function, place.1 + 1);
    place.1
}

fn counted(function: &str) -> usize {
    calls().iter().find(|(name, _)| *name == function).map_or(0, |(_, count)| *count)
}

macro_rules! after {
    (($module:expr, $answer:expr, $($argument:expr),*)) => { $answer };
    (($($argument:expr),*) $after:expr) => { $after($($argument),*) };
}

/// Defines functions that count the call, apply the script and forward the call; `$after` may change the result.
macro_rules! scripted {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $after:expr)?;)*) => {
        $(
            unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
                let Some(module) = module() else { return CKR_GENERAL_ERROR };
                if let Some(answer) = module.called(stringify!($name)) {
                    return answer;
                }
                let Some(real) = module.real.$name else { return CKR_FUNCTION_NOT_SUPPORTED };
                // SAFETY: the arguments come from a caller of the same function.
                let answer = unsafe { real($($argument),*) };
                after!((module, answer, $($argument),*) $($after)?)
            }
        )*

        fn scripted_functions(real: &CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
            CK_FUNCTION_LIST {
                C_GetFunctionList: Some(C_GetFunctionList),
                C_GetSlotList: Some(C_GetSlotList),
                C_Login: Some(C_Login),
                C_FindObjectsInit: Some(C_FindObjectsInit),
                $($name: Some($name),)*
                ..*real
            }
        }
    };
}

scripted! {
    C_Initialize(arguments: *mut c_void);
    C_Finalize(reserved: *mut c_void);
    C_GetSlotInfo(slot: CK_SLOT_ID, info: CK_SLOT_INFO_PTR) -> pose_as_reader;
    C_GetTokenInfo(slot: CK_SLOT_ID, info: CK_TOKEN_INFO_PTR) -> set_token_info;
    C_GetMechanismList(slot: CK_SLOT_ID, list: CK_MECHANISM_TYPE_PTR, count: CK_ULONG_PTR) -> hide_mechanisms;
    C_OpenSession(slot: CK_SLOT_ID, flags: CK_FLAGS, application: *mut c_void, notify: CK_NOTIFY, session: CK_SESSION_HANDLE_PTR);
    C_CloseSession(session: CK_SESSION_HANDLE);
    C_Logout(session: CK_SESSION_HANDLE);
    C_FindObjects(session: CK_SESSION_HANDLE, objects: CK_OBJECT_HANDLE_PTR, max: CK_ULONG, count: CK_ULONG_PTR);
    C_FindObjectsFinal(session: CK_SESSION_HANDLE);
    C_GetAttributeValue(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: CK_ATTRIBUTE_PTR, count: CK_ULONG);
    C_SignInit(session: CK_SESSION_HANDLE, mechanism: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE);
    C_Sign(session: CK_SESSION_HANDLE, data: CK_BYTE_PTR, length: CK_ULONG, signature: CK_BYTE_PTR, signature_length: CK_ULONG_PTR) -> spoil;
    C_SignUpdate(session: CK_SESSION_HANDLE, data: CK_BYTE_PTR, length: CK_ULONG);
    C_SignFinal(session: CK_SESSION_HANDLE, signature: CK_BYTE_PTR, length: CK_ULONG_PTR);
}

/// Changes the signature, if the script says so.
fn spoil(
    module: &Module,
    answer: CK_RV,
    _: CK_SESSION_HANDLE,
    _: CK_BYTE_PTR,
    _: CK_ULONG,
    signature: CK_BYTE_PTR,
    _: CK_ULONG_PTR,
) -> CK_RV {
    let is_wrong = matches!(module.script.fault("C_Sign", counted("C_Sign")), Some(Fault::Wrong));
    if is_wrong && answer == CKR_OK && !signature.is_null() {
        // SAFETY: the real module has just written a signature there, of at least one byte.
        unsafe { *signature ^= 1 };
    }
    answer
}

/// The module's entry point (PKCS#11 `C_GetFunctionList`).
///
/// # Safety
///
/// `list` must be valid for writing a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) -> CK_RV {
    let Some(module) = module() else { return CKR_GENERAL_ERROR };
    if let Some(answer) = module.called("C_GetFunctionList") {
        return answer;
    }
    let functions = LIST.get_or_init(|| List(scripted_functions(&module.real)));
    // SAFETY: promised by the caller. PKCS#11 allows callers only to read the list.
    unsafe { *list = std::ptr::from_ref(&functions.0).cast_mut() };
    CKR_OK
}

unsafe extern "C" fn C_GetSlotList(present: CK_BBOOL, slots: CK_SLOT_ID_PTR, count: CK_ULONG_PTR) -> CK_RV {
    let Some(module) = module() else { return CKR_GENERAL_ERROR };
    if let Some(answer) = module.called("C_GetSlotList") {
        return answer;
    }
    if module.script.no_slots {
        // SAFETY: PKCS#11 requires a valid pointer here.
        unsafe { *count = 0 };
        return CKR_OK;
    }
    let Some(real) = module.real.C_GetSlotList else { return CKR_FUNCTION_NOT_SUPPORTED };
    if module.script.bad_slot.is_none() {
        // SAFETY: the arguments come from a caller of the same function.
        return unsafe { real(present, slots, count) };
    }
    // SAFETY: PKCS#11 requires a valid pointer to the count, and an array of that many entries. The first entry is
    // for the bad slot.
    unsafe {
        let mut rest = (*count).saturating_sub(1);
        let places = if slots.is_null() { slots } else { slots.add(1) };
        let answer = real(present, places, &raw mut rest);
        *count = rest + 1;
        if answer == CKR_OK && !slots.is_null() {
            *slots = BAD_SLOT;
        }
        answer
    }
}

unsafe extern "C" fn C_FindObjectsInit(
    session: CK_SESSION_HANDLE,
    template: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
) -> CK_RV {
    let Some(module) = module() else { return CKR_GENERAL_ERROR };
    if let Some(answer) = module.called("C_FindObjectsInit") {
        return answer;
    }
    let Some(real) = module.real.C_FindObjectsInit else { return CKR_FUNCTION_NOT_SUPPORTED };
    // SAFETY: the caller's template has `count` attributes.
    let attributes = unsafe { std::slice::from_raw_parts(template, count as usize) };
    let class = attributes.iter().find(|attribute| attribute.type_ == CKA_CLASS);
    // SAFETY: a class attribute points to a number.
    let class = class.map(|class| unsafe { *class.pValue.cast::<CK_OBJECT_CLASS>() });
    let for_certificates = class == Some(CKO_CERTIFICATE);
    if module.script.private_certificates && for_certificates && counted("C_Login") == 0 {
        let mut no_class = CK_ULONG::MAX;
        let size = size_of::<CK_ULONG>() as CK_ULONG;
        let mut none = CK_ATTRIBUTE { type_: CKA_CLASS, pValue: (&raw mut no_class).cast(), ulValueLen: size };
        // SAFETY: this is one valid attribute, which modules only read.
        return unsafe { real(session, &raw mut none, 1) };
    }
    // SAFETY: the arguments come from a caller of the same function.
    unsafe { real(session, template, count) }
}

unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: CK_BYTE_PTR,
    length: CK_ULONG,
) -> CK_RV {
    let Some(module) = module() else { return CKR_GENERAL_ERROR };
    if let Some(answer) = module.called("C_Login") {
        return answer;
    }
    let Some(real) = module.real.C_Login else { return CKR_FUNCTION_NOT_SUPPORTED };
    match &module.script.pin_pad {
        // SAFETY: modules only read the PIN.
        Some(typed) if pin.is_null() => unsafe {
            real(session, user, typed.as_ptr().cast_mut(), typed.len() as CK_ULONG)
        },
        Some(_) => CKR_ARGUMENTS_BAD,
        // SAFETY: the arguments come from a caller of the same function.
        None => unsafe { real(session, user, pin, length) },
    }
}

fn pose_as_reader(module: &Module, answer: CK_RV, _: CK_SLOT_ID, info: CK_SLOT_INFO_PTR) -> CK_RV {
    if let (CKR_OK, Some(name)) = (answer, &module.script.reader) {
        // SAFETY: the real module has just filled in the structure.
        let info = unsafe { &mut *info };
        info.slotDescription.fill(b' ');
        let length = name.len().min(info.slotDescription.len());
        info.slotDescription[..length].copy_from_slice(&name.as_bytes()[..length]);
        info.flags |= CKF_HW_SLOT | CKF_REMOVABLE_DEVICE;
    }
    answer
}

fn set_token_info(module: &Module, answer: CK_RV, slot: CK_SLOT_ID, info: CK_TOKEN_INFO_PTR) -> CK_RV {
    if let (BAD_SLOT, Some(code)) = (slot, module.script.bad_slot) {
        return code;
    }
    if answer == CKR_OK {
        // SAFETY: the real module has just filled in the structure.
        let info = unsafe { &mut *info };
        let due = module.script.flags.iter().filter(|flag| counted(&flag.function) >= flag.times);
        due.for_each(|flag| info.flags |= flag.bit);
        info.flags &= !module.script.cleared;
        if let Some(lengths) = module.script.pin_lengths {
            (info.ulMinPinLen, info.ulMaxPinLen) = lengths;
        }
        if module.script.pin_pad.is_some() {
            info.flags |= CKF_PROTECTED_AUTHENTICATION_PATH;
        }
    }
    answer
}

fn hide_mechanisms(
    module: &Module,
    answer: CK_RV,
    _: CK_SLOT_ID,
    list: CK_MECHANISM_TYPE_PTR,
    count: CK_ULONG_PTR,
) -> CK_RV {
    if answer == CKR_OK && !list.is_null() {
        // SAFETY: the real module has just written `count` mechanisms.
        let listed = unsafe { std::slice::from_raw_parts_mut(list, *count as usize) };
        for mechanism in listed.iter_mut().filter(|mechanism| module.script.hidden.contains(mechanism)) {
            *mechanism = CKM_VENDOR_DEFINED;
        }
    }
    answer
}
