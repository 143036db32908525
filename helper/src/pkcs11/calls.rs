//! Two calls that the cryptoki crate cannot make the way some modules need them: `C_Initialize` without
//! arguments, and `C_Sign` on its own: after a login, and without asking for the signature's size first.
#![expect(unsafe_code, reason = "PKCS#11 is a C interface, and cryptoki does not give its function pointers away")]

use std::ffi::c_void;
use std::path::Path;
use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::{Error, Result, Rv};
use cryptoki::session::Session;
use cryptoki_sys::{CK_BYTE_PTR, CK_FUNCTION_LIST, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR, CKR_OK};

/// The size of the longest signature: certificates with keys of more than 4096 bits are not used.
const LONGEST: usize = 4096 / 8;

type Sign = unsafe extern "C" fn(CK_SESSION_HANDLE, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR) -> CK_RV;

/// A module's own functions.
pub struct Calls {
    initialize: unsafe extern "C" fn(*mut c_void) -> CK_RV,
    sign: Sign,
    /// Keeps the functions in memory.
    _library: cryptoki_sys::Pkcs11,
}

impl Calls {
    /// Opens a module that cryptoki has loaded already. `None` where each caller gets functions with sessions of
    /// their own, as from p11-kit's proxy: cryptoki's sessions would be unknown to these.
    pub fn open(path: &Path) -> Option<Self> {
        // SAFETY: the module is loaded already, so nothing of it runs now.
        let library = unsafe { cryptoki_sys::Pkcs11::new(path) }.ok()?;
        let list = function_list(&library)?;
        if function_list(&library)? != list {
            return None;
        }
        // SAFETY: a module's list stays valid for as long as the module is loaded.
        let CK_FUNCTION_LIST { C_Initialize, C_Sign, .. } = unsafe { *list };
        Some(Self { initialize: C_Initialize?, sign: C_Sign?, _library: library })
    }

    /// `C_Initialize(NULL)`.
    pub fn initialize(&self) -> Result<()> {
        // SAFETY: PKCS#11 allows a null pointer here.
        Rv::from(unsafe { (self.initialize)(ptr::null_mut()) }).into_result(Function::Initialize)
    }

    /// `C_Sign`, for an operation that has begun.
    pub fn sign(&self, session: &Session, data: &[u8]) -> Result<Vec<u8>> {
        let mut signature = vec![0; LONGEST];
        let mut length = LONGEST as CK_ULONG;
        let size = CK_ULONG::try_from(data.len()).map_err(Error::TryFromInt)?;
        // SAFETY: modules only read the data, and write at most `length` bytes of the signature.
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
    // SAFETY: the function has this type in every module, and writes one pointer.
    let answer = unsafe { get(&raw mut list) };
    (answer == CKR_OK && !list.is_null()).then_some(list.cast_const())
}
