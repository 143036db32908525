//! Two calls that cryptoki cannot make as some modules need them: `C_Initialize` without arguments, and `C_Sign`
//! without a preceding call for the signature's size, or with a login between it and `C_SignInit`.
#![expect(unsafe_code, reason = "PKCS#11 is a C interface, and cryptoki does not give its function pointers away")]

use std::ffi::c_void;
use std::path::Path;
use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::{Error, Result, Rv};
use cryptoki::session::Session;
use cryptoki_sys::{CK_BYTE_PTR, CK_FUNCTION_LIST, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR, CKR_OK};

/// The size of the longest signature. Keys of more than 4096 bits are not used.
const LONGEST: usize = 4096 / 8;

type Sign = unsafe extern "C" fn(CK_SESSION_HANDLE, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR) -> CK_RV;

/// Functions of a loaded module.
pub struct Calls {
    initialize: unsafe extern "C" fn(*mut c_void) -> CK_RV,
    sign: Sign,
    /// Keeps the module loaded.
    _library: cryptoki_sys::Pkcs11,
}

impl Calls {
    /// Opens a module that cryptoki has already loaded. Returns `None` if each caller gets a function list with
    /// sessions of its own, as from p11-kit's proxy, because cryptoki's sessions would be invalid there.
    pub fn open(path: &Path) -> Option<Self> {
        // SAFETY: the module is already loaded, so opening it runs none of its code.
        let library = unsafe { cryptoki_sys::Pkcs11::new(path) }.ok()?;
        let list = function_list(&library)?;
        if function_list(&library)? != list {
            return None;
        }
        // SAFETY: a module's function list is valid while the module is loaded.
        let CK_FUNCTION_LIST { C_Initialize, C_Sign, .. } = unsafe { *list };
        Some(Self { initialize: C_Initialize?, sign: C_Sign?, _library: library })
    }

    /// `C_Initialize(NULL)`.
    pub fn initialize(&self) -> Result<()> {
        // SAFETY: PKCS#11 allows a null pointer here.
        Rv::from(unsafe { (self.initialize)(ptr::null_mut()) }).into_result(Function::Initialize)
    }

    /// Calls `C_Sign` after `C_SignInit`.
    pub fn sign(&self, session: &Session, data: &[u8]) -> Result<Vec<u8>> {
        let mut signature = vec![0; LONGEST];
        let mut length = LONGEST as CK_ULONG;
        let size = CK_ULONG::try_from(data.len()).map_err(Error::TryFromInt)?;
        // SAFETY: `C_Sign` only reads the data, and writes at most `length` bytes to the signature.
        let answer = unsafe {
            (self.sign)(session.handle(), data.as_ptr().cast_mut(), size, signature.as_mut_ptr(), &raw mut length)
        };
        Rv::from(answer).into_result(Function::Sign)?;
        signature.truncate(usize::try_from(length).map_err(Error::TryFromInt)?);
        Ok(signature)
    }
}

fn function_list(library: &cryptoki_sys::Pkcs11) -> Option<*const CK_FUNCTION_LIST> {
    let mut list = ptr::null_mut();
    let get = library.C_GetFunctionList.as_ref().ok()?;
    // SAFETY: every module's function has this type and writes one pointer.
    let answer = unsafe { get(&raw mut list) };
    (answer == CKR_OK && !list.is_null()).then_some(list.cast_const())
}
